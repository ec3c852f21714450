//! What goes wrong with the agent's own connections.

use std::time::Duration;

use thiserror::Error;

use super::VERSION_MIN;
use crate::server::tls::explained;

/// Why the server did not answer as needed.
#[derive(Debug, Error)]
pub enum RedisError {
    /// There is no connection.
    #[error("no connection to Redis at {address}: {source}; is it running, and is [redis] address right?")]
    Connect {
        /// Where it was looked for.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is one, but not by TLS.
    #[error("no connection to Redis at {address}: {}", explained(.source))]
    Tls {
        /// Where it was looked for.
        address: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to Redis broke: {}", explained(.0))]
    Broken(#[from] std::io::Error),
    /// The name leads to another server now.
    #[error("{address} leads to another server now")]
    Moved {
        /// The name.
        address: String,
    },
    /// It was closed before anything was said.
    #[error(
        "Redis at {address} closed the connection without a word; if it expects TLS there, set redis.tls = true"
    )]
    Silent {
        /// Where.
        address: String,
    },
    /// No answer in time.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    /// An answer that is not RESP2, or too large.
    #[error("Redis's answer was not understood: {0}")]
    Protocol(String),
    /// An answer of another kind than expected.
    #[error("Redis answered {command} with: {answer}")]
    Refused {
        /// What was asked.
        command: &'static str,
        /// The error it gave, or the kind of answer.
        answer: String,
    },
    /// The server is too old.
    #[error("Redis {0} is too old: version {VERSION_MIN} or newer is needed")]
    TooOld(String),
}
