//! What a node remembers of one that probes it: which sequences have been seen, and how fast they come.
//!
//! Both in one entry, since both are looked at under one lock, and since such an entry exists from when the agent has made it
//! for a member of the cluster: nothing that arrives makes the table grow, or pushes anything out of it.

use xps_core::flow::bpf_spin_lock;

use crate::refusal::Refusal;
use crate::replay::Window;
use crate::wire::Sequence;

/// How often a node may be probed by one peer, by the generic cell rate algorithm.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    tolerance_ns: u64,
}

impl Rate {
    /// One probe in `interval_ns` on average, of which `burst` may come at once. `None` if nothing would ever pass, or if a
    /// number would not fit.
    #[must_use]
    pub const fn new(interval_ns: u64, burst: u32) -> Option<Self> {
        if interval_ns == 0 || burst == 0 {
            return None;
        }
        match interval_ns.checked_mul(burst as u64) {
            Some(tolerance_ns) => Some(Self { interval_ns, tolerance_ns }),
            None => None,
        }
    }

    /// Whether one more may come now, which is then charged: `full_ns` is when as if none had ever come.
    #[inline(always)]
    pub(crate) const fn charge(self, full_ns: &mut u64, now_ns: u64) -> bool {
        let start_ns = if *full_ns > now_ns { *full_ns } else { now_ns };
        let charged_ns = start_ns.saturating_add(self.interval_ns);
        let fits = charged_ns - now_ns <= self.tolerance_ns;
        if fits {
            *full_ns = charged_ns;
        }
        fits
    }
}

/// What a node remembers of one peer. Zero at first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// Guards the rest. A process has a lock of its own around the entry.
    pub lock: bpf_spin_lock,
    padding: u32,
    window: Window,
    /// When the peer may probe as if it never had before.
    full_ns: u64,
}

impl Peer {
    /// A peer of which nothing was heard.
    pub const EMPTY: Self =
        Self { lock: bpf_spin_lock { val: 0 }, padding: 0, window: Window::EMPTY, full_ns: 0 };

    /// Takes a probe, whose tag was right. Called under the lock.
    ///
    /// What is refused because of its sequence is not charged: whoever repeats what others said does not use up what they may
    /// say. What comes too fast has been seen nevertheless.
    ///
    /// # Errors
    /// [`Refusal::Replayed`] or [`Refusal::TooFast`].
    #[inline(always)]
    pub fn admit(&mut self, sequence: Sequence, rate: Rate, now_ns: u64) -> Result<(), Refusal> {
        if !self.window.take(sequence.0) {
            return Err(Refusal::Replayed);
        }
        if rate.charge(&mut self.full_ns, now_ns) { Ok(()) } else { Err(Refusal::TooFast) }
    }
}

const _: () = assert!(size_of::<Peer>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate::new(10 * MS, 3).unwrap();
        let mut peer = Peer::EMPTY;
        for (sequence, now_ms, expected) in [
            (1, 1000, Ok(())),
            (2, 1000, Ok(())),
            (3, 1000, Ok(())),
            (4, 1000, Err(Refusal::TooFast)),
            (4, 1010, Err(Refusal::Replayed)),
            (5, 1009, Err(Refusal::TooFast)),
            (6, 1010, Ok(())),
            (7, 1010, Err(Refusal::TooFast)),
            (6, 2000, Err(Refusal::Replayed)),
            (8, 2000, Ok(())),
        ] {
            assert_eq!(
                peer.admit(Sequence(sequence), rate, now_ms * MS),
                expected,
                "{sequence} at {now_ms} ms"
            );
        }
    }

    #[test]
    fn what_is_repeated_is_not_charged() {
        let rate = Rate::new(10 * MS, 2).unwrap();
        let mut peer = Peer::EMPTY;
        assert_eq!(peer.admit(Sequence(1), rate, MS), Ok(()));
        for _ in 0..1000 {
            assert_eq!(peer.admit(Sequence(1), rate, MS), Err(Refusal::Replayed));
        }
        assert_eq!(peer.admit(Sequence(2), rate, MS), Ok(()));
    }

    #[test]
    fn rates_that_are_none() {
        assert_eq!(Rate::new(0, 1), None);
        assert_eq!(Rate::new(1, 0), None);
        assert_eq!(Rate::new(u64::MAX, 2), None);
        assert!(Rate::new(u64::MAX, 1).is_some());
    }

    proptest! {
        /// In any span no more than its share and the burst, also where clocks of several CPUs differ a little.
        #[test]
        fn never_more_than_the_rate(burst in 1..20u32, steps in vec((0..30u64, 0..3u64), 1..200)) {
            let rate = Rate::new(10, burst).unwrap();
            let mut peer = Peer::EMPTY;
            let (mut now, mut passed) = (1000, std::vec![]);
            for (index, (on, back)) in steps.iter().enumerate() {
                now += on;
                if peer.admit(Sequence(index as u64 + 1), rate, now - back).is_ok() {
                    passed.push(now);
                }
            }
            for (first, start) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    // A clock that lies behind by up to 2 may shift either end.
                    let allowed = (end - start + 4) / 10 + u64::from(burst);
                    prop_assert!(((last - first) as u64) < allowed);
                }
            }
        }
    }
}
