//! Where Redis is, as the agent last looked: so that what serves and what is cached come from the same server.
//!
//! A name may lead to another server from one connection to the next. The agent's connections stay where they are, while
//! the relay's next one goes to the new place: what was cached of the old server must not be answered there. So when the
//! relay reaches an address that the agent has not seen, hits are forbidden at once, before a byte of that client is
//! served; the agent resolves the name again, moves if it must, and makes all entries invalid.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use xps_runtime::endpoint::Endpoint;

use crate::server::redis::RedisError;
use crate::shared::lock;

/// Redis's addresses, as far as known.
#[derive(Debug, Default)]
pub struct Whereabouts {
    /// Empty: not looked yet.
    known: Mutex<Vec<SocketAddr>>,
    doubted: AtomicBool,
}

impl Whereabouts {
    /// Whether Redis is there, for what the agent knows. As long as it knows nothing, it has cached nothing.
    #[must_use]
    pub fn include(&self, address: SocketAddr) -> bool {
        let known = lock(&self.known);
        known.is_empty() || known.contains(&address)
    }

    /// Redis was met at an address that is not known.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
    }

    /// Whether there is a doubt; it is taken.
    #[must_use]
    pub fn take_doubt(&self) -> bool {
        self.doubted.swap(false, Ordering::AcqRel)
    }

    /// Finds out where `endpoint` leads now, if it is a name. A connection to `peer` must still lead there.
    ///
    /// # Errors
    /// If the name leads nowhere, or elsewhere: then the connection is of no more use.
    pub async fn look(&self, endpoint: &Endpoint, peer: SocketAddr) -> Result<(), RedisError> {
        if !matches!(endpoint, Endpoint::Name { .. }) {
            // It leads to the same place always.
            return Ok(());
        }
        let addresses = endpoint.resolve().await;
        let failed = |source| RedisError::Connect { address: endpoint.to_string(), source };
        let mut addresses = addresses.map_err(failed)?;
        if addresses.iter().any(|address| address.ip().is_unspecified()) {
            // That leads to this machine, where the connection has another address.
            addresses.push(peer);
        }
        let stays = addresses.contains(&peer);
        *lock(&self.known) = addresses;
        if stays { Ok(()) } else { Err(RedisError::Moved { address: endpoint.to_string() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_looked_up_is_in_doubt() {
        let whereabouts = Whereabouts::default();
        let at = |last| SocketAddr::from(([127, 0, 0, last], 6379));
        assert!(whereabouts.include(at(1)) && !whereabouts.take_doubt());
        let name = Endpoint::Name { host: "localhost".into(), port: 6379 };
        whereabouts.look(&name, at(1)).await.expect("there");
        assert!(whereabouts.include(at(1)) && !whereabouts.include(at(2)));
        whereabouts.doubt();
        assert!(whereabouts.take_doubt() && !whereabouts.take_doubt());
        let error = whereabouts.look(&name, at(2)).await.expect_err("elsewhere");
        assert!(matches!(error, RedisError::Moved { .. }), "{error}");
        whereabouts.look(&at(2).into(), at(3)).await.expect("an address is no name");
    }
}
