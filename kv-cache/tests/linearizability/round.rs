//! Some seconds of clients and faults on keys of their own, and the check of what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::command::{GROUPS, Scope};
use crate::faults::{Fault, Hits, inject};
use crate::history::{Notice, Operation, Step, Steps, check};
use crate::model::Action;
use crate::support::{ACCELERATED, Lab, PLAIN, Random, Side};
use crate::worker::{Done, Kind, Run, Worker};

/// What a round is to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round<'a> {
    /// Which one; keys are named by it.
    pub(crate) number: u64,
    /// Makes the choice of operations and faults.
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) faults: &'a [Fault],
    /// How late reads from the cache may learn of writes on the plain port; `None` is not at all.
    pub(crate) bound: Option<Duration>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) operations: u64,
    pub(crate) writes: u64,
    /// Writes whose outcome is not known.
    pub(crate) unknown: u64,
    pub(crate) hits: u64,
    pub(crate) gets: u64,
    pub(crate) gets_unknown: u64,
    /// Commands that scripts have called.
    pub(crate) called: u64,
    /// Commands that were queued and not carried out.
    pub(crate) dropped: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<String>,
}

impl Outcome {
    /// Adds another round's.
    pub(crate) fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.writes += other.writes;
        self.unknown += other.unknown;
        self.hits += other.hits;
        self.gets += other.gets;
        self.gets_unknown += other.gets_unknown;
        self.called += other.called;
        self.dropped += other.dropped;
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.violations.extend(other.violations);
    }
}

/// Readers and writers on both ports, in both databases.
fn kinds() -> Vec<Kind> {
    let of = |(port, writes, database, resp3)| Kind { port, writes, database, resp3 };
    let kinds = [
        (ACCELERATED, 0, 0, false),
        (ACCELERATED, 0, 0, true),
        (ACCELERATED, 0, 1, false),
        (ACCELERATED, 1, 0, false),
        (ACCELERATED, 5, 0, true),
        (ACCELERATED, 20, 1, false),
        (PLAIN, 0, 0, false),
        (PLAIN, 2, 1, true),
        (PLAIN, 10, 0, false),
    ];
    kinds.map(of).to_vec()
}

impl Round<'_> {
    /// Runs it and checks every group's history.
    pub(crate) fn run(&self, lab: &mut Lab) -> Result<Outcome> {
        let run = Arc::new(Run {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            last: AtomicU64::new(0),
            cut_one_in: AtomicU32::new(0),
            prefix: format!("round{}", self.number),
        });
        let mut hits = Hits::default();
        let before = hits.look(lab)?;
        let mut seeds = Random(self.seed);
        let workers: Vec<_> = kinds()
            .into_iter()
            .map(|kind| {
                let seed = seeds.below(usize::MAX) as u64;
                let place = lab.place(Side::Client).clone();
                let worker = Worker::new(Arc::clone(&run), place, kind, Random(seed));
                thread::spawn(move || {
                    let run = worker.run();
                    let result = worker.work().with_context(|| format!("{kind:?}"));
                    if result.is_err() {
                        run.stop();
                    }
                    result
                })
            })
            .collect();
        let injected = inject(lab, &run, self.faults, Instant::now() + self.time, &mut seeds, &mut hits);
        run.stop();
        let mut histories: Vec<Vec<Operation>> = vec![Vec::new(); GROUPS];
        let mut outcome = Outcome::default();
        // What a client met is the error that counts.
        let results: Vec<_> = workers.into_iter().map(thread::JoinHandle::join).collect();
        for result in results {
            let done = result.map_err(|_| anyhow!("a client panicked"))??;
            outcome.take(done, &mut histories);
        }
        let injected = injected?;
        for (from, to) in injected.emptied {
            let steps = Steps::One(Step { action: Action::Delete(15), seen: None });
            let emptied = Operation { from, to, certain: true, notice: Notice::Late, cached: false, steps };
            histories.iter_mut().for_each(|history| history.push(emptied.clone()));
        }
        outcome.faults.extend(injected.counts);
        outcome.hits = hits.look(lab)? - before;
        outcome.violations = self.violations(&histories);
        Ok(outcome)
    }

    fn violations(&self, histories: &[Vec<Operation>]) -> Vec<String> {
        let bound = self.bound.map(|bound| bound.as_nanos() as u64);
        let all = histories.iter().enumerate();
        all.filter_map(|(group, history)| {
            let violation = check(history, bound).err()?;
            let (operation, context) = (&violation.operation, &violation.context);
            Some(format!("round {}, group {group}: no place for {operation:x?}\n{context}", self.number))
        })
        .collect()
    }
}

impl Outcome {
    /// Connections that were cut or lost.
    pub(crate) fn broken(&self) -> u64 {
        ["connections lost", "commands cut"].iter().filter_map(|name| self.faults.get(name)).sum()
    }

    fn take(&mut self, done: Done, histories: &mut [Vec<Operation>]) {
        for (scope, operation) in done.operations {
            let write = !operation.is_read();
            // A deadline is nobody's operation.
            if operation.is_command() {
                self.operations += 1;
                self.writes += u64::from(write);
                self.unknown += u64::from(!operation.certain);
            }
            match scope {
                Scope::Group(group) => histories[group].push(operation),
                Scope::All => histories.iter_mut().for_each(|history| history.push(operation.clone())),
            }
        }
        self.gets += done.gets;
        self.gets_unknown += done.gets_unknown;
        self.called += done.called;
        self.dropped += done.dropped;
        *self.faults.entry("connections lost").or_default() += done.lost;
        *self.faults.entry("commands cut").or_default() += done.cuts;
    }
}
