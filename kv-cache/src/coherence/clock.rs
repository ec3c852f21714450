//! Notices that the wall clock was set back.
//!
//! Entries live until a time by the wall clock, since that is how Redis expires keys: when it is set back, Redis's keys
//! live longer, and so do their entries. But where an entry's life bounds staleness ([`crate::coherence::freshness`]) it must not:
//! then all entries are made invalid.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use xps_runtime::control::{monotonic_ns, tai_ns};

use crate::shared::Shared;

/// How often the clocks are compared: the bound is longer by at most that, once.
const LOOK: Duration = Duration::from_millis(20);

/// What is taken for a step, in nanoseconds: more than slewing (500 ppm) and a late look add up to.
const STEP_NS: i128 = 2_000_000;

/// Compares the clocks until `stop` turns true.
pub async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut before = offset_ns();
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now = offset_ns();
        if was_set_back(before, now) {
            tracing::warn!("the wall clock was set back: all entries are forgotten");
            tokio::task::block_in_place(|| shared.flush());
        }
        before = now;
    }
}

/// How far the wall clock is ahead of the monotonic one.
fn offset_ns() -> i128 {
    // A pause between the two readings makes the offset too large, and the next one smaller: so the smallest of a few.
    let readings = (0..4).map(|_| {
        let monotonic = monotonic_ns();
        i128::from(tai_ns()) - i128::from(monotonic)
    });
    readings.min().unwrap_or_default()
}

const fn was_set_back(before: i128, now: i128) -> bool {
    before - now > STEP_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_steps_back_count() {
        assert!(was_set_back(1_000_000_000, 0));
        assert!(!was_set_back(0, 1_000_000_000), "ahead: entries end early, which is safe");
        assert!(!was_set_back(1_000_000, 0), "slewing");
        assert!(!was_set_back(offset_ns(), offset_ns()));
    }
}
