//! kv-cache: Redis GETs answered in the network stack.
//!
//! # Layout
//!
//! A start:
//!
//! - [`config`]: what is asked for, [`source`]: where; [`current`]: what holds now.
//! - [`path`]: kernel path or user path, as a transaction with a recorded cause.
//! - [`sidecar`]: everything started, watched over, and stopped in order; [`relay`]: the user path's thread.
//!
//! Filling the table (C3, C4):
//!
//! - [`reports`]: misses that the handler tells of; [`fill`]: from them to entries.
//! - [`table`]: where entries lie and which one makes room; pure.
//! - [`limits`]: which keys may be cached, and for how long; pure.
//! - [`sketch`]: how often keys were asked for.
//! - [`store`]: the handler's tables.
//! - [`touch`], [`idle`]: Redis keeps seeing hot keys and connections in use (C10).
//! - [`bypass`]: steps aside while looking up does not pay.
//! - [`sweep`]: flows and entries whose time is over.
//!
//! Allowing hits (C5, C8, C9):
//!
//! - [`watch`]: looks at the server and its connections; [`whereabouts`]: where it is, if it has a name.
//! - [`coherence`]: decides from what was seen; pure.
//! - [`freshness`], [`tracking`], [`clock`]: how old a value may be where not every write is seen; `invalidation`, `push`, `ownership`:
//!   what the server says for that, pure.
//! - [`pulse`]: whether the server is alive at all.
//! - [`commands`]: what the server's commands may change.
//! - [`users`]: which users may read every key; pure. [`strangers`]: whether those without a name may.
//! - [`redis`]: the agent's own connection, [`credentials`]: as whom; [`link`], [`tls`]: over what, also for clients.
//! - [`shared`]: what these share, and what a path offers them; [`kernel`], [`process`]: the
//!   kernel path and the user path.
//!
//! Telling:
//!
//! - [`status`], [`metrics`], [`report`]: what the sidecar says about itself, and where it comes from; [`latencies`] of the
//!   user path.
//! - [`admin`]: by HTTP, at an [`address`]; [`client`]: how the commands ask there.
//! - [`top`]: the keys that are asked for most.
//! - [`actions`]: what operators may do; [`reload`]: the configuration, read again.
//!
//! What is deliberately absent: keys and values in logs.

pub mod actions;
pub mod address;
pub mod admin;
pub mod bypass;
pub mod client;
pub mod clock;
pub mod coherence;
pub mod commands;
pub mod config;
pub mod credentials;
pub mod current;
pub mod fill;
pub mod freshness;
pub mod idle;
mod invalidation;
pub mod kernel;
pub mod latencies;
pub mod limits;
pub mod link;
pub mod metrics;
mod ownership;
pub mod path;
pub mod process;
pub mod pulse;
mod push;
pub mod redis;
pub mod relay;
pub mod reload;
pub mod report;
pub mod reports;
pub mod shared;
pub mod sidecar;
pub mod sketch;
pub mod source;
pub mod status;
pub mod store;
pub mod strangers;
pub mod sweep;
pub mod table;
pub mod tls;
pub mod top;
pub mod touch;
pub mod tracking;
pub mod users;
pub mod watch;
pub mod whereabouts;
