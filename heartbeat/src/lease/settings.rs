//! What is configured of a node's lease: keys of the node's own table.
//!
//! | key | with `lease_by` | default | |
//! | --- | --- | --- | --- |
//! | `lease` | all | `1s` | longest time that the application is alive without a sign; 10ms to 1h |
//! | `lease_by` | | `always` | what renews it; see [`super`] |
//! | `when_lapsed` | all | `silent` | or `degraded`: what the node does when it has lapsed |
//! | `lease_file` | `shared` | | the file with the word; made if it is not there |
//! | `lease_owner` | `shared` | heartbeat's user | the application's user, `user` or `user:group` |
//! | `lease_mode` | `shared` | `0600` | who may touch |
//! | `lease_address` | `tcp`, `redis` | | where it listens |
//! | `lease_url` | `http` | | what is asked for |
//! | `lease_username` | `redis` | the default user | as whom the agent comes |
//! | `lease_password_file` | `redis` | | with what; others must not be able to read the file |
//! | `lease_command` | `command` | | its words |
//! | `lease_interval` | checks | a third of the lease | from the beginning of a check to that of the next |
//! | `lease_timeout` | checks | a third of the lease | how long a check may take |
//!
//! A container gets the directory of `lease_file`, not the file alone: one that was damaged is replaced by a new one.

mod keys;
mod owner;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_fastpath::respond::WhenLapsed;
use serde::{Deserialize, Serialize};

pub use super::place::{Place, Url};
pub use super::secret::Secret;
pub use keys::socket;
pub use owner::Owner;

/// Shortest lease.
pub const LEASE_MIN: Duration = Duration::from_millis(10);

/// Longest lease.
pub const LEASE_MAX: Duration = Duration::from_secs(3600);

/// A node's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the application is alive without a sign of life.
    pub lease: Duration,
    /// What gives that sign.
    pub way: Way,
    /// What the node does when the lease has lapsed.
    pub when_lapsed: WhenLapsed,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(1), way: Way::Always, when_lapsed: WhenLapsed::Silent }
    }
}

/// How a lease is renewed, with what that needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the agent's own life.
    Always,
    /// The application touches a word.
    Shared(SharedFile),
    /// The application calls.
    Call,
    /// The agent asks the application.
    Check(Check),
}

/// How a lease is renewed, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// See [`Way::Always`].
    Always,
    /// See [`Way::Shared`].
    Shared,
    /// See [`Way::Call`].
    Call,
    /// See [`How::Tcp`].
    Tcp,
    /// See [`How::Http`].
    Http,
    /// See [`How::Redis`].
    Redis,
    /// See [`How::Command`].
    Command,
}

impl By {
    /// All of them, and their words.
    pub const ALL: [(&'static str, Self); 7] = [
        ("always", Self::Always),
        ("shared", Self::Shared),
        ("call", Self::Call),
        ("tcp", Self::Tcp),
        ("http", Self::Http),
        ("redis", Self::Redis),
        ("command", Self::Command),
    ];
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, by)| by == self).map_or("", |(word, _)| word))
    }
}

impl Way {
    /// Its word.
    #[must_use]
    pub const fn by(&self) -> By {
        match self {
            Self::Always => By::Always,
            Self::Shared(_) => By::Shared,
            Self::Call => By::Call,
            Self::Check(check) => match check.how {
                How::Tcp(_) => By::Tcp,
                How::Http(_) => By::Http,
                How::Redis { .. } => By::Redis,
                How::Command(_) => By::Command,
            },
        }
    }
}

/// The file with an application's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Owner,
    /// Who may touch.
    pub mode: u32,
}

/// What the agent asks an application, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it asks.
    pub how: How,
    /// From the beginning of a check to that of the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
}

/// What the agent asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Whether something listens.
    Tcp(Place),
    /// GET.
    Http(Url),
    /// PING.
    Redis {
        /// Where Redis listens.
        place: Place,
        /// As whom; empty for the default user.
        username: String,
        /// With what.
        password: Option<Secret>,
    },
    /// A program and its arguments; never empty.
    Command(Vec<String>),
}
