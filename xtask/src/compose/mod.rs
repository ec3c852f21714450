//! `cargo xtask compose`: the real `docker-compose.yml`, run here and checked from outside.
//!
//! Official images cannot be pulled everywhere a test runs, so stand-ins take their names: Debian's packages of the same
//! programs. What is tested of them is how the compose file uses them, not they. The sidecars' images are the real ones, from
//! `deploy/Dockerfile`. Grafana has no stand-in: its dashboard's expressions are asked of Prometheus instead.
//!
//! # Layout
//! - [`engine`], [`daemon`]: Docker, fetched and run for this checkout alone.
//! - [`file`](mod@file), [`images`]: what the compose file says, and the images that it names.
//! - [`stack`], [`client`]: the running containers, and who uses their ports.
//! - [`checks`], [`prometheus`], [`recovery`]: what must be so; [`report`]: what was.

mod checks;
mod client;
mod daemon;
mod engine;
mod file;
mod images;
mod prometheus;
mod recovery;
mod report;
mod stack;

use crate::lab::Folder;
use crate::{setup, workspace};
use anyhow::{Context, Result, bail, ensure};
use checks::Path;
use clap::Args;
use daemon::Daemon;
use engine::Engine;
use images::Compiler;
use report::Report;
use stack::{PROJECT, Stack};
use std::io::ErrorKind;
use std::path::{self, PathBuf};
use std::time::Instant;

/// The file that takes the capabilities away.
const UNPRIVILEGED: &str = "deploy/compose/unprivileged.yml";

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Compile the sidecars outside of the images, and restart only some of the containers: faster.
    #[arg(long)]
    reduced: bool,
    /// Only build the images.
    #[arg(long)]
    build: bool,
}

/// Runs all checks and prints them. Returns whether all passed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    setup::run(&setup::Options::default())?;
    let report = checked(options.reduced, options.build)?;
    println!("\n{} passed, {} failed", report.passed, report.failed);
    Ok(report.failed == 0)
}

/// The reduced run, where all that it needs is installed. Returns how many checks passed and failed.
pub(crate) fn check() -> Result<(u64, u64)> {
    checked(true, false).map(|report| (report.passed, report.failed))
}

fn checked(reduced: bool, build: bool) -> Result<Report> {
    if !workspace::is_root() {
        bail!(
            "this needs root: it runs a Docker daemon of its own; with Docker at hand, `docker compose up` does not"
        );
    }
    let start = Instant::now();
    let folder = Folder::create()?;
    let daemon = Daemon::start(Engine::install()?, &folder)?;
    let file = file::File::read(&daemon)?;
    let compiler = if reduced { Compiler::Machine } else { Compiler::Image };
    println!(
        "images: the sidecars' are built from deploy/Dockerfile; redis, nginx, prometheus and what they are built on are \
         stand-ins made of Debian's packages; grafana is left out"
    );
    images::build(&daemon, &file, &folder, compiler)?;
    println!("images are there after {:.0} s", start.elapsed().as_secs_f64());
    let mut report = Report::default();
    if build {
        return Ok(report);
    }
    println!("\ndocker compose up, with the capabilities that the file asks for");
    {
        let stack = Stack::up(&daemon, &folder, &[])?;
        checks::service(&mut report, &stack, Path::Kernel);
        println!("the same under load (profile load)");
        stack.start(&["load"])?;
        checks::monitoring(&mut report, &stack);
        recovery::run(&mut report, &stack, reduced);
        if report.failed > 0 {
            println!("{}", stack.last_words());
        }
    }
    report.check("taken down, nothing stays pinned in the stack", || {
        // The file system has files of its own besides.
        let left = files(&folder.bpf().join(PROJECT))?;
        ensure!(left.is_empty(), "{left:?} are left");
        Ok(String::new())
    });
    println!("\ndocker compose up without any capability ({UNPRIVILEGED})");
    {
        let stack = Stack::up(&daemon, &folder, &[UNPRIVILEGED])?;
        checks::service(&mut report, &stack, Path::User);
        if report.failed > 0 {
            println!("{}", stack.last_words());
        }
    }
    println!("after {:.0} s: all is taken down", start.elapsed().as_secs_f64());
    Ok(report)
}

/// All files below a folder, which need not be there.
fn files(folder: &path::Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
