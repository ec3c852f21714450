//! What is shown of the keys that are asked for most.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The keys that are asked for most, by estimates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// Over which time it was counted, in seconds.
    pub seconds: f64,
    /// Entries in the cache.
    pub entries: u64,
    /// The keys, those with the most requests first.
    pub keys: Vec<Key>,
}

/// A key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Key {
    /// Its bytes; those that are not printable ASCII are escaped, as is `\`.
    pub key: String,
    /// Number of its database.
    pub database: u32,
    /// Hits and misses a second.
    pub requests_per_second: f64,
    /// GETs that found its entry, a second.
    pub hits_per_second: f64,
    /// GETs that found none, a second: from those that are reported, one of `cache.miss_sample`.
    pub misses_per_second: f64,
    /// Whether it may be more: the counter was full whenever it was looked at.
    pub at_least: bool,
    /// Bytes that its entry takes; absent if there is none.
    pub entry_bytes: Option<u64>,
    /// How long its entry may still be served, in seconds; absent if there is none, or no limit.
    pub ttl_seconds: Option<f64>,
}

/// Characters of a key that are shown in a table.
const KEY_CHARACTERS_MAX: usize = 80;

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} entries; estimates from counts over {:.1} s, misses from a sample; \u{2265}: at least",
            self.entries, self.seconds
        )?;
        writeln!(
            f,
            "{:>12} {:>12} {:>12} {:>8} {:>10} {:>4}  key",
            "requests/s", "hits/s", "misses/s", "bytes", "TTL left", "db"
        )?;
        for key in &self.keys {
            let sign = if key.at_least { "\u{2265}" } else { "" };
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let ttl = match (key.entry_bytes, key.ttl_seconds) {
                (Some(_), None) => "none".to_owned(),
                (_, ttl) => or_dash(ttl.map(|seconds| format!("{seconds:.1} s"))),
            };
            let mut name: String = key.key.chars().take(KEY_CHARACTERS_MAX).collect();
            if name.len() < key.key.len() {
                name.push('\u{2026}');
            }
            writeln!(
                f,
                "{:>12} {:>12} {:>12} {:>8} {ttl:>10} {:>4}  {name}",
                format!("{sign}{:.0}", key.requests_per_second),
                format!("{sign}{:.0}", key.hits_per_second),
                format!("{:.0}", key.misses_per_second),
                or_dash(key.entry_bytes.map(|bytes| bytes.to_string())),
                key.database,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_an_estimate() {
        let hot = Key {
            key: "user:1".into(),
            requests_per_second: 1234.6,
            hits_per_second: 1200.2,
            misses_per_second: 34.4,
            at_least: true,
            entry_bytes: Some(120),
            ..Key::default()
        };
        let missed =
            Key { key: "x".repeat(100), requests_per_second: 3.0, misses_per_second: 3.0, ..Key::default() };
        let text = View { seconds: 1.25, entries: 7, keys: vec![hot, missed] }.to_string();
        assert!(text.starts_with("7 entries; estimates from counts over 1.2 s"), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(words, ["\u{2265}1235", "\u{2265}1200", "34", "120", "none", "0", "user:1"]);
        let words: Vec<&str> = lines[3].split_whitespace().collect();
        assert_eq!(words[..6], ["3", "0", "3", "-", "-", "0"]);
        assert_eq!(words[6].chars().count(), KEY_CHARACTERS_MAX + 1);
    }
}
