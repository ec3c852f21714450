//! One direction of a relayed connection.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// From where to where, and what counts the bytes.
pub(crate) struct Direction<'a> {
    pub(crate) from: &'a TcpStream,
    pub(crate) to: &'a TcpStream,
    pub(crate) bytes: &'a AtomicU64,
    /// Of both directions: whether a receiver has reset its connection. Then the whole must end as a reset.
    pub(crate) refused: &'a AtomicBool,
}

/// Copies until the end of `from`, then half-closes `to`. A receiver that has reset its connection may have said
/// something before, such as why; so that is no error here: the other direction passes it on and then meets the end.
///
/// # Errors
/// If either connection breaks.
pub(crate) async fn pump(direction: Direction<'_>) -> io::Result<()> {
    let Direction { from, to, bytes, refused } = direction;
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
                Err(error) if is_reset(&error) => {
                    refused.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
    // The end of what was received before the reset, which the failed write has taken note of, is no orderly end.
    if refused.load(Ordering::Relaxed) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    match SockRef::from(to).shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (connected, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_a_server_says_before_its_reset_is_passed_on() {
        let (mut client, from_client) = pair().await;
        let (mut to_server, mut server) = pair().await;
        to_server.write_all(b"not understood").await.unwrap();
        server.readable().await.unwrap();
        server.write_all(b"why").await.unwrap();
        // With something unread, a close is a reset.
        drop(server);
        to_server.readable().await.unwrap();
        client.write_all(b"more").await.unwrap();
        from_client.readable().await.unwrap();
        let (bytes, refused) = (AtomicU64::new(0), AtomicBool::new(false));
        let up = Direction { from: &from_client, to: &to_server, bytes: &bytes, refused: &refused };
        let down = Direction { from: &to_server, to: &from_client, bytes: &bytes, refused: &refused };
        // Upwards first: its write meets the reset before anything was read downwards.
        assert!(tokio::try_join!(biased; pump(up), pump(down)).is_err());
        drop(from_client);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"why");
    }
}
