//! One round, several rounds by turns, and what comes out.

use super::redis_benchmark;
use super::workload::Client;
use crate::lab::Place;
use crate::machine;
use anyhow::{Result, bail};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// redis-benchmark looks whether it is done only at these intervals when it has threads, so its clock stops up to one
/// too late. Rounds differ in length by as much, lest the error be the same in all of them.
const CLOCK: Duration = Duration::from_millis(250);

/// How much to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// About how long a round of one side takes.
    pub(crate) duration: Duration,
}

/// One round of one side.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    rps: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us_per_request: f64,
}

/// Medians over the rounds of one side.
#[derive(Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) rps: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time of the whole machine (client, server, kernel, sidecar) by request.
    pub(crate) cpu_us_per_request: f64,
    /// Highest less lowest rate, by the median.
    pub(crate) spread: f64,
    pub(crate) rounds: usize,
}

/// One side of a comparison: a client that sends to an address, and the rate to expect.
pub(crate) struct Side<'a> {
    client: &'a Client,
    place: Place,
    server: SocketAddr,
    /// Requests per second, found by trying; 0 before.
    rate: f64,
    samples: Vec<Sample>,
}

impl<'a> Side<'a> {
    /// Nothing measured yet.
    pub(crate) fn new(client: &'a Client, place: Place, server: SocketAddr) -> Self {
        Self { client, place, server, rate: 0.0, samples: Vec::new() }
    }

    /// Finds about how many requests make a round. What it measures is thrown away: it also warms up.
    pub(crate) fn calibrate(&mut self) -> Result<()> {
        let mut requests = 2000;
        loop {
            let sample = self.send(requests, Duration::from_millis(300))?;
            self.rate = sample.rps;
            // A rate is known well enough when the run took a second; pipelines and single connections differ by 100.
            if requests as f64 / sample.rps >= 0.8 || matches!(self.client, Client::Generator(_)) {
                return Ok(());
            }
            requests = ((sample.rps * 1.1) as u64).max(requests * 2);
        }
    }

    /// Measures one round.
    pub(crate) fn round(&mut self, effort: Effort) -> Result<()> {
        let phase = self.samples.len() as f64 / effort.rounds as f64 - 0.5;
        let duration = effort.duration.as_secs_f64() + phase * CLOCK.as_secs_f64();
        let requests = ((self.rate * duration) as u64).max(1000);
        let sample = self.send(requests, effort.duration)?;
        self.samples.push(sample);
        Ok(())
    }

    /// Requests of the rounds so far.
    pub(crate) fn requests(&self) -> u64 {
        self.samples.iter().map(|sample| sample.requests).sum()
    }

    /// Medians of the rounds so far.
    pub(crate) fn figures(&self) -> Figures {
        let sorted = |field: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = self.samples.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let rates = sorted(|sample| sample.rps);
        let rps = median(&rates);
        Figures {
            rps: rounded(rps),
            p50_us: rounded(median(&sorted(|sample| sample.p50_us))),
            p99_us: rounded(median(&sorted(|sample| sample.p99_us))),
            cpu_us_per_request: rounded(median(&sorted(|sample| sample.cpu_us_per_request))),
            spread: rounded((rates[rates.len() - 1] - rates[0]) / rps),
            rounds: rates.len(),
        }
    }

    fn send(&self, requests: u64, duration: Duration) -> Result<Sample> {
        let busy_before_us = machine::busy_us()?;
        let (requests, rps, p50_us, p99_us) = match self.client {
            Client::RedisBenchmark(arguments) => {
                let report = redis_benchmark::run(&self.place, self.server, arguments, requests)?;
                (requests, report.rps, report.p50_us, report.p99_us)
            }
            Client::Generator(load) => {
                let outcome = load.run(&self.place, self.server, duration)?;
                let requests = outcome.latencies.total();
                let rps = requests as f64 / outcome.elapsed.as_secs_f64();
                (requests, rps, outcome.latencies.quantile_us(0.5), outcome.latencies.quantile_us(0.99))
            }
        };
        if requests == 0 || rps <= 0.0 {
            bail!("no request was answered by {}", self.server);
        }
        let cpu_us_per_request = (machine::busy_us()? - busy_before_us) as f64 / requests as f64;
        Ok(Sample { requests, rps, p50_us, p99_us, cpu_us_per_request })
    }
}

/// Measures sides by turns; who begins changes with each round.
pub(crate) fn alternate(sides: &mut [&mut Side<'_>], effort: Effort) -> Result<()> {
    for side in &mut *sides {
        side.calibrate()?;
    }
    for _ in 0..effort.rounds {
        for side in &mut *sides {
            side.round(effort)?;
        }
        sides.rotate_left(1);
    }
    Ok(())
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Three decimals: the rest is noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
