//! heartbeat behind protocol processing: reads probes, and answers them while the application is alive, where a busy host
//! still finds the time.
//!
//! One source for the kernel programs and the host; no `std`, no allocation. `heartbeat/PROTOCOL.md` tells the same to those
//! who write another implementation.
//!
//! # Layout
//!
//! - [`abi`]: the maps between the programs and the agent.
//! - [`datagram`]: a packet, and how it becomes its own reply.
//! - [`echo`]: BFD's echo packets, which go back unread.
//! - [`wire`]: a message, and its 64 bytes.
//! - [`keys`]: the keys of a cluster, of which two may be valid while they are changed.
//! - [`replay`]: which sequences have been seen.
//! - [`peer`]: that, and how fast they come, for one that probes.
//! - [`refusal`]: why a datagram is dropped.
//! - [`respond`]: what becomes of a datagram: answered, passed up, or dropped.
//! - `bfd` (feature `host`): the second wire, BFD's control packets (RFC 5880).
//! - `host` (feature `host`): the responder's tables in a process's memory; there, packets for tests, and what must become of
//!   them.
#![no_std]

#[cfg(any(test, feature = "host"))]
extern crate std;
#[cfg(any(test, feature = "host"))]
pub mod bfd;
#[cfg(any(test, feature = "host"))]
pub mod host;

pub mod abi;
pub mod datagram;
pub mod echo;
pub mod keys;
pub mod peer;
pub mod refusal;
pub mod replay;
pub mod respond;
pub mod wire;
