//! A load generator for what the well-known ones cannot do: each connection sends, waits for all that is due, checks it
//! and sends the next.
//!
//! Each thread serves its connections with epoll.

use super::histogram::Histogram;
use super::measure::Outcome;
use crate::lab::Place;
use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// What one connection says and hears.
pub(super) trait Dialogue {
    /// Appends what is to be sent next.
    fn ask(&mut self, output: &mut Vec<u8>);

    /// Checks what has come so far; a wrong reply is an error.
    fn hear(&mut self, input: &[u8]) -> Result<Heard>;
}

/// What became of the bytes that have come.
pub(super) struct Heard {
    /// How many are done with.
    pub(super) used: usize,
    /// How many requests are answered, once nothing more is due.
    pub(super) answered: Option<u64>,
}

/// How many connections, and from where.
pub(super) struct Shape<'a> {
    pub(super) place: &'a Place,
    pub(super) connections: usize,
    pub(super) threads: usize,
    pub(super) duration: Duration,
}

/// What came of it.
pub(super) struct Tally {
    pub(super) latencies: Histogram,
    pub(super) elapsed: Duration,
}

impl Tally {
    /// As a round's outcome, beside a flood of this rate.
    pub(super) fn outcome(&self, flood_rps: Option<f64>) -> Outcome {
        let requests = self.latencies.total();
        Outcome {
            requests,
            rps: requests as f64 / self.elapsed.as_secs_f64(),
            p50_us: self.latencies.quantile_us(0.5),
            p99_us: self.latencies.quantile_us(0.99),
            late: 0,
            flood_rps,
        }
    }
}

/// Sends for a time. `open` makes the connection of a number, and what is said on it. A wrong reply or a lost connection
/// is an error.
pub(super) fn run<D: Dialogue>(
    shape: &Shape<'_>,
    open: impl Fn(usize) -> Result<(TcpStream, D)> + Sync,
) -> Result<Tally> {
    let tallies: Vec<Result<Tally>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..shape.threads)
            .map(|thread| {
                let open = &open;
                scope.spawn(move || {
                    shape.place.enter().context("cannot enter the client's network namespace")?;
                    let mine = (thread..shape.connections).step_by(shape.threads);
                    serve(mine.map(open).collect::<Result<_>>()?, shape.duration)
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut whole = Tally { latencies: Histogram::new(), elapsed: Duration::ZERO };
    for tally in tallies {
        let tally = tally?;
        whole.latencies.add(&tally.latencies);
        whole.elapsed = whole.elapsed.max(tally.elapsed);
    }
    Ok(whole)
}

struct Connection<D> {
    stream: TcpStream,
    dialogue: D,
    sent: Instant,
    input: Vec<u8>,
}

fn serve<D: Dialogue>(opened: Vec<(TcpStream, D)>, duration: Duration) -> Result<Tally> {
    let epoll = Epoll::new()?;
    let mut output = Vec::new();
    let mut connections = Vec::with_capacity(opened.len());
    for (index, (stream, dialogue)) in opened.into_iter().enumerate() {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, index as u64)?;
        connections.push(Connection { stream, dialogue, sent: Instant::now(), input: Vec::new() });
    }
    let start = Instant::now();
    for connection in &mut connections {
        connection.send(&mut output)?;
    }
    let mut latencies = Histogram::new();
    let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 64];
    while start.elapsed() < duration {
        for event in epoll.wait(&mut ready)? {
            let connection = &mut connections[event.u64 as usize];
            if let Some(answered) = connection.receive()? {
                let latency_ns = connection.sent.elapsed().as_nanos() as u64;
                latencies.record(latency_ns, answered);
                connection.send(&mut output)?;
            }
        }
    }
    Ok(Tally { latencies, elapsed: start.elapsed() })
}

impl<D: Dialogue> Connection<D> {
    fn send(&mut self, output: &mut Vec<u8>) -> Result<()> {
        output.clear();
        self.dialogue.ask(output);
        self.sent = Instant::now();
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                // What is sent is a few KB and the last is answered: the socket's buffer has room in an instant.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error).context("the connection was lost while sending"),
            }
        }
        Ok(())
    }

    /// Reads what is there. The number of requests that are answered when the last reply that is due has come.
    fn receive(&mut self) -> Result<Option<u64>> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => self.input.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("the connection was lost"),
        }
        let Heard { used, answered } = self.dialogue.hear(&self.input)?;
        self.input.drain(..used);
        if answered.is_some() && !self.input.is_empty() {
            bail!("the server sent more than was asked for");
        }
        Ok(answered)
    }
}

struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> std::io::Result<Self> {
        // SAFETY: takes flags only; a descriptor that is returned belongs to us alone.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn add(&self, stream: &TcpStream, token: u64) -> std::io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: both descriptors are open and the event lives until the call returns.
        let result = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, stream.as_raw_fd(), &raw mut event)
        };
        if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits at most 10 ms, so that the end of the run is seen.
    fn wait<'a>(&self, events: &'a mut [libc::epoll_event]) -> std::io::Result<&'a [libc::epoll_event]> {
        // SAFETY: the kernel writes at most `events.len()` events to the slice.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, 10) };
        match usize::try_from(count) {
            Ok(count) => Ok(&events[..count]),
            Err(_) => match std::io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => Ok(&[]),
                error => Err(error),
            },
        }
    }
}
