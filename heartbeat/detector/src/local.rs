//! Local health (Lifeguard; Dadgar, Phillips, Currey 2017): who is slow himself should not accuse others.

/// How much a detector doubts itself, from 0 on; every time-out is multiplied by this plus one.
///
/// It worsens when the detector is called late, when nobody answers who could, and when others took it for failed; it
/// recovers by one a period in which none of this happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalHealth {
    score: u32,
    max: u32,
    /// When the score last changed.
    changed_ns: u64,
}

impl LocalHealth {
    pub(crate) fn new(max: u32, now_ns: u64) -> Self {
        Self { score: 0, max, changed_ns: now_ns }
    }

    /// How bad it is.
    pub(crate) fn score(&self) -> u32 {
        self.score
    }

    /// Whether it is as bad as it can be.
    pub(crate) fn is_worst(&self) -> bool {
        self.score >= self.max
    }

    pub(crate) fn worsen(&mut self, now_ns: u64) {
        self.score = (self.score + 1).min(self.max);
        self.changed_ns = now_ns;
    }

    /// Worsens unless it has changed in the last `pause_ns`: what many peers show at once is one observation.
    pub(crate) fn worsen_once(&mut self, now_ns: u64, pause_ns: u64) {
        if now_ns >= self.changed_ns.saturating_add(pause_ns) {
            self.worsen(now_ns);
        }
    }

    /// Recovers by one if a period has passed, and somebody has answered since the last change.
    pub(crate) fn recover(&mut self, now_ns: u64, period_ns: u64, answered_ns: u64) {
        let passed = now_ns >= self.changed_ns.saturating_add(period_ns);
        if self.score > 0 && passed && answered_ns > self.changed_ns {
            self.score -= 1;
            self.changed_ns = now_ns;
        }
    }

    /// A time-out as long as this health asks for.
    pub(crate) fn stretch(&self, timeout_ns: u64) -> u64 {
        timeout_ns.saturating_mul(u64::from(self.score) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_worsens_up_to_its_limit_and_recovers_only_while_somebody_answers() {
        let mut health = LocalHealth::new(2, 0);
        health.worsen_once(10, 100);
        assert_eq!(health.score(), 0);
        for now_ns in 100..110 {
            health.worsen(now_ns);
        }
        assert!(health.is_worst() && health.stretch(5) == 15);
        health.recover(1000, 100, 50);
        assert_eq!(health.score(), 2);
        health.recover(1000, 100, 900);
        health.recover(1050, 100, 1050);
        assert_eq!(health.score(), 1);
    }
}
