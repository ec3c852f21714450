//! A workload sent to one of the servers, and whether what came back is what its name says.

use super::answers::Answers;
use super::client::Clients;
use super::flood::Flood;
use super::rules::FLOOD_RATE;
use super::workload::{Asking, Kind, Pace, Workload};
use super::wrk::{Counts, Wrk};
use crate::bench::measure::{Outcome, Traffic, median};
use crate::lab::{Lab, Nginx, Sidecar};
use anyhow::{Result, bail, ensure};
use std::net::SocketAddr;
use std::time::Duration;

const WARM_UP: Duration = Duration::from_secs(1);
/// From when on there is a flood, and until when: wrk's time is whole seconds.
const FLOOD_LEAD: Duration = Duration::from_millis(300);
const FLOOD_MORE: Duration = Duration::from_millis(500);
/// How often it is tried how many requests can be refused; the most counts.
const TRIES: usize = 5;
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
    /// How many requests a second a flood at a given pace offers; as many as are answered if there is no number.
    pub(super) flood_rps: Option<f64>,
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
        Ok(self.checked(WARM_UP, true)?.rps)
    }

    fn send(&self, _requests: u64, duration: Duration) -> Result<Outcome> {
        self.checked(duration, false)
    }
}

impl Requests<'_> {
    /// How many requests a second of a flood are refused when nobody else asks: the median of some tries.
    pub(super) fn refused_alone(&self, duration: Duration) -> Result<f64> {
        self.flood(Pace::Offered, WARM_UP, false)?;
        let mut rates = Vec::new();
        for _ in 0..TRIES {
            let answers = self.flood(Pace::Offered, duration, false)?;
            self.told(0, &answers)?;
            rates.push(answers.rps());
        }
        rates.sort_by(f64::total_cmp);
        let median = median(&rates);
        ensure!(median > 0.0, "{} has refused nothing", self.name());
        Ok(median)
    }

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
        match self.server {
            Server::Nginx if self.workload.guarded => self.lab.address(self.lab.guarded_port()),
            Server::Nginx => self.lab.address(ports.plain),
            Server::Haproxy => self.lab.address(ports.relay),
            Server::HttpGuard(_) => self.lab.other_address(ports.accelerated),
        }
    }

    /// Sends, and looks at what clients, Nginx and http-guard have counted.
    fn checked(&self, duration: Duration, counting: bool) -> Result<Outcome> {
        let (seen, refused) = (self.lab.requests_seen()?, self.refused()?);
        let (outcome, answers) = self.sent(duration, counting)?;
        let told = self.told(outcome.requests, &answers)?;
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
        Ok(outcome)
    }

    /// How many requests http-guard has refused, if it is asked.
    fn refused(&self) -> Result<Option<u64>> {
        match self.server {
            Server::HttpGuard(sidecar) => sidecar.status()?.counter("refused_total").map(Some),
            _ => Ok(None),
        }
    }

    fn sent(&self, duration: Duration, counting: bool) -> Result<(Outcome, Answers)> {
        let Kind::Flood(pace) = self.workload.kind else {
            let Counts { p50_us, p99_us, quantiles_us, late, answers } = self.wrk(duration, counting)?;
            let (requests, rps) = (answers.requests, answers.rps());
            let outcome = Outcome { requests, rps, p50_us, p99_us, quantiles_us, late, flood_rps: None };
            return Ok((outcome, answers));
        };
        let place = self.lab.client();
        let [_, source] = self.lab.client_addresses();
        let clients = Clients { place: &place, source, server: self.address(), file: self.workload.file };
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| self.flood(pace, duration + FLOOD_MORE, counting));
            std::thread::sleep(FLOOD_LEAD);
            let tally = clients.run(duration);
            let answers = flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let outcome = tally?.outcome(Some(answers.rps()));
            Ok((outcome, answers))
        })
    }

    fn flood(&self, pace: Pace, duration: Duration, counting: bool) -> Result<Answers> {
        if pace == Pace::ClosedLoop {
            return Ok(self.wrk(duration, counting)?.answers);
        }
        let flood = Flood {
            server: self.address(),
            path: self.workload.file.path.to_owned(),
            duration_ms: duration.as_millis() as u64,
            rate: self.flood_rps,
        };
        flood.run_from(&self.lab.client())
    }

    fn wrk(&self, duration: Duration, counting: bool) -> Result<Counts> {
        let place = self.lab.client();
        let wrk = Wrk {
            place: &place,
            server: self.address(),
            path: self.workload.file.path,
            asking: if let Kind::Allowed(asking) = self.workload.kind { asking } else { Asking::Alike },
            folder: self.lab.folder(),
        };
        if counting { wrk.run_counting(duration) } else { wrk.run(duration) }
    }

    /// Checks what those who ask were told against what the workload is named after. Beside a flood so many were served.
    fn told(&self, served: u64, answers: &Answers) -> Result<Told> {
        let passed = answers.requests - answers.refused;
        let name = self.name();
        ensure!(answers.lost == 0, "{name} has refused or broken off {} connections", answers.lost);
        let wanted = match self.workload.kind {
            Kind::Allowed(_) => 200,
            Kind::Refused { status, .. } => status,
            Kind::Flood(_) => 429,
        };
        if let Some(others) = answers.others_than(wanted) {
            bail!("{name} answers {others}, not with {wanted}");
        }
        match self.workload.kind {
            Kind::Allowed(_) => {
                ensure!(answers.refused == 0, "{name} has refused {} requests", answers.refused);
                let least = answers.requests * self.workload.file.bytes as u64;
                ensure!(answers.bytes >= least, "{name} has not sent the whole file each time");
                Ok(Told { allowed: passed, refused: 0 })
            }
            Kind::Refused { passes_max, .. } => {
                ensure!(
                    passed <= passes_max,
                    "{name} has let {passed} of {} requests pass",
                    answers.requests
                );
                Ok(Told { allowed: passed, refused: answers.refused })
            }
            Kind::Flood(_) => {
                // A full bucket, and what drips in.
                let passes_max = FLOOD_RATE + FLOOD_RATE * (answers.duration_us / 1e6).ceil() as u64;
                ensure!(passed <= passes_max, "{name} has let {passed} requests of the flood pass");
                Ok(Told { allowed: passed + served, refused: answers.refused })
            }
        }
    }
}
