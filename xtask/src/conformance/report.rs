//! What the sides said, beside each other.

use super::results::{Results, Test};
use std::fmt::Write;

/// Failures, and differences of each kind, that are shown.
const SHOWN: usize = 40;

/// One run of the suite.
pub(super) struct Row {
    /// Through what.
    pub(super) name: String,
    /// The path that the sidecar said it took; `None` without a sidecar.
    pub(super) path: Option<String>,
    /// Requests that the sidecar answered itself.
    pub(super) hits: Option<u64>,
    pub(super) seconds: f64,
    pub(super) results: Results,
    /// Units that ran again, and count as they went then.
    pub(super) repeated: Vec<String>,
    /// Why the run does not count, whatever its tests said.
    pub(super) objection: Option<String>,
}

impl Row {
    /// What is wrong with this run, as lines; empty if it is as the one `directly`.
    pub(super) fn complaints(&self, directly: &Results) -> Vec<String> {
        let mut complaints: Vec<String> = self.objection.iter().cloned().collect();
        let failures = &self.results.failures;
        complaints.extend(failures.iter().take(SHOWN).map(|failure| failure.text.clone()));
        if failures.len() > SHOWN {
            complaints.push(format!("and {} more failures", failures.len() - SHOWN));
        }
        let names = |tests: Vec<&Test>, what: &str| -> Vec<String> {
            let more = tests.len().saturating_sub(SHOWN);
            let mut lines: Vec<String> =
                tests.iter().take(SHOWN).map(|(unit, name)| format!("{what}: {unit}: {name}")).collect();
            if more > 0 {
                lines.push(format!("{what}: and {more} more"));
            }
            lines
        };
        complaints.extend(names(directly.beyond(&self.results), "passes only directly"));
        complaints.extend(names(self.results.beyond(directly), "passes only here"));
        complaints
    }
}

/// The table, and below it what differs. In each group the first row is the one that the others are compared with.
pub(super) fn text(groups: &[Vec<Row>]) -> String {
    let mut text = format!(
        "{:<28} {:>7} {:>6} {:>7} {:>8} {:>9} {:>8}\n",
        "Redis's own test suite", "path", "ok", "failed", "skipped", "hits", "seconds"
    );
    for row in groups.iter().flatten() {
        let hits = row.hits.map_or_else(|| "-".to_owned(), |hits| hits.to_string());
        let _ = writeln!(
            text,
            "{:<28} {:>7} {:>6} {:>7} {:>8} {:>9} {:>8.0}",
            row.name,
            row.path.as_deref().unwrap_or("-"),
            row.results.passed_count(),
            row.results.failures.len(),
            row.results.skipped,
            hits,
            row.seconds
        );
    }
    for row in groups.iter().flatten().filter(|row| !row.repeated.is_empty()) {
        let units = row.repeated.join(", ");
        let _ =
            write!(text, "\n{}: ran again, since they had met kv-cache's own connections: {units}", row.name);
    }
    for (row, complaints) in complaints(groups) {
        for complaint in complaints {
            let _ = write!(text, "\n{}: {complaint}", row.name);
        }
    }
    text
}

/// Each row with what is wrong with it.
pub(super) fn complaints(groups: &[Vec<Row>]) -> impl Iterator<Item = (&Row, Vec<String>)> {
    groups
        .iter()
        .filter_map(|group| group.first().map(|first| (group, first)))
        .flat_map(|(group, first)| group.iter().map(move |row| (row, row.complaints(&first.results))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, lines: &[&str]) -> Row {
        let mut results = Results::default();
        for line in lines {
            results.line(line);
        }
        let name = name.to_owned();
        Row { name, path: None, hits: None, seconds: 1.0, results, repeated: Vec::new(), objection: None }
    }

    const GOOD: [&str; 3] = ["Testing u", "[ok]: a (0 ms)", "[ok]: b (0 ms)"];

    fn agree(rows: Vec<Row>) -> bool {
        complaints(&[rows]).all(|(_, complaints)| complaints.is_empty())
    }

    #[test]
    fn equal_rows_agree() {
        assert!(agree(vec![row("directly", &GOOD), row("kernel", &GOOD)]));
    }

    #[test]
    fn groups_are_compared_by_themselves() {
        let fewer = ["Testing u", "[ok]: a (0 ms)"];
        let groups = [vec![row("directly", &GOOD)], vec![row("directly", &fewer), row("kernel", &fewer)]];
        assert!(complaints(&groups).all(|(_, complaints)| complaints.is_empty()));
    }

    #[test]
    fn a_missing_test_is_named() {
        let text = text(&[vec![row("directly", &GOOD), row("kernel", &GOOD[..2])]]);
        assert!(text.contains("kernel: passes only directly: u: b"), "{text}");
    }

    #[test]
    fn failures_count_even_if_they_are_the_same_everywhere() {
        let bad = ["Testing u", "[ok]: a (0 ms)", "[err]: b in u.tcl"];
        assert!(!agree(vec![row("directly", &bad), row("kernel", &bad)]));
    }

    #[test]
    fn what_ran_again_is_said_and_is_no_complaint() {
        let repeated = vec!["u".to_owned()];
        let groups = [vec![row("directly", &GOOD), Row { repeated, ..row("kernel", &GOOD) }]];
        let text = text(&groups);
        assert!(text.contains("kernel: ran again") && text.contains("connections: u"), "{text}");
        assert!(complaints(&groups).all(|(_, complaints)| complaints.is_empty()));
    }

    #[test]
    fn an_objection_is_enough() {
        let mut kernel = row("kernel", &GOOD);
        kernel.objection = Some("no hits".to_owned());
        assert!(text(&[vec![row("directly", &GOOD), kernel]]).contains("kernel: no hits"));
    }
}
