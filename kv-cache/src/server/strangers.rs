//! What a connection may that never authenticates, asked of Redis by trying.
//!
//! Who vouches for all users (`coherence.trust_users`) does not say that Redis asks for no password; `ACL LIST`, which
//! would tell, is refused. So from time to time a connection is opened without credentials, and asks for a key.

use std::time::Duration;

use redis_protocol::resp2::types::OwnedFrame as Frame;
use tokio::time::Instant;

use crate::server::credentials::{Secret, Server};
use crate::server::redis::{Connection, RedisError};
use crate::server::users::Welcome;

/// How often it is tried.
const AGAIN: Duration = Duration::from_secs(10);

/// The key that is asked for; whether it exists does not matter.
const KEY: &[u8] = b"kv-cache:may-a-stranger-read";

/// What was found last.
#[derive(Debug, Default)]
pub struct Strangers {
    found: Option<(Instant, Welcome)>,
}

impl Strangers {
    /// What Redis does for them.
    pub async fn welcome(&mut self, redis: &Server) -> Welcome {
        if let Some((at, found)) = self.found
            && at.elapsed() < AGAIN
        {
            return found;
        }
        let found = attempt(redis).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "connections that do not authenticate get no hits");
            Welcome::Unknown
        });
        self.found = Some((Instant::now(), found));
        found
    }
}

async fn attempt(redis: &Server) -> Result<Welcome, RedisError> {
    let stranger = Server { username: String::new(), password: Secret::default(), ..redis.clone() };
    let answer = Connection::open(&stranger).await?.ask(&[b"GET", KEY]).await?;
    Ok(match answer {
        Frame::Error(text) if text.starts_with("NOAUTH") => Welcome::LoginFirst,
        Frame::Error(text) if !text.starts_with("WRONGTYPE") => Welcome::Unknown,
        _ => Welcome::MayRead,
    })
}
