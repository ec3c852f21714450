//! A command of the operator's, which ends with 0 if the application is alive.
//!
//! It is told its node (`HEARTBEAT_NODE`), and neither reads nor is heard. One that takes too long is killed with its group.

use std::process::Stdio;

use heartbeat_fastpath::wire::NodeId;

use super::Failure;
use crate::child;

/// Runs it to its end.
pub(super) async fn ask(words: &[String], node: NodeId) -> Result<(), Failure> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let told = [("HEARTBEAT_NODE", node.number().to_string())];
    let mut running = child::start(program, arguments, told, Stdio::null())
        .map_err(|source| Failure::Spawn { program: program.clone(), source })?;
    let status = running.end().await?;
    if status.success() { Ok(()) } else { Err(Failure::Ended(status)) }
}
