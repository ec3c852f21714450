//! kv-cache's handler: answers Redis GETs from a table that no write can pass unseen.
//!
//! One source for the kernel programs and the host; no `std`, no allocation.
//!
//! # Layout
//!
//! - [`abi`]: the maps that programs and agent share.
//! - [`command`]: what a Redis command may change, as learnt from the server.
//! - [`request`]: streaming parser of requests (RESP arrays of bulk strings, and inline commands).
//! - [`response`]: streaming counter of replies (RESP2 and RESP3).
//! - [`coherence`]: buckets, versions and pending writes (C1–C3).
//! - `whole`: GETs and SETs that are read in one step.
//! - [`argument`]: what becomes of a request's arguments.
//! - [`choice`]: database, user and protocol of a connection.
//! - [`connection`]: what a connection's commands mean for its hits (C7).
//! - [`answer`]: hits from the table of entries.
//! - [`update`]: entries refreshed by SETs on their way to the server.
//! - [`handler`]: all of it as an [`xps_core::handler::Handler`].
//! - `host` (feature `host`): the tables in a process's memory, for tests and simulations.
#![no_std]

pub mod abi;
pub mod answer;
pub mod argument;
pub mod choice;
pub mod coherence;
pub mod command;
pub mod connection;
pub mod handler;
pub mod request;
pub mod response;
pub mod update;
mod whole;

#[cfg(any(test, feature = "host"))]
extern crate std;
#[cfg(any(test, feature = "host"))]
pub mod host;
