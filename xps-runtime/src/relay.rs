//! The user path: connections to the accelerated port are relayed to the server.
//!
//! It always runs. Where the kernel path takes a connection, the listener here never sees it; what comes is what the
//! kernel path does not take. A half-close is passed on as a half-close, an abort as a reset. What lies between the two
//! connections is a [`Serve`]: [`Plain`] relays byte for byte, [`Through`] has the service's handler answer what it can.
//! How clients are accepted and the server is reached, with TLS or without, is the affair of [`crate::link`].

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::blind::Blind;
use crate::link::{Accept, Dial, Stream};
use crate::session::{End, InProcess, SegmentCounts, Session};
use crate::stream::{Direction, pump};

/// How a relay works.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// Addresses to listen on. `0.0.0.0` and `::` may be given together; where the machine has no IPv6, `::` is left out.
    pub listen: Vec<SocketAddr>,
    /// Connections at once; more wait in the listen queue.
    pub connections_max: usize,
    /// How long connecting to the server may take, and before that a client's handshake.
    pub connect_timeout: Duration,
}

/// What happens between a client's connection and the one to the server that was opened for it.
pub trait Serve: Clone + Send + Sync + 'static {
    /// Serves until the end.
    fn serve(
        &self,
        client: &mut impl Stream,
        server: &mut impl Stream,
        counts: &RelayCounts,
    ) -> impl Future<Output = End> + Send;
}

/// Relays byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Serve for Plain {
    async fn serve(&self, client: &mut impl Stream, server: &mut impl Stream, counts: &RelayCounts) -> End {
        if !(client.is_bare() && server.is_bare()) {
            return Through { service: Blind, counts: Arc::default() }.serve(client, server, counts).await;
        }
        let (client, server) = (client.tcp(), server.tcp());
        let refused = &AtomicBool::new(false);
        let up = Direction { from: client, to: server, bytes: &counts.bytes_to_server, refused };
        let down = Direction { from: server, to: client, bytes: &counts.bytes_to_client, refused };
        match tokio::try_join!(pump(up), pump(down)) {
            Ok(_) if !refused.load(Ordering::Relaxed) => End::Closed,
            _ => End::Reset,
        }
    }
}

/// Has a handler between, which answers what it can.
#[derive(Clone, Debug)]
pub struct Through<H> {
    /// The service's handler.
    pub service: H,
    /// Counts what becomes of segments.
    pub counts: Arc<SegmentCounts>,
}

impl<H: InProcess> Serve for Through<H> {
    async fn serve(&self, client: &mut impl Stream, server: &mut impl Stream, counts: &RelayCounts) -> End {
        let mut session = Session::new(&self.service, &self.counts);
        let end = session.run(client, server).await;
        let (up, down) = session.bytes();
        counts.bytes_to_server.fetch_add(up, Ordering::Relaxed);
        counts.bytes_to_client.fetch_add(down, Ordering::Relaxed);
        end
    }
}

/// Why the relay cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Somebody else listens there.
    #[error("{address} is in use: stop the program that listens there (`ss -ltnp 'sport = :{}'` shows it) or configure another port", .address.port())]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// No address is left to listen on.
    #[error("no address to listen on: configure at least one that this machine has")]
    NoAddress,
}

/// What the relay has done so far; may be read at any time.
#[derive(Debug, Default)]
pub struct RelayCounts {
    connections: AtomicU64,
    open: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
}

/// A reading of [`RelayCounts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RelayReading {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections closed because the server could not be reached.
    pub failed: u64,
    /// Connections closed because the client's handshake failed.
    pub refused: u64,
    /// Bytes relayed from clients to the server.
    pub bytes_to_server: u64,
    /// Bytes relayed from the server to clients.
    pub bytes_to_client: u64,
}

impl RelayCounts {
    /// The counts now.
    #[must_use]
    pub fn read(&self) -> RelayReading {
        RelayReading {
            connections: self.connections.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            bytes_to_server: self.bytes_to_server.load(Ordering::Relaxed),
            bytes_to_client: self.bytes_to_client.load(Ordering::Relaxed),
        }
    }
}

/// A relay that listens.
#[derive(Debug)]
pub struct Relay {
    listeners: Vec<TcpListener>,
    settings: RelaySettings,
    counts: Arc<RelayCounts>,
    places: Arc<Semaphore>,
}

impl Relay {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If an address is in use or cannot be listened on.
    pub fn bind(settings: RelaySettings) -> Result<Self, RelayError> {
        let listeners = listen_all(&settings.listen)?;
        let places = Arc::new(Semaphore::new(settings.connections_max.max(1)));
        Ok(Self { listeners, settings, counts: Arc::default(), places })
    }

