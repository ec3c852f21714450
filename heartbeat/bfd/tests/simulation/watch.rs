//! What must hold, judged by what a side was told and has told, not by what it computes.

use heartbeat_bfd::config::SLOW_US;
use heartbeat_bfd::session::{Change, View};
use heartbeat_fastpath::bfd::{Diagnostic, State};

use crate::plan::MS;
use crate::simulation::{Life, Side};

const US: u64 = 1_000;

/// The fields of a packet that matter here, read anew.
struct Fields {
    state: u8,
    multiplier: u64,
    yours: u32,
    desired_tx_us: u64,
    required_rx_us: u64,
}

fn fields(bytes: &[u8]) -> Fields {
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    Fields {
        state: bytes[1] >> 6,
        multiplier: bytes[2].into(),
        yours: word(8),
        desired_tx_us: word(12).into(),
        required_rx_us: word(16).into(),
    }
}

/// What is remembered of a side.
#[derive(Debug, Default)]
pub struct Watch {
    /// Until when it may be up if it hears nothing more.
    until_ns: u64,
    /// What it told of receiving: now, and before.
    told_rx_us: [u64; 2],
    /// What came last from the other side.
    heard: Option<(u64, u64)>,
    /// Since when echo packets are sent or one has come back.
    echo_ns: Option<u64>,
    /// Whether the last packet that was taken named this side.
    was_known: bool,
}

fn fail(violation: &mut Option<String>, what: impl FnOnce() -> String) {
    if violation.is_none() {
        *violation = Some(what());
    }
}

impl Watch {
    pub fn sent(&mut self, bytes: &[u8], violation: &mut Option<String>) {
        let Fields { state, desired_tx_us, required_rx_us, .. } = fields(bytes);
        if state != State::Up as u8 && desired_tx_us < u64::from(SLOW_US) {
            fail(violation, || format!("wants to send each {desired_tx_us} µs in state {state}"));
        }
        if required_rx_us != self.told_rx_us[0] {
            self.told_rx_us = [required_rx_us, self.told_rx_us[0]];
        }
    }

    pub fn heard(&mut self, side: &Side, now_ns: u64, bytes: &[u8], violation: &mut Option<String>) {
        let Fields { multiplier, yours, desired_tx_us, .. } = fields(bytes);
        let [now_us, before_us] = self.told_rx_us;
        // A change that is being made counts from when both know of it.
        let slow_us = if side.config.echo_interval_us.is_some() { u64::from(SLOW_US) } else { 0 };
        let own_us = now_us.max(before_us).max(slow_us).max(side.config.required_min_rx_us.into());
        self.until_ns = now_ns + multiplier * own_us.max(desired_tx_us) * US;
        self.heard = Some((multiplier, desired_tx_us));
        self.was_known = yours != 0;
        let view: View = side.session.view();
        if view.state == State::Up && !self.was_known {
            fail(violation, || "is up, and the other side does not know it".to_owned());
        }
    }

    pub fn changed(&mut self, change: Change, is_calm: bool, now_ns: u64, violation: &mut Option<String>) {
        let is_alarm = [Diagnostic::TIME_EXPIRED, Diagnostic::ECHO_FAILED].contains(&change.diagnostic);
        if is_calm && is_alarm && change.from == State::Up && change.to == State::Down {
            fail(violation, || format!("takes the other side for failed at {now_ns} ns: {change:?}"));
        }
    }

    pub fn echo_back(&mut self, now_ns: u64) {
        self.echo_ns = Some(now_ns);
    }

    pub fn echo_is(&mut self, side: &Side, now_ns: u64) {
        let is_active = side.session.view().echo_interval_ns.is_some();
        self.echo_ns = if is_active { self.echo_ns.or(Some(now_ns)) } else { None };
    }

    /// Nothing was missed while it stood still.
    pub fn woke(&mut self, now_ns: u64) {
        self.echo_ns = self.echo_ns.map(|_| now_ns);
    }

    /// Who is up has heard something within the detection time. When to look again.
    pub fn look(&self, side: &Side, now_ns: u64, violation: &mut Option<String>) -> u64 {
        let view = side.session.view();
        if side.life == Life::Running && view.state == State::Up {
            if now_ns > self.until_ns {
                fail(violation, || format!("is still up at {now_ns} ns: {view:?}, heard {:?}", self.heard));
            }
            if let (Some(since_ns), Some(interval_ns)) = (self.echo_ns, view.echo_interval_ns) {
                // One interval until the first is sent that does not come back.
                let intervals = u64::from(side.config.detect_multiplier.get()) + 1;
                if now_ns > since_ns + intervals * interval_ns + MS {
                    fail(violation, || {
                        format!("no echo since {since_ns} ns, and up at {now_ns} ns: {view:?}")
                    });
                }
            }
        }
        // What ends in between is seen at the next look, since nobody comes up again so fast.
        now_ns + 5 * MS
    }

    /// In the end both are up, know of each other's intervals, and go by them.
    pub fn end(side: &Side, other: &Side, violation: &mut Option<String>) {
        let (view, others) = (side.session.view(), other.session.view());
        if view.state != State::Up || view.polling {
            return fail(violation, || {
                format!("is not well in the end: {view:?}, the other side {others:?}")
            });
        }
        let rx_us = |side: &Side, view: &View| match view.echo_interval_ns {
            Some(_) => side.config.required_min_rx_us.max(SLOW_US),
            None => side.config.required_min_rx_us,
        };
        let receive_us = rx_us(side, &view).max(other.config.desired_min_tx_us);
        let transmit_us = rx_us(other, &others).max(side.config.desired_min_tx_us);
        let expected = [
            (view.receive_interval_ns, u64::from(receive_us) * US),
            (view.transmit_interval_ns, u64::from(transmit_us) * US),
            (view.detection_ns, u64::from(other.config.detect_multiplier.get()) * u64::from(receive_us) * US),
        ];
        if expected.iter().any(|(found, expected)| found != expected) {
            fail(violation, || format!("goes by other intervals: {expected:?}, {view:?}, {others:?}"));
        }
    }
}
