//! A workload sent to one of the servers, and whether what came back is what its name says.

use super::client::Clients;
use super::rules::FLOOD_RATE;
use super::workload::{Kind, Workload};
use super::wrk::{Counts, Wrk};
use crate::bench::measure::{Outcome, Traffic};
use crate::lab::{Lab, Nginx, Sidecar};
use anyhow::{Result, bail, ensure};
use std::net::SocketAddr;
use std::time::Duration;

const WARM_UP: Duration = Duration::from_secs(1);
/// From when on there is a flood, and until when: wrk's time is whole seconds.
const FLOOD_LEAD: Duration = Duration::from_millis(300);
const FLOOD_MORE: Duration = Duration::from_millis(500);
/// Requests that were under way when a client stopped: no client counts them.
const UNDER_WAY: u64 = 100;

/// Who answers.
#[derive(Clone, Copy)]
pub(super) enum Server<'a> {
    /// Nginx itself.
    Nginx,
    /// HAProxy before Nginx.
    Haproxy,
    /// http-guard before Nginx.
    HttpGuard(&'a Sidecar),
}

/// One side of a workload.
pub(super) struct Requests<'a> {
    pub(super) lab: &'a Lab<Nginx>,
    pub(super) workload: Workload,
    pub(super) server: Server<'a>,
}

/// What clients were told.
#[derive(Default)]
struct Told {
    allowed: u64,
    refused: u64,
}

impl Traffic for Requests<'_> {
    /// Counts each status, too.
    fn try_out(&self) -> Result<f64> {
        let (outcome, counts) = self.checked(WARM_UP, true)?;
        let wanted = match self.workload.kind {
            Kind::Allowed { .. } => 200,
            Kind::Refused { status, .. } => status,
            Kind::Flood => 429,
        };
        let others: Vec<String> = counts
            .statuses
            .iter()
            .filter(|(status, _)| **status != wanted && **status != 200)
            .map(|(status, count)| format!("{count} with {status}"))
            .collect();
        ensure!(others.is_empty(), "{} answers {}, not with {wanted}", self.name(), others.join(", "));
        Ok(outcome.rps)
    }

    fn send(&self, _requests: u64, duration: Duration) -> Result<Outcome> {
        Ok(self.checked(duration, false)?.0)
    }
}

impl Requests<'_> {
    /// Who answers, for people.
    fn name(&self) -> &'static str {
        match self.server {
            Server::Nginx => "Nginx",
            Server::Haproxy => "HAProxy",
            Server::HttpGuard(_) => "http-guard",
        }
    }

    fn address(&self) -> SocketAddr {
        let ports = self.lab.ports();
        self.lab.address(match self.server {
            Server::Nginx if self.workload.guarded => self.lab.guarded_port(),
            Server::Nginx => ports.plain,
            Server::Haproxy => ports.relay,
            Server::HttpGuard(_) => ports.accelerated,
        })
    }

    /// Sends, and looks at what clients, Nginx and http-guard have counted.
    fn checked(&self, duration: Duration, counting: bool) -> Result<(Outcome, Counts)> {
        let (seen, refused) = (self.lab.requests_seen()?, self.refused()?);
        let (outcome, counts) = self.sent(duration, counting)?;
        let told = self.told(&outcome, &counts)?;
        if !matches!(self.server, Server::Nginx) {
            let reached = self.lab.requests_seen()? - seen;
            ensure!(
                reached >= told.allowed && reached <= told.allowed + UNDER_WAY,
                "{reached} requests have reached Nginx behind {}, and {} were answered with 200 and {} refused",
                self.name(),
                told.allowed,
                told.refused
            );
        }
        if let (Some(before), Some(after)) = (refused, self.refused()?) {
            ensure!(
                after - before >= told.refused && after - before <= told.refused + UNDER_WAY,
                "http-guard has counted {} refusals, and the clients {}",
                after - before,
                told.refused
            );
        }
        Ok((outcome, counts))
    }

    /// How many requests http-guard has refused, if it is asked.
    fn refused(&self) -> Result<Option<u64>> {
        match self.server {
            Server::HttpGuard(sidecar) => sidecar.status()?.counter("refused_total").map(Some),
            _ => Ok(None),
        }
    }

    fn sent(&self, duration: Duration, counting: bool) -> Result<(Outcome, Counts)> {
        let place = self.lab.client();
        let wrk = Wrk {
            place: &place,
            server: self.address(),
            path: self.workload.file.path,
            new_connections: self.workload.kind == Kind::Allowed { new_connections: true },
            folder: self.lab.folder(),
        };
        let run = |duration| if counting { wrk.run_counting(duration) } else { wrk.run(duration) };
        if self.workload.kind != Kind::Flood {
            let counts = run(duration)?;
            let outcome = Outcome {
                requests: counts.requests,
                rps: counts.rps(),
                p50_us: counts.p50_us,
                p99_us: counts.p99_us,
                late: counts.late,
                flood_rps: None,
            };
            return Ok((outcome, counts));
        }
        let [_, source] = self.lab.client_addresses();
        let clients = Clients { place: &place, source, server: wrk.server, file: self.workload.file };
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| run(duration + FLOOD_MORE));
            std::thread::sleep(FLOOD_LEAD);
            let tally = clients.run(duration);
            let counts = flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let outcome = tally?.outcome(Some(counts.rps()));
            Ok((outcome, counts))
        })
    }

    /// Checks what wrk was told against what the workload is named after.
    fn told(&self, outcome: &Outcome, counts: &Counts) -> Result<Told> {
        let passed = counts.requests - counts.refused;
        let name = self.name();
        if counts.lost > 0 {
            bail!("{name} has refused or broken off {} connections", counts.lost);
        }
        match self.workload.kind {
            Kind::Allowed { .. } => {
                ensure!(counts.refused == 0, "{name} has refused {} requests", counts.refused);
                let least = counts.requests * self.workload.file.bytes as u64;
                ensure!(counts.bytes >= least, "{name} has not sent the whole file each time");
                Ok(Told { allowed: passed, refused: 0 })
            }
            Kind::Refused { passes_max, .. } => {
                ensure!(passed <= passes_max, "{name} has let {passed} of {} requests pass", counts.requests);
                Ok(Told { allowed: passed, refused: counts.refused })
            }
            Kind::Flood => {
                // A full bucket, and what drips in.
                let passes_max = FLOOD_RATE + FLOOD_RATE * (counts.duration_us / 1e6).ceil() as u64;
                ensure!(passed <= passes_max, "{name} has let {passed} requests of the flood pass");
                Ok(Told { allowed: passed + outcome.requests, refused: counts.refused })
            }
        }
    }
}
