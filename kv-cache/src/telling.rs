//! What the sidecar says about itself, and what operators may do.
//!
//! # Layout
//!
//! - [`status`], [`metrics`], [`report`]: what is said, and where it comes from; [`latencies`] of the user path.
//! - [`admin`]: by HTTP; [`client`]: how the commands ask there.
//! - [`top`]: the keys that are asked for most.
//! - [`actions`]: what operators may do.

pub mod actions;
pub mod admin;
pub mod client;
pub mod latencies;
pub mod metrics;
pub mod report;
pub mod status;
pub mod top;

use xps_runtime::admin::Owner;

/// Whose admin interface it is.
pub const OWNER: Owner = Owner { name: "kv-cache", header: "X-Kv-Cache", default: "127.0.0.1:9180" };
