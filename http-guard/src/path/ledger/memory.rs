//! What clients have used up, in this process's memory.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashmap::DashMap;
use http_fastpath::abi::BLOCKS_MAX;
use http_fastpath::limit::{Charge, Rate, Set as Buckets, WAYS};
use xps_runtime::control::monotonic_ns;
use xps_runtime::lock::lock;

use super::clients::Clients;
use super::{Client, Ledger};

/// Least time between two searches for blocks that are over, in nanoseconds.
const SWEEP_NS: u64 = 1_000_000_000;

/// Tables of this process.
pub struct Memory {
    secret: [u64; 2],
    limits: Box<[Mutex<Buckets>]>,
    blocks: DashMap<Client, u64>,
    /// Whether there may be any.
    blocking: AtomicBool,
    /// When blocks that are over were last looked for.
    swept_ns: AtomicU64,
    clients: Clients,
}

impl Memory {
    /// Empty tables, with room for so many keys of limits.
    #[must_use]
    pub fn new(keys_max: u32) -> Self {
        // What clients choose must not lead to a bucket of their choice.
        let random = RandomState::new();
        let sets = (keys_max as usize).div_ceil(WAYS).next_power_of_two();
        Self {
            secret: [random.hash_one(0_u64), random.hash_one(1_u64)],
            limits: (0..sets).map(|_| Mutex::new(Buckets::EMPTY)).collect(),
            blocks: DashMap::new(),
            blocking: AtomicBool::new(false),
            swept_ns: AtomicU64::new(0),
            clients: Clients::default(),
        }
    }

    /// How many keys of limits have less than a full bucket.
    #[must_use]
    pub fn keys(&self) -> usize {
        let now_ns = monotonic_ns();
        self.limits.iter().map(|set| lock(set).taken(now_ns)).sum()
    }

    /// Whether there is room for another block, perhaps since others are over.
    fn has_room(&self, now_ns: u64) -> bool {
        let is_full = || self.blocks.len() >= BLOCKS_MAX as usize;
        if !is_full() {
            return true;
        }
        let swept_ns = self.swept_ns.load(Ordering::Relaxed);
        let due = now_ns.saturating_sub(swept_ns) >= SWEEP_NS;
        let taken = |swept_ns| {
            self.swept_ns.compare_exchange(swept_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if due && taken(swept_ns) {
            self.sweep();
        }
        !is_full()
    }
}

impl Ledger for Memory {
    fn secret(&self) -> [u64; 2] {
        self.secret
    }

    fn limits_mask(&self) -> u32 {
        self.limits.len() as u32 - 1
    }

    fn charge(&self, index: u32, tag: u64, rate: Rate) -> Charge {
        let Some(set) = self.limits.get(index as usize) else { return Charge::Full };
        let now_ns = monotonic_ns();
        lock(set).charge(tag, now_ns, rate)
    }

    fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::Acquire)
    }

    fn block(&self, client: Client, time_ns: u64) -> bool {
        let now_ns = monotonic_ns();
        if !self.has_room(now_ns) && !self.blocks.contains_key(&client) {
            return false;
        }
        self.blocks.insert(client, now_ns.saturating_add(time_ns));
        self.blocking.store(true, Ordering::Release);
        true
    }

    fn is_blocked(&self, client: Client) -> bool {
        let now_ns = monotonic_ns();
        self.is_blocking() && self.blocks.get(&client).is_some_and(|until_ns| *until_ns > now_ns)
    }

    fn blocked(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn sweep(&self) {
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

    fn enter(&self, client: Client, max: u32) -> bool {
        self.clients.enter(client, max)
    }

    fn leave(&self, client: Client) {
        self.clients.leave(client);
    }
}

impl fmt::Debug for Memory {
    /// Its tables are megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("limits", &self.limits.len())
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_over_are_forgotten() {
        let memory = Memory::new(8);
        assert!(memory.block([0, 1], 0) && memory.block([0, 2], u64::MAX));
        assert!(memory.is_blocked([0, 2]) && !memory.is_blocked([0, 1]));
        memory.sweep();
        assert_eq!(memory.blocked(), 1);
        memory.blocks.clear();
        memory.sweep();
        assert!(!memory.is_blocking());
    }

    #[test]
    fn a_full_table_takes_no_more_blocks() {
        let memory = Memory::new(8);
        for client in 0..u64::from(BLOCKS_MAX) {
            assert!(memory.block([1, client], u64::MAX));
        }
        assert!(!memory.block([2, 0], u64::MAX) && memory.block([1, 0], u64::MAX));
        memory.blocks.alter_all(|_, _| 0);
        memory.swept_ns.store(0, Ordering::Relaxed);
        assert!(memory.block([2, 0], u64::MAX) && memory.blocked() == 1);
    }
}
