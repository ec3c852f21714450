//! The clock of leases, time-outs and messages: `CLOCK_MONOTONIC`, which the programs in the stack read as well.

use std::time::Duration;

use xps_runtime::control::{monotonic_ns, realtime_ns};

/// How long a datagram may have waited: what a stamp says beyond that is a step of the other clock.
const WAITED_MAX_NS: u64 = 10_000_000_000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    now_ns: u64,
    real_ns: u64,
}

impl Clock {
    /// Now.
    pub(crate) fn read() -> Self {
        Self { now_ns: monotonic_ns(), real_ns: realtime_ns() }
    }

    /// The time that does not jump.
    pub(crate) const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Since 1970.
    pub(crate) const fn real_ns(&self) -> u64 {
        self.real_ns
    }

    /// When a datagram came, of which the kernel says so by the clock that may be set.
    pub(super) fn arrival_ns(&self, stamp: Option<Duration>) -> u64 {
        let stamp_ns = stamp.map_or(self.real_ns, |stamp| stamp.as_nanos() as u64);
        match self.real_ns.checked_sub(stamp_ns) {
            Some(waited_ns) if waited_ns <= WAITED_MAX_NS => self.now_ns.saturating_sub(waited_ns),
            _ => self.now_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_believed_unless_a_clock_has_jumped() {
        let clock = Clock { now_ns: 50_000_000_000, real_ns: 1_000_000_000_000 };
        let stamp = |ns| Some(Duration::from_nanos(ns));
        for (stamp, arrival_ns) in [
            (stamp(999_999_999_000), 49_999_999_000),
            (stamp(1_000_000_000_000), 50_000_000_000),
            (stamp(1_000_000_000_001), 50_000_000_000),
            (stamp(5), 50_000_000_000),
            (None, 50_000_000_000),
        ] {
            assert_eq!(clock.arrival_ns(stamp), arrival_ns, "{stamp:?}");
        }
    }
}
