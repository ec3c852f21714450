//! From counts of hits to rates.
//!
//! The programs count an entry's hits up to [`HITS_MAX`] and then leave its cache line alone. So all counts are taken at
//! once a second or so, and an entry whose count is full is looked at again, in shorter and shorter windows, until its
//! count is not; the shortest one is a fraction of a millisecond. Whose count is full even then has at least that rate.
//!
//! Counts are not exact: programs on several CPUs overwrite each other's additions, an entry that is made again starts
//! from zero, and eviction takes counts too. And a count says that an entry was found: one that was out of date by then
//! was a miss as well.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kv_fastpath::abi::{HITS_MAX, Location};
use xps_runtime::control::tai_ns;

use super::view::{Key, View};
use super::{KEYS_MAX, Missed};
use crate::shared::{Cache, Shared, lock};

/// Lengths of the windows in which full counts are looked at again, each a quarter of the one before.
const WINDOWS: [Duration; 5] = [
    Duration::from_millis(64),
    Duration::from_millis(16),
    Duration::from_millis(4),
    Duration::from_millis(1),
    Duration::from_micros(250),
];

/// How often each window is repeated: requests come in bursts, and in a short window there may be none.
const REPEATED: u32 = 8;

/// Most entries that are looked at again; of more, not all have room in the report anyway.
const FULL_MAX: usize = 2 * KEYS_MAX;

/// Takes counts, round by round.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// When each page's hits were taken last.
    taken: Vec<Instant>,
}

/// An entry's rate.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    per_second: f64,
    at_least: bool,
    location: Option<Location>,
    bytes: usize,
    deadline_tai_ns: u64,
}

/// Hits a second, and whether it may be more.
fn rate(hits: u16, over: Duration) -> (f64, bool) {
    (f64::from(hits) / over.as_secs_f64().max(1e-6), hits >= HITS_MAX)
}

impl Sampler {
    /// Counts from here on.
    pub(super) fn start(&mut self, shared: &Shared) {
        self.taken.clear();
        self.take(shared);
    }

    /// What was asked for since the round before. Sleeps for some hundred milliseconds if there is much.
    pub(super) fn round(&mut self, shared: &Shared, missed: &HashMap<u64, Missed>, over: Duration) -> View {
        let mut rates = self.take(shared);
        let mut full: Vec<u64> = rates.iter().filter(|(_, rate)| rate.at_least).map(|(id, _)| *id).collect();
        full.truncate(FULL_MAX);
        for window in WINDOWS {
            if full.is_empty() {
                break;
            }
            full = look_again(shared, &full, window, &mut rates);
        }
        view(shared, &rates, missed, over)
    }

    /// Takes all counts: rates of the entries that had hits.
    fn take(&mut self, shared: &Shared) -> HashMap<u64, Rate> {
        let pages = lock(&shared.cache).table.pages();
        let mut rates = HashMap::new();
        for page in 0..pages {
            let heats = {
                let Cache { table, entries } = &mut *lock(&shared.cache);
                table.take_page_hits(entries, page)
            };
            let now = Instant::now();
            let Some(before) = self.taken.get_mut(page) else {
                self.taken.push(now);
                continue;
            };
            let over = now - std::mem::replace(before, now);
            for heat in heats {
                let (per_second, at_least) = rate(heat.hits, over);
                let location = Some(heat.location);
                let (bytes, deadline_tai_ns) = (heat.bytes, heat.deadline_tai_ns);
                rates.insert(heat.id, Rate { per_second, at_least, location, bytes, deadline_tai_ns });
            }
        }
        rates
    }
}

