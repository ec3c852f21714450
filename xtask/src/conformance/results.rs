//! What Redis's test suite said: which tests passed, which failed and why.

use std::collections::BTreeMap;

/// A test: the unit it is in, and its name. Several tests may have the same.
pub(super) type Test = (String, String);

/// The outcome of one run of the suite.
#[derive(Default)]
pub(super) struct Results {
    /// Tests that passed, with how many of this name did.
    pub(super) passed: BTreeMap<Test, u32>,
    /// Failures and exceptions, with what the suite said about each.
    pub(super) failures: Vec<String>,
    /// Tests, and groups of tests, that were left out.
    pub(super) skipped: u32,
    unit: String,
    /// Whether the lines that follow explain the last failure.
    explaining: bool,
}

/// What ends with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing that is worth telling.
    None,
    /// A unit.
    Unit(String),
}

impl Results {
    /// Reads one line of the suite's output.
    pub(super) fn line(&mut self, line: &str) -> Progress {
        if let Some(unit) = line.strip_prefix("Testing ").filter(|unit| !unit.contains(' ')) {
            unit.clone_into(&mut self.unit);
            self.explaining = false;
            return Progress::None;
        }
        let Some((status, rest)) = status(line) else {
            if self.explaining
                && let Some(failure) = self.failures.last_mut()
            {
                failure.push_str("\n    ");
                failure.push_str(line);
            }
            return Progress::None;
        };
        self.explaining = false;
        match status {
            "ok" => {
                let test = (self.unit.clone(), without_time(rest).to_owned());
                *self.passed.entry(test).or_default() += 1;
            }
            "skip" | "ignore" => self.skipped += 1,
            "err" | "exception" | "TIMEOUT" => {
                self.failures.push(format!("[{status}] {}: {rest}", self.unit));
                self.explaining = true;
            }
            _ if status.ends_with(" done") => return Progress::Unit(self.unit.clone()),
            _ => {}
        }
        Progress::None
    }

    /// How many tests passed.
    pub(super) fn passed_count(&self) -> u32 {
        self.passed.values().sum()
    }

    /// Tests that passed here and not there, each as often as it did.
    pub(super) fn beyond(&self, other: &Self) -> Vec<&Test> {
        let surplus = |(test, count): (&'_ Test, &u32)| {
            count.saturating_sub(other.passed.get(test).copied().unwrap_or(0)) as usize
        };
        self.passed.iter().flat_map(|row| std::iter::repeat_n(row.0, surplus(row))).collect()
    }
}

/// `[ok]: A name (3 ms)` as `ok` and the rest; `None` for lines that only look like it.
fn status(line: &str) -> Option<(&str, &str)> {
    let (status, rest) = line.strip_prefix('[')?.split_once("]: ")?;
    let known = ["ok", "err", "exception", "skip", "ignore", "TIMEOUT", "ready"].contains(&status);
    (known || status.ends_with(" done")).then_some((status, rest))
}

fn without_time(name: &str) -> &str {
    name.rsplit_once(" (").filter(|(_, time)| time.ends_with(" ms)")).map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Results {
        let mut results = Results::default();
        for line in lines {
            results.line(line);
        }
        results
    }

    #[test]
    fn tests_are_counted_by_unit_and_name() {
        let results = of(&[
            "[ready]: 4711",
            "Testing unit/type/string",
            "[ok]: SET and GET an item (0 ms)",
            "[ok]: SET and GET an item (1 ms)",
            "[ok]: Names may (have) brackets (12 ms)",
            "[ignore]: Not supported on external server",
            "[skip]: Something",
            "Testing unit/expire",
            "[ok]: SET and GET an item (0 ms)",
        ]);
        assert_eq!((results.passed_count(), results.skipped), (4, 2));
        let twice = ("unit/type/string".to_owned(), "SET and GET an item".to_owned());
        assert_eq!(results.passed[&twice], 2);
        assert!(results.passed.keys().any(|(_, name)| name == "Names may (have) brackets"));
    }

    #[test]
    fn failures_carry_their_explanations() {
        let results = of(&[
            "Testing unit/expire",
            "[err]: TTL in tests/unit/expire.tcl",
            "Expected '1' to be equal to '2'",
            "[ok]: Another (3 ms)",
            "a line of no meaning",
        ]);
        assert_eq!(
            results.failures,
            ["[err] unit/expire: TTL in tests/unit/expire.tcl\n    Expected '1' to be equal to '2'"]
        );
        assert_eq!(results.passed_count(), 1);
    }

    #[test]
    fn a_finished_unit_is_progress() {
        let mut results = of(&["Testing unit/expire"]);
        let progress = results.line("[3/60 done]: unit/expire (4 seconds)");
        assert_eq!(progress, Progress::Unit("unit/expire".to_owned()));
        assert_eq!(results.line("[ok]: TTL (4 ms)"), Progress::None);
    }

    #[test]
    fn differences_count_equal_names() {
        let more = of(&["Testing u", "[ok]: a (0 ms)", "[ok]: a (0 ms)", "[ok]: b (0 ms)"]);
        let fewer = of(&["Testing u", "[ok]: a (0 ms)", "[ok]: b (0 ms)"]);
        assert_eq!(more.beyond(&fewer), [&("u".to_owned(), "a".to_owned())]);
        assert!(fewer.beyond(&more).is_empty());
    }
}
