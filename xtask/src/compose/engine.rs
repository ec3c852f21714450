//! Docker's programs, from Debian's packages: unpacked for this checkout, never installed.
//!
//! Debian 12's own Docker does not know `CAP_BPF`; Debian 13's does, and its programs are linked so that they run on 12. They
//! come by apt with settings of their own, so that nothing of the system's changes, and no service is there at the next boot.

use crate::workspace;
use anyhow::{Context, Result};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From Debian 13.
const NEWER: &str = "docker.io docker-cli docker-compose docker-buildx";
/// From Debian 12: what those call, and what makes an image out of Debian's packages.
const OLDER: &str = "containerd runc mmdebstrap";
/// Changes when the packages do, so that what an older version of this program has unpacked is not taken for it.
const EDITION: &str = "1";
const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where Docker's programs are.
pub(super) struct Engine {
    root: PathBuf,
    path: OsString,
}

impl Engine {
    /// Fetches and unpacks what is missing, and says so.
    pub(super) fn install() -> Result<Self> {
        let root = workspace::target().join("xps-docker").join(EDITION);
        if !root.is_dir() {
            println!("setup: fetching Docker of Debian 13 (85 MB) into {}: {NEWER} {OLDER}", root.display());
            // Under a name of its own until it is whole: another run may want it at the same time.
            let partial = root.with_extension(std::process::id().to_string());
            let fetched = fetch(&partial).and_then(|()| {
                fs::rename(&partial, &root).with_context(|| format!("cannot make {}", root.display()))
            });
            if fetched.is_err() {
                let _ = fs::remove_dir_all(&partial);
            }
            fetched.context("Docker could not be fetched; check the network and apt's proxy settings")?;
        }
        let path = workspace::path_with(["usr/bin", "usr/sbin"].map(|folder| root.join(folder)))?;
        Ok(Self { root, path })
    }

    /// A `PATH` by which they find each other.
    pub(super) fn path(&self) -> &OsStr {
        &self.path
    }

    /// One of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.root.join("usr").join(name)
    }

    /// Where the plugins of the command line lie.
    pub(super) fn plugins(&self) -> PathBuf {
        self.program("libexec/docker/cli-plugins")
    }
}

fn fetch(root: &Path) -> Result<()> {
    let apt = Apt::create(&root.join("apt"))?;
    workspace::output(apt.command().arg("update"))?;
    let packages = root.join("packages");
    fs::create_dir_all(&packages)?;
    let mut download = apt.command();
    download.arg("download").args(NEWER.split(' ')).args(OLDER.split(' ')).current_dir(&packages);
    workspace::output(&mut download)?;
    for package in fs::read_dir(&packages)? {
        workspace::output(Command::new("dpkg").arg("--extract").arg(package?.path()).arg(root))?;
    }
    fs::remove_dir_all(&packages)?;
    fs::remove_dir_all(root.join("apt"))?;
    Ok(())
}

/// apt with sources and lists of its own. Proxies and the like are the system's.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn create(folder: &Path) -> Result<Self> {
        for name in ["lists/partial", "archives/partial", "empty"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let source = |release: &str| format!("deb [signed-by={KEYRING}] {MIRROR} {release} main\n");
        fs::write(folder.join("sources.list"), source("bookworm") + &source("trixie"))?;
        let preferences = format!(
            "Package: *\nPin: release n=trixie\nPin-Priority: -10\n\nPackage: {NEWER}\nPin: release n=trixie\nPin-Priority: 990\n"
        );
        fs::write(folder.join("preferences"), preferences)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-o", "APT::Update::Error-Mode=any", "-o", "APT::Sandbox::User=root"]);
        for (option, place) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "empty"),
            ("Dir::Etc::preferences", "preferences"),
            ("Dir::Etc::preferencesparts", "empty"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", ""),
        ] {
            command.arg("-o").arg(format!("{option}={}", self.folder.join(place).display()));
        }
        command
    }
}
