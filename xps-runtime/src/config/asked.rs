//! What a service asks its configuration for, as it is told to people.

use std::fmt::Display;
use std::time::Duration;

/// A key that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The section; of a list's first table, the list's name.
    pub section: String,
    /// The key.
    pub key: String,
    /// What it may be, such as "a whole number from 1 to 65535".
    pub kind: String,
    /// What it is if it is not given, as one would write it; empty if it is nothing then.
    pub default: String,
}

/// A time as one would write it, in the largest unit that gives a whole number.
pub(super) fn duration_text(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let units = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    let unit = units.into_iter().find(|(of, _)| ns != 0 && ns.is_multiple_of(*of));
    unit.map_or_else(|| format!("{duration:?}"), |(of, unit)| format!("{}{unit}", ns / of))
}

/// A number of bytes as one would write it.
pub(super) fn bytes_text(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(of, _)| bytes != 0 && bytes.is_multiple_of(*of));
    unit.map_or_else(|| bytes.to_string(), |(of, unit)| format!("{}{unit}", bytes / of))
}

/// A list of texts as one would write it.
pub(super) fn list_text<T: Display>(list: &[T]) -> String {
    let texts: Vec<_> = list.iter().map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{bytes_of, duration_of};

    #[test]
    fn quantities_are_written_as_they_are_read() {
        let ms = Duration::from_millis;
        for (duration, text) in [
            (ms(3_600_000), "1h"),
            (ms(90_000), "90s"),
            (ms(120_000), "2min"),
            (ms(1500), "1500ms"),
            (Duration::from_micros(5), "5us"),
            (Duration::ZERO, "0ns"),
        ] {
            assert_eq!(duration_text(duration), text);
            assert_eq!(duration_of(text), Some(duration));
        }
        for (bytes, text) in [(64 << 20, "64MiB"), (1000, "1000"), (3 << 10, "3KiB"), (0, "0")] {
            assert_eq!(bytes_text(bytes), text);
            assert_eq!(bytes_of(text), Some(bytes));
        }
        assert_eq!(list_text(&["a", "b"]), "[\"a\", \"b\"]");
    }
}
