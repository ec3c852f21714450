//! Batches until time is up or differences are found, and what is said of those.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xps_recorder::check::Check;
use xps_recorder::record::Settings;
use xps_testkit::interrupt::interrupted;
use xps_testkit::plan::{Focus, Plan, make, shorten};

use crate::batch::{Batch, Numbers};
use crate::connection::{Connection, Excuse};
use crate::lab::Lab;

/// Connections side by side.
const BATCH: u64 = 128;

/// Runs with which a difference is shortened.
const SHORTENING: usize = 200;

/// What a search has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    /// Segments that lied.
    pub(crate) hostile: u64,
    /// Connections that were read to their end, or to the server's.
    pub(crate) equal: u64,
    /// Those that the stack has ended.
    pub(crate) ended: u64,
    /// Those of which the handler was told that it does not see all.
    pub(crate) given_up: u64,
    /// Those that the server did not let in.
    pub(crate) unopened: u64,
    pub(crate) differences: u64,
    /// Honest connections, and those of them that were not read to their end.
    pub(crate) honest: u64,
    pub(crate) honest_broken: u64,
    pub(crate) seconds: f64,
}

impl Tally {
    fn add(&mut self, connection: &Connection<'_>) {
        self.connections += 1;
        self.hostile += connection.hostile;
        if connection.plan.is_honest() {
            self.honest += 1;
            let whole = connection.difference.is_none() && connection.excuse.is_none() && connection.opened;
            self.honest_broken += u64::from(!whole || connection.served.failed.is_some());
        }
        match (connection.difference, connection.excuse) {
            (Some(_), _) => self.differences += 1,
            (None, Some(Excuse::Ended)) => self.ended += 1,
            (None, Some(Excuse::GivenUp)) => self.given_up += 1,
            (None, None) if !connection.opened => self.unopened += 1,
            (None, None) if connection.served.failed.is_some() => self.ended += 1,
            (None, None) => self.equal += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections, {} hostile segments ({:.0}/s); {} connections read as the server took them, {} ended, {} given up, \
             {} not opened; {} of {} honest ones broken; {} differences",
            self.connections,
            self.hostile,
            self.hostile as f64 / self.seconds,
            self.equal,
            self.ended,
            self.given_up,
            self.unopened,
            self.honest_broken,
            self.honest,
            self.differences,
        )
    }
}

/// A search through the connections of a seed.
pub(crate) struct Search<'l> {
    lab: &'l mut Lab,
    numbers: Numbers,
    seed: u64,
    focus: Focus,
    disabled_checks: u32,
}

impl<'l> Search<'l> {
    pub(crate) fn new(lab: &'l mut Lab, seed: u64, focus: Focus) -> Self {
        let numbers = std::mem::take(&mut lab.numbers);
        Self { lab, numbers, seed, focus, disabled_checks: 0 }
    }

    /// With one check of the splice switched off.
    pub(crate) fn without(mut self, check: Check) -> Self {
        self.disabled_checks = check.bit();
        self
    }

    /// Until `duration` is over, or `differences_max` were found.
    pub(crate) fn run(mut self, duration: Duration, differences_max: u64) -> Result<Tally> {
        let mut tally = Tally::default();
        let start = Instant::now();
        let mut first = 0;
        while start.elapsed() < duration && tally.differences < differences_max {
            ensure!(!interrupted(), "interrupted");
            let plans: Vec<_> =
                (first..first + BATCH).map(|number| make(self.seed, number, self.focus)).collect();
            first += BATCH;
            let known = tally.differences;
            let found = self.batch(&plans, &mut tally)?;
            for (plan, told) in found.iter().take((differences_max - known) as usize) {
                self.tell(plan, told)?;
            }
        }
        tally.seconds = start.elapsed().as_secs_f64();
        self.lab.numbers = self.numbers;
        Ok(tally)
    }

    /// One connection of the seed, alone.
    pub(crate) fn only(mut self, number: u64) -> Result<Tally> {
        let mut tally = Tally::default();
        let start = Instant::now();
        let plan = make(self.seed, number, self.focus);
        println!("{plan}");
        for (plan, told) in self.batch(std::slice::from_ref(&plan), &mut tally)? {
            self.tell(&plan, &told)?;
        }
        tally.seconds = start.elapsed().as_secs_f64();
        self.lab.numbers = self.numbers;
        Ok(tally)
    }

    /// Whether the stack answers in the batch with this connection: in every other one.
    const fn answers(plan: &Plan) -> bool {
        plan.number / BATCH % 2 == 1
    }

    fn set(&self, answers: bool) {
        self.lab.set(Settings { answers: u32::from(answers), disabled_checks: self.disabled_checks });
    }

    /// Runs plans of one batch; those that differ, and how.
    fn batch(&mut self, plans: &[Plan], tally: &mut Tally) -> Result<Vec<(Plan, String)>> {
        let answers = plans.first().is_some_and(Self::answers);
        self.set(answers);
        let connections = Batch::run(self.lab, &mut self.numbers, plans, answers, false)?;
        for connection in &connections {
            tally.add(connection);
        }
        Ok(connections.iter().filter_map(|one| Some((one.plan.clone(), one.told()?))).collect())
    }

    /// Says what is known of a plan that differs, and how it is run again.
    fn tell(&mut self, plan: &Plan, told: &str) -> Result<()> {
        let answers = Self::answers(plan);
        let (mut broken, seed) = (None, self.seed);
        let mut differs = |plan: &Plan| {
            let plans = std::slice::from_ref(plan);
            match Batch::run(self.lab, &mut self.numbers, plans, answers, false) {
                Ok(connections) => connections[0].difference.is_some(),
                Err(error) => {
                    broken = Some(error);
                    false
                }
            }
        };
        let alone = differs(plan);
        let short = if alone { shorten(plan, SHORTENING, &mut differs) } else { plan.clone() };
        if let Some(error) = broken {
            return Err(error);
        }
        let plans = std::slice::from_ref(&short);
        let connections = Batch::run(self.lab, &mut self.numbers, plans, answers, true)?;
        println!("\nDIFFERENCE, seed {seed}, {short}");
        match connections[0].told() {
            Some(told) => println!("{told}"),
            None => println!("{told}\nIt does not differ each time; here it did not:"),
        }
        for line in connections[0].trace.iter().flatten() {
            println!("  {line}");
        }
        if matches!(self.focus, Focus::Any | Focus::Open) {
            println!("again: cargo xtask hostile --seed {seed} --only {}", plan.number);
        }
        Ok(())
    }
}
