//! Suspicion as a number: phi accrual (Hayashibara, Défago, Yared, Katayama 2004).
//!
//! phi is the negative decimal logarithm of the probability that an answer still comes, if the intervals between answers
//! are normally distributed: at phi 8, one in 10^8 living peers is silent for so long. So the time-out that belongs to a
//! phi adapts to each peer: `mean + deviation * deviations(phi)`.
//!
//! No logarithm and no error function is needed. With z for the standard deviations beyond the mean, phi(z) =
//! -log10(erfc(z / √2) / 2) is smooth and convex, so straight lines between its values at every quarter are never below it
//! and at most 0.0035 above. From z = 16 (phi 57) on it stays what it is, and before z = -4 it is 0.

/// First z of the table, in quarters.
const FIRST: i32 = -16;

/// phi for z from -4 to 16, at every quarter.
#[rustfmt::skip]
#[expect(clippy::approx_constant, reason = "at the mean the probability is one half, by whatever constant")]
const PHI: [f64; 81] = [
    0.0000138, 0.0000384, 0.0001010, 0.0002507, 0.0005866, 0.0012960, 0.0027052, 0.0053417,
    0.0099944, 0.0177555, 0.0300286, 0.0484924, 0.0750260, 0.1116112, 0.1602314, 0.2227862,
    0.3010300, 0.3965377, 0.5106920, 0.6446877, 0.7995455, 0.9761314, 1.1751767, 1.3972982,
    1.6430161, 1.9127699, 2.2069318, 2.5258182, 2.8696990, 3.2388053, 3.6333360, 4.0534628,
    4.4993349, 4.9710822, 5.4688184, 5.9926435, 6.5426457, 7.1189030, 7.7214850, 8.3504536,
    9.0058643, 9.6877669, 10.3962062, 11.1312229, 11.8928536, 12.6811318, 13.4960879, 14.3377497,
    15.2061426, 16.1012898, 17.0232130, 17.9719318, 18.9474644, 19.9498278, 20.9790376, 22.0351083,
    23.1180534, 24.2278854, 25.3646162, 26.5282565, 27.7188167, 28.9363063, 30.1807344, 31.4521094,
    32.7504392, 34.0757313, 35.4279927, 36.8072301, 38.2134498, 39.6466578, 41.1068595, 42.5940604,
    44.1082654, 45.6494794, 47.2177070, 48.8129523, 50.4352196, 52.0845128, 53.7608355, 55.4641914,
    57.1945838,
];

/// The largest phi that is told apart from larger ones.
pub const PHI_MAX: f64 = PHI[PHI.len() - 1];

/// phi at `z` standard deviations beyond the mean.
#[must_use]
pub fn of_deviations(z: f64) -> f64 {
    let place = z * 4.0 - f64::from(FIRST);
    if place.is_nan() || place < 0.0 {
        return 0.0;
    }
    let left = place as usize;
    if left + 1 >= PHI.len() {
        return PHI_MAX;
    }
    PHI[left] + (PHI[left + 1] - PHI[left]) * (place - left as f64)
}

/// How many standard deviations beyond the mean `phi` is reached: the inverse of [`of_deviations`].
#[must_use]
pub fn deviations(phi: f64) -> f64 {
    let right = PHI.partition_point(|&value| value < phi).clamp(1, PHI.len() - 1);
    let (low, high) = (PHI[right - 1], PHI[right]);
    let part = ((phi - low) / (high - low)).clamp(0.0, 1.0);
    (f64::from(FIRST) + (right - 1) as f64 + part) / 4.0
}

/// The suspicion of a peer that has been silent for `silence_ns`.
#[must_use]
pub fn phi(silence_ns: u64, mean_ns: u64, deviation_ns: u64) -> f64 {
    of_deviations((silence_ns as f64 - mean_ns as f64) / deviation_ns.max(1) as f64)
}

/// The silence at which suspicion reaches what lies `z` standard deviations beyond the mean.
#[must_use]
pub fn silence_ns(z: f64, mean_ns: u64, deviation_ns: u64) -> u64 {
    // Conversion to an integer saturates.
    (mean_ns as f64 + z * deviation_ns.max(1) as f64) as u64
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// -log10 of the upper tail of the normal distribution, by Simpson's rule over exp(-z²/2), far more finely than needed.
    fn exact(z: f64) -> f64 {
        // The density at z is taken out of the integral, which would be too small for its logarithm otherwise.
        let (steps, end) = (8_000, 40.0 - z.min(0.0));
        let width = end / f64::from(steps);
        let density = |t: f64| (-(t * t) / 2.0 - z * t).exp();
        let mut sum = 0.0;
        for step in 0..steps {
            let t = f64::from(step) * width;
            sum += (density(t) + 4.0 * density(t + width / 2.0) + density(t + width)) * width / 6.0;
        }
        z * z / 2.0 / 10f64.ln() - (sum / (2.0 * std::f64::consts::PI).sqrt()).log10()
    }

    #[test]
    fn the_table_is_what_the_error_function_says() {
        for (i, &value) in PHI.iter().enumerate() {
            let z = (f64::from(FIRST) + i as f64) / 4.0;
            assert!((exact(z) - value).abs() < 1e-6, "phi({z}) = {}", exact(z));
        }
    }

    #[test]
    fn lines_between_its_values_are_as_near_as_stated() {
        for i in -399..1600 {
            let z = f64::from(i) / 100.0;
            let above = of_deviations(z) - exact(z);
            assert!((-1e-6..0.0035).contains(&above), "{above} at {z}");
        }
    }

    #[test]
    fn the_inverse_leads_back_and_the_ends_saturate() {
        for i in 1..570 {
            let phi = f64::from(i) / 10.0;
            assert!((of_deviations(deviations(phi)) - phi).abs() < 1e-9, "{phi}");
        }
        assert_eq!((of_deviations(-9.0), of_deviations(f64::NAN)), (0.0, 0.0));
        assert_eq!((of_deviations(99.0), deviations(1e9)), (PHI_MAX, 16.0));
        assert_eq!(phi(5, u64::MAX, 0), 0.0);
        assert_eq!(silence_ns(-4.0, 0, 1_000), 0);
        assert_eq!(silence_ns(2.0, 1_000, 100), 1_200);
    }
}
