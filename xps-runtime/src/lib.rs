//! Puts a service's handler into the network stack, or says why it cannot.
//!
//! # Layout
//!
//! In the order of a start:
//!
//! - [`command`]: what the command lines of sidecars have in common.
//! - [`config`]: TOML, environment and flags, all mistakes reported at once; [`logging`].
//! - [`probe`]: what this kernel, these privileges and these interfaces allow ([`probe::Facts`]).
//! - [`plan`]: which path to take and why; a pure function of the facts and the wishes.
//! - [`install`]: the plan made real: maps, programs and links, all of them or none, pinned so that they outlive the agent.
//! - [`responder`]: the same for a service that answers datagrams, with one program an interface, at XDP or at tcx.
//! - [`pins`]: what an agent leaves behind for the next, and whether the next can use it.
//! - `table`: the small tables that are written once.
//! - [`hook`]: the links of one interface; [`xdp`]: whether it has one at XDP.
//! - [`start`]: all of these as a transaction.
//!
//! While it runs:
//!
//! - [`control`]: what the agent tells the programs (lease, switches) and what they tell it (counts).
//! - [`mapping`]: array maps as memory; [`call`]: programs that the agent runs itself.
//! - [`flow_table`]: the connections in the stack.
//! - [`grace`]: waiting for programs that are running.
//! - [`events`]: records that the programs send.
//! - [`devices`]: interfaces that come and go; [`addresses`]: likewise this host's addresses.
//!   [`locals`]: what the programs are told of these; [`address_table`]: a map of addresses.
//! - [`sockets`]: the kernel's own list of TCP connections.
//! - [`ended`]: flows whose connection is gone.
//! - [`relay`]: the user path; [`session`]: a connection of it with the handler in between; [`link`]: the two connections
//!   that it consists of; [`endpoint`]: where the server is.
//!   [`relay_thread`]: where it runs.
//! - [`metrics`]: counters for Prometheus; [`latency`]: how long the user path takes.
//! - [`admin`]: status and commands by HTTP; [`status`]: what statuses have in common; [`reloads`]: what became of reading the configuration again.
//! - [`lease`]: the thread that vouches for the tables. [`lock`]. [`random`].
//!
//! - [`netlink`], [`interface`]: the messages from which interfaces, addresses and sockets are read.
//!
//! What is deliberately absent: knowledge of any protocol above TCP, which is the services', and any code that runs in
//! the kernel, which is in `xps-core` and `xps-ebpf`.

pub mod address_table;
pub mod addresses;
pub mod admin;
mod blind;
pub mod call;
pub mod command;
pub mod config;
pub mod control;
pub mod devices;
pub mod ended;
pub mod endpoint;
pub mod events;
pub mod flow_table;
pub mod grace;
pub mod hook;
pub mod install;
pub mod interface;
pub mod latency;
pub mod lease;
pub mod link;
pub mod locals;
pub mod lock;
pub mod logging;
pub mod mapping;
pub mod metrics;
pub mod netlink;
pub mod own;
pub mod pins;
pub mod plan;
pub mod probe;
pub mod random;
pub mod relay;
pub mod relay_thread;
pub mod reloads;
pub mod responder;
mod segments;
pub mod session;
pub mod sockets;
pub mod start;
pub mod status;
mod stream;
mod table;
pub mod xdp;
