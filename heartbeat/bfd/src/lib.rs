//! A BFD session (RFC 5880): asynchronous mode and the echo function, over one hop (RFC 5881) or several (RFC 5883).
//!
//! Without sockets, clocks or threads: time and packets come in as arguments, packets and changes go out as values. Packets
//! themselves are [`heartbeat_fastpath::bfd`]'s.
//!
//! The session never asks for demand mode, and respects it where the other side asks. What is told of intervals changes at
//! once; what is done changes when the other side is known to have been told (section 6.8.3).
//!
//! # Layout
//!
//! - [`config`]: what is configured.
//! - [`session`]: the state, what goes in and what comes out.
//! - `hear`: what a packet changes (section 6.8.6).
//! - `clock`: what time brings (sections 6.8.4 and 6.8.7).
//! - `poll`: how intervals change (section 6.8.3); `echo`: the echo function (sections 6.8.5, 6.8.8 and 6.8.9).
//! - `send`: packets and their authentication.
//! - `mistake` (feature `mistakes`): what the simulation has to find.
#![no_std]

extern crate alloc;

mod clock;
pub mod config;
mod echo;
mod hear;
#[cfg(feature = "mistakes")]
pub mod mistake;
#[cfg(not(feature = "mistakes"))]
mod mistake;
mod poll;
// The detector's; it is too small for a crate of its own.
#[path = "../../detector/src/random.rs"]
mod random;
mod send;
pub mod session;

pub use echo::ECHO_BYTES;
