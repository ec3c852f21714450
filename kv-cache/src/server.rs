//! Redis as the agent knows it.
//!
//! # Layout
//!
//! - [`redis`]: the agent's own connection, [`credentials`]: as whom; [`link`], [`tls`]: over what, also for clients.
//! - [`commands`]: what the server's commands may change (C5).
//! - [`users`]: which users may read every key; pure. [`strangers`]: whether those without a name may (C7).
//! - [`pulse`]: whether it is alive at all; [`whereabouts`]: where it is, if it has a name.

pub mod commands;
pub mod credentials;
pub mod link;
pub mod pulse;
pub mod redis;
pub mod strangers;
pub mod tls;
pub mod users;
pub mod whereabouts;
