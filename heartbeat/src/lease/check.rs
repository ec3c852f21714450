//! What the agent asks an application itself: one question after the other, never two at once.

mod command;
mod http;
mod redis;

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_fastpath::wire::NodeId;
use heartbeat_lease::monotonic_ns;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::kept::Kept;
use super::place::Place;
use super::settings::{Check, How};

/// Why a check did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing came of it in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// Nothing listens there.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// Where.
        place: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// It closed the connection instead of answering.
    #[error("it closed the connection without an answer")]
    Closed,
    /// HTTP went wrong.
    #[error("no answer by HTTP: {0}")]
    NotHttp(#[from] hyper::Error),
    /// Its status is none of success.
    #[error("it answered with status {0}; 200 to 399 are alive")]
    Status(u16),
    /// Redis says that it is not ready.
    #[error("Redis says: {0}")]
    Refused(String),
    /// What answered is not Redis.
    #[error("it did not answer +PONG; is it Redis?")]
    NotRedis,
    /// The command cannot be run.
    #[error("cannot run {program}: {source}")]
    Spawn {
        /// Which one.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The command says that it is not alive.
    #[error("the command ended with {0}")]
    Ended(ExitStatus),
}

/// Asks again and again. A success counts from when its question was asked.
pub(super) async fn keep(kept: Arc<Kept>, check: Check) {
    let mut turns = interval(check.interval);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let began_ns = monotonic_ns();
        match timeout(check.timeout, check.how.ask(kept.node(), check.timeout)).await {
            Ok(Ok(())) => kept.renew(began_ns),
            Ok(Err(failure)) => kept.fail(&failure),
            Err(_) => kept.fail(&Failure::Silent(check.timeout)),
        }
    }
}

impl How {
    /// One question. `limit` is for steps of it that have a limit of their own; the whole is limited by who asks.
    async fn ask(&self, node: NodeId, limit: Duration) -> Result<(), Failure> {
        let connect = async |place: &Place| {
            let failed = |source| Failure::Connect { place: place.to_string(), source };
            place.connect(limit).await.map_err(failed)
        };
        match self {
            Self::Tcp(place) => connect(place).await.map(drop),
            Self::Http(url) => http::ask(connect(&url.place).await?, url).await,
            Self::Redis { place, username, password } => {
                redis::ask(connect(place).await?, username, password.as_ref()).await
            }
            Self::Command(words) => command::ask(words, node).await,
        }
    }
}
