//! kv-cache: Redis GETs answered in the network stack.
//!
//! # Layout
//!
//! - [`config`]: what is asked for, where it comes from, and what holds now.
//! - [`path`]: kernel path or user path, as a transaction with a recorded cause; what either offers the others.
//! - [`sidecar`]: everything started, watched over, and stopped in order; [`shared`]: what its tasks share.
//! - [`entries`]: from misses to entries, and how they end (C3, C4, C10).
//! - [`coherence`]: when hits are allowed, and how old a value may be (C6, C8, C9).
//! - [`server`]: Redis as the agent knows it: connections to it, commands, users, signs of life (C5, C7).
//! - [`telling`]: what the sidecar says about itself, and what operators may do.
//!
//! What is deliberately absent: keys and values in logs.

pub mod coherence;
pub mod config;
pub mod entries;
pub mod path;
pub mod server;
pub mod shared;
pub mod sidecar;
pub mod telling;
