//! Sends at a rate, whatever the server does: a fast one and a slow one are asked the same.
//!
//! A request is due each so many nanoseconds. It takes a connection that waits for nothing; if there is none, it is not sent
//! at all, also not later, so that a server which falls behind is not asked more afterwards than before. Where it is this
//! program that falls behind, it sends what it owes of the last moments as long as the server answers at once.

use super::connection::{Buffers, Connection};
use super::epoll::Epoll;
use super::{Dialogue, Shape, on_threads};
use anyhow::Result;
use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Nothing is looked at in between: what is due and what has come are taken together, which costs the fewest instructions.
/// The kernel adds 50 µs, its timers' slack.
const REST_MIN: Duration = Duration::from_micros(50);
/// How long the end of the run may go unseen.
const REST_MAX: Duration = Duration::from_millis(10);

/// What was due longer ago is not sent any more, whyever it was not. Longer than the scheduler lets one wait for a CPU.
const LATE_MAX: Duration = Duration::from_millis(10);

/// What came of it.
pub(in crate::bench) struct Said<D> {
    /// What was said on each connection.
    pub(in crate::bench) dialogues: Vec<D>,
    pub(in crate::bench) elapsed: Duration,
}

/// Sends for a time, `rate` requests a second on all connections together, or on each connection whenever it waits for
/// nothing. `open` makes the connection of a number, and what is said on it. A wrong reply or a lost connection is an error.
pub(in crate::bench) fn run<D: Dialogue + Send>(
    shape: &Shape<'_>,
    rate: Option<f64>,
    open: impl Fn(usize) -> Result<(TcpStream, D)> + Sync,
) -> Result<Said<D>> {
    let mut whole = Said { dialogues: Vec::with_capacity(shape.connections), elapsed: Duration::ZERO };
    let serve = |connections: Vec<_>| {
        let share = connections.len() as f64 / shape.connections as f64;
        serve(connections, Schedule::new(rate.map(|rate| rate * share)), shape.duration)
    };
    for said in on_threads(shape, open, serve)? {
        whole.dialogues.extend(said.dialogues);
        whole.elapsed = whole.elapsed.max(said.elapsed);
    }
    Ok(whole)
}

fn serve<D: Dialogue>(
    mut connections: Vec<Connection<D>>,
    mut schedule: Schedule,
    duration: Duration,
) -> Result<Said<D>> {
    let mut epoll = Epoll::watch(&connections)?;
    let mut buffers = Buffers::new();
    // The one that has waited longest is the next.
    let mut free: VecDeque<usize> = (0..connections.len()).collect();
    let start = Instant::now();
    while start.elapsed() < duration {
        let mut due = schedule.take(start.elapsed(), connections.len());
        while due > 0 {
            for index in epoll.ready(Duration::ZERO)? {
                if connections[index].hear(&mut buffers)?.is_some() {
                    free.push_back(index);
                }
            }
            let count = due.min(free.len());
            if count == 0 {
                break;
            }
            for index in free.drain(..count) {
                connections[index].ask(&mut buffers)?;
            }
            due -= count;
        }
        std::thread::sleep(schedule.rest(start.elapsed()));
    }
    let elapsed = start.elapsed();
    Ok(Said { dialogues: connections.into_iter().map(Connection::into_dialogue).collect(), elapsed })
}

/// Which requests are due, from the time since the start alone.
struct Schedule {
    /// Requests a second; `None` if one is due whenever a connection is free.
    rate: Option<f64>,
    /// How many were due so far, sent or not.
    due: u64,
}

impl Schedule {
    fn new(rate: Option<f64>) -> Self {
        Self { rate, due: 0 }
    }

    /// How many are to be sent now if connections are free; of those that are not, nothing is owed.
    fn take(&mut self, elapsed: Duration, connections: usize) -> usize {
        let Some(rate) = self.rate else { return connections };
        let due = (elapsed.as_nanos() as f64 * rate / 1e9) as u64;
        let fresh = due.saturating_sub(self.due);
        self.due = due;
        let late_max = ((LATE_MAX.as_nanos() as f64 * rate / 1e9) as u64).max(1);
        fresh.min(late_max) as usize
    }

    /// How long to do nothing.
    fn rest(&self, elapsed: Duration) -> Duration {
        let next_ns = self.rate.map_or(0.0, |rate| (self.due + 1) as f64 * 1e9 / rate);
        Duration::from_nanos(next_ns as u64).saturating_sub(elapsed).clamp(REST_MIN, REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_are_due_evenly_however_often_one_looks() {
        for step_us in [7, 100, 1000, 9999] {
            let mut schedule = Schedule::new(Some(110_000.0));
            let mut sent = 0;
            let mut now = Duration::ZERO;
            while now < Duration::from_secs(1) {
                now += Duration::from_micros(step_us);
                let count = schedule.take(now, 50);
                let even = 110_000.0 * step_us as f64 / 1e6;
                assert!((count as f64 - even).abs() <= 1.0, "{count} in {step_us} µs");
                sent += count;
            }
            assert_eq!(sent as u128, now.as_nanos() * 110_000 / 1_000_000_000, "{step_us} µs");
        }
    }

    #[test]
    fn a_long_pause_is_not_caught_up() {
        let mut schedule = Schedule::new(Some(1000.0));
        assert_eq!(schedule.take(3 * MS, 50), 3);
        assert_eq!(schedule.take(900 * MS, 50), 10);
        assert_eq!(schedule.take(900 * MS, 50), 0);
        assert_eq!(schedule.take(902 * MS, 50), 2);
        assert_eq!(Schedule::new(Some(1.0)).take(1500 * MS, 50), 1);
    }

    #[test]
    fn without_a_rate_every_connection_may_send() {
        let mut schedule = Schedule::new(None);
        assert_eq!((schedule.take(MS, 50), schedule.take(MS, 50)), (50, 50));
        assert_eq!(schedule.rest(MS), REST_MIN);
    }

    #[test]
    fn rests_until_a_request_is_due_within_limits() {
        let mut schedule = Schedule::new(Some(1000.0));
        assert_eq!(schedule.rest(Duration::from_micros(100)), Duration::from_micros(900));
        assert_eq!(schedule.rest(Duration::from_micros(999)), REST_MIN);
        assert_eq!(schedule.rest(5 * MS), REST_MIN);
        schedule.take(50 * MS, 50);
        assert_eq!(schedule.rest(50 * MS), MS);
        assert_eq!(Schedule::new(Some(1.0)).rest(MS), REST_MAX);
    }
}
