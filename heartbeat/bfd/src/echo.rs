//! The echo function (sections 6.4, 6.8.5, 6.8.8 and 6.8.9): packets that the other side sends back unread.
//!
//! What has stayed away counts from when it was sent: a session that was not called sends nothing, and misses nothing.

use heartbeat_fastpath::bfd::State;

use crate::mistake::Mistake;
use crate::session::{Output, Session, US};

/// Bytes of an echo packet: discriminator, number, and two words that tell it from what somebody else made up.
pub const ECHO_BYTES: usize = 24;
/// How many packets may be on their way.
const WINDOW: usize = 16;

/// A packet that was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    at_ns: u64,
    nonce: u64,
}

/// What is known of echo packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Echo {
    /// Whether they are sent.
    pub(crate) is_active: bool,
    /// When the last one was sent.
    last_ns: u64,
    /// After which part of the interval the next one is, in thousandths.
    share: u64,
    /// The next packet's number.
    next: u32,
    /// The last ones, by number.
    sent: [Sent; WINDOW],
    /// When the first of those was sent that have not come back, if there is one.
    unanswered_ns: Option<u64>,
    /// How long they take, smoothed.
    pub(crate) round_trip_ns: Option<u64>,
}

impl Session {
    /// Takes an echo packet that has come back. Whether it is one of those that are on their way.
    pub fn handle_echo(&mut self, now_ns: u64, payload: &[u8]) -> bool {
        let now_ns = self.arrive(now_ns);
        let Ok(payload) = <&[u8; ECHO_BYTES]>::try_from(payload) else { return false };
        let (words, _) = payload.as_chunks::<4>();
        let word = |i: usize| u32::from_be_bytes(words[i]);
        let long = |i: usize| u64::from(word(i)) << 32 | u64::from(word(i + 1));
        let (number, at_ns, nonce) = (word(1), long(2), long(4));
        let age = self.echo.next.wrapping_sub(number);
        let sent = self.echo.sent[number as usize % WINDOW];
        if word(0) != self.discriminator.get()
            || age == 0
            || age as usize > WINDOW
            || (sent.at_ns, sent.nonce) != (at_ns, nonce)
            || !self.echo.is_active
        {
            return false;
        }
        let round_trip_ns = now_ns.saturating_sub(at_ns);
        let echo = &mut self.echo;
        echo.round_trip_ns = Some(match echo.round_trip_ns {
            Some(smoothed_ns) => smoothed_ns - smoothed_ns / 8 + round_trip_ns / 8,
            None => round_trip_ns,
        });
        // Those before it may be lost; the way is there.
        let following = echo.sent[number.wrapping_add(1) as usize % WINDOW].at_ns;
        echo.unanswered_ns = echo.unanswered_ns.and_then(|since_ns| match age {
            1 => None,
            _ => Some(since_ns.max(following)),
        });
        true
    }

    /// Begins or ends, as the state of both sides asks for.
    pub(crate) fn see_to_echo(&mut self) {
        let is_active = self.config.echo_interval_us.is_some()
            && self.state == State::Up
            && self.remote.state == State::Up
            && self.remote.required_min_echo_rx_us != 0;
        if is_active != self.echo.is_active {
            let next = self.echo.next;
            self.echo = Echo { is_active, last_ns: self.now_ns, next, ..Echo::default() };
        }
    }

    /// How often packets are sent, before they are spread.
    pub(crate) fn echo_interval_ns(&self) -> u64 {
        let own_us = self.config.echo_interval_us.unwrap_or_default();
        u64::from(own_us.max(self.remote.required_min_echo_rx_us)) * US
    }

    pub(crate) fn echo_due_ns(&self) -> Option<u64> {
        let Echo { is_active, last_ns, share, .. } = self.echo;
        is_active.then(|| last_ns + self.echo_interval_ns() / 1000 * share)
    }

    /// When too many will have stayed away.
    pub(crate) fn echo_lost_ns(&self) -> Option<u64> {
        if !self.echo.is_active || self.makes(Mistake::TrustingEcho) {
            return None;
        }
        let multiplier = u64::from(self.config.detect_multiplier.get());
        Some(self.echo.unanswered_ns? + multiplier * self.echo_interval_ns())
    }

    pub(crate) fn send_echo(&mut self) {
        let at_ns = self.now_ns;
        let nonce = self.random.below(u64::MAX);
        let number = self.echo.next;
        let share = self.jitter();
        let echo = &mut self.echo;
        echo.sent[number as usize % WINDOW] = Sent { at_ns, nonce };
        echo.next = number.wrapping_add(1);
        echo.unanswered_ns.get_or_insert(at_ns);
        (echo.last_ns, echo.share) = (at_ns, share);
        let mut bytes = [0; ECHO_BYTES];
        let long = |long: u64| [(long >> 32) as u32, long as u32];
        let ([t0, t1], [n0, n1]) = (long(at_ns), long(nonce));
        let (words, _) = bytes.as_chunks_mut::<4>();
        for (place, word) in words.iter_mut().zip([self.discriminator.get(), number, t0, t1, n0, n1]) {
            *place = word.to_be_bytes();
        }
        self.outputs.push_back(Output::Echo(bytes));
    }
}
