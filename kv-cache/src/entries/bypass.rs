//! Steps aside while looking GETs up does not pay.
//!
//! A GET that hits saves more than one that misses costs, but misses cost something: where fewer than
//! `cache.break_even_percent` of the GETs hit, the cache costs more than it saves. After some windows of that kind in a row
//! the handler is told to step aside: GETs are no longer looked up, except in one of [`ONE_OF`] segments. From those the
//! share of hits is known all the time, the cache is filled by their misses, and when the share is well above the
//! break-even again, all GETs are looked up again. Writes take their buckets as always, so coherence does not depend on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;
use tokio::time::sleep;
use xps_core::verdict::Reason;

use crate::shared::{Shared, lock};
use crate::telling::report::Source;

/// One of how many segments of GETs is looked up while the handler steps aside; a power of two.
pub const ONE_OF: u32 = 32;

/// Windows in a row in which looking up did not pay before the handler steps aside: a cache needs time to be filled.
const WINDOWS: u32 = 3;

/// Segments that were looked up in a window for it to say anything.
const LOOKUPS_MIN: u64 = 100;

/// How far above the break-even the share must be before GETs are looked up again, as a ratio: 5 to 4.
const BACK: (u64, u64) = (5, 4);

/// Segments that were looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lookups {
    hits: u64,
    misses: u64,
}

impl Lookups {
    fn since(self, before: Self) -> Option<Self> {
        let hits = self.hits.checked_sub(before.hits)?;
        Some(Self { hits, misses: self.misses.checked_sub(before.misses)? })
    }

    const fn all(self) -> u64 {
        self.hits + self.misses
    }

    /// Whether the share of hits is at least `percent`, times a ratio.
    const fn reach(self, percent: u64, (times, of): (u64, u64)) -> bool {
        self.hits * 100 * of >= self.all() * percent * times
    }
}

/// Decides, window by window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Judge {
    active: bool,
    below: u32,
}

impl Judge {
    /// What follows from a window. Whether the handler steps aside from here on.
    const fn window(&mut self, lookups: Lookups, break_even_percent: u64) -> bool {
        if lookups.all() >= LOOKUPS_MIN {
            if self.active {
                self.active = !lookups.reach(break_even_percent, BACK);
            } else if lookups.reach(break_even_percent, (1, 1)) {
                self.below = 0;
            } else {
                self.below += 1;
                self.active = self.below >= WINDOWS;
            }
            if self.active {
                self.below = 0;
            }
        }
        self.active
    }
}

/// Whether the handler steps aside, for all tasks.
#[derive(Debug, Default)]
pub struct Bypass {
    since: Mutex<Option<Instant>>,
    /// How often it began to.
    pub activations: AtomicU64,
    /// Share of hits in the last window that said anything, in percent.
    share_percent: Mutex<Option<u64>>,
}

impl Bypass {
    /// For how long the handler has stepped aside, in seconds; `None` if it does not.
    #[must_use]
    pub fn active_seconds(&self) -> Option<u64> {
        lock(&self.since).map(|since| since.elapsed().as_secs())
    }

    /// Share of hits among the GETs that were looked up lately, in percent, if there were enough.
    #[must_use]
    pub fn share_percent(&self) -> Option<u64> {
        *lock(&self.share_percent)
    }

    fn set(&self, shared: &Shared, active: bool) {
        let mut since = lock(&self.since);
        if since.is_some() == active {
            return;
        }
        let share_percent = self.share_percent().unwrap_or_default();
        if active {
            *since = Some(Instant::now());
            self.activations.fetch_add(1, Ordering::Relaxed);
            shared.settings.set_bypass(ONE_OF);
            tracing::info!(share_percent, "stepping aside: too few GETs hit for looking them up to pay");
        } else {
            *since = None;
            shared.settings.set_bypass(0);
            tracing::info!(share_percent, "GETs are looked up again");
        }
    }
}

/// Looks at the counts window by window until `stop` turns true.
pub async fn run(shared: Arc<Shared>, counted: Arc<Source>, mut stop: watch::Receiver<bool>) {
    let mut judge = Judge::default();
    let mut before = looked_up(&counted);
    loop {
        let config = shared.config.read();
        tokio::select! {
            () = sleep(config.bypass_window) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let now = looked_up(&counted);
        // Counts only grow; if they did not, they could not be read.
        let Some(window) = now.since(before) else { continue };
        before = now;
        if window.all() >= LOOKUPS_MIN {
            *lock(&shared.bypass.share_percent) = Some(window.hits * 100 / window.all());
        }
        let config = shared.config.read();
        if config.adaptive_bypass {
            let active = judge.window(window, u64::from(config.break_even_percent));
            shared.bypass.set(&shared, active);
        } else {
            judge = Judge::default();
            shared.bypass.set(&shared, false);
        }
    }
}

fn looked_up(counted: &Source) -> Lookups {
    let counts = counted.counters();
    Lookups { hits: counts[Reason::Replied as usize], misses: counts[Reason::Miss as usize] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERCENT: u64 = 15;

    fn share(percent: u64) -> Lookups {
        Lookups { hits: percent * 10, misses: 1_000 - percent * 10 }
    }

    fn run_windows(judge: &mut Judge, windows: &[Lookups]) -> Vec<bool> {
        windows.iter().map(|window| judge.window(*window, PERCENT)).collect()
    }

    #[test]
    fn it_takes_several_windows_in_a_row() {
        let mut judge = Judge::default();
        assert_eq!(
            run_windows(&mut judge, &[share(14), share(0), share(15), share(14), share(14), share(14)]),
            [false, false, false, false, false, true]
        );
    }

    #[test]
    fn it_ends_only_well_above_the_break_even() {
        let mut judge = Judge { active: true, below: 0 };
        assert_eq!(
            run_windows(&mut judge, &[share(15), share(18), share(19), share(14), share(14), share(14)]),
            [true, true, false, false, false, true]
        );
    }

    #[test]
    fn a_window_with_few_lookups_says_nothing() {
        let few = Lookups { hits: 0, misses: LOOKUPS_MIN - 1 };
        let mut judge = Judge::default();
        assert_eq!(run_windows(&mut judge, &[few; 9]), [false; 9]);
        assert_eq!(
            run_windows(&mut judge, &[share(0), few, share(0), few, share(0)]),
            [false, false, false, false, true]
        );
        let hits = Lookups { hits: LOOKUPS_MIN - 1, misses: 0 };
        assert_eq!(run_windows(&mut judge, &[hits; 3]), [true; 3]);
    }

    #[test]
    fn a_window_is_what_was_counted_in_it() {
        let before = Lookups { hits: 5, misses: 7 };
        assert_eq!(Lookups { hits: 6, misses: 7 }.since(before), Some(Lookups { hits: 1, misses: 0 }));
        assert_eq!(Lookups::default().since(before), None);
    }
}
