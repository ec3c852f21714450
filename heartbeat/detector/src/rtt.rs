//! How long answers take, and how regularly they come.

use alloc::boxed::Box;

/// The round-trip time to a peer, estimated as in RFC 6298, section 2, in nanoseconds.
///
/// A sample is the time since the very probe that was answered was sent, so probes that were repeated give samples too.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundTrip {
    smoothed_ns: u64,
    variation_ns: u64,
    measured: bool,
}

impl RoundTrip {
    /// Takes a measurement in.
    pub fn sample(&mut self, round_trip_ns: u64) {
        if self.measured {
            let error_ns = self.smoothed_ns.abs_diff(round_trip_ns);
            self.variation_ns = self.variation_ns - self.variation_ns / 4 + error_ns / 4;
            self.smoothed_ns = self.smoothed_ns - self.smoothed_ns / 8 + round_trip_ns / 8;
        } else {
            *self = Self { smoothed_ns: round_trip_ns, variation_ns: round_trip_ns / 2, measured: true };
        }
    }

    /// The smoothed round-trip time, once there was a measurement.
    #[must_use]
    pub fn smoothed_ns(&self) -> Option<u64> {
        self.measured.then_some(self.smoothed_ns)
    }

    /// How much it varies: the smoothed mean of the deviations.
    #[must_use]
    pub fn variation_ns(&self) -> Option<u64> {
        self.measured.then_some(self.variation_ns)
    }

    /// How long to wait for an answer before the question is put again, if that is known.
    #[must_use]
    pub fn wait_ns(&self) -> Option<u64> {
        self.measured.then(|| self.smoothed_ns.saturating_add(self.variation_ns.saturating_mul(4)))
    }
}

/// An interval is kept in units of 2^10 ns, in which 32 bits hold more than an hour.
const UNIT_SHIFT: u32 = 10;

/// The last intervals between the answers of a peer; as many as the window has places.
#[derive(Clone, Debug)]
pub struct Arrivals {
    intervals: Box<[u32]>,
    next: u32,
    held: u32,
    sum: u64,
    sum_of_squares: u128,
}

impl Arrivals {
    /// A window with `places` (at least one), of which none is filled.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let intervals = alloc::vec![0; places.max(1)].into_boxed_slice();
        Self { intervals, next: 0, held: 0, sum: 0, sum_of_squares: 0 }
    }

    /// Takes an interval in; the oldest one leaves if the window is full.
    pub fn sample(&mut self, interval_ns: u64) {
        let interval = u32::try_from(interval_ns >> UNIT_SHIFT).unwrap_or(u32::MAX);
        let place = &mut self.intervals[self.next as usize];
        let gone = core::mem::replace(place, interval);
        if self.held as usize == self.intervals.len() {
            self.sum -= u64::from(gone);
            self.sum_of_squares -= square(gone);
        } else {
            self.held += 1;
        }
        self.sum += u64::from(interval);
        self.sum_of_squares += square(interval);
        self.next = (self.next + 1) % self.intervals.len() as u32;
    }

    /// How many intervals it holds.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Mean of the intervals; 0 if there is none.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        (self.sum << UNIT_SHIFT) / u64::from(self.held.max(1))
    }

    /// Standard deviation of the intervals. Sums are exact, so nothing drifts however long the window slides.
    #[must_use]
    pub fn deviation_ns(&self) -> u64 {
        let held = u128::from(self.held.max(1));
        let variance =
            (self.sum_of_squares * held - u128::from(self.sum) * u128::from(self.sum)) / (held * held);
        (variance.isqrt() as u64) << UNIT_SHIFT
    }
}

fn square(interval: u32) -> u128 {
    u128::from(interval) * u128::from(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_time_follows_its_samples() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.wait_ns(), None);
        round_trip.sample(8_000);
        assert_eq!((round_trip.smoothed_ns(), round_trip.wait_ns()), (Some(8_000), Some(24_000)));
        round_trip.sample(16_000);
        assert_eq!((round_trip.smoothed_ns(), round_trip.variation_ns()), (Some(9_000), Some(5_000)));
        for _ in 0..200 {
            round_trip.sample(16_000);
        }
        let wait_ns = round_trip.wait_ns().expect("there were samples");
        assert!((15_900..16_200).contains(&wait_ns), "{wait_ns}");
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_window() {
        let mut arrivals = Arrivals::new(4);
        assert_eq!((arrivals.mean_ns(), arrivals.deviation_ns()), (0, 0));
        // Of these only the last four count: their mean is 5 units, their variance 5.
        for interval in [4_000_000u64, 1, 77, 2, 4, 6, 8] {
            arrivals.sample(interval << UNIT_SHIFT);
        }
        assert_eq!((arrivals.held(), arrivals.mean_ns()), (4, 5 << UNIT_SHIFT));
        assert_eq!(arrivals.deviation_ns(), 2 << UNIT_SHIFT);
        for _ in 0..100 {
            arrivals.sample(u64::MAX);
        }
        assert_eq!(arrivals.mean_ns(), u64::from(u32::MAX) << UNIT_SHIFT);
        assert_eq!(arrivals.deviation_ns(), 0);
    }
}
