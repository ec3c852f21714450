//! A blocking RESP client that shows every byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};

/// How long a reply may take, also over a link that loses packets.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to Redis.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// Where the reply that is being read starts in `received`.
    at: usize,
}

/// A request in RESP.
pub(crate) fn request(arguments: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(&bulk(argument));
    }
    bytes
}

/// A bulk string in RESP.
pub(crate) fn bulk(value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut bytes = format!("${}\r\n", value.len()).into_bytes();
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Words as arguments.
pub(crate) fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

/// Bytes as a person reads them, shortened.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let end = bytes.len().min(200);
    let rest = if end < bytes.len() { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("{}{rest}", bytes[..end].escape_ascii())
}

/// Whether the connection was lost, or refused; not that the other side is silent.
pub(crate) fn is_lost(error: &Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof];
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| kinds.contains(&error.kind()))
}

impl Client {
    /// Takes a connected stream.
    pub(crate) fn of(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: Vec::new(), at: 0 })
    }

    /// The socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// This end's address.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.stream.local_addr()?)
    }

    /// Sends bytes as they are, in one call.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// Sends words as a request.
    pub(crate) fn ask(&mut self, line: &str) -> Result<()> {
        self.send(&request(&words(line)))
    }

    /// Sends words as a request and reads the reply.
    pub(crate) fn command(&mut self, line: &str) -> Result<Vec<u8>> {
        self.ask(line)?;
        self.reply().with_context(|| format!("{} from {:?}", shown(line.as_bytes()), self.stream))
    }

    /// Sends words as a request; the reply must be this.
    pub(crate) fn check(&mut self, line: &str, reply: impl AsRef<[u8]>) -> Result<()> {
        let got = self.command(line)?;
        let expected = reply.as_ref();
        ensure!(got == expected, "{line}: got {}, expected {}", shown(&got), shown(expected));
        Ok(())
    }

    /// Sends `SET`; the reply must be `OK`.
    pub(crate) fn set(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
        self.send(&request(&[b"SET".as_slice(), key.as_bytes(), value.as_ref()]))?;
        self.expect(b"+OK\r\n").with_context(|| format!("SET {key}"))
    }

    /// Sends `GET` and reads the value.
    pub(crate) fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        let reply = self.command(&format!("GET {key}"))?;
        if reply == b"$-1\r\n" || reply == b"_\r\n" {
            return Ok(None);
        }
        let Some(start) = reply.iter().position(|byte| *byte == b'\n') else { bail!("no reply") };
        ensure!(reply[0] == b'$', "GET {key}: {}", shown(&reply));
        Ok(Some(reply[start + 1..reply.len() - 2].to_vec()))
    }

    /// Sends `GET`; the value must be this.
    pub(crate) fn holds(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let got = self.get(key)?;
        let value = value.as_ref();
        let text = got.as_deref().map_or("nothing".to_owned(), shown);
        ensure!(got.as_deref() == Some(value), "{key} holds {text}, expected {}", shown(value));
        Ok(())
    }

    /// The next bytes must be these.
    pub(crate) fn expect(&mut self, bytes: &[u8]) -> Result<()> {
        let mut got = self.received.split_off(self.at);
        self.received.clear();
        self.at = 0;
        while got.len() < bytes.len() {
            let mut part = [0; 16384];
            let want = part.len().min(bytes.len() - got.len());
            let read = self
                .stream
                .read(&mut part[..want])
                .with_context(|| format!("after {} of {} bytes: {}", got.len(), bytes.len(), shown(&got)))?;
            ensure!(read != 0, "the end after {} of {} bytes: {}", got.len(), bytes.len(), shown(&got));
            got.extend_from_slice(&part[..read]);
        }
        let rest = got.split_off(bytes.len());
        if let Some(at) = got.iter().zip(bytes).position(|(a, b)| a != b) {
            bail!("byte {at}: got {}, expected {}", shown(&got[at..]), shown(&bytes[at..]));
        }
        self.received = rest;
        Ok(())
    }

    /// The end of the stream must come, and nothing before it.
    pub(crate) fn expect_end(&mut self) -> Result<()> {
        ensure!(self.at == self.received.len(), "unread: {}", shown(&self.received[self.at..]));
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).context("waiting for the end")?;
        ensure!(rest.is_empty(), "instead of the end: {}", shown(&rest));
        Ok(())
    }

    /// All that comes until the end, or until a reset.
    pub(crate) fn everything(&mut self) -> Result<Vec<u8>> {
        let mut all = self.received.split_off(self.at);
        match self.stream.read_to_end(&mut all) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
            _ => Ok(all),
        }
    }

    /// Nothing must come for a while.
    pub(crate) fn expect_silence(&mut self, time: Duration) -> Result<()> {
        ensure!(self.at == self.received.len(), "unread: {}", shown(&self.received[self.at..]));
        self.stream.set_read_timeout(Some(time))?;
        let mut part = [0; 256];
        let read = self.stream.read(&mut part);
        self.stream.set_read_timeout(Some(PATIENCE))?;
        match read {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(read) => bail!("instead of silence: {}", shown(&part[..read])),
        }
    }

    /// Sends no more.
    pub(crate) fn half_close(&self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) -> Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    /// One reply of any kind, as it came.
    pub(crate) fn reply(&mut self) -> Result<Vec<u8>> {
        let mut at = self.at;
        let mut open = 1usize;
        while open > 0 {
            open -= 1;
            let line_at = at;
            at = loop {
                if let Some(end) = self.received[line_at..].windows(2).position(|pair| pair == b"\r\n") {
                    break line_at + end + 2;
                }
                self.more()?;
            };
            let kind = self.received[line_at];
            let line = std::str::from_utf8(&self.received[line_at + 1..at - 2])?;
            let count = || line.parse::<i64>().with_context(|| format!("a count: {line}"));
            match kind {
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
                b'$' | b'!' | b'=' => {
                    if let Ok(length) = usize::try_from(count()?) {
                        at += length + 2;
                    }
                }
                b'*' | b'~' | b'>' => open += usize::try_from(count()?).unwrap_or(0),
                b'%' => open += usize::try_from(count()?)? * 2,
                // An attribute, and what it belongs to.
                b'|' => open += usize::try_from(count()?)? * 2 + 1,
                _ => bail!("not RESP: {}", shown(&self.received[line_at..])),
            }
            while self.received.len() < at {
                self.more()?;
            }
        }
        let reply = self.received[self.at..at].to_vec();
        self.at = at;
        if self.at == self.received.len() {
            self.received.clear();
            self.at = 0;
        }
        Ok(reply)
    }

    fn more(&mut self) -> Result<()> {
        let mut part = [0; 65536];
        let start = Instant::now();
        let read = self.stream.read(&mut part).with_context(|| {
            let waited = start.elapsed();
            format!("after {waited:?}, a reply so far: {}", shown(&self.received[self.at..]))
        })?;
        if read == 0 {
            let end = Error::from(io::Error::from(ErrorKind::UnexpectedEof));
            return Err(end.context(format!("the end in a reply: {}", shown(&self.received[self.at..]))));
        }
        self.received.extend_from_slice(&part[..read]);
        Ok(())
    }
}
