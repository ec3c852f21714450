//! Debian's packages.

use crate::{cleanup, workspace};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

struct Package {
    name: &'static str,
    why: &'static str,
    /// Taken where Debian has it, never missed where it has not.
    optional: bool,
    /// Only tests need it.
    tests: bool,
}

const fn package(name: &'static str, why: &'static str) -> Package {
    Package { name, why, optional: false, tests: false }
}

const fn for_tests(name: &'static str, why: &'static str) -> Package {
    Package { tests: true, ..package(name, why) }
}

const PACKAGES: &[Package] = &[
    package("rustc-web", "a rustc with the BPF target"),
    package("libstd-rust-web-dev-bpf", "core for that target"),
    package("gcc", "the host's linker"),
    package("g++", "libFuzzer"),
    package("make", "Valkey, which is built for tests"),
    package("xz-utils", "its source package"),
    package("redis-server", "the server that is measured"),
    package("redis-tools", "redis-benchmark and redis-cli"),
    package("tcl", "Redis's test suite"),
    package("nginx-light", "another server that is measured"),
    package("wrk", "HTTP load"),
    for_tests("apache2-utils", "ab, which tests go through"),
    for_tests("nghttp2-client", "h2load, likewise"),
    for_tests("slowhttptest", "slow clients, likewise"),
    for_tests("curl", "transfers of all kinds, likewise"),
    for_tests("chromium", "a browser, likewise"),
    for_tests("frr", "a BFD daemon that heartbeat holds sessions with"),
    for_tests("bird2", "another one"),
    for_tests("systemd", "systemd-analyze, which checks units"),
    package("python3-venv", "tools that are Python packages"),
    package("util-linux", "process namespaces"),
    package("iproute2", "network namespaces"),
    package("nftables", "packet loss in tests"),
    package("iptables", "names in containers"),
    package("haproxy", "a relay to compare with"),
    package("ethtool", "offloads in tests"),
    Package { optional: true, ..package("bpftool", "a look at what is attached") },
];

/// Packages that would start a service, and its name.
const SERVICES: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    ("haproxy", "haproxy"),
    ("nginx-light", "nginx"),
    ("frr", "frr"),
    ("bird2", "bird"),
];
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs the missing packages, with those that only tests need or without. Returns whether there were any.
pub(super) fn install(tests: bool) -> Result<bool> {
    let wanted = || PACKAGES.iter().filter(|package| tests || !package.tests);
    let names = || wanted().filter(|package| !package.optional).map(|package| package.name);
    if workspace::find("dpkg-query").is_none() {
        bail!(
            "setup knows Debian 12 and what derives from it, and there is no dpkg-query here. Install what these \
             packages hold by your own means: {}",
            names().collect::<Vec<_>>().join(" ")
        );
    }
    let mut missing: Vec<&Package> = wanted().filter(|package| !is_installed(package.name)).collect();
    let needed = missing.iter().any(|package| !package.optional);
    if missing.is_empty() || (!needed && !workspace::is_root()) {
        return Ok(false);
    }
    if !workspace::is_root() {
        let list: Vec<&str> =
            missing.iter().filter(|package| !package.optional).map(|package| package.name).collect();
        bail!(
            "these Debian packages are missing and installing them needs root: {}\n\
             Run as root:\n    apt-get update\n    apt-get install -y --no-install-recommends {}\n\
             then `cargo xtask setup` again",
            list.join(" "),
            list.join(" ")
        );
    }
    if needed {
        println!("setup: reading Debian's package lists (apt-get update)");
        workspace::output(apt().arg("update"))
            .context("setup needs Debian's package mirror; check the network and the apt sources")?;
    }
    missing.retain(|package| !package.optional || has_candidate(package.name));
    if missing.is_empty() {
        return Ok(false);
    }
    for package in &missing {
        println!("setup: installing {} ({})", package.name, package.why);
    }
    let list: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let quiet = forbid_service_starts()?;
    let result = workspace::output(
        apt().args(["install", "-y", "--no-install-recommends"]).args(&list).env("RUNLEVEL", "1"),
    );
    drop(quiet);
    result.with_context(|| format!("apt-get could not install {}", list.join(" ")))?;
    disable_services(&list)?;
    Ok(true)
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    // "Error-Mode=any": a mirror that cannot be reached is an error, not a warning with an old list.
    command.args(["-q", "-o", "APT::Update::Error-Mode=any"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_installed(package: &str) -> bool {
    workspace::output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn has_candidate(package: &str) -> bool {
    workspace::output(Command::new("apt-cache").args(["show", package]))
        .is_ok_and(|text| !text.trim().is_empty())
}

/// While the guard lives, maintainer scripts start no service: Debian's own switch for that is a policy program.
/// One that the administrator put there stays as it is.
fn forbid_service_starts() -> Result<Option<cleanup::Guard>> {
    if Path::new(POLICY).exists() {
        return Ok(None);
    }
    let guard = cleanup::at_end(|| {
        let _ = fs::remove_file(POLICY);
    });
    fs::write(
        POLICY,
        "#!/bin/sh\n# Made by `cargo xtask setup` for the time of one installation.\nexit 101\n",
    )
    .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
    .with_context(|| format!("cannot write {POLICY}, which keeps services from starting"))?;
    Ok(Some(guard))
}

/// The servers are for measuring, not for the next boot.
fn disable_services(installed: &[&str]) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for (_, service) in SERVICES.iter().filter(|(package, _)| installed.contains(package)) {
        workspace::output(Command::new("systemctl").args(["disable", "--now", service]))?;
    }
    Ok(())
}
