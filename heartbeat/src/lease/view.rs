//! What is told of leases.

use serde::{Deserialize, Serialize};

use super::settings::By;

/// How a node's lease stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// The node's number.
    pub node: u32,
    /// What renews it.
    pub by: By,
    /// Whether it stands.
    pub alive: bool,
    /// For how long it still does, in nanoseconds.
    pub remaining_ns: u64,
    /// Its longest, in nanoseconds.
    pub lease_ns: u64,
    /// How often it was renewed. Touches between two looks at a shared word count as one.
    pub renewals: u64,
    /// How often a check failed, or the shared file could not be read.
    pub failures: u64,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// How often the application promised more than it may, and was taken at its longest lease.
    pub clamped: u64,
    /// How often it promised what only another clock can mean, and was not believed.
    pub absurd: u64,
}
