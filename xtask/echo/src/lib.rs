//! What heartbeat's replies are measured against by `cargo xtask bench heartbeat`: datagrams sent back unread.
//!
//! By a socket: as little as a process can do for a reply. In the stack: what is left of a responder if it checks nothing,
//! remembers nothing and counts nothing. Neither is a service: they answer whoever asks, also for hosts that are dead to
//! their users.
//!
//! `program.rs` are the kernel programs, `main.rs` the processes, and this what they share.
#![no_std]

/// Name of the program at XDP.
pub const XDP: &str = "xps_echo_xdp";

/// Name of the program at tcx ingress.
pub const TCX: &str = "xps_echo_tcx";

/// Name of the map with the one port (a `u32`) whose datagrams are sent back.
pub const PORT: &str = "PORT";

/// Name of the map that leads from an interface's index to its [`xps_core::abi::Redirect`].
pub const DEVICES: &str = "DEVICES";
