//! One step of the checks: a program whose output is shown and whose tests are counted.

use crate::workspace;
use anyhow::Result;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What became of a step.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) seconds: f64,
    pub(super) note: Option<String>,
}

/// What a step has counted.
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) note: Option<String>,
}

impl Outcome {
    /// A step that is not run here.
    pub(super) fn left_out(name: &str, why: &str) -> Self {
        Self { name: name.to_owned(), passed: 0, failed: 0, seconds: 0.0, note: Some(why.to_owned()) }
    }

    /// A step that could not be run.
    pub(super) fn failure(name: &str, why: &str) -> Self {
        Self { name: name.to_owned(), passed: 0, failed: 1, seconds: 0.0, note: Some(why.to_owned()) }
    }

    /// Adds a remark.
    pub(super) fn with_note(mut self, note: &str) -> Self {
        self.note = Some(note.to_owned());
        self
    }
}

/// Makes checks that count themselves.
pub(super) fn counted(name: &str, checks: impl FnOnce() -> Result<Counts>) -> Outcome {
    println!("\n==> {name}");
    let start = Instant::now();
    match checks() {
        Ok(Counts { passed, failed, note }) => {
            let seconds = start.elapsed().as_secs_f64();
            Outcome { name: name.to_owned(), passed, failed, seconds, note }
        }
        Err(error) => {
            println!("{error:#}");
            Outcome::failure(name, &format!("{error:#}"))
        }
    }
}

/// Runs a program that counts as one check.
pub(super) fn run(name: &str, command: &mut Command) -> Outcome {
    announce(name, command);
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).status();
    let outcome = |good: bool| Outcome {
        name: name.to_owned(),
        passed: u64::from(good),
        failed: u64::from(!good),
        seconds: start.elapsed().as_secs_f64(),
        note: None,
    };
    match status {
        Ok(status) => outcome(status.success()),
        Err(error) => outcome(false).with_note(&format!("cannot be run: {error}")),
    }
}

/// Runs `cargo test` and adds up the tests it counts.
pub(super) fn run_counted(name: &str, command: &mut Command) -> Outcome {
    announce(name, command);
    let start = Instant::now();
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::failure(name, &format!("cannot be run: {error}")),
    };
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(counts) = counts(&line) {
                passed += counts[0];
                failed += counts[1];
                ignored += counts[2];
            }
        }
    }
    let good = child.wait().is_ok_and(|status| status.success());
    // Something that does not compile has no tests to count, and is a failure all the same.
    if !good && failed == 0 {
        failed = 1;
    }
    let note = (ignored > 0).then(|| format!("{ignored} ignored"));
    Outcome { name: name.to_owned(), passed, failed, seconds: start.elapsed().as_secs_f64(), note }
}

fn announce(name: &str, command: &Command) {
    println!("\n==> {name}: {}", workspace::display(command));
}

/// Passed, failed and ignored in a closing line of libtest.
fn counts(line: &str) -> Option<[u64; 3]> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |what: &str| {
        let before = rest.split(&[';', '.'][..]).find(|part| part.trim().ends_with(what))?;
        before.split_whitespace().next()?.parse().ok()
    };
    Some([number("passed")?, number("failed")?, number("ignored")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_libtest_closing_lines() {
        let line =
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(counts(line), Some([12, 0, 3]));
        assert_eq!(counts("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured"), Some([1, 2, 0]));
        assert_eq!(counts("test reads_libtest_closing_lines ... ok"), None);
    }

    #[test]
    fn a_failing_program_is_a_failed_step() {
        assert_eq!(run("true", &mut Command::new("true")).failed, 0);
        assert_eq!(run("false", &mut Command::new("false")).failed, 1);
        assert_eq!(run("none", &mut Command::new("xps-no-such-program")).failed, 1);
    }
}
