//! Datagrams on a unix socket, by which applications without HTTP call: `NODE` or `NODE MILLISECONDS`, in decimal digits, with
//! a line feed at the end or without one. 0 milliseconds end the lease.
//!
//! Nothing is answered: whoever is not heard lapses. The socket is only for whom the agent runs as, who may speak for every
//! node anyway; an application of another user has a shared file, which is its own.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::str;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heartbeat_fastpath::wire::NodeId;
use socket2::Type;
use tokio::net::UnixDatagram;
use tracing::{debug, warn};
use xps_runtime::admin::listener::{SocketFile, bind_private};

use super::Inner;

/// Longer than the longest call: ten digits, a space, twenty digits and a line feed.
const BYTES_MAX: usize = 64;
/// How long to wait when the system has no answer: an error that stays must not keep a CPU busy.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// The socket, and its file, which goes with it.
pub(super) struct Calls {
    socket: UnixDatagram,
    _file: SocketFile,
}

/// Why a datagram renews nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be the node's number, and perhaps a space and a number of milliseconds")]
struct NotACall;

/// Listens.
///
/// # Errors
/// If the system refuses, as where somebody else listens.
pub(super) fn listen(path: &Path) -> io::Result<Calls> {
    let (socket, file) = bind_private(path, Type::DGRAM)?;
    Ok(Calls { socket: UnixDatagram::from_std(OwnedFd::from(socket).into())?, _file: file })
}

/// Takes calls for ever.
pub(super) async fn serve(calls: Calls, inner: Arc<Inner>) {
    let mut bytes = [0; BYTES_MAX];
    loop {
        let length = match calls.socket.recv(&mut bytes).await {
            Ok(length) => length,
            Err(error) => {
                warn!("calls for leases cannot be read: {error}");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let refused = match parse(&bytes[..length]) {
            Ok((node, promise)) => inner.renew(node, promise).err().map(|why| why.to_string()),
            Err(why) => Some(why.to_string()),
        };
        if let Some(why) = refused {
            inner.calls_refused.fetch_add(1, Ordering::Relaxed);
            debug!("a call for a lease renews nothing: {why}");
        }
    }
}

fn parse(bytes: &[u8]) -> Result<(NodeId, Option<Duration>), NotACall> {
    // What fills the buffer may have been cut.
    if bytes.len() == BYTES_MAX {
        return Err(NotACall);
    }
    let line = str::from_utf8(bytes.strip_suffix(b"\n").unwrap_or(bytes)).map_err(|_| NotACall)?;
    let (node, promise) = line.split_once(' ').map_or((line, None), |(node, promise)| (node, Some(promise)));
    let node = u32::try_from(number(node)?).ok().and_then(NodeId::new).ok_or(NotACall)?;
    Ok((node, promise.map(number).transpose()?.map(Duration::from_millis)))
}

/// Digits only: no sign, no space.
fn number(text: &str) -> Result<u64, NotACall> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(NotACall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_numbers() {
        let node = |number| NodeId::new(number).expect("not 0");
        for (text, call) in [
            ("7", (node(7), None)),
            ("7\n", (node(7), None)),
            ("4294967295 0\n", (node(u32::MAX), Some(Duration::ZERO))),
            ("7 1500", (node(7), Some(Duration::from_millis(1500)))),
            ("7 18446744073709551615\n", (node(7), Some(Duration::from_millis(u64::MAX)))),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(call), "{text:?}");
        }
        let long = format!("7 {}", "0".repeat(BYTES_MAX));
        for text in [
            "",
            "\n",
            "0",
            "-7",
            "+7",
            "7 ",
            " 7",
            "7  5",
            "7 5 5",
            "7 1s",
            "4294967296",
            "x",
            "7\n\n",
            "7\0",
            "7 18446744073709551616",
            &long[..BYTES_MAX],
        ] {
            assert_eq!(parse(text.as_bytes()), Err(NotACall), "{text:?}");
        }
        assert_eq!(parse(b"7 \xff"), Err(NotACall));
    }
}
