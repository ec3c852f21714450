//! cargo-deny and cargo-fuzz, which only the checks use.

use crate::workspace;
use anyhow::{Context, Result};

struct Tool {
    name: &'static str,
    version: &'static str,
}

const TOOLS: &[Tool] =
    &[Tool { name: "cargo-deny", version: "0.20.2" }, Tool { name: "cargo-fuzz", version: "0.13.2" }];

/// Builds the tools that are neither in PATH nor built for this checkout. Returns whether any was.
pub(super) fn install() -> Result<bool> {
    let prefix = workspace::tools_prefix();
    let mut changed = false;
    for tool in TOOLS {
        if workspace::find(tool.name).is_some() || prefix.join("bin").join(tool.name).is_file() {
            continue;
        }
        println!("setup: building {} {} into {}", tool.name, tool.version, prefix.display());
        let mut command = workspace::cargo();
        command
            .args(["install", tool.name, "--version", tool.version, "--locked", "--root"])
            .arg(&prefix)
            .env("CARGO_TARGET_DIR", workspace::target().join("xps-build/tools"))
            // They run for seconds: what counts is how long they take to build.
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        workspace::output(&mut command).with_context(|| {
            format!("{} could not be built; setup needs the crates registry (check the network)", tool.name)
        })?;
        changed = true;
    }
    if changed {
        let _ = std::fs::remove_dir_all(workspace::target().join("xps-build/tools"));
    }
    Ok(changed)
}
