//! Load generators for what the well-known ones cannot do. Each connection sends, waits for all that is due, checks it,
//! and may send again.
//!
//! # Layout
//! - [`closed_loop`]: each connection sends again at once. [`paced`]: at a rate, whatever the server does.
//! - [`connection`], [`epoll`]: what both stand on.

pub(super) mod closed_loop;
mod connection;
mod epoll;
pub(super) mod paced;

use crate::lab::Place;
use anyhow::{Context, Result};
use connection::Connection;
use std::net::TcpStream;
use std::time::Duration;

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

/// Opens the connections and serves them, each thread its part of them. `open` makes the connection of a number, and
/// what is said on it.
fn on_threads<D: Dialogue, T: Send>(
    shape: &Shape<'_>,
    open: impl Fn(usize) -> Result<(TcpStream, D)> + Sync,
    serve: impl Fn(Vec<Connection<D>>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let opened = |number| open(number).and_then(|(stream, dialogue)| Connection::new(stream, dialogue));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..shape.threads)
            .map(|thread| {
                let (opened, serve) = (&opened, &serve);
                scope.spawn(move || {
                    shape.place.enter().context("cannot enter the client's network namespace")?;
                    let mine = (thread..shape.connections).step_by(shape.threads);
                    serve(mine.map(opened).collect::<Result<_>>()?)
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        // All have ended before one's error is returned.
        threads.into_iter().map(join).collect::<Vec<_>>().into_iter().collect()
    })
}
