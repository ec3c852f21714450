//! How long the user path takes, as histograms that many threads fill without disturbing each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in nanoseconds: from what a process takes to answer by itself to what a server takes that is
/// in trouble.
pub const BOUNDS_NS: [u64; 16] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Slots: so many threads count without disturbing each other.
const SLOTS: usize = 8;

/// What took its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A segment that the handler answered: from when it was read until its reply was written.
    Answered = 0,
    /// A busy time of a connection: from the first request that was passed to the server until nothing more was
    /// outstanding there.
    Passed = 1,
}

/// The histograms.
#[derive(Debug)]
pub struct Latencies {
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot([Counts; 2]);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

/// A reading of one histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many were within each of [`BOUNDS_NS`] and no lower one; the last is beyond them all.
    pub buckets: [u64; BOUNDS_NS.len() + 1],
    /// The times of all, in nanoseconds.
    pub sum_ns: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Slot::default()).collect() }
    }
}

impl Latencies {
    /// The histogram of `served` now.
    #[must_use]
    pub fn read(&self, served: Served) -> Latency {
        let mut read = Latency::default();
        for Slot(counts) in &self.slots {
            let Counts { buckets, sum_ns } = &counts[served as usize];
            for (sum, bucket) in read.buckets.iter_mut().zip(buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
            read.sum_ns += sum_ns.load(Ordering::Relaxed);
        }
        read
    }

    pub(crate) fn add(&self, served: Served, time: Duration) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS;
        }
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < time_ns);
        OWN.with(|own| {
            let counts = &self.slots[*own].0[served as usize];
            counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
            counts.sum_ns.fetch_add(time_ns, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let latencies = Latencies::default();
        for time_ns in [0, 10_000, 10_001, 5_000_000_000, 5_000_000_001, u64::MAX / 2] {
            latencies.add(Served::Passed, Duration::from_nanos(time_ns));
        }
        let read = latencies.read(Served::Passed);
        assert_eq!((read.buckets[0], read.buckets[1], read.buckets[15], read.buckets[16]), (2, 1, 1, 2));
        assert_eq!(read.buckets.iter().sum::<u64>(), 6);
        assert_eq!(latencies.read(Served::Answered), Latency::default());
    }

    #[test]
    fn threads_add_up() {
        let latencies = Latencies::default();
        std::thread::scope(|scope| {
            for _ in 0..SLOTS * 2 {
                scope.spawn(|| latencies.add(Served::Answered, Duration::from_nanos(7)));
            }
        });
        let read = latencies.read(Served::Answered);
        assert_eq!((read.buckets[0], read.sum_ns), (SLOTS as u64 * 2, SLOTS as u64 * 14));
    }
}
