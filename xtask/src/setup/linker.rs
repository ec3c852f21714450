//! bpf-linker, built against the LLVM that Debian's rustc brought.

use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// 0.13 is the first that links what rustc 1.9x with LLVM 22 emits.
const VERSION: &str = "0.13.0";
/// Debian's, not rustup's: only this one brings core for the BPF target and its LLVM as a shared library.
const RUSTC: &str = "/usr/bin/rustc";

/// Builds bpf-linker unless the one there fits the LLVM there. Returns whether it was built.
pub(super) fn install() -> Result<bool> {
    let prefix = workspace::bpf_prefix();
    let llvm = Llvm::of(RUSTC)?;
    let link = prefix.join("lib/libLLVM.so");
    if fs::read_link(&link).is_ok_and(|target| target == llvm.library) && works(&prefix) {
        return Ok(false);
    }
    println!("setup: building bpf-linker {VERSION} for LLVM {} into {}", llvm.major, prefix.display());
    fs::create_dir_all(prefix.join("lib")).with_context(|| format!("cannot make {}", prefix.display()))?;
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&llvm.library, &link)
        .with_context(|| format!("cannot make {}", link.display()))?;
    let mut command = workspace::cargo();
    command
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force", "--no-default-features"])
        .args(["--features", &format!("llvm-{}", llvm.major), "--root"])
        .arg(&prefix)
        .env("LLVM_PREFIX", &prefix)
        .env("CARGO_TARGET_DIR", workspace::target().join("xps-build/bpf-linker"))
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    workspace::output(&mut command)
        .context("bpf-linker could not be built; setup needs the crates registry (check the network)")?;
    // Only the program is wanted; what it was built from is some hundred MB.
    let _ = fs::remove_dir_all(workspace::target().join("xps-build/bpf-linker"));
    Ok(true)
}

fn works(prefix: &Path) -> bool {
    workspace::output(Command::new(prefix.join("bin/bpf-linker")).arg("--version"))
        .is_ok_and(|text| text.contains(VERSION))
}

struct Llvm {
    major: String,
    library: PathBuf,
}

impl Llvm {
    /// Derived, not pinned: Debian's rustc and its LLVM follow security updates.
    fn of(rustc: &str) -> Result<Self> {
        let version = workspace::output(Command::new(rustc).arg("-vV"))
            .context("Debian's rustc (package rustc-web) does not run")?;
        let major = major(&version).with_context(|| format!("{rustc} -vV names no LLVM version"))?;
        let package = format!("libllvm{major}");
        let files = workspace::output(Command::new("dpkg").args(["-L", &package]))
            .with_context(|| format!("the package {package}, which rustc-web depends on, is missing"))?;
        let library = files
            .lines()
            .find(|file| file.contains(&format!("libLLVM.so.{major}")))
            .with_context(|| format!("the package {package} holds no libLLVM.so.{major}"))?;
        Ok(Self { major, library: library.into() })
    }
}

fn major(version: &str) -> Option<String> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next().filter(|major| major.parse::<u32>().is_ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #[test]
    fn llvm_number_comes_from_rustc() {
        assert_eq!(
            super::major("rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n").as_deref(),
            Some("22")
        );
        assert_eq!(super::major("rustc 1.96.0\n"), None);
    }
}
