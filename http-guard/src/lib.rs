//! http-guard: rate limits and filters for HTTP, decided in the stack.
//!
//! # Layout
//!
//! - [`rules`]: what is asked for, as it is written.
//! - [`compile`]: rules as the tables that the programs read.
//! - [`answers`]: what is answered to requests that are refused; [`date`]: when.
//! - [`path`]: the handler's tables where there is no kernel path.
//! - [`proxy`]: the user path.

pub mod answers;
pub mod compile;
pub mod date;
pub mod path;
pub mod proxy;
pub mod rules;
