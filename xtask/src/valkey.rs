//! Valkey's server, built from its source package: Debian 12 has none.

use crate::download::Package;
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Debian 13's.
pub(crate) const VERSION: &str = "8.1.1";
const PACKAGE: Package = Package {
    what: "Valkey's source package",
    file: "valkey_8.1.1+dfsg1.orig.tar.xz",
    url: "http://deb.debian.org/debian/pool/main/v/valkey/valkey_8.1.1+dfsg1.orig.tar.xz",
    sha256: "d9bbd82eecb82f359e649a0007ad3dc1b47cc15afa626348ca86b73c4ae2c7ee",
};
/// Name of the folder inside the package.
const ROOT: &str = "valkey-8.1.1";
const PROGRAM: &str = "valkey-server";

/// Builds the server unless it is there, and returns its path.
pub(crate) fn server() -> Result<PathBuf> {
    let folder = workspace::target().join("xps-valkey").join(VERSION);
    let program = folder.join(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    let package = PACKAGE.fetch()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // One of its own: another run may build at the same time.
    let sources = folder.join(format!("build-{}", std::process::id()));
    fs::create_dir(&sources).with_context(|| format!("cannot make {}", sources.display()))?;
    let built = build(&package, &sources).and_then(|built| {
        fs::rename(&built, &program)
            .with_context(|| format!("cannot move the program to {}", program.display()))
    });
    let _ = fs::remove_dir_all(&sources);
    built?;
    Ok(program)
}

fn build(package: &std::path::Path, sources: &std::path::Path) -> Result<PathBuf> {
    println!("building Valkey {VERSION} (a minute or two)");
    let arguments = ["--extract", "--xz", "--no-same-owner", "--file"];
    workspace::output(Command::new("tar").args(arguments).arg(package).arg("--directory").arg(sources))
        .context("Valkey's source package cannot be unpacked; is xz-utils installed?")?;
    let root = sources.join(ROOT).join("src");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut make = Command::new("make");
    make.arg(format!("--jobs={jobs}")).arg("--directory").arg(&root).arg(PROGRAM);
    // What it can do without further libraries. It runs for tests: what counts is how long it takes to build.
    make.args(["MALLOC=libc", "USE_SYSTEMD=no", "BUILD_TLS=no", "OPTIMIZATION=-O1"]);
    // cargo's settings for its own C compilers are none of make's.
    make.env_remove("CFLAGS").env_remove("MAKEFLAGS").env_remove("MFLAGS");
    workspace::output(&mut make)
        .context("Valkey could not be built; `cargo xtask setup` installs gcc and make")?;
    Ok(root.join(PROGRAM))
}
