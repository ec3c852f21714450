//! Which keys may be cached at all, and for how long.
//!
//! Decided when an entry would be made: a key that may not be cached simply gets none, so the programs need no rule for it.

use std::time::Duration;

/// What the configuration allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key, in bytes.
    pub key_bytes_max: usize,
    /// Only keys that begin with one of these; empty: all.
    pub key_prefixes: Vec<String>,
    /// No keys that begin with one of these, whatever `key_prefixes` says.
    pub key_prefixes_excluded: Vec<String>,
    /// How long an entry may be served, counted from when its value was asked for; `None`: as long as Redis keeps it.
    pub ttl_max: Option<Duration>,
}

impl Limits {
    /// Whether there may be an entry for `key`.
    #[must_use]
    pub fn admits(&self, key: &[u8]) -> bool {
        let begins = |prefixes: &[String]| prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()));
        key.len() <= self.key_bytes_max
            && (self.key_prefixes.is_empty() || begins(&self.key_prefixes))
            && !begins(&self.key_prefixes_excluded)
    }

    /// The same in nanoseconds; `u64::MAX`: as long as Redis keeps it.
    #[must_use]
    pub fn ttl_max_ns(&self) -> u64 {
        self.ttl_max.map_or(u64::MAX, |ttl_max| u64::try_from(ttl_max.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(only: &[&str], not: &[&str]) -> Limits {
        let own = |list: &[&str]| list.iter().map(|&prefix| prefix.to_owned()).collect();
        Limits { key_bytes_max: 10, key_prefixes: own(only), key_prefixes_excluded: own(not), ttl_max: None }
    }

    #[test]
    fn prefixes_and_length_decide() {
        for (only, not, key, expected) in [
            (&[][..], &[][..], "key", true),
            (&[], &[], "key:of:10b", true),
            (&[], &[], "key:of:11by", false),
            (&["user:", "page:"], &[], "page:1", true),
            (&["user:", "page:"], &[], "pag", false),
            (&["user:", "page:"], &[], "xpage:", false),
            (&[], &["tmp:"], "tmp:1", false),
            (&[], &["tmp:"], "tmp", true),
            (&["user:"], &["user:x"], "user:1", true),
            (&["user:"], &["user:x"], "user:x1", false),
            (&["user:x"], &["user:"], "user:x1", false),
        ] {
            assert_eq!(limits(only, not).admits(key.as_bytes()), expected, "{only:?} {not:?} {key}");
        }
    }

    #[test]
    fn a_cap_is_told_in_nanoseconds() {
        let mut limits = limits(&[], &[]);
        for (cap, expected) in
            [(None, u64::MAX), (Some(Duration::from_micros(5)), 5_000), (Some(Duration::MAX), u64::MAX)]
        {
            limits.ttl_max = cap;
            assert_eq!(limits.ttl_max_ns(), expected);
        }
    }
}
