//! A closed-loop load generator for what redis-benchmark cannot do: a given hit share, mixed pipelines, checked replies.
//!
//! Each thread serves its connections with epoll; each connection sends a pipeline, waits for all its replies, checks
//! them and sends the next.

use super::histogram::Histogram;
use super::request::{Expected, Mix, Random};
use crate::lab::Place;
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// What to send, and how.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) mix: Mix,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) pipeline: usize,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) latencies: Histogram,
    pub(super) elapsed: Duration,
}

impl Load {
    /// Sends for `duration`. A wrong reply or a lost connection is an error.
    pub(super) fn run(self, place: &Place, server: SocketAddr, duration: Duration) -> Result<Outcome> {
        let outcomes: Vec<Result<Outcome>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|index| {
                    let share = self.connections / self.threads
                        + usize::from(index < self.connections % self.threads);
                    scope.spawn(move || {
                        place.enter().context("cannot enter the client's network namespace")?;
                        serve(self, share, index as u64 + 1, server, duration)
                    })
                })
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        let mut whole = Outcome { latencies: Histogram::new(), elapsed: Duration::ZERO };
        for outcome in outcomes {
            let outcome = outcome?;
            whole.latencies.add(&outcome.latencies);
            whole.elapsed = whole.elapsed.max(outcome.elapsed);
        }
        Ok(whole)
    }
}

struct Connection {
    stream: TcpStream,
    due: VecDeque<Expected>,
    sent: Instant,
    input: Vec<u8>,
}

fn serve(load: Load, count: usize, seed: u64, server: SocketAddr, duration: Duration) -> Result<Outcome> {
    let epoll = Epoll::new()?;
    let mut random = Random::new(seed);
    let mut output = Vec::new();
    let mut connections = Vec::with_capacity(count);
    for index in 0..count {
        let stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(&stream, index as u64)?;
        connections.push(Connection {
            stream,
            due: VecDeque::new(),
            sent: Instant::now(),
            input: Vec::new(),
        });
    }
    let start = Instant::now();
    for connection in &mut connections {
        connection.send(load, &mut random, &mut output)?;
    }
    let mut latencies = Histogram::new();
    let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 64];
    while start.elapsed() < duration {
        for event in epoll.wait(&mut ready)? {
            let connection = &mut connections[event.u64 as usize];
            if connection.receive()? {
                let latency_ns = connection.sent.elapsed().as_nanos() as u64;
                latencies.record(latency_ns, load.pipeline as u64);
                connection.send(load, &mut random, &mut output)?;
            }
        }
    }
    Ok(Outcome { latencies, elapsed: start.elapsed() })
}

impl Connection {
    fn send(&mut self, load: Load, random: &mut Random, output: &mut Vec<u8>) -> Result<()> {
        output.clear();
        for _ in 0..load.pipeline {
            self.due.push_back(load.mix.next(random, output));
        }
        self.sent = Instant::now();
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                // A pipeline is a few KB and the last one is answered: the socket's buffer has room in an instant.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error).context("the connection was lost while sending"),
            }
        }
        Ok(())
    }

    /// Reads what is there. True when the last reply of the pipeline has come.
    fn receive(&mut self) -> Result<bool> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => self.input.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("the connection was lost"),
        }
        let mut used = 0;
        while let Some(expected) = self.due.front() {
            match expected.check(&self.input[used..]).map_err(anyhow::Error::msg)? {
                Some(length) => used += length,
                None => break,
            }
            self.due.pop_front();
        }
        self.input.drain(..used);
        if self.due.is_empty() && !self.input.is_empty() {
            bail!("the server sent more than was asked for");
        }
        Ok(self.due.is_empty())
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
