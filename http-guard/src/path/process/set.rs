//! Rules, compiled, with their answers and counters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_fastpath::abi::{Answer, Counts, Matcher, Rules, Settings};
use http_fastpath::head;
use http_fastpath::judge::Status;
use xps_runtime::config::Mistakes;

use crate::answers::{self, Page};
use crate::compile::clients::Clients;
use crate::compile::{self, Compiled};
use crate::path::ledger::Ledger;
use crate::rules::Rule;

use super::{ProcessSettings, RuleCounts};

/// A set of tables.
pub struct Set {
    pub(super) matcher: Box<Matcher>,
    pub(super) rules: Box<Rules>,
    pub(super) clients: Clients,
    pub(super) answers: Box<[Answer]>,
    /// What connections begin with; the date is theirs to tell.
    pub(super) settings: Settings,
    counters: Vec<(String, Arc<Counters>)>,
}

/// Counters of one rule.
#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    rejected: AtomicU64,
    rejected_dry_run: AtomicU64,
    full: AtomicU64,
}

impl Counters {
    fn read(&self) -> Counts {
        Counts {
            passed: self.passed.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            rejected_dry_run: self.rejected_dry_run.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
        }
    }
}

impl Set {
    /// Compiles rules. Counters of rules with the same names are `earlier`'s, and its generation is another one.
    pub(super) fn new(
        rules: &[Rule],
        page: &Page,
        settings: &ProcessSettings,
        ledger: &dyn Ledger,
        earlier: Option<&Self>,
    ) -> Result<Self, Mistakes> {
        let answers = answers::compile(rules, page)?;
        let Compiled { mut matcher, rules: mut table, clients, .. } = compile::compile(rules)?;
        let generation = earlier.map_or(0, |earlier| earlier.generation().wrapping_add(1));
        (matcher.generation, table.generation) = (generation, generation);
        let kept = |name: &str| {
            let counters = earlier?.counters.iter().find(|(other, _)| other == name);
            counters.map(|(_, counters)| Arc::clone(counters))
        };
        let counters = rules.iter().map(|rule| (rule.name.clone(), kept(&rule.name).unwrap_or_default()));
        let secret = ledger.secret();
        let settings = Settings {
            head: head::Settings { seed: secret[1], ..settings.head },
            secret,
            tables: 0,
            limits_mask: ledger.limits_mask(),
            date: 0,
            refused_sample: settings.refused_sample,
            clients: u32::from(!clients.is_empty()),
            ipv6_prefix: settings.ipv6_prefix,
            blocking: 0,
            connections_max: 0,
            connections: settings.connections,
            dates: [[0; 32]; 2],
        };
        Ok(Self { matcher, rules: table, clients, answers, settings, counters: counters.collect() })
    }

    /// Differs from that of the set before.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.matcher.generation
    }

    /// Names of the rules, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.counters.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn counts(&self) -> Vec<RuleCounts> {
        let counts = |(name, counters): &(String, Arc<Counters>)| RuleCounts {
            name: name.clone(),
            counts: counters.read(),
        };
        self.counters.iter().map(counts).collect()
    }

    pub(super) fn count(&self, rule: u32, status: Status) {
        let Some((_, counters)) = self.counters.get(rule as usize) else { return };
        let counter = match status {
            Status::Passed => &counters.passed,
            Status::Rejected => &counters.rejected,
            Status::RejectedDryRun => &counters.rejected_dry_run,
            Status::Full => &counters.full,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Set {
    /// Its tables are megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set")
            .field("generation", &self.generation())
            .field("counters", &self.counters)
            .finish()
    }
}
