//! The containers of `docker-compose.yml`, running.

use super::daemon::Daemon;
use crate::lab::{Folder, free_ports};
use crate::{cleanup, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Compose's name for all that it makes.
pub(super) const PROJECT: &str = "xps-test";
/// What compose waits for at most, in seconds.
const UP_LIMIT: &str = "180";

/// Ports of loopback that lead into the containers.
#[derive(Clone, Copy)]
pub(super) struct Published {
    pub(super) redis: SocketAddr,
    pub(super) redis_accelerated: SocketAddr,
    pub(super) nginx: SocketAddr,
    pub(super) nginx_accelerated: SocketAddr,
    pub(super) prometheus: SocketAddr,
}

/// The variables by which `docker-compose.yml` is told of them, in their order.
const VARIABLES: [&str; 5] = [
    "XPS_REDIS_PORT",
    "XPS_REDIS_ACCELERATED_PORT",
    "XPS_NGINX_PORT",
    "XPS_NGINX_ACCELERATED_PORT",
    "XPS_PROMETHEUS_PORT",
];

/// Running containers. Removed when dropped, with their networks and volumes.
pub(super) struct Stack<'a> {
    _down: cleanup::Guard,
    daemon: &'a Daemon,
    bpf: PathBuf,
    overrides: &'a [&'a str],
    published: Published,
}

impl<'a> Stack<'a> {
    /// Starts all services that have no profile and waits until they are healthy. `overrides` are files whose settings go first.
    pub(super) fn up(daemon: &'a Daemon, folder: &Folder, overrides: &'a [&'a str]) -> Result<Self> {
        let ports: [u16; 5] = free_ports()?;
        let [redis, redis_accelerated, nginx, nginx_accelerated, prometheus] =
            ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let published = Published { redis, redis_accelerated, nginx, nginx_accelerated, prometheus };
        let bpf = folder.bpf();
        let mut down = command(daemon, &bpf, &published, overrides);
        down.args(["--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "10"]);
        let guard = cleanup::at_end(move || {
            if let Err(error) = workspace::output(&mut down) {
                eprintln!("containers are left to the daemon's end: {error:#}");
            }
        });
        let stack = Self { _down: guard, daemon, bpf, overrides, published };
        stack.start(&[])?;
        Ok(stack)
    }

    /// Starts the services of a profile, too.
    pub(super) fn start(&self, profiles: &[&str]) -> Result<()> {
        let mut up = self.compose();
        up.args(profiles.iter().flat_map(|profile| ["--profile", profile]));
        up.args(["up", "--detach", "--no-build", "--pull", "never", "--wait", "--wait-timeout", UP_LIMIT]);
        workspace::output(&mut up).map(drop).with_context(|| self.last_words())
    }

    /// Where it is reached.
    pub(super) const fn published(&self) -> &Published {
        &self.published
    }

    /// Restarts a container in order, as `docker restart` does.
    pub(super) fn restart(&self, service: &str) -> Result<()> {
        let id = self.id(service)?;
        workspace::output(self.daemon.docker().args(["restart", &id])).map(drop)
    }

    /// Kills a container's process from outside, as the kernel does when memory is short.
    pub(super) fn crash(&self, service: &str) -> Result<()> {
        let id = self.id(service)?;
        let pid =
            workspace::output(self.daemon.docker().args(["inspect", "--format", "{{.State.Pid}}", &id]))?;
        workspace::output(Command::new("kill").args(["-KILL", pid.trim()])).map(drop)
    }

    /// Which services are not running or not healthy; nothing if all are well.
    pub(super) fn unwell(&self) -> Result<Vec<String>> {
        let mut ps = self.compose();
        ps.args(["--profile", "*", "ps", "--all", "--format", "json"]);
        let mut unwell = Vec::new();
        for line in workspace::output(&mut ps)?.lines() {
            let container: Value = serde_json::from_str(line).context("docker compose ps says no JSON")?;
            let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
            let well = match text("State").as_str() {
                "running" => matches!(text("Health").as_str(), "healthy" | ""),
                "exited" => container["ExitCode"] == 0,
                _ => false,
            };
            if !well {
                unwell.push(format!("{} is {} {}", text("Service"), text("State"), text("Health")));
            }
        }
        Ok(unwell)
    }

    /// Runs a command in a service's container and returns what it says.
    pub(super) fn run_in(&self, service: &str, arguments: &[&str]) -> Result<String> {
        let mut exec = self.compose();
        exec.args(["exec", "--no-TTY", service]).args(arguments);
        workspace::output(&mut exec)
    }

    /// What a sidecar says about itself.
    pub(super) fn status(&self, service: &str, program: &str) -> Result<Value> {
        let text = self.run_in(service, &[program, "status", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("the status of {service} is not JSON"))
    }

    /// The end of what containers have said, for errors.
    pub(super) fn last_words(&self) -> String {
        let mut ps = self.compose();
        ps.args(["--profile", "*", "ps", "--all"]);
        let mut logs = self.compose();
        logs.args(["--profile", "*", "logs", "--tail", "15"]);
        let said = |command: &mut Command| workspace::output(command).unwrap_or_default();
        format!("the containers:\n{}\nand their last words:\n{}", said(&mut ps), said(&mut logs))
    }

    fn id(&self, service: &str) -> Result<String> {
        let mut ps = self.compose();
        ps.args(["--profile", "*", "ps", "--all", "--quiet", service]);
        let id = workspace::output(&mut ps)?.trim().to_owned();
        if id.is_empty() {
            bail!("the service {service} has no container");
        }
        Ok(id)
    }

    fn compose(&self) -> Command {
        command(self.daemon, &self.bpf, &self.published, self.overrides)
    }
}

fn command(daemon: &Daemon, bpf: &std::path::Path, published: &Published, overrides: &[&str]) -> Command {
    let Published { redis, redis_accelerated, nginx, nginx_accelerated, prometheus } = published;
    let mut command = daemon.docker();
    command.args(["compose", "--project-name", PROJECT, "--file", "docker-compose.yml"]);
    command.args(overrides.iter().flat_map(|file| ["--file", file]));
    command.env("XPS_BPFFS", bpf);
    let ports = [redis, redis_accelerated, nginx, nginx_accelerated, prometheus];
    command.envs(VARIABLES.into_iter().zip(ports.map(|address| address.port().to_string())));
    command
}

/// Tries until something is as it should be. The error is the last one.
pub(super) fn eventually<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("still so after {limit:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
