//! Source packages from Debian's pool: fetched once, their sums checked.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Part of apt: knows its proxies, and checks the sum.
const DOWNLOADER: &str = "/usr/lib/apt/apt-helper";

/// A package.
pub(crate) struct Package {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// Name of the file.
    pub(crate) file: &'static str,
    pub(crate) url: &'static str,
    pub(crate) sha256: &'static str,
}

impl Package {
    /// Makes sure that the package is there, and returns its path.
    pub(crate) fn fetch(&self) -> Result<PathBuf> {
        let Self { what, file, url, sha256 } = self;
        let folder = workspace::target().join("xps-downloads");
        let package = folder.join(file);
        if package.is_file() {
            if sum(&package)? == *sha256 {
                return Ok(package);
            }
            println!("{} is damaged and will be fetched again", package.display());
        }
        println!("fetching {what} (3 MB) from {url}");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Under a name of its own until it is whole: another run may want it at the same time.
        let partial = folder.join(format!("{file}.{}", std::process::id()));
        let fetched = workspace::output(
            Command::new(DOWNLOADER)
                .args(["download-file", url])
                .arg(&partial)
                .arg(format!("SHA256:{sha256}")),
        )
        .and_then(|_| sum(&partial));
        match fetched {
            Ok(found) if found == *sha256 => {
                fs::rename(&partial, &package)
                    .with_context(|| format!("cannot move the package to {}", package.display()))?;
                Ok(package)
            }
            outcome => {
                let _ = fs::remove_file(&partial);
                let why = match outcome {
                    Ok(found) => format!("its SHA-256 is {found}, not {sha256}"),
                    Err(error) => format!("{error:#}"),
                };
                bail!(
                    "{what} could not be fetched: {why}\nCheck the network and apt's proxy settings, or fetch {url} by \
                     other means and put it at {}",
                    package.display()
                )
            }
        }
    }
}

fn sum(path: &Path) -> Result<String> {
    let text = workspace::output(Command::new("sha256sum").arg("--").arg(path))?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}
