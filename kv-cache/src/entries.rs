//! From misses to entries, and how they end.
//!
//! # Layout
//!
//! - [`reports`]: misses that the handler tells of; [`fill`]: from them to entries (C3, C4).
//! - [`table`]: where entries lie and which one makes room; pure. [`store`]: the handler's tables.
//! - [`limits`]: which keys may be cached, and for how long; pure. [`sketch`]: how often keys were asked for.
//! - [`touch`], [`idle`]: Redis keeps seeing hot keys and connections in use (C10).
//! - [`bypass`]: steps aside while looking up does not pay.
//! - [`sweep`]: flows and entries whose time is over.

pub mod bypass;
pub mod fill;
pub mod idle;
pub mod limits;
pub mod reports;
pub mod sketch;
pub mod store;
pub mod sweep;
pub mod table;
pub mod touch;
