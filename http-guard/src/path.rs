//! Where requests are judged.
//!
//! # Layout
//!
//! - [`process`]: the handler's tables in a process's memory: the user path.

pub mod process;
