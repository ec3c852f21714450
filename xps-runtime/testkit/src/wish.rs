//! What whoever runs a hostile test wants of it: `XPS_HOSTILE_SECONDS` and `XPS_HOSTILE_SEED`.

use std::time::Duration;

/// A number from the environment.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// For how long.
#[must_use]
pub fn duration(default: Duration) -> Duration {
    number("XPS_HOSTILE_SECONDS").map_or(default, Duration::from_secs)
}

/// With which connections.
#[must_use]
pub fn seed() -> u64 {
    number("XPS_HOSTILE_SEED").unwrap_or(1)
}
