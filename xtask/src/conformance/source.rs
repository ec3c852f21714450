//! Redis's source package, which holds its test suite: fetched once, its sum checked, unpacked for each use.

use crate::download::Package;
use crate::workspace;
use anyhow::{Context, Result};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian 12's.
pub(super) const VERSION: &str = "7.0.15";
const PACKAGE: Package = Package {
    what: "Redis's source package with its test suite",
    file: "redis_7.0.15.orig.tar.gz",
    url: "http://deb.debian.org/debian/pool/main/r/redis/redis_7.0.15.orig.tar.gz",
    sha256: "4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982",
};
/// Name of the folder inside the package.
const ROOT: &str = "redis-7.0.15";

/// Programs that the suite expects beside its sources.
const PROGRAMS: [&str; 3] = ["redis-server", "redis-cli", "redis-benchmark"];

/// Makes sure that the package is there, and returns its path.
pub(super) fn fetch() -> Result<PathBuf> {
    PACKAGE.fetch()
}

/// Unpacks the package into `folder` and puts the installed programs where the suite looks for them. Returns the
/// sources' root.
pub(super) fn unpack(package: &Path, folder: &Path) -> Result<PathBuf> {
    let arguments = ["--extract", "--gzip", "--no-same-owner", "--file"];
    workspace::output(Command::new("tar").args(arguments).arg(package).arg("--directory").arg(folder))
        .context("Redis's source package cannot be unpacked")?;
    let root = folder.join(ROOT);
    for name in PROGRAMS {
        let program =
            workspace::find(name).with_context(|| format!("{name} is missing; run `cargo xtask setup`"))?;
        let link = root.join("src").join(name);
        symlink(program, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(root)
}