/// Counts the hits of `full` anew in windows of this length. Those whose count was full in one of them.
fn look_again(shared: &Shared, full: &[u64], window: Duration, rates: &mut HashMap<u64, Rate>) -> Vec<u64> {
    let take = |id: u64| {
        let Cache { table, entries } = &mut *lock(&shared.cache);
        table.take_hits(entries, id)
    };
    let mut counted: HashMap<u64, Counted> = HashMap::new();
    for _ in 0..REPEATED {
        let started: Vec<_> = full.iter().filter_map(|id| take(*id).map(|_| (*id, Instant::now()))).collect();
        sleep(window);
        for (id, since) in started {
            if let Some(hits) = take(id) {
                counted.entry(id).or_default().add(hits, since.elapsed());
            }
        }
    }
    let mut again = Vec::new();
    for (id, counted) in counted {
        if let Some(known) = rates.get_mut(&id) {
            (known.per_second, known.at_least) = counted.rate(known.per_second);
        }
        if counted.full {
            again.push(id);
        }
    }
    again
}

/// Hits of an entry in several windows.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    hits: u64,
    over: Duration,
    full: bool,
}

impl Counted {
    fn add(&mut self, hits: u16, over: Duration) {
        self.hits += u64::from(hits);
        self.over += over;
        self.full |= hits >= HITS_MAX;
    }

    /// Hits a second, and whether it may be more. There were at least as many as was known before.
    fn rate(self, at_least: f64) -> (f64, bool) {
        ((self.hits as f64 / self.over.as_secs_f64().max(1e-6)).max(at_least), self.full)
    }
}

/// The first [`KEYS_MAX`] keys by requests.
fn view(shared: &Shared, rates: &HashMap<u64, Rate>, missed: &HashMap<u64, Missed>, over: Duration) -> View {
    let misses =
        |id: &u64| missed.get(id).map_or(0.0, |missed| missed.weight as f64 / over.as_secs_f64().max(1e-6));
    let hits = |id: &u64| rates.get(id).map_or(0.0, |rate| rate.per_second);
    let mut order: Vec<(f64, u64)> = rates
        .keys()
        .chain(missed.keys().filter(|id| !rates.contains_key(id)))
        .map(|id| (hits(id) + misses(id), *id))
        .collect();
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    order.truncate(KEYS_MAX);
    let now = tai_ns();
    let Cache { table, entries } = &*lock(&shared.cache);
    let mut keys = Vec::with_capacity(order.len());
    for (requests_per_second, id) in order {
        let rate = rates.get(&id);
        // It may have gone, or moved, since its hits were taken.
        let location = rate.and_then(|rate| rate.location).filter(|at| table.location(id) == Some(*at));
        let name = location.map(|at| entries.key(at));
        let Some((database, key)) = name.or_else(|| missed.get(&id).map(|m| (m.database, m.key.clone())))
        else {
            continue;
        };
        let entry = rate.filter(|_| location.is_some());
        let deadline = entry.map_or(u64::MAX, |rate| rate.deadline_tai_ns);
        keys.push(Key {
            key: key.escape_ascii().to_string(),
            database,
            requests_per_second,
            hits_per_second: hits(&id),
            misses_per_second: misses(&id),
            at_least: rate.is_some_and(|rate| rate.at_least),
            entry_bytes: entry.map(|rate| rate.bytes as u64),
            ttl_seconds: (deadline != u64::MAX).then(|| deadline.saturating_sub(now) as f64 / 1e9),
        });
    }
    View { seconds: over.as_secs_f64(), entries: table.len() as u64, keys }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_count_is_a_lower_bound() {
        assert_eq!(rate(100, Duration::from_millis(500)), (200.0, false));
        assert_eq!(rate(HITS_MAX, Duration::from_secs(1)), (f64::from(HITS_MAX), true));
        assert!(rate(1, Duration::ZERO).0.is_finite());
    }

    #[test]
    fn windows_are_taken_together_and_one_without_hits_takes_nothing_back() {
        let mut counted = Counted::default();
        counted.add(0, Duration::from_millis(10));
        assert_eq!(counted.rate(300.0), (300.0, false));
        counted.add(200, Duration::from_millis(10));
        assert_eq!(counted.rate(300.0), (10_000.0, false));
        counted.add(HITS_MAX, Duration::from_millis(10));
        assert!(counted.rate(300.0).1);
    }
}
