//! http-guard's handler: refuses HTTP requests by rules and limits before the server sees them.
//!
//! One source for the kernel programs and the host; no `std`, no allocation.
//!
//! # Layout
//!
//! - [`abi`]: the tables that programs and agent share.
//! - [`matcher`]: one step of a DFA, and the conditions that hold for a request.
//! - [`rules`]: which rule decides.
//! - [`limit`]: how many requests may pass (G5).
#![no_std]

pub mod abi;
pub mod limit;
pub mod matcher;
pub mod rules;

#[cfg(any(test, feature = "host"))]
extern crate std;
