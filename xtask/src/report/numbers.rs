//! How figures are written.

/// A whole number in groups of three.
pub(super) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration, with a decimal where there are few digits before it.
pub(super) fn duration(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { whole(value) }
}

/// A ratio.
pub(super) fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// A ratio that may be far below 1.
pub(super) fn small_ratio(value: f64) -> String {
    format!("{value:.3}")
}

/// A share of 1, in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A share of 1 where the decimals matter, in percent.
pub(super) fn fine_percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Least and greatest.
pub(super) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().reduce(f64::min)?;
    Some((least, values.iter().copied().reduce(f64::max)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups() {
        for (value, text) in
            [(0.4, "0"), (999.0, "999"), (1000.0, "1,000"), (1_774_978.4, "1,774,978"), (-1234.0, "-1,234")]
        {
            assert_eq!(whole(value), text);
        }
        assert_eq!((duration(7.25), duration(1975.0)), ("7.2".to_owned(), "1,975".to_owned()));
    }

    #[test]
    fn ranges() {
        assert_eq!((range(&[]), range(&[2.0, 1.0, 3.0])), (None, Some((1.0, 3.0))));
    }
}
