//! The handler's tables in this process's memory, for the user path: the same rules and answers as in the stack. What clients have
//! used up is not here ([`crate::path::ledger`]).
//!
//! A connection looks at them through a [`View`], which keeps the set of tables that a head was begun with until the head has
//! ended. So a reload changes nothing in the middle of a head, and needs no second set that is filled meanwhile.
//!
//! # Layout
//!
//! - [`set`]: rules, compiled, with their answers and counters.
//! - [`view`]: what one connection sees of it all.

pub mod set;
pub mod view;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http_fastpath::abi::{Counts, REFUSALS_MAX, Refused};
use http_fastpath::head;
use http_fastpath::limit::Rate;
use tokio::sync::{mpsc, watch};
use xps_runtime::config::Mistakes;

use crate::answers::Page;
use crate::date;
use crate::path::ledger::Ledger;
use crate::rules::Rule;

use set::Set;
use view::View;

/// Reports of refusals that wait to be read.
const REPORTS_MAX: usize = 4096;

/// What does not follow from rules.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// How heads are read; the seed is not looked at.
    pub head: head::Settings,
    /// One of how many refusals is reported; a power of two, or 0 for none.
    pub refused_sample: u32,
    /// Bits of an IPv6 address that make one client, where connections are counted and clients blocked.
    pub ipv6_prefix: u32,
    /// How many connections a client may open, and how often; no interval: any number.
    pub connections: Rate,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            head: head::Settings::DEFAULT,
            refused_sample: 1,
            ipv6_prefix: 64,
            connections: Rate::default(),
        }
    }
}

/// How often which rule held, and what followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleCounts {
    /// The rule's name.
    pub name: String,
    /// What followed.
    pub counts: Counts,
}

/// All tables.
#[derive(Debug)]
pub struct Process {
    ledger: Arc<dyn Ledger>,
    current: RwLock<Arc<Set>>,
    /// That of the current set: who has the same one need not ask for it.
    generation: AtomicU32,
    refusals: Box<[AtomicU64]>,
    /// Whether the operator lets everything pass.
    disabled: watch::Sender<bool>,
    reports: mpsc::Sender<Refused>,
    /// Counts refusals, for sampling.
    refused: AtomicU32,
    lost: AtomicU64,
}

impl Process {
    /// Tables of these rules over a ledger, and the reports of what is refused by them.
    ///
    /// # Errors
    /// If rules or answers do not fit the tables.
    pub fn new(
        rules: &[Rule],
        page: &Page,
        settings: &ProcessSettings,
        ledger: Arc<dyn Ledger>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Refused>), Mistakes> {
        let set = Set::new(rules, page, settings, &*ledger, None)?;
        let (reports, queue) = mpsc::channel(REPORTS_MAX);
        let process = Self {
            ledger,
            generation: AtomicU32::new(set.generation()),
            current: RwLock::new(Arc::new(set)),
            refusals: (0..REFUSALS_MAX).map(|_| AtomicU64::new(0)).collect(),
            disabled: watch::Sender::new(false),
            reports,
            refused: AtomicU32::new(0),
            lost: AtomicU64::new(0),
        };
        Ok((Arc::new(process), queue))
    }

    /// Puts other rules in the place of those there are. Buckets and counters of rules that have kept their names stay.
    ///
    /// # Errors
    /// If they do not fit the tables; then nothing has changed.
    pub fn replace(&self, rules: &[Rule], page: &Page, settings: &ProcessSettings) -> Result<(), Mistakes> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let set = Set::new(rules, page, settings, &*self.ledger, Some(&current))?;
        self.generation.store(set.generation(), Ordering::Release);
        *current = Arc::new(set);
        Ok(())
    }

    /// What a connection sees.
    #[must_use]
    pub fn view(self: &Arc<Self>) -> View {
        View::new(Arc::clone(self))
    }

    /// The set of tables in use.
    #[must_use]
    pub fn current(&self) -> Arc<Set> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What became of requests, by rule and in the order of rules.
    #[must_use]
    pub fn counts(&self) -> Vec<RuleCounts> {
        self.current().counts()
    }

    /// How often a request was refused by its syntax, by the number of its refusal.
    #[must_use]
    pub fn refusals(&self) -> Vec<u64> {
        self.refusals.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Reports that found the queue full.
    #[must_use]
    pub fn reports_lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What clients have used up.
    #[must_use]
    pub const fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Lets everything pass, or takes that back.
    pub fn set_disabled(&self, disabled: bool) {
        self.disabled.send_replace(disabled);
    }

    /// Whether the operator lets everything pass.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        *self.disabled.borrow()
    }

    /// Waits until requests are judged again.
    pub async fn enabled(&self) {
        // Its sender is this.
        let _ = self.disabled.subscribe().wait_for(|disabled| !disabled).await;
    }

    fn report(&self, refused: Refused) {
        let weight = refused.weight;
        if weight == 0 || self.refused.fetch_add(1, Ordering::Relaxed) & (weight - 1) != 0 {
            return;
        }
        if self.reports.try_send(refused).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The date as answers tell it.
    fn date(&self) -> [u8; 32] {
        let mut padded = [0; 32];
        padded[..http_fastpath::abi::DATE_BYTES].copy_from_slice(&date::of(date::now_s()));
        padded
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
