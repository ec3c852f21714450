//! `cargo xtask dashboard`: Grafana's dashboard, written from what stands in [`panels`].
//!
//! # Layout
//! - [`panels`]: which panels there are, and what they ask for.
//! - [`json`]: Grafana's form of them.

mod json;
mod panels;

use crate::{setup, workspace};
use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Where the dashboard is.
pub(crate) const FILE: &str = "deploy/grafana/dashboards/xps.json";

/// What to do with it.
#[derive(Args)]
pub(crate) struct Options {
    /// Only tell whether the file is as it would be written.
    #[arg(long, conflicts_with = "schema")]
    check: bool,
    /// Also hold it against Grafana's own types (needs the Python package index, for Node.js, and npm's registry).
    #[arg(long)]
    schema: bool,
}

/// Writes the dashboard, or compares it. Returns whether it is up to date.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let (path, text) = (path(), text()?);
    if options.check {
        let same = fs::read_to_string(&path).is_ok_and(|written| written == text);
        println!("{FILE} is {}", if same { "up to date" } else { "old: run `cargo xtask dashboard`" });
        return Ok(same);
    }
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{FILE} is written");
    if options.schema {
        println!("{FILE}: {}", fits_schema()?);
    }
    Ok(true)
}

/// Holds the file against Grafana's types. What the checker says; its mistakes are the error.
pub(crate) fn fits_schema() -> Result<String> {
    let folder = workspace::target().join("xps-grafana-schema");
    fs::create_dir_all(&folder)?;
    let node = setup::NODE.programs()?;
    let sources = workspace::root().join("deploy/grafana/schema");
    let mut fresh = folder.join("node_modules").is_dir();
    for entry in fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))? {
        let (from, to) = (entry?.path(), &folder);
        let to = to.join(from.file_name().unwrap_or_default());
        fresh &= fs::read(&from).ok() == fs::read(&to).ok();
        fs::copy(&from, &to)?;
    }
    if !fresh {
        let mut install = Command::new(node.join("npm"));
        install
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .env("PATH", workspace::path_with([node.clone()])?);
        workspace::output(&mut install)
            .context("Grafana's types could not be fetched from npm's registry")?;
    }
    let mut check = Command::new(node.join("node"));
    check.arg("check.mjs").arg(path()).current_dir(&folder);
    Ok(workspace::output(&mut check)?.trim().to_owned())
}

fn path() -> PathBuf {
    workspace::root().join(FILE)
}

fn text() -> Result<String> {
    Ok(serde_json::to_string_pretty(&json::dashboard(&panels::rows()))? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_would_be_written() {
        let written = fs::read_to_string(path()).unwrap();
        assert!(written == text().unwrap(), "run `cargo xtask dashboard`");
    }
}
