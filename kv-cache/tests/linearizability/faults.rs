//! What goes wrong while clients work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::support::{Lab, Random, Side, interrupted, lose, rules};
use crate::worker::Run;

/// Time between faults, at least.
const CALM: Duration = Duration::from_millis(700);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The agent is killed, and comes back after a while.
    Kill,
    /// The agent stops in order, and comes back.
    Stop,
    /// Packets are lost at one end.
    Loss,
    /// Redis is killed, and comes back empty.
    Redis,
    /// Many connections are cut.
    Cuts,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [Self::Kill, Self::Loss, Self::Stop, Self::Cuts, Self::Redis];

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "agent killed",
            Self::Stop => "agent stopped",
            Self::Loss => "packets lost",
            Self::Redis => "Redis restarted empty",
            Self::Cuts => "connections cut",
        }
    }
}

/// Hits of all agents that have run, whose counters start again from zero.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    sum: u64,
    last: u64,
}

impl Hits {
    /// Looks at the counter.
    pub(crate) fn look(&mut self, lab: &Lab) -> Result<u64> {
        let now = lab.hits()?;
        // Less than before: another agent counts, from zero.
        self.sum += if now >= self.last { now - self.last } else { now };
        self.last = now;
        Ok(self.sum)
    }
}

/// What has been done so far.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// When Redis lost everything: between which two times.
    pub(crate) emptied: Vec<(u64, u64)>,
}

/// Waits. Fails when the process is asked to end; true when a client has given up.
pub(crate) fn wait(run: &Run, time: Duration) -> Result<bool> {
    let end = Instant::now() + time;
    while Instant::now() < end && !run.stopped() {
        if interrupted() {
            bail!("interrupted");
        }
        std::thread::sleep(Duration::from_millis(20).min(time));
    }
    Ok(run.stopped())
}

/// Faults one after the other, with some calm in between, until `end` or until a client gives up.
pub(crate) fn inject(
    lab: &mut Lab,
    run: &Run,
    faults: &[Fault],
    end: Instant,
    random: &mut Random,
    hits: &mut Hits,
) -> Result<Injected> {
    let mut injected = Injected::default();
    let mut some = |most: usize| Duration::from_millis(random.below(most) as u64);
    if faults.is_empty() {
        wait(run, end.saturating_duration_since(Instant::now()))?;
    }
    for fault in faults.iter().cycle() {
        let left = end.saturating_duration_since(Instant::now());
        if wait(run, (CALM + some(600)).min(left))? || Instant::now() >= end {
            return Ok(injected);
        }
        hits.look(lab)?;
        match fault {
            Fault::Kill => {
                lab.kill_sidecar()?;
                // Sometimes longer than the lease.
                wait(run, some(1200))?;
                lab.start_sidecar()?;
            }
            Fault::Stop => {
                lab.terminate_sidecar()?;
                lab.sidecar_stopped(Duration::from_secs(10))?;
                wait(run, some(300))?;
                lab.start_sidecar()?;
            }
            Fault::Loss => {
                let side = if some(2).is_zero() { Side::Client } else { Side::Server };
                let hook = if some(2).is_zero() { "input" } else { "output" };
                lose(lab.place(side), hook, 20)?;
                let waited = wait(run, Duration::from_millis(500) + some(500));
                rules(lab.place(side), "")?;
                waited?;
            }
            Fault::Redis => {
                let from = run.now();
                lab.kill_redis()?;
                wait(run, some(200))?;
                lab.start_redis()?;
                injected.emptied.push((from, run.now()));
            }
            Fault::Cuts => {
                run.cut_one_in(20);
                let waited = wait(run, Duration::from_millis(500) + some(500));
                run.cut_one_in(0);
                waited?;
            }
        }
        hits.look(lab)?;
        *injected.counts.entry(fault.name()).or_default() += 1;
    }
    Ok(injected)
}
