//! For tests of services: network namespaces, frames of any content, a TCP client that owns its frames, and connections
//! that lie.
//!
//! # Layout
//! - [`namespace`]: network namespaces and BPF file systems.
//! - [`packet`]: a client's packet, whose every field can be wrong; [`options`]: its TCP options.
//! - [`link`](mod@link): a packet socket; [`heard`]: what comes through it.
//! - [`peer`]: one connection's numbers, as the client has them.
//! - [`lie`]: what can be wrong with a packet. [`plan`]: a connection that lies, made from a seed, printed and shortened.
//! - [`raw`]: TCP clients without a kernel, for tests with real servers; [`attack`]: what they do to services.
//! - [`interrupt`]: Ctrl-C ends a long run in order.
//! - [`random`]: numbers that come again with the same seed; [`wish`]: seed and duration that are asked for.

pub mod attack;
pub mod heard;
pub mod interrupt;
pub mod lie;
pub mod link;
pub mod namespace;
pub mod options;
pub mod packet;
pub mod peer;
pub mod plan;
pub mod random;
pub mod raw;
pub mod wish;
