//! One of the clients, and the port it sends to.

use super::redis_benchmark;
use super::workload::Client;
use crate::bench::measure::{Outcome, Traffic};
use crate::lab::Place;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;

/// A workload's client and where it runs and sends.
pub(super) struct Requests<'a> {
    pub(super) client: &'a Client,
    pub(super) place: Place,
    pub(super) server: SocketAddr,
}

impl Traffic for Requests<'_> {
    fn try_out(&self) -> Result<f64> {
        let mut requests = 2000;
        loop {
            let outcome = self.send(requests, Duration::from_millis(300))?;
            // A rate is known well enough when the run took a second; pipelines and single connections differ by 100.
            if requests as f64 / outcome.rps >= 0.8 || matches!(self.client, Client::Generator(_)) {
                return Ok(outcome.rps);
            }
            requests = ((outcome.rps * 1.1) as u64).max(requests * 2);
        }
    }

    fn send(&self, requests: u64, duration: Duration) -> Result<Outcome> {
        let sent = match self.client {
            Client::RedisBenchmark(arguments) => {
                redis_benchmark::run(&self.place, self.server, arguments, requests)
            }
            Client::Generator(load) => {
                load.run(&self.place, self.server, duration).map(|tally| tally.outcome(None))
            }
        };
        sent.with_context(|| format!("sending to {}", self.server))
    }
}