    /// A second relay, on other addresses, that shares the counts and the limit of connections with this one.
    ///
    /// # Errors
    /// Like [`bind`](Self::bind).
    pub fn beside(&self, listen: Vec<SocketAddr>) -> Result<Self, RelayError> {
        let listeners = listen_all(&listen)?;
        let settings = RelaySettings { listen, ..self.settings.clone() };
        let (counts, places) = (Arc::clone(&self.counts), Arc::clone(&self.places));
        Ok(Self { listeners, settings, counts, places })
    }

    /// Handle to the counts.
    #[must_use]
    pub fn counts(&self) -> Arc<RelayCounts> {
        Arc::clone(&self.counts)
    }

    /// Where it listens; with ports that the system chose, if 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Relays until `stop` turns true or its sender is gone; then accepts no more, lets connections end by themselves for
    /// at most `grace`, which is asked for then, and resets the rest.
    pub async fn run(
        self,
        accepting: impl Accept,
        dial: impl Dial,
        serve: impl Serve,
        mut stop: watch::Receiver<bool>,
        grace: impl FnOnce() -> Duration + Send,
    ) {
        let link = Link { accepting, dial, serve, limit: self.settings.connect_timeout };
        let (aborting, abort) = watch::channel(false);
        let mut acceptors = JoinSet::new();
        for listener in self.listeners {
            let (places, counts) = (Arc::clone(&self.places), Arc::clone(&self.counts));
            acceptors.spawn(accept(listener, link.clone(), counts, places, stop.clone(), abort.clone()));
        }
        // A sender that is gone means stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
        let ended = async { while acceptors.join_next().await.is_some() {} };
        if tokio::time::timeout(grace(), ended).await.is_err() {
            let _ = aborting.send(true);
            while acceptors.join_next().await.is_some() {}
        }
    }
}

/// How a connection is made out of two, and what lies between.
#[derive(Clone)]
struct Link<A, D, S> {
    accepting: A,
    dial: D,
    serve: S,
    limit: Duration,
}

/// Accepts until `stop`, then waits for the connections.
async fn accept(
    listener: TcpListener,
    link: Link<impl Accept, impl Dial, impl Serve>,
    counts: Arc<RelayCounts>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
    abort: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            next = next => next,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((client, _)) => {
                let (link, counts, mut abort) = (link.clone(), Arc::clone(&counts), abort.clone());
                connections.spawn(async move {
                    let _place = place;
                    counts.connections.fetch_add(1, Ordering::Relaxed);
                    counts.open.fetch_add(1, Ordering::Relaxed);
                    link.connection(client, &counts, &mut abort).await;
                    counts.open.fetch_sub(1, Ordering::Relaxed);
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
    while connections.join_next().await.is_some() {}
}

impl<A: Accept, D: Dial, S: Serve> Link<A, D, S> {
    async fn connection(&self, client: TcpStream, counts: &RelayCounts, abort: &mut watch::Receiver<bool>) {
        tune(&client);
        // The server sees no client that did not come so far.
        let accepted = tokio::select! {
            accepted = within(self.limit, self.accepting.accept(client)) => accepted,
            _ = abort.wait_for(|abort| *abort) => return,
        };
        let mut client = match accepted {
            Ok(client) => client,
            Err(error) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "a client's handshake failed");
                return;
            }
        };
        let dialled = tokio::select! {
            dialled = within(self.limit, self.dial.dial()) => dialled,
            _ = abort.wait_for(|abort| *abort) => return reset(client.tcp()),
        };
        let mut server = match dialled {
            Ok(server) => server,
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "cannot reach the server");
                return reset(client.tcp());
            }
        };
        tune(server.tcp());
        let end = tokio::select! {
            end = self.serve.serve(&mut client, &mut server, counts) => end,
            _ = abort.wait_for(|abort| *abort) => End::Reset,
        };
        if matches!(end, End::Reset) {
            reset(client.tcp());
            reset(server.tcp());
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.map_err(io::Error::from).flatten()
}

fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // A peer that vanished without a word would hold its place for ever.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(300));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Makes the end of this connection a reset, so that the peer does not take a torn stream for a complete one.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Listens on all of these addresses. `0.0.0.0` and `::` may be given together; where the machine has no IPv6, `::` is left out. Must
/// be called within a tokio runtime.
///
/// # Errors
/// If one of them cannot be listened on, or none is left.
pub fn listen_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, RelayError> {
    let mut listeners = Vec::new();
    for &address in addresses {
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(RelayError::InUse { address });
            }
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && no_ipv6(&error) => {
                tracing::info!(%address, "this machine has no IPv6, not listening there");
            }
            Err(source) => return Err(RelayError::Listen { address, source }),
        }
    }
    if listeners.is_empty() { Err(RelayError::NoAddress) } else { Ok(listeners) }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that `::` and `0.0.0.0` do not clash.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
