//! The images of `docker-compose.yml`: the sidecars from `deploy/Dockerfile`, stand-ins for the official ones.

use super::daemon::Daemon;
use super::file::{Build, File};
use crate::lab::Folder;
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What all images begin with, also the sidecars'.
const BASE: &str = "debian:bookworm-slim";
/// What the sidecars are built in.
const BUILDER: &str = "rust:1-bookworm";
/// Stages of the stand-ins' Dockerfile, and the service whose image each stands in for; without one it is [`BUILDER`].
const STAGES: [(&str, Option<&str>); 4] =
    [("redis", Some("redis")), ("nginx", Some("nginx")), ("prometheus", Some("prometheus")), ("rust", None)];
/// Where a machine keeps authorities of its own.
const CERTIFICATES: &str = "/usr/local/share/ca-certificates";

/// How much of what was built is kept for the next run: the compiled dependencies of three sidecars, and then some.
const KEPT: &str = "6GB";

/// The stage of `deploy/Dockerfile` that compiles, and where it leaves the programs.
const COMPILING: (&str, &str) = ("build", "programs");

/// Who compiles the sidecars.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compiler {
    /// `deploy/Dockerfile`, from nothing, as for users.
    Image,
    /// This machine's cargo, which has compiled most of it for other tests; the images' last stages are the file's.
    Machine,
}

/// Builds what is missing or older than its sources.
pub(super) fn build(daemon: &Daemon, file: &File, folder: &Folder, compiler: Compiler) -> Result<()> {
    let programs = folder.path().join("build");
    if compiler == Compiler::Machine {
        compile(&programs.join(COMPILING.1))?;
    }
    if workspace::output(daemon.docker().args(["image", "inspect", BASE])).is_err() {
        step(&format!("stand-in for {BASE}, from Debian's packages"), || base(daemon, folder))?;
    }
    let context = folder.path().join("stand-ins");
    stand_in_context(&context)?;
    for (stage, service) in STAGES {
        if service.is_none() && compiler == Compiler::Machine {
            continue;
        }
        let image = service.map_or_else(|| Ok(BUILDER.to_owned()), |service| file.image(service))?;
        step(&format!("stand-in for {image}, from Debian's packages"), || {
            let mut build = daemon.docker();
            build.args(["buildx", "build", "--network", "host", "--target", stage, "--tag", &image]);
            build.arg("--build-context").arg(format!("toolchain={}", toolchain()?.display()));
            workspace::output(build.arg(&context)).map(drop)
        })?;
    }
    for Build { image, dockerfile, target } in file.builds()? {
        step(&format!("{image}, from {dockerfile}"), || {
            let mut build = daemon.docker();
            build.args(["buildx", "build", "--network", "host", "--file", &dockerfile, "--target", &target]);
            if compiler == Compiler::Machine {
                // A context with a stage's name takes its place, and one with an image's name that image's: what the stages before
                // begin with is looked up, although they are not built.
                build.arg("--build-context").arg(format!("{}={}", COMPILING.0, programs.display()));
                build.arg("--build-context").arg(format!("{BUILDER}=docker-image://{BASE}"));
            }
            workspace::output(build.args(["--tag", &image, "."])).map(drop)
        })?;
    }
    prune(daemon)
}

/// Removes images that have lost their names to newer ones, and what was built longest ago where there is much of it.
fn prune(daemon: &Daemon) -> Result<()> {
    workspace::output(daemon.docker().args(["image", "prune", "--force"]))?;
    let mut build = daemon.docker();
    build.args(["buildx", "prune", "--force", "--keep-storage", KEPT]);
    workspace::output(&mut build).map(drop)
}

/// Puts the sidecars into a folder.
fn compile(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for name in ["kv-cache", "http-guard", "heartbeat"] {
        let program = workspace::build(name, "dev")?;
        let mut strip = Command::new("objcopy");
        strip.arg("--strip-debug").arg(program).arg(folder.join(name));
        workspace::output(&mut strip)?;
    }
    Ok(())
}

/// A Debian with nothing but what Debian calls essential, and apt.
fn base(daemon: &Daemon, folder: &Folder) -> Result<()> {
    let archive = folder.path().join("base.tar");
    let mut make = Command::new(daemon.engine().program("bin/mmdebstrap"));
    make.args(["--mode=root", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\"", "bookworm"]);
    make.arg(&archive).args(["bookworm", "bookworm-updates"].map(|suite| source("debian", suite)));
    make.arg(source("debian-security", "bookworm-security"));
    workspace::output(&mut make).context("Debian's packages could not be made an image")?;
    let mut import = daemon.docker();
    import.arg("import").arg(&archive).arg(BASE);
    workspace::output(&mut import)?;
    fs::remove_file(&archive)?;
    Ok(())
}

fn source(archive: &str, suite: &str) -> String {
    format!("deb http://deb.debian.org/{archive} {suite} main")
}

/// The Dockerfile of the stand-ins, with the authorities that this machine trusts besides Debian's.
fn stand_in_context(folder: &Path) -> Result<()> {
    let certificates = folder.join("certificates");
    fs::create_dir_all(&certificates)?;
    fs::write(folder.join("Dockerfile"), include_str!("stand_ins/Dockerfile"))?;
    // None is as good: the folder is there in any case.
    for entry in fs::read_dir(CERTIFICATES).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "crt") {
            fs::copy(entry.path(), certificates.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The compiler that built this program: the stand-in for Rust's own image has it, too.
fn toolchain() -> Result<PathBuf> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    Ok(workspace::output(rustc.args(["--print", "sysroot"]).stdin(Stdio::null()))?.trim().into())
}

fn step(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("building {what}");
    let start = Instant::now();
    work().with_context(|| format!("cannot build {what}"))?;
    println!("    {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
