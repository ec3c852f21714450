//! Latencies by the share of requests that do not exceed them. Each step halves what is left, as redis-benchmark's table does:
//! so a slow tail has as much room as the middle.

/// How many are kept: the last is 99.9 %.
const STEPS: usize = 11;

/// Latencies in µs: at position `n` the one that a share of `1 - 0.5^n` does not exceed; the first is the least of all.
pub(super) type Quantiles = [f64; STEPS];

/// All of them, each from its share (0 to 1).
pub(super) fn at_each(latency_us: impl Fn(f64) -> f64) -> Quantiles {
    std::array::from_fn(|step| latency_us(share(step)))
}

/// The share of requests that the latency at this position is not exceeded by.
pub(crate) fn share(step: usize) -> f64 {
    1.0 - 0.5_f64.powi(step as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_halves_what_is_left() {
        assert_eq!(at_each(|share| share)[..4], [0.0, 0.5, 0.75, 0.875]);
        assert!(share(STEPS - 1) > 0.999);
    }
}
