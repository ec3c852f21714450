//! The programs that people use, through the accelerated port and on both paths: each runs to its end, with the right counts.

mod browser;
mod curl;
mod load;
mod slow;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{ACCELERATED, CLIENT_V4, Lab, Mode, SERVER_V4};
use crate::process::Process;
use crate::site::Site;

/// How long a program may run, also on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(120);

const RULES: &str = "[[rule]]\nname = \"private\"\npath_prefix = \"/private/\"\naction = \"deny\"\n";

/// A test on both paths.
fn on_both(file: &str, test: impl Fn(&mut Lab, Mode) -> Result<()>) {
    for mode in Mode::ALL {
        Lab::run_on(mode, Site::Logging, file, |lab| {
            test(lab, mode).with_context(|| format!("on the {} path", mode.name()))
        });
    }
}

/// The URL of a path behind the accelerated port.
fn url(path: &str) -> String {
    format!("http://{SERVER_V4}:{ACCELERATED}{path}")
}

/// Runs a program where clients are, to its end, which must be a good one. What it said.
fn tool(lab: &Lab, name: &str, arguments: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let mut command = lab.client_place().command(name);
    // Nobody's settings change what it does, and nothing of it stays.
    command.args(arguments).env("HOME", folder.path()).env("no_proxy", "*");
    let mut process = Process::start(&mut command, folder.path(), name)?;
    let status = process.wait(LONG)?;
    ensure!(status.success(), "{command:?} ended with {status}:\n{}", process.words());
    Ok(process.words())
}

/// The number between two texts, at the first place where there is one.
fn number(text: &str, before: &str, behind: &str) -> Result<u64> {
    for (at, _) in text.match_indices(before) {
        let rest = text[at + before.len()..].trim_start();
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        if digits != 0 && rest[digits..].trim_start().starts_with(behind) {
            return Ok(rest[..digits].parse()?);
        }
    }
    bail!("no number between {before:?} and {behind:?}:\n{text}")
}

/// Checks that the guard's counters tell of so many requests since the start.
fn judged(lab: &Lab, passed: u64, refused: u64) -> Result<()> {
    let status = lab.status()?;
    ensure!(
        (status.passed_total, status.refused_total) == (passed, refused),
        "{passed}, {refused}: {status}"
    );
    Ok(())
}

/// How many lines of Nginx's log tell of the client by its own address, and have this text in them.
fn logged(lab: &Lab, text: &str) -> Result<usize> {
    let client = format!("{CLIENT_V4} ");
    Ok(lab.access_log()?.lines().filter(|line| line.starts_with(&client) && line.contains(text)).count())
}
