//! How the agent introduces itself to Redis. What is secret here never appears in messages or logs.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use xps_runtime::endpoint::Endpoint;
use xps_runtime::own::Own;

use crate::server::tls::ToRedis;

/// A secret text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one who must have it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "(secret)" })
    }
}

/// A Redis, and as whom the agent comes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub address: Endpoint,
    /// The user; empty for the default one.
    pub username: String,
    /// Its password; empty if none is needed.
    pub password: Secret,
    /// TLS, if the connection is to be encrypted.
    pub tls: Option<Arc<ToRedis>>,
    /// How its own port is reached where that is accelerated.
    pub own: Option<Own>,
}

impl Server {
    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        if self.username.is_empty() { "default" } else { &self.username }
    }

    /// A server that asks for no password.
    #[must_use]
    pub const fn open(address: SocketAddr) -> Self {
        Self {
            address: Endpoint::Address(address),
            username: String::new(),
            password: Secret(String::new()),
            tls: None,
            own: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut server = Server::open(([127, 0, 0, 1], 6379).into());
        assert!(format!("{server:?}").contains("none"));
        server.password = Secret::new("hunter2".into());
        let text = format!("{server:?}");
        assert!(!text.contains("hunter2") && text.contains("(secret)"), "{text}");
        assert_eq!(server.password.reveal(), "hunter2");
    }
}
