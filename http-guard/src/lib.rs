//! http-guard: rate limits and filters for HTTP, decided in the stack.
//!
//! # Layout
//!
//! - [`rules`]: what is asked for, as it is written.
//! - [`compile`]: rules as the tables that the programs read.

pub mod compile;
pub mod rules;
