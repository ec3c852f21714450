//! Deliberate mistakes, by which the simulation is tested. Without the feature `mistakes` there are none.

use crate::detector::Detector;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mistakes"), expect(unreachable_pub, reason = "public only for tests"))]
pub enum Mistake {
    /// Never contradicts.
    KeepingQuiet,
    /// Does not ask helpers.
    AskingNobody,
    /// Judges although it was paused, or heard from nobody.
    TrustingItself,
    /// Does not probe failed members.
    GivingUp,
    /// Takes for failed whomever somebody takes for failed.
    Believing,
}

impl Detector {
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
