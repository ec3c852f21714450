//! heartbeat: answers probes in the network stack while the application is alive.

pub mod lease;
pub mod path;

use aya::include_bytes_aligned;

/// The maps between the programs and the agent.
pub use heartbeat_fastpath::abi;

/// The object file with the kernel programs, whose names are in [`abi`].
pub static OBJECT: &[u8] = include_bytes_aligned!(env!("XPS_OBJECT"));
