//! Playwright, by which tests look at the sidecars' pages in the system's Chromium. It lies in a folder of this checkout.

use crate::workspace;
use anyhow::{Context, Result};
use std::process::Command;

/// Its version. It drives Debian's Chromium, so no browser is fetched with it.
const VERSION: &str = "1.65.2";

/// Installs it where it is missing or another version. Returns whether it was.
pub(super) fn install() -> Result<bool> {
    let folder = workspace::tools_prefix().join("playwright");
    let python = folder.join("bin/python");
    let version = "from importlib.metadata import version; print(version('playwright'))";
    let there = workspace::output(Command::new(&python).args(["-c", version]));
    if there.is_ok_and(|text| text.trim() == VERSION) {
        return Ok(false);
    }
    println!("setup: installing Playwright {VERSION} into {}", folder.display());
    // Debian's own Python: another one in PATH may be gone tomorrow.
    workspace::output(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let wanted = format!("playwright=={VERSION}");
    workspace::output(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &wanted,
    ]))
    .context("Playwright could not be installed; setup needs the Python package index (check the network)")?;
    Ok(true)
}
