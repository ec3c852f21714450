//! One direction of a relayed connection.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// From where to where, and what counts the bytes.
pub(crate) struct Direction<'a> {
    pub(crate) from: &'a TcpStream,
    pub(crate) to: &'a TcpStream,
    pub(crate) bytes: &'a AtomicU64,
}

/// Copies until the end of `from`, then half-closes `to`. A reset of the receiver shows in the other direction, which
/// reads from it.
///
/// # Errors
/// If either connection breaks.
pub(crate) async fn pump(direction: Direction<'_>) -> io::Result<()> {
    let Direction { from, to, bytes } = direction;
    let mut buffer = vec![0; CHUNK];
    loop {
        from.readable().await?;
        let read = match from.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            match to.try_write(rest) {
                Ok(written) => {
                    bytes.fetch_add(written as u64, Ordering::Relaxed);
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
    }
    match SockRef::from(to).shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}
