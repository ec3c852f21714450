//! What was checked, told as it happens.

use anyhow::Result;
use std::time::Instant;

/// Checks that were made.
#[derive(Default)]
pub(super) struct Report {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl Report {
    /// Makes a check. What it returns is what was seen.
    pub(super) fn check(&mut self, what: &str, look: impl FnOnce() -> Result<String>) {
        let start = Instant::now();
        let seen = look();
        let seconds = start.elapsed().as_secs_f64();
        match seen {
            Ok(seen) => {
                self.passed += 1;
                let seen = if seen.is_empty() { String::new() } else { format!(": {seen}") };
                println!("  ok     {what}{seen} ({seconds:.1} s)");
            }
            Err(error) => {
                self.failed += 1;
                println!("  FAILED {what} ({seconds:.1} s): {error:#}");
            }
        }
    }
}
