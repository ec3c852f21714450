//! The user path: a proxy that reads requests by the handler before the server sees them, for what the kernel path cannot do
//! or where there is none.
//!
//! Each client has a connection to the server of its own, opened with its first request that passes. A head is held back until it
//! is whole and judged (G1); bodies go on as they are read, each only as fast as its receiver takes it. The next request is looked at
//! when the response to the one before is complete, so answers of the proxy's own come in order. What passes is not changed but
//! for what [`ToServer`] adds.
//!
//! # Layout
//!
//! - `connection`: a client's connection; `exchange`: one request with its response.
//! - `gate`: the client's stream, and what becomes of its requests; `replies`: the server's stream. They know no sockets.
//! - `input`: what a client has sent; `pace`: how fast; `socket`: reads, writes and ends.
//! - `proxy_protocol`, `forwarded`: whose request it is.
//! - `counts`, `settings`.

mod connection;
mod counts;
mod exchange;
mod forwarded;
mod gate;
mod input;
mod pace;
mod proxy_protocol;
mod replies;
mod settings;
mod socket;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::path::process::Process;

use connection::Connection;
use counts::{Counts, count};

pub use counts::Reading;
pub use settings::{FromClients, ProxySettings, ToServer};

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    process: Arc<Process>,
    settings: RwLock<Arc<ProxySettings>>,
    counts: Counts,
    places: Arc<Semaphore>,
}

impl Proxy {
    /// A proxy with these tables.
    #[must_use]
    pub fn new(process: Arc<Process>, settings: ProxySettings) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(settings.connections_max.max(1)));
        Arc::new(Self {
            process,
            settings: RwLock::new(Arc::new(settings)),
            counts: Counts::default(),
            places,
        })
    }

    /// Connections from now on follow other settings.
    pub fn set(&self, settings: ProxySettings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> Reading {
        self.counts.read()
    }

    /// The tables that it decides by.
    #[must_use]
    pub const fn process(&self) -> &Arc<Process> {
        &self.process
    }

    fn settings(&self) -> Arc<ProxySettings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves until `stop` turns true or its sender is gone; then accepts no more, lets what is under way end for at most
    /// `grace`, which is asked for then, and resets the rest. Several listeners may be served at once.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
        grace: impl FnOnce() -> Duration + Send,
    ) {
        let (aborting, abort) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                next = next => next,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((client, peer)) => {
                    socket::tune(&client);
                    let mut connection = Connection::new(Arc::clone(&self), stop.clone(), client, peer);
                    let (proxy, mut abort) = (Arc::clone(&self), abort.clone());
                    connections.spawn(async move {
                        let _place = place;
                        let _open = Open::new(&proxy.counts);
                        tokio::select! {
                            () = connection.run() => {}
                            _ = abort.wait_for(|abort| *abort) => connection.reset(),
                        }
                    });
                }
                Err(error) => {
                    // Mostly out of descriptors: others must end first.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(grace(), ended).await.is_err() {
            let _ = aborting.send(true);
            while connections.join_next().await.is_some() {}
        }
    }
}

/// Counts a connection as open.
struct Open<'a>(&'a Counts);

impl<'a> Open<'a> {
    fn new(counts: &'a Counts) -> Self {
        count(&counts.connections);
        count(&counts.open);
        Self(counts)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "proxy/tests/mod.rs"]
mod tests;
