//! heartbeat: answers probes in the network stack while the application is alive, and detects failures.
//!
//! # Layout
//!
//! - [`config`]: what is asked for, where it comes from, and what holds now; [`keys`]: key files.
//! - [`members`]: who is in the cluster, and where.
//! - [`nodes`]: the nodes of this host, as whoever answers knows them; [`here`]: as they run.
//! - [`lease`]: when an application is alive.
//! - [`path`]: where probes are answered: in the stack, or in this process.
//! - [`prober`]: probes the members and hears what they say.
//! - [`bfd`]: sessions with routers and daemons that speak BFD; [`sessions`]: as the rest sees them.
//! - [`happenings`]: what changes; [`hook`]: a command that is run for it.
//! - [`sidecar`]: everything started, watched over, and stopped in order.
//! - [`telling`]: what the sidecar says about itself, and what operators may do.
//! - [`ask`]: probes from the command line.

use aya::include_bytes_aligned;

/// The maps between the programs and the agent.
pub use heartbeat_fastpath::abi;

pub mod ask;
pub mod bfd;
mod child;
pub mod config;
pub mod happenings;
pub mod here;
pub mod hook;
pub mod keys;
pub mod lease;
pub mod members;
pub mod nodes;
pub mod path;
mod priority;
pub mod prober;
pub mod sessions;
pub mod sidecar;
pub mod telling;
mod timer;

/// The object file with the kernel programs, whose names are in [`abi`].
pub static OBJECT: &[u8] = include_bytes_aligned!(env!("XPS_OBJECT"));
