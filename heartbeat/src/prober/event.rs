//! What is made known of members: each change, and how all of them are.

use std::fmt;
use std::net::SocketAddr;

use heartbeat_fastpath::wire::Health;
use serde::{Deserialize, Serialize};

/// How a member is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers, and its application is alive.
    #[default]
    Alive,
    /// It answers, but its application has not given a sign of life in time.
    Degraded,
    /// It has not answered for longer than is likely.
    Suspect,
    /// It is taken for failed.
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Degraded, Self::Suspect, Self::Failed];

    /// As in metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Degraded => "degraded",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
        }
    }
}

impl From<Health> for State {
    fn from(health: Health) -> Self {
        match health {
            Health::Alive => Self::Alive,
            Health::Degraded => Self::Degraded,
            Health::Suspect => Self::Suspect,
            Health::Failed => Self::Failed,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// A member is seen differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The node of this host that sees it so.
    pub observer: u32,
    /// The member.
    pub node: u32,
    /// Where it is, if that is known.
    pub address: Option<SocketAddr>,
    /// How it was seen.
    pub from: State,
    /// How it is seen now.
    pub to: State,
    /// Its incarnation, as far as it is known.
    pub incarnation: u32,
    /// When, on `CLOCK_MONOTONIC` of this host, in nanoseconds.
    pub at_ns: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// A member, as a node of this host sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// The node of this host.
    pub observer: u32,
    /// The member.
    pub node: u32,
    /// Where it is; empty while its name cannot be resolved.
    pub address: Option<SocketAddr>,
    /// How it is seen.
    pub state: State,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Its incarnation, as far as it is known.
    pub incarnation: u32,
    /// The suspicion against it: at 8, that it is alive has a probability of 10^-8, if it goes on as before.
    pub phi: f64,
    /// How long it takes to answer, if it ever has, in microseconds.
    pub round_trip_us: Option<f64>,
}
