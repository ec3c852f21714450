//! `cargo xtask test`: everything that must hold before a change lands.
//!
//! Each step is run whatever became of those before it. [`step`] counts, [`fuzz`] finds the fuzz targets, [`valkey`] puts
//! Valkey in Redis's place, [`deploy`] reads what others deploy.

mod deploy;
mod fuzz;
mod step;
mod valkey;

use crate::{compose, conformance, setup, workspace};
use anyhow::Result;
use clap::Args;
use std::process::Command;
use step::{Counts, Outcome, run_counted};

/// What to check.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these steps (comma-separated or repeated): format, clippy, unit, doc, integration, valkey, conformance, deploy, compose, fuzz, deny.
    #[arg(long, value_name = "STEP", value_delimiter = ',', value_parser = NAMES)]
    only: Vec<String>,
}

const NAMES: [&str; 11] = [
    "format",
    "clippy",
    "unit",
    "doc",
    "integration",
    "valkey",
    "conformance",
    "deploy",
    "compose",
    "fuzz",
    "deny",
];

/// Tells tests that need root and a kernel that they must run (1) or that they say why they don't (unset).
const KERNEL_TESTS: &str = "XPS_KERNEL_TESTS";

/// Runs all steps and prints a table. Returns whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    setup::run(&setup::Options {
        tools: wanted("fuzz") || wanted("deny"),
        tests: wanted("integration") || wanted("deploy"),
    })?;
    let mut outcomes = Vec::new();
    for name in NAMES.into_iter().filter(|name| wanted(name)) {
        match name {
            "format" => outcomes.push(format()),
            "clippy" => outcomes.push(clippy()),
            "unit" => outcomes.push(run_counted(
                "unit tests",
                cargo("test").args(["--workspace", "--lib", "--bins", "--examples"]),
            )),
            "doc" => outcomes.push(run_counted("doc tests", cargo("test").args(["--workspace", "--doc"]))),
            "integration" => outcomes.push(integration()),
            "valkey" => outcomes.push(valkey::run()),
            "conformance" => outcomes.push(conformance()),
            "deploy" => outcomes.extend(deploy::run()),
            "compose" => outcomes.push(compose()),
            "fuzz" => outcomes.extend(fuzz::run()),
            _ => outcomes.extend(deny()),
        }
    }
    Ok(summarize(&outcomes))
}

/// cargo with a subcommand; in CI the lock file must be right as it is.
fn cargo(subcommand: &str) -> Command {
    let mut command = workspace::cargo();
    command.arg(subcommand);
    if subcommand == "test" {
        // All test programs are run, whatever fails.
        command.arg("--no-fail-fast");
    }
    if workspace::is_ci() {
        command.arg("--locked");
    }
    command
}

fn format() -> Outcome {
    let mut command = workspace::cargo();
    step::run("format", command.args(["fmt", "--all", "--check"]))
}

fn clippy() -> Outcome {
    step::run("clippy", cargo("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// The tests in `tests/` folders; with root also those that need network namespaces and the kernel.
fn integration() -> Outcome {
    let mut command = cargo("test");
    command.args(["--workspace", "--test", "*"]);
    if workspace::is_root() {
        return run_counted("integration and kernel tests", command.env(KERNEL_TESTS, "1"));
    }
    if workspace::is_ci() {
        return Outcome::failure("kernel tests", "CI must run as root: kernel tests are mandatory there");
    }
    run_counted("integration tests", command.env_remove(KERNEL_TESTS))
        .with_note("kernel tests left out: they need root")
}

/// A part of Redis's own test suite, through both paths.
fn conformance() -> Outcome {
    step::counted("conformance with Redis (a part)", || {
        let conformance::Summary { passed, failed, note } = conformance::check()?;
        Ok(Counts { passed, failed, note })
    })
}

/// The containers of `docker-compose.yml`, in the reduced run.
fn compose() -> Outcome {
    let name = "docker-compose.yml (reduced)";
    if !workspace::is_root() {
        return Outcome::left_out(name, "left out: it needs root");
    }
    step::counted(name, || {
        let (passed, failed) = compose::check()?;
        Ok(Counts { passed, failed, note: None })
    })
}

fn deny() -> Vec<Outcome> {
    let mut outcomes = vec![step::run(
        "cargo deny: bans, licenses, sources",
        with_tools().args(["deny", "--workspace", "check", "bans", "licenses", "sources"]),
    )];
    // The advisory database is a git repository, which not every network reaches. That is told, not hidden.
    let mut fetch = with_tools();
    fetch.args(["deny", "fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    if workspace::output(&mut fetch).is_ok() {
        let mut check = with_tools();
        outcomes.push(step::run(
            "cargo deny: advisories",
            check.args(["deny", "--workspace", "check", "--disable-fetch", "advisories"]),
        ));
    } else {
        outcomes[0].note = Some("advisories left out: their database cannot be fetched here".to_owned());
    }
    outcomes
}

/// cargo that finds the tools that setup built.
fn with_tools() -> Command {
    let mut command = workspace::cargo();
    if let Ok(path) = workspace::path_with([workspace::tools_prefix().join("bin")]) {
        command.env("PATH", path);
    }
    command
}

fn summarize(outcomes: &[Outcome]) -> bool {
    println!("\n{:<52} {:>7} {:>7} {:>8}", "step", "passed", "failed", "seconds");
    for outcome in outcomes {
        println!("{:<52} {:>7} {:>7} {:>8.0}", outcome.name, outcome.passed, outcome.failed, outcome.seconds);
        if let Some(note) = &outcome.note {
            println!("    {note}");
        }
    }
    let passed: u64 = outcomes.iter().map(|outcome| outcome.passed).sum();
    let failed: u64 = outcomes.iter().map(|outcome| outcome.failed).sum();
    println!("\n{passed} passed, {failed} failed");
    failed == 0 && passed > 0
}
