//! What the sidecar says about itself, and what operators may do.
//!
//! # Layout
//!
//! - [`status`], [`metrics`], [`report`]: what is said, and where it comes from.
//! - [`offenders`]: clients that are refused most.
//! - [`admin`]: by HTTP.

pub mod admin;
pub mod metrics;
pub mod offenders;
pub mod report;
pub mod status;

use xps_runtime::admin::Owner;

/// Whose admin interface it is.
pub const OWNER: Owner = Owner { name: "http-guard", header: "X-Http-Guard", default: "127.0.0.1:9181" };
