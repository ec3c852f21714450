//! A connection with Redis or with a client, with TLS or without.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;
use xps_runtime::link::{Accept, Dial, Stream};

use crate::config::Current;
use crate::server::credentials::Server;
use crate::shared::Shared;

/// The connection.
#[derive(Debug)]
pub enum Link {
    /// TCP alone.
    Tcp(TcpStream),
    /// TLS over it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream for Link {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    fn is_bare(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl Server {
    /// Connects, with TLS if the configuration says so.
    ///
    /// # Errors
    /// If there is no connection, or no handshake, each within `limit`.
    pub async fn connect(&self, limit: Duration) -> io::Result<Link> {
        let tcp = match &self.own {
            Some(own) => own.connect(&self.address, limit).await?,
            None => self.address.connect(limit).await?,
        };
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Link::Tcp(tcp)) };
        let done = timeout(limit, tls.handshake(tcp)).await;
        let silent = |_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no TLS handshake within {limit:?}; does it speak TLS there?"),
            )
        };
        done.map_err(silent).flatten().map(|tls| Link::Tls(Box::new(tls))).map_err(|error| {
            match error.kind() {
                kind @ (io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                    let message = "it closed the connection in the TLS handshake; does it speak TLS there?";
                    io::Error::new(kind, message)
                }
                _ => error,
            }
        })
    }
}

/// Connects the relay to Redis.
#[derive(Clone, Debug)]
pub struct Dialler {
    /// Which Redis.
    pub config: Arc<Current>,
    /// How long each step of connecting may take.
    pub limit: Duration,
    /// The cache that answers for Redis, if there is one in this process.
    pub cache: Option<Arc<Shared>>,
}

impl Dial for Dialler {
    type Stream = Link;

    async fn dial(&self) -> io::Result<Link> {
        let link = self.config.read().redis.connect(self.limit).await?;
        if let Some(cache) = &self.cache
            && !cache.whereabouts.include(link.tcp().peer_addr()?)
        {
            // In this order: once hits are asked to stop, whoever looks finds the reason.
            cache.whereabouts.doubt();
            cache.settings.ask_recheck();
            cache.recheck.notify_one();
        }
        Ok(link)
    }
}

/// Accepts clients that come with TLS.
#[derive(Clone, Debug)]
pub struct Secured {
    /// By which certificates.
    pub config: Arc<Current>,
}

impl Accept for Secured {
    type Stream = Link;

    async fn accept(&self, tcp: TcpStream) -> io::Result<Link> {
        let config = self.config.read();
        // A reload keeps the listener, so what belongs to it is there.
        let tls = config.tls.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Link::Tls(Box::new(tls.clients.handshake(tcp).await?)))
    }
}
