//! What keeps a responder's host busy: loops on all CPUs, and a Redis with clients that never rest.
//!
//! All at the ordinary priority, and each in a session of its own, as services have (see `Place::command`): where the scheduler
//! shares CPUs out between sessions, each loop weighs as much as the responder.

use super::cpu;
use crate::lab::{Process, redis};
use crate::lab::{Server, Star};
use crate::workspace;
use anyhow::{Context, Result};
use std::time::Duration;

/// Loops for each CPU, unless others are asked for.
pub(super) const LOOPS: usize = 8;
/// Connections of redis-benchmark.
pub(super) const CONNECTIONS: usize = 50;
/// In a responder's namespace.
const PORT: u16 = 6390;
/// Until the load is what it will be.
const SETTLE: Duration = Duration::from_millis(300);

/// The load, until it is dropped.
pub(super) struct Load(#[expect(dead_code, reason = "they run as long as they are held")] Vec<Process>);

impl Load {
    /// Starts it where the responder runs, with so many loops for each CPU.
    pub(super) fn start(star: &Star, server: &Server, loops: usize) -> Result<Self> {
        let (place, folder) = (server.place(), star.folder());
        let [port] = star.choose_ports([PORT])?;
        let mut processes =
            vec![redis::start(&place, folder, "redis-load", port, star.has_namespaces(), &[])?];
        let client = workspace::find("redis-benchmark")
            .context("redis-benchmark is missing; run `cargo xtask setup`")?;
        let (port, connections) = (port.to_string(), CONNECTIONS.to_string());
        let arguments = ["-p", &port, "-c", &connections, "-t", "get,set", "-n", "1000000", "-l", "-q"];
        processes.push(Process::start(&place, folder, "redis-benchmark", client, &arguments)?);
        for number in 0..cpu::count() * loops {
            let name = format!("loop-{number}");
            processes.push(Process::start(&place, folder, &name, "sh", &["-c", "while :; do :; done"])?);
        }
        std::thread::sleep(SETTLE);
        Ok(Self(processes))
    }
}
