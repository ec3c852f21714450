//! What Redis's test suite said: which tests passed, which failed and why.

use std::collections::{BTreeMap, BTreeSet};

/// What the agent asks Redis while the suite runs, as `MONITOR` and `SLOWLOG` show it: in capitals, where the suite's tests
/// of them write their own commands in small letters. `CONFIG` and `ACL LIST` are not shown by `MONITOR`.
const ASKED_BY_AGENT: [&str; 6] = ["ACL", "GETRANGE", "INFO", "PING", "PTTL", "SELECT"];

/// A test: the unit it is in, and its name. Several tests may have the same.
pub(super) type Test = (String, String);

/// A failure or an exception.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The unit it is in.
    pub(super) unit: String,
    /// What the suite said about it.
    pub(super) text: String,
}

impl Failure {
    /// Whether it shows the agent: a request in a line of `MONITOR` (`… [0 127.0.0.1:4711] "INFO"`), or in the slow log, whose
    /// tests log everything (`… to be equal to 'ACL WHOAMI'`), or its tracking connection where those of the server are counted. And
    /// `COMMAND INFO … multi …`, which names what a test waits for, so that the client's own line comes where the next one should.
    fn shows_agent(&self) -> bool {
        let asked = |name: &str| ASKED_BY_AGENT.contains(&name);
        let monitored = self.text.split("] \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
        let logged = self.text.split("to be equal to '").skip(1);
        let logged = logged.filter_map(|rest| rest.split([' ', '\'']).next());
        monitored.into_iter().any(asked)
            || self.text.contains("SLOWLOG") && logged.into_iter().any(|name| name == "CONFIG" || asked(name))
            || self.text.contains("MONITOR") && self.text.contains(r#"] "multi"' to match '*"set"*"#)
            || self.text.contains("Tracking info is correct") && self.text.contains("{$total_prefixes == 1}")
    }
}

/// The outcome of one run of the suite.
#[derive(Default)]
pub(super) struct Results {
    /// Tests that passed, with how many of this name did.
    pub(super) passed: BTreeMap<Test, u32>,
    /// Failures and exceptions.
    pub(super) failures: Vec<Failure>,
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
                failure.text.push_str("\n    ");
                failure.text.push_str(line);
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
                let text = format!("[{status}] {}: {rest}", self.unit);
                self.failures.push(Failure { unit: self.unit.clone(), text });
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

    /// Units in which a test met the agent.
    pub(super) fn met_agent(&self) -> Vec<String> {
        let units: BTreeSet<_> = self
            .failures
            .iter()
            .filter(|failure| failure.shows_agent())
            .map(|failure| &failure.unit)
            .collect();
        units.into_iter().cloned().collect()
    }

    /// Takes another run's word for these units. What is left out is the same each time.
    pub(super) fn replace(&mut self, units: &[String], again: Self) {
        self.passed.retain(|(unit, _), _| !units.contains(unit));
        self.passed.extend(again.passed);
        self.failures.retain(|failure| !units.contains(&failure.unit));
        self.failures.extend(again.failures);
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
        let text = "[err] unit/expire: TTL in tests/unit/expire.tcl\n    Expected '1' to be equal to '2'";
        assert_eq!(results.failures, [Failure { unit: "unit/expire".to_owned(), text: text.to_owned() }]);
        assert!(results.met_agent().is_empty());
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
    fn a_failure_tells_whether_it_met_the_agent() {
        let met = |explanation: &str| {
            let lines =
                ["Testing unit/introspection", "[err]: MONITOR in tests/unit/introspection.tcl", explanation];
            of(&lines).met_agent()
        };
        let unit = ["unit/introspection"];
        assert_eq!(met(r#"Expected '1.5 [0 127.0.0.1:4711] "INFO"' to match '*"multi"*'"#), unit);
        assert_eq!(
            met(
                r#"Expected '*"get"*' to match '{1.5 [0 [::1]:1] "set" "foo"} {1.6 [3 [::1]:2] "PTTL" "foo"}'"#
            ),
            unit
        );
        assert_eq!(met(r#"Expected '1.5 [0 127.0.0.1:4711] "multi"' to match '*"set"*"foo"*"bar"*'"#), unit);
        assert!(met(r#"Expected '1.5 [0 127.0.0.1:4711] "exec"' to match '*"set"*"foo"*"bar"*'"#).is_empty());
        assert!(met(r#"Expected '1.5 [0 127.0.0.1:4711] "info"' to match '*"multi"*'"#).is_empty());
        assert!(met(r#"Expected '1.5 [0 127.0.0.1:4711] "set" "INFO"' to match '*"multi"*'"#).is_empty());
        assert!(met("Expected 'INFO' to be equal to '2'").is_empty());
    }

    #[test]
    fn the_count_of_tracking_connections_shows_the_agent_too() {
        let met = |explanation: &str| {
            of(&[
                "Testing unit/tracking",
                "[err]: Tracking info is correct in tests/unit/tracking.tcl",
                explanation,
            ])
            .met_agent()
        };
        assert_eq!(
            met("Expected 2 == 1 (context: type eval line 19 cmd {assert {$total_prefixes == 1}})"),
            ["unit/tracking"]
        );
        assert!(
            met("Expected 3 == 2 (context: type eval line 17 cmd {assert {$total_items == 2}})").is_empty()
        );
    }

    #[test]
    fn the_slow_log_shows_the_agent_too() {
        let met = |test: &str, explanation: &str| {
            let error = format!("[err]: {test} in tests/unit/slowlog.tcl");
            of(&["Testing unit/slowlog", &error, explanation]).met_agent()
        };
        let agents = "Expected 'blpop l 0' to be equal to 'ACL WHOAMI' (context: type eval)";
        assert_eq!(met("SLOWLOG - Rewritten commands", agents), ["unit/slowlog"]);
        assert!(met("BLPOP", agents).is_empty());
        assert!(met("SLOWLOG - Rewritten commands", "Expected 'a' to be equal to 'acl whoami'").is_empty());
    }

    #[test]
    fn a_unit_that_ran_again_counts_as_it_went_then() {
        let mut results = of(&[
            "Testing u",
            "[ok]: a (0 ms)",
            "[err]: b in u.tcl",
            "[skip]: c",
            "Testing v",
            "[err]: d in v.tcl",
        ]);
        let again = of(&["Testing u", "[ok]: a (0 ms)", "[ok]: b (0 ms)", "[skip]: c"]);
        results.replace(&["u".to_owned()], again);
        assert_eq!((results.passed_count(), results.failures.len(), results.skipped), (2, 1, 1));
        assert_eq!(results.failures[0].unit, "v");
        results.replace(&["v".to_owned()], of(&["Testing v", "[err]: d in v.tcl"]));
        assert_eq!(results.failures.len(), 1);
    }

    #[test]
    fn differences_count_equal_names() {
        let more = of(&["Testing u", "[ok]: a (0 ms)", "[ok]: a (0 ms)", "[ok]: b (0 ms)"]);
        let fewer = of(&["Testing u", "[ok]: a (0 ms)", "[ok]: b (0 ms)"]);
        assert_eq!(more.beyond(&fewer), [&("u".to_owned(), "a".to_owned())]);
        assert!(fewer.beyond(&more).is_empty());
    }
}
