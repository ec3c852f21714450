//! heartbeat's failure detector (SWIM; Das, Gupta, Motivala 2002).
//!
//! Without sockets, clocks, threads or `std`: time and messages come in as arguments, messages and changes go out as values.
//!
//! Every peer is probed once in an interval, in a turn of its own, so detection depends on nobody else; with many peers the
//! interval grows. A peer that leaves some probes unanswered for longer than is likely is suspected. Then helpers are asked
//! to probe it, and it is told; if neither it nor a helper answers, it is taken for failed. Others are told, and find out for
//! themselves at once. Failed peers are probed on for ever, so whoever is alive is found again.
//!
//! # Layout
//!
//! - [`rtt`]: how long answers take, and how regularly they come.
//! - [`phi`]: suspicion as a number, and the time-out that belongs to it.
//! - [`config`]: what is configured, and the bound that follows.
//! - [`detector`]: the state, what goes in and what comes out.
//! - `probe`: what time brings; `hear`: what others say; `gossip`: what is told to others.
//! - `member`: what is known of a peer; `local`: how far the detector trusts itself.
//! - `mistake` (feature `mistakes`): what the simulation has to find.
#![no_std]

extern crate alloc;

pub mod config;
pub mod detector;
mod gossip;
mod hear;
mod local;
mod member;
#[cfg(feature = "mistakes")]
pub mod mistake;
#[cfg(not(feature = "mistakes"))]
mod mistake;
pub mod phi;
mod probe;
mod random;
pub mod rtt;
