//! Streams of clients: how they are sent, what is said to them, and what Nginx has served of them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_fastpath::head::Settings;
use http_fastpath::host::{requests, responses};
use http_fastpath::response::{Asked, Outstanding};

use crate::lab::{Lab, PLAIN, SERVER_V4};
use crate::{PATIENCE, until};

/// Streams that are sent at once.
const AT_ONCE: usize = 4;
/// Between two looks at a connection.
const PAUSE: Duration = Duration::from_micros(100);

/// What a client sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// Where a segment ends, and how many responses must have come before what follows it is sent.
    pub(crate) cuts: Vec<(usize, usize)>,
}

impl Stream {
    /// A stream whose parts are sent one after the other, without waiting for responses.
    pub(crate) fn cut(bytes: &[u8], cuts: &[usize]) -> Self {
        Self { bytes: bytes.to_vec(), cuts: cuts.iter().map(|cut| (*cut, 0)).collect() }
    }

    /// A stream whose requests are sent one by one, each when those before it are answered.
    pub(crate) fn one_by_one(bytes: &[u8]) -> Self {
        let complete = |end: usize| {
            let seen = requests(&bytes[..end], &[], &Settings::DEFAULT).seen;
            seen.iter().filter(|seen| seen.complete).count()
        };
        let mut cuts = Vec::new();
        for end in 1..bytes.len() {
            let known = cuts.last().map_or(0, |(_, answers)| *answers);
            let answers = complete(end);
            if answers > known {
                cuts.push((end, answers));
            }
        }
        Self { bytes: bytes.to_vec(), cuts }
    }
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The client's port, by which Nginx's logs know the connection.
    pub(crate) port: u16,
    /// Statuses of the responses, in order.
    pub(crate) statuses: Vec<u16>,
}

/// A connection through XPS.
struct Connection {
    stream: TcpStream,
    asked: Asked,
    said: Vec<u8>,
    ended: bool,
}

impl Connection {
    /// Reads until something is so, or the connection has ended.
    fn read_until(&mut self, what: &str, so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !self.ended && !so(self)? {
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.ended = true,
                Ok(read) => self.said.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ensure!(start.elapsed() < PATIENCE, "{what} took longer than {PATIENCE:?}");
                    sleep(PAUSE);
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
                Err(error) => return Err(error).with_context(|| what.to_owned()),
            }
        }
        Ok(())
    }

    fn statuses(&self) -> Vec<u16> {
        let mut outstanding = Outstanding::NONE;
        outstanding.passed(&self.asked);
        responses(&self.said, &[], &mut outstanding).statuses
    }

    /// Whether all that was sent has arrived: what is sent then is a segment of its own.
    fn has_arrived(&self) -> Result<bool> {
        let mut left: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the number lives through the call.
        let asked = unsafe { libc::ioctl(self.stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) };
        ensure!(asked == 0, "{}", std::io::Error::last_os_error());
        Ok(left == 0)
    }
}

/// Sends a stream through XPS, and reads what comes until the connection has ended.
pub(crate) fn send(lab: &Lab, stream: &Stream) -> Result<Sent> {
    let (socket, port) = lab.client_with_own_port()?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let mut asked = Asked::NONE;
    for seen in requests(&stream.bytes, &[], &Settings::DEFAULT).seen {
        asked.push(seen.method == b"HEAD");
    }
    asked.push(false);
    let mut connection = Connection { stream: socket, asked, said: Vec::new(), ended: false };
    let mut start = 0;
    for (end, answers) in stream.cuts.iter().copied().chain([(stream.bytes.len(), 0)]) {
        // Who was refused already has gone.
        if connection.ended || connection.stream.write_all(&stream.bytes[start..end]).is_err() {
            break;
        }
        start = end;
        connection.read_until("the arrival of a segment", Connection::has_arrived)?;
        connection.read_until("a response", |connection| Ok(connection.statuses().len() >= answers))?;
    }
    let _ = connection.stream.shutdown(Shutdown::Write);
    connection.read_until("the end", |_| Ok(false))?;
    Ok(Sent { port, statuses: connection.statuses() })
}

/// Sends streams, some at once.
pub(crate) fn send_all(lab: &Lab, streams: &[Stream]) -> Result<Vec<Sent>> {
    let send_each = |part: &[Stream]| part.iter().map(|stream| send(lab, stream)).collect::<Result<Vec<_>>>();
    let parts = std::thread::scope(|scope| {
        let parts = streams.chunks(streams.len().div_ceil(AT_ONCE).max(1));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || send_each(part))).collect();
        let ends = threads.into_iter();
        ends.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(parts.concat())
}

/// A request as Nginx has served it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) method: String,
    pub(crate) path: Vec<u8>,
    pub(crate) host: String,
    pub(crate) body_bytes: u64,
}

/// The text of a log of Nginx: `\xNN` stands for a byte.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        let (digits, more) = after.split_at_checked(2).unwrap_or((after, ""));
        bytes.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
        rest = more;
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// What Nginx has served with status 200, by the client's port.
pub(crate) fn served(lab: &Lab) -> Result<BTreeMap<u16, Vec<Served>>> {
    // Nginx writes a line when a request has ended. All that it had begun before this one has ended before it.
    sleep(Duration::from_millis(200));
    lab.connect(SERVER_V4, PLAIN)?.get("/all-is-sent")?;
    let log = until("the last line of the log", || {
        let log = lab.log("seen.log")?;
        Ok(log.contains(" /all-is-sent\n").then_some(log))
    })?;
    let mut all: BTreeMap<u16, Vec<Served>> = BTreeMap::new();
    for line in log.lines() {
        let mut words = line.splitn(6, ' ');
        let mut word = || words.next().with_context(|| format!("the log's line {line:?}"));
        let (port, status, body_bytes) = (word()?, word()?, word()?);
        let (method, host, path) = (word()?, word()?, word()?);
        if status == "200" {
            all.entry(port.parse()?).or_default().push(Served {
                method: method.to_owned(),
                path: unescaped(path),
                host: host.to_owned(),
                // Without a body there is no length.
                body_bytes: body_bytes.parse().unwrap_or(0),
            });
        }
    }
    Ok(all)
}
