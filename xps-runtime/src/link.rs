//! The two connections that a relayed one consists of, whatever carries their bytes: TCP alone, or something over it.
//!
//! The relay accepts clients by an [`Accept`] and opens connections to the server by a [`Dial`]. What lies between TCP
//! and the service's bytes, such as TLS, is theirs.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;

/// A stream of a service's bytes over a TCP connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// The connection that carries it.
    fn tcp(&self) -> &TcpStream;

    /// Whether the connection's bytes are the stream's own.
    fn is_bare(&self) -> bool;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }

    fn is_bare(&self) -> bool {
        true
    }
}

/// Makes an accepted connection a stream.
pub trait Accept: Clone + Send + Sync + 'static {
    /// The stream.
    type Stream: Stream;

    /// Does what comes before the first byte, such as a handshake. The caller limits its time.
    fn accept(&self, tcp: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Opens connections to the server.
pub trait Dial: Clone + Send + Sync + 'static {
    /// The stream.
    type Stream: Stream;

    /// Opens one. The caller limits its time, too.
    fn dial(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// TCP alone, on the client's side.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl Accept for Bare {
    type Stream = TcpStream;

    async fn accept(&self, tcp: TcpStream) -> io::Result<TcpStream> {
        Ok(tcp)
    }
}

/// TCP alone, on the server's side.
#[derive(Clone, Debug)]
pub struct ToServer {
    /// Where it is.
    pub server: Endpoint,
    /// How long connecting may take.
    pub limit: std::time::Duration,
}

impl Dial for ToServer {
    type Stream = TcpStream;

    async fn dial(&self) -> io::Result<TcpStream> {
        self.server.connect(self.limit).await
    }
}
