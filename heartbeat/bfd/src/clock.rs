//! What time brings: packets that are due, and packets that did not come.

use heartbeat_fastpath::bfd::{Diagnostic, State};

use crate::mistake::Mistake;
use crate::session::{Remote, Session, US};

impl Session {
    /// Does what has become due. What has arrived is to be handed over before.
    pub fn tick(&mut self, now_ns: u64) {
        let now_ns = self.arrive(now_ns);
        if self.lost_ns().is_some_and(|at_ns| now_ns >= at_ns) {
            self.lose();
        }
        if self.echo_lost_ns().is_some_and(|at_ns| now_ns >= at_ns) {
            self.change(State::Down, Diagnostic::ECHO_FAILED);
        }
        if let Some(authentication) = &mut self.authentication {
            authentication.expire(now_ns);
        }
        self.settle();
        if self.may_send() && now_ns >= self.transmit_ns() {
            self.send_periodic();
            // What had to wait for this packet begins with the next one: two at once could overtake each other.
            self.negotiate();
            self.transmission.announce = false;
        }
        if self.echo_due_ns().is_some_and(|at_ns| now_ns >= at_ns) {
            self.send_echo();
        }
    }

    /// When [`Self::tick`] is to be called, if time alone can bring something. It may find nothing to do then.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let transmit_ns = self.may_send().then(|| self.transmit_ns());
        let forget_ns = self.authentication.as_ref().and_then(|authentication| authentication.forget_ns());
        let echo_ns = [self.echo_due_ns(), self.echo_lost_ns()];
        [transmit_ns, self.lost_ns(), forget_ns].into_iter().chain(echo_ns).flatten().min()
    }

    /// How often the other side sends, in microseconds, before it spreads them.
    pub(crate) fn receive_interval_us(&self) -> u64 {
        let used = &self.parameters.used;
        let own_us = if self.makes(Mistake::OwnInterval) { used.tx_us } else { used.rx_us };
        u64::from(own_us.max(self.remote.desired_min_tx_us))
    }

    /// For how long nothing may be heard (section 6.8.4); 0: nothing is expected.
    pub(crate) fn detection_ns(&self) -> u64 {
        let multiplier = if self.makes(Mistake::OwnMultiplier) {
            self.config.detect_multiplier.get()
        } else {
            self.remote.detect_multiplier
        };
        u64::from(multiplier) * self.receive_interval_us() * US
    }

    /// When the other side is lost if nothing is heard.
    fn lost_ns(&self) -> Option<u64> {
        self.heard_ns.map(|heard_ns| heard_ns + self.detection_ns())
    }

    /// Nothing was heard for the detection time (sections 6.8.4 and 6.8.1).
    fn lose(&mut self) {
        self.heard_ns = None;
        if matches!(self.state, State::Init | State::Up) {
            self.change(State::Down, Diagnostic::TIME_EXPIRED);
            // Perhaps the other side still hears. By its number of the session it will take that for true.
            self.settle();
        }
        if !self.makes(Mistake::KeepingDiscriminator) {
            self.remote = Remote::UNKNOWN;
        }
    }
}
