//! Redis's source package, which holds its test suite: fetched once, its sum checked, unpacked for each use.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian 12's.
pub(super) const VERSION: &str = "7.0.15";
const FILE: &str = "redis_7.0.15.orig.tar.gz";
const URL: &str = "http://deb.debian.org/debian/pool/main/r/redis/redis_7.0.15.orig.tar.gz";
const SHA256: &str = "4b1dc4ee6d622a09fff9c6777191209750fb5e5a725ef78ea012d6eef4c22982";
/// Name of the folder inside the package.
const ROOT: &str = "redis-7.0.15";

/// Part of apt: knows its proxies, and checks the sum.
const DOWNLOADER: &str = "/usr/lib/apt/apt-helper";
/// Programs that the suite expects beside its sources.
const PROGRAMS: [&str; 3] = ["redis-server", "redis-cli", "redis-benchmark"];

/// Makes sure that the package is there, and returns its path.
pub(super) fn fetch() -> Result<PathBuf> {
    let folder = workspace::target().join("xps-downloads");
    let package = folder.join(FILE);
    if package.is_file() {
        if sum(&package)? == SHA256 {
            return Ok(package);
        }
        println!("conformance: {} is damaged and will be fetched again", package.display());
    }
    println!("conformance: fetching Redis's source package with its test suite (3 MB) from {URL}");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Under a name of its own until it is whole: another run may want it at the same time.
    let partial = folder.join(format!("{FILE}.{}", std::process::id()));
    let fetched = workspace::output(
        Command::new(DOWNLOADER).args(["download-file", URL]).arg(&partial).arg(format!("SHA256:{SHA256}")),
    )
    .and_then(|_| sum(&partial));
    match fetched {
        Ok(found) if found == SHA256 => {
            fs::rename(&partial, &package)
                .with_context(|| format!("cannot move the package to {}", package.display()))?;
            Ok(package)
        }
        outcome => {
            let _ = fs::remove_file(&partial);
            let why = match outcome {
                Ok(found) => format!("its SHA-256 is {found}, not {SHA256}"),
                Err(error) => format!("{error:#}"),
            };
            bail!(
                "Redis's source package could not be fetched: {why}\nCheck the network and apt's proxy settings, or \
                 fetch {URL} by other means and put it at {}",
                package.display()
            )
        }
    }
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

fn sum(path: &Path) -> Result<String> {
    let text = workspace::output(Command::new("sha256sum").arg("--").arg(path))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}
