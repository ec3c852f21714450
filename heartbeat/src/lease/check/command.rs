//! A command of the operator's, which ends with 0 if the application is alive.
//!
//! It runs as whom the agent runs, in a process group of its own, with nothing but `PATH` and `HEARTBEAT_NODE` in its
//! environment, and it neither reads nor is heard. One that takes too long is killed with its group.

use std::env;
use std::process::Stdio;

use heartbeat_fastpath::wire::NodeId;
use tokio::process::{Child, Command};

use super::Failure;

/// Where programs are looked for if the agent has no `PATH` itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs it to its end.
pub(super) async fn ask(words: &[String], node: NodeId) -> Result<(), Failure> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_else(|| PATH.into()))
        .env("HEARTBEAT_NODE", node.number().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Failure::Spawn { program: program.clone(), source })?;
    let mut running = Running(child);
    let status = running.0.wait().await?;
    if status.success() { Ok(()) } else { Err(Failure::Ended(status)) }
}

/// A command; whoever stops waiting for it kills its group.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `None` once it was waited for: its number may then be another's.
        if let Some(leader) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // SAFETY: plain numbers. The group is the command's: its leader is not waited for yet, so no other has its number.
            unsafe {
                libc::kill(-leader, libc::SIGKILL);
            }
        }
    }
}
