//! Sends again as soon as all that was due has come: a faster server is asked more.

use super::connection::{Buffers, Connection};
use super::epoll::Epoll;
use super::{Dialogue, Shape, on_threads};
use crate::bench::histogram::Histogram;
use crate::bench::measure::Outcome;
use crate::bench::quantiles;
use anyhow::Result;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long the end of the run may go unseen while nothing comes.
const WAIT_LIMIT: Duration = Duration::from_millis(10);

/// What came of it.
pub(in crate::bench) struct Tally {
    pub(in crate::bench) latencies: Histogram,
    pub(in crate::bench) elapsed: Duration,
}

impl Tally {
    /// As a round's outcome, beside a flood of this rate.
    pub(in crate::bench) fn outcome(&self, flood_rps: Option<f64>) -> Outcome {
        let requests = self.latencies.total();
        Outcome {
            requests,
            rps: requests as f64 / self.elapsed.as_secs_f64(),
            p50_us: self.latencies.quantile_us(0.5),
            p99_us: self.latencies.quantile_us(0.99),
            quantiles_us: quantiles::at_each(|share| self.latencies.quantile_us(share)),
            late: 0,
            flood_rps,
        }
    }
}

/// Sends for a time. `open` makes the connection of a number, and what is said on it. A wrong reply or a lost connection
/// is an error.
pub(in crate::bench) fn run<D: Dialogue>(
    shape: &Shape<'_>,
    open: impl Fn(usize) -> Result<(TcpStream, D)> + Sync,
) -> Result<Tally> {
    let mut whole = Tally { latencies: Histogram::new(), elapsed: Duration::ZERO };
    for tally in on_threads(shape, open, |connections| serve(connections, shape.duration))? {
        whole.latencies.add(&tally.latencies);
        whole.elapsed = whole.elapsed.max(tally.elapsed);
    }
    Ok(whole)
}

fn serve<D: Dialogue>(mut connections: Vec<Connection<D>>, duration: Duration) -> Result<Tally> {
    let mut epoll = Epoll::watch(&connections)?;
    let mut buffers = Buffers::new();
    let start = Instant::now();
    let mut sent = Vec::with_capacity(connections.len());
    for connection in &mut connections {
        sent.push(Instant::now());
        connection.ask(&mut buffers)?;
    }
    let mut latencies = Histogram::new();
    while start.elapsed() < duration {
        for index in epoll.ready(WAIT_LIMIT)? {
            let connection = &mut connections[index];
            if let Some(answered) = connection.hear(&mut buffers)? {
                latencies.record(sent[index].elapsed().as_nanos() as u64, answered);
                sent[index] = Instant::now();
                connection.ask(&mut buffers)?;
            }
        }
    }
    Ok(Tally { latencies, elapsed: start.elapsed() })
}
