//! Deliberate mistakes, by which the simulation is tested. Without the feature `mistakes` there are none.

use crate::session::Session;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mistakes"), expect(unreachable_pub, reason = "public only for tests"))]
pub enum Mistake {
    /// Intervals change before the other side knows.
    ChangingAtOnce,
    /// Does not answer polls.
    IgnoringPolls,
    /// Goes on naming the other side by the number that it had before it failed.
    KeepingDiscriminator,
    /// Never forgets the last sequence number.
    KeepingSequence,
    /// Takes its own multiplier for the other side's.
    OwnMultiplier,
    /// Is up as soon as it hears something.
    SkippingInit,
    /// Sends at full rate while it is not up.
    NeverSlow,
    /// Waits for the time in which it sends, and not for the one in which the other side does.
    OwnInterval,
    /// Does not notice that echo packets stay away.
    TrustingEcho,
}

impl Session {
    /// Makes a mistake from now on.
    #[cfg(feature = "mistakes")]
    pub fn make(&mut self, mistake: Mistake) {
        self.mistake = Some(mistake);
    }

    #[cfg(feature = "mistakes")]
    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    #[cfg(not(feature = "mistakes"))]
    #[expect(clippy::unused_self, reason = "it has no mistake to look at")]
    pub(crate) const fn makes(&self, _: Mistake) -> bool {
        false
    }
}
