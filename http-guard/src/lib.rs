//! http-guard: rate limits and filters for HTTP, decided in the stack.
//!
//! # Layout
//!
//! - [`config`]: what is asked for, where it comes from, and what holds now.
//! - [`rules`]: what is asked of requests, as it is written.
//! - [`compile`]: rules as the tables that the programs read.
//! - [`answers`]: what is answered to requests that are refused; [`date`]: when.
//! - [`policy`]: all of it, ready for either path.
//! - [`path`]: kernel path or user path, as a transaction with a recorded cause; [`proxy`]: what serves on the user path.
//! - [`sidecar`]: everything started, watched over, and stopped in order.
//! - [`telling`]: what the sidecar says about itself, and what operators may do; [`explain`]: which rule a request meets.

pub mod answers;
pub mod compile;
pub mod config;
pub mod date;
pub mod explain;
pub mod path;
pub mod policy;
pub mod proxy;
pub mod rules;
pub mod sidecar;
pub mod telling;
