//! The user path: connections to the accelerated port are relayed to the server.
//!
//! It always runs. Where the kernel path takes a connection, the listener here never sees it; what comes is what the
//! kernel path does not take. A half-close is passed on as a half-close, an abort as a reset. What lies between the two
//! connections is a [`Serve`]: [`Plain`] relays byte for byte, [`Through`] has the service's handler answer what it can.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::session::{End, InProcess, SegmentCounts, Session};
use crate::stream::{Direction, pump};

/// How a relay works.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// Addresses to listen on. `0.0.0.0` and `::` may be given together; where the machine has no IPv6, `::` is left out.
    pub listen: Vec<SocketAddr>,
    /// Where the server listens.
    pub server: SocketAddr,
    /// Connections at once; more wait in the listen queue.
    pub connections_max: usize,
    /// How long connecting to the server may take.
    pub connect_timeout: Duration,
}

/// What happens between a client's connection and the one to the server that was opened for it.
pub trait Serve: Clone + Send + Sync + 'static {
    /// Serves until the end.
    fn serve(
        &self,
        client: &mut TcpStream,
        server: &mut TcpStream,
        counts: &RelayCounts,
    ) -> impl Future<Output = End> + Send;
}

/// Relays byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Serve for Plain {
    async fn serve(&self, client: &mut TcpStream, server: &mut TcpStream, counts: &RelayCounts) -> End {
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
    async fn serve(&self, client: &mut TcpStream, server: &mut TcpStream, counts: &RelayCounts) -> End {
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
}

impl Relay {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If an address is in use or cannot be listened on.
    pub fn bind(settings: RelaySettings) -> Result<Self, RelayError> {
        let mut listeners = Vec::new();
        for &address in &settings.listen {
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
        if listeners.is_empty() {
            return Err(RelayError::NoAddress);
        }
        Ok(Self { listeners, settings, counts: Arc::default() })
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
        serve: impl Serve,
        mut stop: watch::Receiver<bool>,
        grace: impl FnOnce() -> Duration + Send,
    ) {
        let places = Arc::new(Semaphore::new(self.settings.connections_max.max(1)));
        let (aborting, abort) = watch::channel(false);
        let mut acceptors = JoinSet::new();
        for listener in self.listeners {
            let (places, settings) = (Arc::clone(&places), self.settings.clone());
            let (counts, stop, abort) = (Arc::clone(&self.counts), stop.clone(), abort.clone());
            acceptors.spawn(accept(listener, serve.clone(), settings, counts, places, stop, abort));
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

/// Accepts until `stop`, then waits for the connections.
async fn accept(
    listener: TcpListener,
    serve: impl Serve,
    settings: RelaySettings,
    counts: Arc<RelayCounts>,
    places: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
    abort: watch::Receiver<bool>,
) {
    let settings = Arc::new(settings);
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
                let (settings, counts) = (Arc::clone(&settings), Arc::clone(&counts));
                let (mut abort, serve) = (abort.clone(), serve.clone());
                connections.spawn(async move {
                    let _place = place;
                    counts.connections.fetch_add(1, Ordering::Relaxed);
                    counts.open.fetch_add(1, Ordering::Relaxed);
                    connection(client, &serve, &settings, &counts, &mut abort).await;
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

async fn connection(
    mut client: TcpStream,
    serve: &impl Serve,
    settings: &RelaySettings,
    counts: &RelayCounts,
    abort: &mut watch::Receiver<bool>,
) {
    let connecting = tokio::time::timeout(settings.connect_timeout, TcpStream::connect(settings.server));
    let connected = tokio::select! {
        connected = connecting => connected.map_err(io::Error::from).flatten(),
        _ = abort.wait_for(|abort| *abort) => return reset(&client),
    };
    let mut server = match connected {
        Ok(server) => server,
        Err(error) => {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(server = %settings.server, %error, "cannot reach the server");
            return reset(&client);
        }
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
        // A peer that vanished without a word would hold its place for ever.
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(300));
        let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
    let end = tokio::select! {
        end = serve.serve(&mut client, &mut server, counts) => end,
        _ = abort.wait_for(|abort| *abort) => End::Reset,
    };
    if matches!(end, End::Reset) {
        reset(&client);
        reset(&server);
    }
}

/// Makes the end of this connection a reset, so that the peer does not take a torn stream for a complete one.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
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
