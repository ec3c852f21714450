//! Whether a connection that never authenticates may read, asked of Redis by trying.
//!
//! Who vouches for all users (`coherence.trust_users`) does not say that Redis asks for no password; `ACL LIST`, which
//! would tell, is refused. So from time to time a connection is opened without credentials, and asks for a key.

use std::time::Duration;

use redis_protocol::resp2::types::OwnedFrame as Frame;
use tokio::time::Instant;

use crate::server::credentials::{Secret, Server};
use crate::server::redis::{Connection, RedisError};

/// How often it is tried.
const AGAIN: Duration = Duration::from_secs(10);

/// The key that is asked for; whether it exists does not matter.
const KEY: &[u8] = b"kv-cache:may-a-stranger-read";

/// What was found last.
#[derive(Debug, Default)]
pub struct Strangers {
    found: Option<(Instant, bool)>,
}

impl Strangers {
    /// Whether they may read. Where that cannot be found out, they may not.
    pub async fn may_read(&mut self, redis: &Server) -> bool {
        if let Some((at, found)) = self.found
            && at.elapsed() < AGAIN
        {
            return found;
        }
        let found = attempt(redis).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "connections that do not authenticate get no hits");
            false
        });
        self.found = Some((Instant::now(), found));
        found
    }
}

async fn attempt(redis: &Server) -> Result<bool, RedisError> {
    let stranger = Server { username: String::new(), password: Secret::default(), ..redis.clone() };
    let answer = Connection::open(&stranger).await?.ask(&[b"GET", KEY]).await?;
    Ok(match answer {
        Frame::Error(text) => text.starts_with("WRONGTYPE"),
        _ => true,
    })
}
