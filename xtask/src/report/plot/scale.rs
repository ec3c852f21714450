//! Axes: what lies where, and which values are named.

/// What an axis shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From zero on.
    Linear,
    /// Equal ratios take equal room.
    Logarithmic,
}

/// An axis of values.
pub(super) struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    /// The values that are named.
    pub(super) ticks: Vec<f64>,
}

impl Scale {
    /// Has room for all of these values; those that a logarithm does not have are left out.
    pub(super) fn of(kind: Kind, values: impl IntoIterator<Item = f64>) -> Self {
        let is_shown = |value: &f64| value.is_finite() && (kind == Kind::Linear || *value > 0.0);
        let shown: Vec<f64> = values.into_iter().filter(is_shown).collect();
        let least = shown.iter().copied().reduce(f64::min).unwrap_or(1.0);
        let greatest = shown.iter().copied().reduce(f64::max).unwrap_or(1.0);
        match kind {
            Kind::Linear => Self::linear(greatest),
            Kind::Logarithmic => Self::logarithmic(least, greatest),
        }
    }

    fn linear(greatest: f64) -> Self {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let step = step_above(greatest / 4.0);
        let steps = (greatest / step).ceil();
        let ticks = (0..=steps as u32).map(|index| f64::from(index) * step).collect();
        Self { kind: Kind::Linear, low: 0.0, high: steps * step, ticks }
    }

    fn logarithmic(least: f64, greatest: f64) -> Self {
        let (low, high) = (least / 1.15, greatest * 1.15);
        // Two or three values of each power of ten, or powers alone where there are many.
        let decades = (high / low).log10();
        let of_each: &[f64] = match () {
            () if decades > 3.0 => &[1.0],
            () if decades > 1.2 => &[1.0, 3.0],
            () => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        };
        let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let all = powers.flat_map(|power| of_each.iter().map(move |factor| factor * 10_f64.powi(power)));
        let ticks = all.filter(|tick| (low..=high).contains(tick)).collect();
        Self { kind: Kind::Logarithmic, low, high, ticks }
    }

    /// Where a value lies: 0 at the beginning, 1 at the end.
    pub(super) fn position(&self, value: f64) -> f64 {
        let along = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Logarithmic => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        along.clamp(0.0, 1.0)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below.
fn step_above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= value)
        .unwrap_or(power * 10.0)
}

/// A tick's value in few characters.
pub(super) fn short(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        _ if value >= 1e3 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_begin_at_zero_and_have_round_ticks() {
        let scale = Scale::of(Kind::Linear, [3.0, 66.2]);
        assert_eq!(scale.ticks, [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!((scale.position(0.0), scale.position(40.0), scale.position(80.0)), (0.0, 0.5, 1.0));
        assert_eq!(Scale::of(Kind::Linear, []).ticks.first(), Some(&0.0));
    }

    #[test]
    fn equal_ratios_take_equal_room() {
        let scale = Scale::of(Kind::Logarithmic, [0.5, 8.0, 0.0, f64::NAN]);
        let step = |from: f64, to: f64| scale.position(to) - scale.position(from);
        assert!((step(0.5, 1.0) - step(4.0, 8.0)).abs() < 1e-9);
        assert!(scale.ticks.contains(&1.0) && scale.ticks.iter().all(|tick| (0.4..10.0).contains(tick)));
        assert!(scale.position(0.0) == 0.0);
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([0.5, 30.0, 1500.0, 2e6].map(short), ["0.5", "30", "1.5k", "2M"]);
    }
}
