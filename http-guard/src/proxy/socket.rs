//! What the proxy does with sockets. Reads can be given up at any time without losing bytes.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Bytes that are read at once.
pub(super) const CHUNK: usize = 16 * 1024;
/// How long a client may go on to send what nobody reads any more. Closed at once, its connection would be reset, and with it
/// would go what it was told last.
const LINGER: Duration = Duration::from_secs(5);

/// Reads what is there behind what `bytes` has; 0 at the end.
pub(super) async fn read(from: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        from.readable().await?;
        bytes.reserve(CHUNK);
        match from.try_read_buf(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Writes all of `bytes`.
pub(super) async fn write(to: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells the peer that nothing more comes.
pub(super) fn end(stream: &TcpStream) {
    // Without a connection there is nobody to be told.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Makes the end of this connection a reset: what the peer has got is not whole.
pub(super) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Reads what still comes, and forgets it, until the peer has ended or that time is over.
pub(super) async fn drain(from: &TcpStream, time: Duration) {
    let deadline = Instant::now() + time;
    let mut bytes = Vec::new();
    while let Ok(Ok(1..)) = tokio::time::timeout_at(deadline, read(from, &mut bytes)).await {
        bytes.clear();
    }
}

/// Ends a connection so that the peer gets all that it was told.
pub(super) async fn close(stream: &TcpStream) {
    end(stream);
    drain(stream, LINGER).await;
}

pub(super) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // A peer that vanished without a word would hold its place for ever.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(300));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
