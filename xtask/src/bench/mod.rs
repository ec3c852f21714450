//! `cargo xtask bench`: plain and accelerated measured by turns in one run.
//!
//! # Layout
//! - [`kv`], [`http`], [`heartbeat`]: what is measured of each service, and how its result is shown.
//! - [`measure`](mod@measure): rounds by turns, medians. [`note`]: remarks on them. [`table`]: both as readers see them.
//! - [`quantiles`]: which latencies are kept of a round.
//! - [`generator`], [`histogram`]: load generators for what the well-known ones cannot do.

mod generator;
pub(crate) mod heartbeat;
mod histogram;
pub(crate) mod http;
pub(crate) mod kv;
mod measure;
mod note;
pub(crate) mod quantiles;
mod table;

pub(crate) use measure::Effort;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// How to measure, whatever it is.
#[derive(Args)]
pub(crate) struct Common {
    /// Fewer and shorter rounds: a quarter of the time.
    #[arg(long)]
    quick: bool,
    /// Print JSON, and nothing else, on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Only these workloads (comma-separated or repeated).
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave the user path out where the kernel path is to be had.
    #[arg(long)]
    kernel_only: bool,
}

/// A result for readers, beside the one for programs.
pub(crate) trait Report: Serialize {
    /// The bench's name on the command line.
    const BENCH: &'static str;

    /// A table of one line for each side that was measured.
    fn print(&self);
}

/// A result for programs: with it, what it is and where it comes from. `docs/bench-results.md` tells of all fields.
#[derive(Serialize)]
struct Printed<R> {
    bench: &'static str,
    /// What was typed.
    command: String,
    /// As RFC 3339 writes it, in UTC.
    began: String,
    /// How long it took, building and installing included.
    seconds: f64,
    #[serde(flatten)]
    report: R,
}

impl<R: Report> Printed<R> {
    /// Of what has just been measured.
    fn new(report: R, began: SystemTime) -> Self {
        let words = std::env::args().skip(1);
        Self {
            bench: R::BENCH,
            command: std::iter::once("cargo xtask".to_owned()).chain(words).collect::<Vec<_>>().join(" "),
            began: humantime::format_rfc3339_seconds(began).to_string(),
            seconds: began.elapsed().map_or(0.0, |took| took.as_secs_f64().round()),
            report,
        }
    }
}

/// What is printed of a result, for tests of those who read it.
#[cfg(test)]
fn printed<R: Report>(report: R) -> String {
    serde_json::to_string_pretty(&Printed::new(report, SystemTime::UNIX_EPOCH)).unwrap()
}

impl Common {
    /// Measures and prints.
    fn report<R: Report>(&self, measure: impl FnOnce() -> Result<R>) -> Result<()> {
        if !self.json {
            measure()?.print();
            return Ok(());
        }
        // Whatever the steps before print must not stand in the result.
        let stdout = Redirected::to_stderr()?;
        let began = SystemTime::now();
        let report = measure();
        drop(stdout);
        println!("{}", serde_json::to_string_pretty(&Printed::new(report?, began))?);
        Ok(())
    }

    fn effort(&self) -> Effort {
        if self.quick {
            Effort { rounds: 3, duration: Duration::from_millis(1500) }
        } else {
            Effort { rounds: 7, duration: Duration::from_secs(3) }
        }
    }

    /// The workloads that were asked for.
    fn choose<W>(&self, all: Vec<W>, name: fn(&W) -> &str) -> Result<Vec<W>> {
        if let Some(unknown) =
            self.only.iter().find(|asked| all.iter().all(|workload| name(workload) != **asked))
        {
            let known: Vec<&str> = all.iter().map(name).collect();
            bail!("no workload is named {unknown:?}; there are: {}", known.join(", "));
        }
        let is_chosen =
            |workload: &W| self.only.is_empty() || self.only.iter().any(|asked| asked == name(workload));
        Ok(all.into_iter().filter(is_chosen).collect())
    }
}

/// Standard output goes to standard error, also that of child processes, until this is dropped.
struct Redirected(std::os::fd::OwnedFd);

impl Redirected {
    fn to_stderr() -> Result<Self> {
        use std::os::fd::AsFd;
        let kept = std::io::stdout().as_fd().try_clone_to_owned()?;
        // SAFETY: both are the process's standard descriptors, open for its whole life.
        if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(Self(kept))
    }
}

impl Drop for Redirected {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        // SAFETY: the kept descriptor is open; dup2 replaces standard output by it.
        unsafe { libc::dup2(self.0.as_raw_fd(), libc::STDOUT_FILENO) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_errors_that_list_the_known() {
        let all = || vec!["one", "another"];
        let options = |only: &str| Common {
            quick: false,
            json: false,
            only: vec![only.to_owned()],
            kernel_only: false,
        };
        let error = options("nonsense").choose(all(), |name| name).err().unwrap().to_string();
        assert!(error.contains("nonsense") && error.contains("another"), "{error}");
        assert_eq!(options("one").choose(all(), |name| name).unwrap(), ["one"]);
    }
}
