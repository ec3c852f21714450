//! Long tests as commands of their own: the test program is built as for `cargo test`, and one of its tests is run.
//!
//! There is one implementation of each, in kv-cache's tests; a command only says for how long and how.

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
    /// The test program in `kv-cache/tests`.
    pub(crate) program: &'a str,
    /// The test.
    pub(crate) name: &'a str,
    /// Its variables.
    pub(crate) variables: Vec<(&'a str, String)>,
}

/// Runs it. Whether it passed.
pub(crate) fn run(trial: &Trial) -> Result<bool> {
    if !workspace::is_root() {
        bail!("this needs root: it runs in network namespaces of its own");
    }
    setup::run(&setup::Options::default())?;
    let mut command = Command::new(build(trial.program)?);
    command.args([trial.name, "--exact", "--nocapture"]).env("XPS_KERNEL_TESTS", "1");
    command.envs(trial.variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot run the test {}", trial.name))?;
    let handle = Arc::new(pidfd(&child).with_context(|| format!("cannot hold on to {}", trial.name))?);
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

fn build(program: &str) -> Result<PathBuf> {
    println!("building the test {program}");
    let mut command = workspace::cargo();
    command.args(["test", "--package", "kv-cache", "--test", program, "--no-run"]);
    workspace::built(&mut command, program)
}
