//! Long tests as commands of their own: the test program is built as for `cargo test`, and some of its tests are run.
//!
//! There is one implementation of each, in the packages' tests; a command only says for how long and how.

use crate::lab::{end, pidfd};
use crate::{cleanup, setup, workspace};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// How long a test may take to remove its network when it is interrupted, in milliseconds.
const END_LIMIT_MS: libc::c_int = 30_000;

/// Which test, and the variables that tell it what to do.
pub(crate) struct Trial<'a> {
    /// The package.
    pub(crate) package: &'a str,
    /// The test program in its `tests`.
    pub(crate) program: &'a str,
    /// The tests.
    pub(crate) names: &'a [&'a str],
    /// Its variables.
    pub(crate) variables: Vec<(&'a str, String)>,
}

/// Runs it. Whether it passed.
pub(crate) fn run(trial: &Trial) -> Result<bool> {
    if !workspace::is_root() {
        bail!("this needs root: it runs in network namespaces of its own");
    }
    setup::run(&setup::Options::default())?;
    let mut command = Command::new(build(trial.package, trial.program)?);
    command.args(trial.names).args(["--exact", "--nocapture"]).env("XPS_KERNEL_TESTS", "1");
    command.envs(trial.variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", trial.program))?;
    let handle = Arc::new(pidfd(&child).with_context(|| format!("cannot hold on to {}", trial.program))?);
    // It removes what it made; from a terminal it has heard of Ctrl-C itself.
    let _guard = cleanup::at_end(move || {
        if !end(&handle, END_LIMIT_MS) {
            eprintln!(
                "the test does not end; its processes end with it, the next run removes its namespaces"
            );
        }
    });
    Ok(child.wait()?.success())
}

fn build(package: &str, program: &str) -> Result<PathBuf> {
    println!("building the test {program} of {package}");
    let mut command = workspace::cargo();
    command.args(["test", "--package", package, "--test", program, "--no-run"]);
    workspace::built(&mut command, program)
}
