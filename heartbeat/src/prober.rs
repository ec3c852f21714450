//! Probes the members, hears what they say, and answers where the stack does not: one thread with its sockets.
//!
//! # Layout
//!
//! - [`engine`]: what is done with datagrams and with time, without sockets and clocks.
//! - [`event`]: what is made known.
//! - [`incarnation`]: numbers that rise over restarts.
//! - [`counts`]: what is counted.
//! - `thread`: sockets and timer around the engine; `socket`, `clock`.

mod clock;
pub mod counts;
pub mod engine;
pub mod event;
pub mod incarnation;
mod socket;
mod thread;

pub use thread::{Prober, StartError};
