//! What is configured, and the times that follow from it.

/// How a detector behaves. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// How often each peer is probed, if there are not too many ([`Config::gap_min_ns`]).
    pub interval_ns: u64,
    /// How much later than its turn a probe may be sent, at random, in thousandths of the interval.
    pub jitter_per_mille: u32,
    /// Least mean time between two probes of this detector; with many peers it makes the interval longer.
    pub gap_min_ns: u64,
    /// How often a failed peer is probed, for ever. Not less than the interval.
    pub failed_interval_ns: u64,
    /// How many probes in a row a peer leaves unanswered, at least, before it is suspected.
    pub tries: u32,
    /// Least time to wait for an answer before the next of these tries.
    pub wait_min_ns: u64,
    /// Longest time from a probe that came in its turn to suspicion.
    pub timeout_max_ns: u64,
    /// Suspicion (phi) from which a peer is suspected, once there are intervals enough to judge by.
    pub phi: f64,
    /// How many intervals between answers are kept for that.
    pub window: usize,
    /// The standard deviation of the intervals is taken for at least this: a network that was calm for a while stays able to
    /// hiccup.
    pub deviation_min_ns: u64,
    /// How many peers are asked to probe a suspect.
    pub helpers: u32,
    /// How long a suspect has to be found alive by helpers, or to contradict.
    pub confirmation_ns: u64,
    /// How late the detector may be called before it takes itself for having been paused.
    pub late_ns: u64,
    /// How far its local health may worsen: time-outs are at most this plus one times as long.
    pub local_health_max: u32,
}

/// What is wrong with a configuration, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError(&'static str);

impl core::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for ConfigError {}

/// The shortest interval.
pub const INTERVAL_MIN_NS: u64 = 1_000_000;

/// No configured time is longer (about 12 days), so that sums and small multiples of them cannot overflow.
const TIME_MAX_NS: u64 = 1 << 50;

impl Config {
    /// What suits peers that are to be probed so often: time-outs of the order of the interval.
    #[must_use]
    pub fn with_interval(interval_ns: u64) -> Self {
        Self {
            interval_ns,
            jitter_per_mille: 100,
            gap_min_ns: 1_000_000,
            failed_interval_ns: interval_ns.saturating_mul(5),
            tries: 3,
            wait_min_ns: interval_ns / 20,
            timeout_max_ns: interval_ns.saturating_mul(2),
            phi: 8.0,
            window: 64,
            deviation_min_ns: interval_ns / 20,
            helpers: 3,
            confirmation_ns: interval_ns,
            late_ns: interval_ns / 4,
            local_health_max: 8,
        }
    }

    /// Whether a detector can work so.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let times = [self.interval_ns, self.gap_min_ns, self.failed_interval_ns, self.timeout_max_ns];
        let others = [self.wait_min_ns, self.deviation_min_ns, self.confirmation_ns, self.late_ns];
        let tries = u64::from(self.tries);
        let wrong = [
            (self.interval_ns < INTERVAL_MIN_NS, "the interval is too short: give 1 ms or more"),
            (times.iter().chain(&others).any(|&time| time > TIME_MAX_NS), "a time is longer than 12 days"),
            (
                self.jitter_per_mille > 1000,
                "the jitter is more than an interval: give at most 1000 thousandths",
            ),
            (
                self.failed_interval_ns < self.interval_ns,
                "failed peers are probed more often than living ones",
            ),
            (!(1..=100).contains(&self.tries), "give 1 to 100 tries"),
            (
                self.wait_min_ns == 0 || self.wait_min_ns * tries > self.timeout_max_ns,
                "the tries do not fit the longest time-out: give a shorter least wait, above 0, or fewer tries",
            ),
            (!(self.phi > 0.0 && self.phi < crate::phi::PHI_MAX), "phi must be above 0 and below 57"),
            (!(4..=4096).contains(&self.window), "the window must hold 4 to 4096 intervals"),
            (!(1..=64).contains(&self.helpers), "give 1 to 64 helpers"),
            (self.confirmation_ns < tries, "the time for confirmation is too short: give an interval"),
            (self.late_ns == 0, "every call would be late: give the lateness that timers have, or more"),
            (self.local_health_max > 100, "local health may worsen by at most 100"),
        ];
        match wrong.into_iter().find(|&(wrong, _)| wrong) {
            Some((_, what)) => Err(ConfigError(what)),
            None => Ok(()),
        }
    }

    /// How often each of so many peers is probed.
    #[must_use]
    pub fn period_ns(&self, peers: usize) -> u64 {
        self.interval_ns.max(self.gap_min_ns.saturating_mul(peers as u64))
    }

    /// The part of a period by which a probe may come late in its turn.
    pub(crate) fn jitter_ns(&self, period_ns: u64) -> u64 {
        (u128::from(period_ns) * u128::from(self.jitter_per_mille) / 1000) as u64
    }

    /// The bound: a detector whose local health was never worse than `local_health` takes a peer for failed at most so long
    /// after the last answer that it had from it, directly or through a helper.
    ///
    /// ```text
    /// bound = period + jitter                    until the next probe
    ///       + (local health + 1) * timeout_max   until suspicion
    ///       + (local health + 1) * confirmation  until it is confirmed
    ///       + 3 * late                           for timers that are late, unnoticed, in each of the three
    /// period = max(interval, peers * gap_min)
    /// ```
    ///
    /// After a crash, an answer may still be on its way: that time comes on top. The bound holds without anybody's telling of
    /// the failure, which makes it only sooner. Local health worsens when the detector is late or hears from nobody, so for
    /// one that is well and connected it is 0.
    #[must_use]
    pub fn bound_ns(&self, peers: usize, local_health: u32) -> u64 {
        let period_ns = self.period_ns(peers);
        let judgement_ns = (self.timeout_max_ns + self.confirmation_ns) * (u64::from(local_health) + 1);
        period_ns + self.jitter_ns(period_ns) + judgement_ns + 3 * self.late_ns
    }

    /// How long two living members may take each other for failed once messages pass between them again, if none of the four
    /// (probe, answer, claim, contradiction) that it takes is lost; each loss costs the longest
    /// time-out more.
    ///
    /// It is the time until the next probe of a failed peer.
    #[must_use]
    pub fn rejoin_ns(&self, peers: usize) -> u64 {
        let interval_ns = self.failed_period_ns(peers);
        interval_ns + self.jitter_ns(interval_ns) + self.timeout_max_ns + 3 * self.late_ns
    }

    /// How often each failed one of so many peers is probed.
    #[must_use]
    pub fn failed_period_ns(&self, peers: usize) -> u64 {
        self.period_ns(peers).max(self.failed_interval_ns)
    }
}
