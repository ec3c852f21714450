//! Installs what the other commands need, says what, and does nothing when all is there.
//!
//! Debian's packages ([`packages`]), bpf-linker ([`linker`]) and, for `cargo xtask test`, cargo-deny and cargo-fuzz ([`tools`]),
//! Playwright, Node.js and what knows Kubernetes ([`python`]).

mod linker;
mod packages;
mod python;
mod tools;

use anyhow::Result;
use clap::Args;

pub(crate) use python::{KUBERNETES, NODE};

/// What to install.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Also cargo-deny and cargo-fuzz, which `cargo xtask test` runs (a few minutes to build).
    #[arg(long)]
    pub(crate) tools: bool,
    /// Also the programs that tests go through: ab, h2load, slowhttptest, Chromium and Playwright (some hundred
    /// megabytes).
    #[arg(long)]
    pub(crate) tests: bool,
}

/// Installs what is missing. Returns whether anything was installed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut changed = packages::install(options.tests)?;
    changed |= linker::install()?;
    if options.tests {
        changed |= python::PLAYWRIGHT.install()?;
    }
    if options.tools {
        changed |= tools::install()?;
    }
    println!("setup: {}", if changed { "done" } else { "everything is there, nothing to do" });
    Ok(changed)
}
