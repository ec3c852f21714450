//! The handler's tables in this process's memory, for the user path: the same rules, limits and answers as in the stack.
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

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dashmap::DashMap;
use http_fastpath::abi::{BLOCKS_MAX, Counts, REFUSALS_MAX, Refused};
use http_fastpath::head;
use http_fastpath::limit::{Charge, Rate, Set as Buckets, WAYS};
use tokio::sync::mpsc;
use xps_runtime::config::Mistakes;
use xps_runtime::control::monotonic_ns;

use crate::answers::Page;
use crate::date;
use crate::rules::Rule;

use set::Set;
use view::View;

/// Reports of refusals that wait to be read.
const REPORTS_MAX: usize = 4096;
/// Least time between two searches for blocks that are over, in nanoseconds.
const SWEEP_NS: u64 = 1_000_000_000;

/// What does not follow from rules.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// How heads are read; the seed is not looked at.
    pub head: head::Settings,
    /// Keys that limits keep apart.
    pub keys_max: u32,
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
            keys_max: 524_288,
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
    secret: [u64; 2],
    current: RwLock<Arc<Set>>,
    /// That of the current set: who has the same one need not ask for it.
    generation: AtomicU32,
    limits: Box<[Mutex<Buckets>]>,
    refusals: Box<[AtomicU64]>,
    blocks: DashMap<[u64; 2], u64>,
    /// Whether there may be any.
    blocking: AtomicBool,
    /// When blocks that are over were last looked for.
    swept_ns: AtomicU64,
    reports: mpsc::Sender<Refused>,
    /// Counts refusals, for sampling.
    refused: AtomicU32,
    lost: AtomicU64,
}

impl Process {
    /// Tables of these rules, and the reports of what is refused by them.
    ///
    /// # Errors
    /// If rules or answers do not fit the tables.
    pub fn new(
        rules: &[Rule],
        page: &Page,
        settings: &ProcessSettings,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Refused>), Mistakes> {
        // What clients choose must not lead to a bucket of their choice.
        let random = RandomState::new();
        let secret = [random.hash_one(0_u64), random.hash_one(1_u64)];
        let sets = (settings.keys_max as usize).div_ceil(WAYS).next_power_of_two();
        let set = Set::new(rules, page, settings, secret, None)?;
        let (reports, queue) = mpsc::channel(REPORTS_MAX);
        let process = Self {
            secret,
            generation: AtomicU32::new(set.generation()),
            current: RwLock::new(Arc::new(set)),
            limits: (0..sets).map(|_| Mutex::new(Buckets::EMPTY)).collect(),
            refusals: (0..REFUSALS_MAX).map(|_| AtomicU64::new(0)).collect(),
            blocks: DashMap::new(),
            blocking: AtomicBool::new(false),
            swept_ns: AtomicU64::new(0),
            reports,
            refused: AtomicU32::new(0),
            lost: AtomicU64::new(0),
        };
        Ok((Arc::new(process), queue))
    }

    /// Puts other rules in the place of those there are. Buckets and counters of rules that have kept their names stay; the
    /// number of buckets stays as it is, too.
    ///
    /// # Errors
    /// If they do not fit the tables; then nothing has changed.
    pub fn replace(&self, rules: &[Rule], page: &Page, settings: &ProcessSettings) -> Result<(), Mistakes> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let set = Set::new(rules, page, settings, self.secret, Some(&current))?;
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

    /// How many keys of limits have less than a full bucket.
    #[must_use]
    pub fn keys(&self) -> usize {
        let now_ns = monotonic_ns();
        let taken = |set: &Mutex<Buckets>| set.lock().unwrap_or_else(PoisonError::into_inner).taken(now_ns);
        self.limits.iter().map(taken).sum()
    }

    /// How many clients are blocked, some of them maybe since a moment no longer.
    #[must_use]
    pub fn blocked(&self) -> usize {
        self.blocks.len()
    }

    /// Forgets blocks that are over.
    pub fn sweep(&self) {
        let now_ns = monotonic_ns();
        self.blocks.retain(|_, until_ns| *until_ns > now_ns);
        if self.blocks.is_empty() {
            // A client that is blocked in between sets it again, or is blocked a moment later: it goes on to be refused.
            self.blocking.store(false, Ordering::Release);
            if !self.blocks.is_empty() {
                self.blocking.store(true, Ordering::Release);
            }
        }
    }

    fn charge(&self, index: u32, tag: u64, rate: Rate, now_ns: u64) -> Charge {
        let Some(set) = self.limits.get(index as usize) else { return Charge::Full };
        set.lock().unwrap_or_else(PoisonError::into_inner).charge(tag, now_ns, rate)
    }

    fn limits_mask(&self) -> u32 {
        self.limits.len() as u32 - 1
    }

    fn block(&self, client: [u64; 2], time_ns: u64, now_ns: u64) -> bool {
        if self.blocks.len() >= BLOCKS_MAX as usize {
            let swept_ns = self.swept_ns.load(Ordering::Relaxed);
            let due = now_ns.saturating_sub(swept_ns) >= SWEEP_NS;
            let ours = due
                && self
                    .swept_ns
                    .compare_exchange(swept_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            if ours {
                self.sweep();
            }
            if self.blocks.len() >= BLOCKS_MAX as usize && !self.blocks.contains_key(&client) {
                return false;
            }
        }
        self.blocks.insert(client, now_ns.saturating_add(time_ns));
        self.blocking.store(true, Ordering::Release);
        true
    }

    fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::Acquire)
    }

    fn is_blocked(&self, client: [u64; 2], now_ns: u64) -> bool {
        self.is_blocking() && self.blocks.get(&client).is_some_and(|until_ns| *until_ns > now_ns)
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
