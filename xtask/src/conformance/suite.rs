//! Runs Redis's test suite, in its external mode, against one address.

use super::results::{Progress, Results};
use crate::lab::Place;
use crate::{cleanup, workspace};
use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

/// Slow tests take hours; replication needs servers of its own. As Redis's own tests of external servers do.
const TAGS: &str = "-slow -needs:repl";
/// Without any progress for so long the suite gives up.
const SILENCE_SECONDS: &str = "180";

/// What Redis has to be started with, so that the suite can do all it wants to. As in Redis's own tests of external
/// servers.
pub(super) const REDIS_ARGUMENTS: [&str; 6] =
    ["--enable-debug-command", "yes", "--enable-protected-configs", "yes", "--enable-module-command", "yes"];

/// What makes the suite's client provoke a cache.
const PROVOKING: &str = include_str!("provoking.tcl");

/// Units about the server's accounts of its clients and their commands, in which the provoking client's reads show.
pub(super) const NOT_PROVOKED: [&str; 5] =
    ["unit/latency-monitor", "unit/slowlog", "unit/introspection", "unit/introspection-2", "unit/tracking"];

/// Changes the unpacked suite so that its client provokes a cache: see `provoking.tcl`.
pub(super) fn provoke(sources: &Path) -> Result<()> {
    let client = sources.join("tests/support/redis.tcl");
    OpenOptions::new()
        .append(true)
        .open(&client)
        .and_then(|mut file| file.write_all(PROVOKING.as_bytes()))
        .with_context(|| format!("cannot change {}", client.display()))
}

/// What a run of the suite needs.
pub(super) struct Suite<'a> {
    /// Root of the unpacked sources.
    pub(super) sources: &'a Path,
    /// Where its clients run.
    pub(super) place: &'a Place,
    /// The port that is tested.
    pub(super) address: SocketAddr,
    /// Redis's own port.
    pub(super) redis_port: u16,
    /// Units to run; empty means all.
    pub(super) units: &'a [String],
    /// Units not to run.
    pub(super) left_out: &'a [&'a str],
    /// Where what it says is kept.
    pub(super) log: &'a Path,
}

/// Runs the suite to its end.
pub(super) fn run(suite: &Suite<'_>) -> Result<Results> {
    let Suite { sources, place, address, redis_port, units, left_out, log } = suite;
    let tclsh = workspace::find("tclsh").context("tclsh is missing; run `cargo xtask setup`")?;
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = place.command(tclsh);
    command.arg("tests/test_helper.tcl").current_dir(sources);
    command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    // An exception in one test must not hide what the others say: `--durable` makes it a failure.
    command.args(["--tags", TAGS, "--timeout", SILENCE_SECONDS, "--durable"]);
    command.args(units.iter().flat_map(|unit| ["--single", unit]));
    command.args(left_out.iter().flat_map(|unit| ["--skipunit", unit]));
    // No colours.
    command.env("TERM", "dumb").env("XPS_REDIS_PORT", redis_port.to_string());
    // Its session is a group too: the suite starts programs that are to end with it.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file.try_clone()?);
    let mut child = command.spawn().context("cannot start tclsh")?;
    let group = libc::pid_t::try_from(child.id()).context("a process id that is none")?;
    // The child is waited for after this is dropped, so the number means its group and no other.
    let killer = cleanup::at_end(move || {
        // SAFETY: kill has no memory effects.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    });
    let mut results = Results::default();
    let stdout = child.stdout.take().context("the suite has no output")?;
    let mut passed_before = 0;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("the suite's output cannot be read")?;
        file.write_all(&line).and_then(|()| file.write_all(b"\n")).context("the log cannot be written")?;
        // Values may hold anything, and end up on a terminal.
        let shown = String::from_utf8_lossy(&line).replace(|c: char| c.is_control(), "\u{fffd}");
        if let Progress::Unit(unit) = results.line(&shown) {
            let passed = results.passed_count();
            println!(
                "    {unit:<32} {:>5} ok, {} failed so far",
                passed - passed_before,
                results.failures.len()
            );
            passed_before = passed;
        }
    }
    drop(killer);
    let status = child.wait().context("tclsh cannot be waited for")?;
    let broken = !status.success() && results.failures.is_empty();
    if broken || results.passed_count() == 0 {
        let text = std::fs::read(log).unwrap_or_default();
        bail!(
            "Redis's test suite did not run ({status}). Its last words:\n{}",
            workspace::tail(&String::from_utf8_lossy(&text), 20)
        );
    }
    Ok(results)
}
