//! How long it takes until somebody knows that an application is gone.
//!
//! An agent observes the others: it is told of a fault by nothing but missing replies. The echo is observed by the prober with a
//! fixed time-out of the same length, one try: there the echo itself is the application.

use super::cpu::now_ns;
use super::prober::Prober;
use super::record::alarms;
use super::sides::{APPLICATION, LEASE, Side};
use super::workload::Fault;
use crate::bench::measure::{median, rounded};
use crate::lab::heartbeat::Probing;
use crate::lab::{Events, Sidecar};
use anyhow::{Context, Result, bail};
use heartbeat_detector::config::Config;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How the observer probes.
pub(super) const PROBING: Probing = Probing {
    interval: Duration::from_millis(10),
    timeout: Duration::from_millis(20),
    confirmation: Duration::from_millis(10),
};

/// Until what has been restarted answers, or what is gone is known to be, at the latest.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long everything is well before a fault.
const CALM: Duration = Duration::from_millis(300);
/// How long an echo is probed around a fault.
const AROUND: Duration = Duration::from_millis(700);

/// Detection times of one side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Detection {
    pub(crate) trials: usize,
    pub(crate) p50_ms: f64,
    pub(crate) min_ms: f64,
    pub(crate) max_ms: f64,
    /// What it may take at most by its configuration.
    pub(crate) bound_ms: f64,
}

/// Faults of one side, one after the other.
pub(super) struct Trials<'s, 'a> {
    side: &'s mut Side<'a>,
    fault: Fault,
    observer: Option<Observer>,
    took_ms: Vec<f64>,
}

struct Observer {
    agent: Sidecar,
    events: Events,
}

impl<'s, 'a> Trials<'s, 'a> {
    /// Everything is up and seen.
    pub(super) fn prepare(side: &'s mut Side<'a>, fault: Fault) -> Result<Self> {
        let mut trials = Self { side, fault, observer: None, took_ms: Vec::new() };
        if !trials.side.is_echo() {
            trials.side.start_application()?;
            trials.until_answered()?;
            let agent = trials.side.observer(0, APPLICATION, PROBING, false)?;
            let events = agent.events()?;
            trials.observer = Some(Observer { agent, events });
        }
        Ok(trials)
    }

    /// Lets the fault happen, waits until it is known, and repairs it. `number`: when in the observer's interval it happens.
    pub(super) fn trial(&mut self, number: usize) -> Result<()> {
        let phase = PROBING.interval.mul_f64(number as f64 * 0.618 % 1.0);
        let calm = CALM + phase;
        let took_ns = match &self.observer {
            Some(Observer { events, .. }) => {
                std::thread::sleep(calm);
                if let Some(change) = events.rest().iter().find(|change| change.to == "failed") {
                    bail!("node {} was taken for failed while all was well", change.node);
                }
                let since_ns = now_ns();
                self.happen()?;
                let known = events.wait(APPLICATION, "failed", PATIENCE)?;
                known.at_ns.saturating_sub(since_ns)
            }
            None => self.echo_trial(calm)?,
        };
        self.took_ms.push(took_ns as f64 / 1e6);
        self.repair()?;
        if let Some(Observer { events, .. }) = &self.observer {
            events.wait(APPLICATION, "alive", PATIENCE)?;
        }
        self.until_answered()
    }

    fn echo_trial(&self, calm: Duration) -> Result<u64> {
        let prober = self.side.prober();
        std::thread::scope(|scope| {
            let probing = scope.spawn(|| prober.run(PROBING.interval, calm + AROUND));
            std::thread::sleep(calm);
            let since_ns = now_ns();
            self.happen()?;
            let record = probing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let alarms = alarms(&record, PROBING.timeout.as_nanos() as u64);
            let alarm = alarms.into_iter().find(|at_ns| *at_ns > since_ns);
            Ok(alarm.context("the echo was still answering after the fault")? - since_ns)
        })
    }

    fn happen(&self) -> Result<()> {
        match self.fault {
            Fault::Killed => self.side.application()?.signal(libc::SIGKILL),
            Fault::Stopped => self.side.application()?.signal(libc::SIGSTOP),
            Fault::LinkDown => self.side.server.set_link(false)?,
        }
        Ok(())
    }

    fn repair(&mut self) -> Result<()> {
        match self.fault {
            Fault::Killed => self.side.start_application()?,
            Fault::Stopped => self.side.application()?.signal(libc::SIGCONT),
            Fault::LinkDown => self.side.server.set_link(true)?,
        }
        Ok(())
    }

    /// Waits until probes are answered again.
    fn until_answered(&self) -> Result<()> {
        let prober = Prober { speech: self.side.prober().speech.to(APPLICATION)?, ..self.side.prober() };
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let record = prober.run(Duration::from_millis(2), Duration::from_millis(10))?;
            if record.probes.iter().all(|probe| probe.answered_ns.is_some()) {
                return Ok(());
            }
        }
        bail!("{} does not answer within {PATIENCE:?}", self.side.server.role())
    }

    /// What came of it.
    pub(super) fn end(self) -> Result<Detection> {
        let bound_ms = self.bound_ms();
        if let Some(Observer { agent, events }) = self.observer {
            drop(events);
            agent.stop()?;
        }
        self.side.stop_application();
        let mut took_ms = self.took_ms;
        took_ms.sort_by(f64::total_cmp);
        let (Some(min_ms), Some(max_ms)) = (took_ms.first(), took_ms.last()) else { bail!("no trials") };
        Ok(Detection {
            trials: took_ms.len(),
            p50_ms: rounded(median(&took_ms)),
            min_ms: rounded(*min_ms),
            max_ms: rounded(*max_ms),
            bound_ms,
        })
    }

    fn bound_ms(&self) -> f64 {
        let ns = |duration: Duration| duration.as_nanos() as u64;
        let bound_ns = if self.observer.is_some() {
            let config = Config {
                timeout_max_ns: ns(PROBING.timeout),
                confirmation_ns: ns(PROBING.confirmation),
                ..Config::with_interval(ns(PROBING.interval))
            };
            // A link that is down silences the host, whatever its lease says.
            let lease_ns = if self.fault == Fault::LinkDown { 0 } else { ns(LEASE) };
            lease_ns + config.bound_ns(1, 0)
        } else {
            // Two probes are less than two intervals apart.
            2 * ns(PROBING.interval) + ns(PROBING.timeout)
        };
        rounded(bound_ns as f64 / 1e6)
    }
}
