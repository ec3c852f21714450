//! How intervals change (sections 6.5 and 6.8.3).

use heartbeat_fastpath::bfd::State;

use crate::config::SLOW_US;
use crate::mistake::Mistake;
use crate::session::Session;

/// Both intervals of this side, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intervals {
    pub(crate) tx_us: u32,
    pub(crate) rx_us: u32,
}

/// Whether the other side is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    No,
    /// Packets ask for an answer.
    Asking,
    /// It has answered. One packet goes out that does not ask, so that late answers are not taken for the next one.
    Resting,
}

/// What the other side is told, and what counts meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    /// What packets tell.
    pub(crate) told: Intervals,
    /// What this side goes by: slower than what is told while the other side may not know of that.
    pub(crate) used: Intervals,
    poll: Poll,
}

impl Parameters {
    /// Those of a session that is not up.
    pub(crate) fn new(tx_us: u32, rx_us: u32) -> Self {
        let told = Intervals { tx_us: tx_us.max(SLOW_US), rx_us };
        Self { told, used: told, poll: Poll::No }
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.poll == Poll::Asking
    }

    /// From now on packets ask.
    pub(crate) fn ask(&mut self) {
        self.poll = Poll::Asking;
    }

    /// The other side has answered.
    pub(crate) fn answered(&mut self) {
        if self.is_asking() {
            self.used = self.told;
            self.poll = Poll::Resting;
        }
    }

    /// A periodic packet has gone out.
    pub(crate) fn sent(&mut self) {
        if self.poll == Poll::Resting {
            self.poll = Poll::No;
        }
    }
}

impl Session {
    /// What the state asks for.
    fn wanted(&self) -> Intervals {
        let slow =
            |interval_us: u32, is_slow: bool| if is_slow { interval_us.max(SLOW_US) } else { interval_us };
        let is_down = self.state != State::Up && !self.makes(Mistake::NeverSlow);
        Intervals {
            tx_us: slow(self.config.desired_min_tx_us, is_down),
            rx_us: slow(self.config.required_min_rx_us, self.echo.is_active),
        }
    }

    /// Tells the other side if something else is wanted than what it was told.
    ///
    /// While the session is up, one change follows the other: an answer must be clear. What is faster may be done at once,
    /// what is slower only when the other side knows: sending less often (its detection time), and taking packets for missing
    /// that it does not yet send more often.
    pub(crate) fn negotiate(&mut self) {
        let wanted = self.wanted();
        let Parameters { told, used, poll } = self.parameters;
        let is_up = self.state == State::Up;
        // To one who wants no periodic packets, none will go out in between.
        let must_wait = poll == Poll::Asking || poll == Poll::Resting && self.may_send();
        if wanted == told || is_up && must_wait {
            return;
        }
        let used = if is_up && !self.makes(Mistake::ChangingAtOnce) {
            Intervals { tx_us: used.tx_us.min(wanted.tx_us), rx_us: used.rx_us.max(wanted.rx_us) }
        } else {
            wanted
        };
        self.parameters = Parameters { told: wanted, used, poll: Poll::Asking };
        self.transmission.announce = true;
    }
}
