//! Latencies counted in buckets of at most 1.6 % width, so that recording costs nothing beside a request.

const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - SUB_BITS as usize) + 1) * SUB as usize;

/// Counts of durations in ns.
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Nothing counted yet.
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts one duration `times` times.
    pub(super) fn record(&mut self, ns: u64, times: u64) {
        self.counts[bucket(ns)] += times;
        self.total += times;
    }

    /// Adds what another one has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
    }

    /// How many durations were counted.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The duration that a share of all (0 to 1) does not exceed, µs; 0 if nothing was counted.
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(index) / 1000.0;
            }
        }
        0.0
    }
}

/// Exact below `SUB`; above, the position of the highest bit and the `SUB_BITS` bits below it.
fn bucket(ns: u64) -> usize {
    if ns < SUB {
        return ns as usize;
    }
    let exponent = 63 - ns.leading_zeros();
    let shift = exponent - SUB_BITS;
    ((u64::from(shift) + 1) * SUB + ((ns >> shift) - SUB)) as usize
}

fn middle(index: usize) -> f64 {
    let index = index as u64;
    if index < SUB {
        return index as f64;
    }
    let shift = index / SUB - 1;
    let low = (SUB + index % SUB) << shift;
    low as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let mut histogram = Histogram::new();
        for ns in 1..=100_000 {
            histogram.record(ns, 1);
        }
        assert_eq!(histogram.total(), 100_000);
        for (share, truth) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let found = histogram.quantile_us(share);
            assert!((found - truth).abs() / truth < 0.016, "{share}: {found} for {truth}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        for ns in [0, 1, SUB - 1, SUB, SUB + 1, 1 << 20, u64::MAX] {
            assert!(bucket(ns) < BUCKETS, "{ns}");
        }
        assert!((0..100_000).all(|ns| bucket(ns) <= bucket(ns + 1) && bucket(ns + 1) - bucket(ns) <= 1));
    }

    #[test]
    fn merging_adds() {
        let (mut one, mut two) = (Histogram::new(), Histogram::new());
        one.record(1000, 3);
        two.record(9000, 7);
        one.add(&two);
        assert_eq!(one.total(), 10);
        assert!((one.quantile_us(0.3) - 1.0).abs() < 0.02 && (one.quantile_us(0.31) - 9.0).abs() < 0.2);
    }
}
