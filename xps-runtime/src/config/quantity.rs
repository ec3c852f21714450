//! Numbers with units.

use std::time::Duration;

/// A time such as `2s`, `150ms`, `1.5s` or `10m`; `None` without a unit.
#[must_use]
pub fn duration_of(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// A number of bytes such as `65536`, `64KiB`, `1.5GiB` or `10MB`.
#[must_use]
pub fn bytes_of(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    let bytes = number * factor as f64;
    (bytes.fract() == 0.0 && (0.0..=9e15).contains(&bytes)).then_some(bytes as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number = text[..end].replace('_', "").parse().ok()?;
    Some((number, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("2s", Some(2000)),
            ("150ms", Some(150)),
            ("1.5 s", Some(1500)),
            ("2", None),
            ("-1s", None),
            ("s", None),
        ] {
            assert_eq!(duration_of(text), milliseconds.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn bytes() {
        for (text, bytes) in [
            ("64MiB", Some(64 << 20)),
            ("1_000", Some(1000)),
            ("1.5k", Some(1536)),
            ("10MB", Some(10_000_000)),
            ("0.3b", None),
            ("5 apples", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(bytes_of(text), bytes, "{text}");
        }
    }
}
