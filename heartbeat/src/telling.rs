//! What the sidecar says about itself, and what operators may do.
//!
//! # Layout
//!
//! - [`status`], [`metrics`], [`report`]: what is said, and where it comes from.
//! - [`admin`]: by HTTP; [`events`]: changes of members as they happen.
//! - [`table`]: the members, for readers.

pub mod admin;
pub mod events;
pub mod metrics;
pub mod report;
pub mod status;
pub mod table;

use xps_runtime::admin::Owner;

/// Whose admin interface it is.
pub const OWNER: Owner = Owner { name: "heartbeat", header: "X-Heartbeat", default: "127.0.0.1:9182" };
