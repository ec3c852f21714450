//! What the agent's tasks share, whichever path serves; and what a path must offer them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use xps_runtime::control::monotonic_ns;
use xps_runtime::install::InstallError;

use crate::coherence::{Cause, Judgement};
use crate::commands::Commands;
use crate::freshness::Freshness;
use crate::store::{Buckets, Entries, SettingsMap};
use crate::table::Table;
use crate::users::Users;

/// The cache and what is known about it.
#[derive(Debug)]
pub struct Shared {
    /// Key of the hash of keys and users.
    pub secret: [u64; 2],
    /// Buckets (C1).
    pub buckets: Buckets,
    /// The handler's settings.
    pub settings: SettingsMap,
    /// The entries and where they lie.
    pub cache: Mutex<Cache>,
    /// What was judged last about coherence.
    pub judgement: Mutex<Judgement>,
    /// Something asks for a new check.
    pub recheck: Notify,
    /// Counts of the agent's own work.
    pub counts: Counts,
    /// Hits are allowed: whether filling makes sense.
    pub coherent: AtomicBool,
    /// The fill loop's own connection to Redis, while there is one.
    pub fill_address: Mutex<Option<SocketAddr>>,
    /// When the fill loop last came by, `CLOCK_MONOTONIC` in nanoseconds.
    pub fill_beat_ns: AtomicU64,
    /// An orderly stop is under way.
    pub draining: AtomicBool,
    /// The users that the handler knows.
    pub users: Mutex<Option<Users>>,
    /// How old a value may be.
    pub freshness: Freshness,
}

/// The entries, and the store they lie in.
#[derive(Debug)]
pub struct Cache {
    /// Where each lies.
    pub table: Table,
    /// Their memory.
    pub entries: Entries,
}

/// What the agent has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Misses that the handler reported.
    pub misses_reported: AtomicU64,
    /// Values asked of the server.
    pub fills: AtomicU64,
    /// Entries made.
    pub admitted: AtomicU64,
    /// Values that a write overtook.
    pub overtaken: AtomicU64,
    /// Values not admitted for lack of frequency or room.
    pub refused: AtomicU64,
    /// Keys without a value that can be cached.
    pub uncacheable: AtomicU64,
    /// Times all entries were made invalid.
    pub flushes: AtomicU64,
    /// Keys that the tracking connection named.
    pub invalidations_tracked: AtomicU64,
    /// Times it told that any key may have changed.
    pub invalidations_all: AtomicU64,
    /// Flows forgotten since their socket was gone.
    pub flows_collected: AtomicU64,
    /// Connections killed since they were older than the hooks.
    pub connections_killed: AtomicU64,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A lock whose former holder's panic does not matter: what is behind it is consistent after every step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `CLOCK_MONOTONIC` in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

impl Shared {
    /// A cache without entries over these tables; no hits are allowed yet.
    #[must_use]
    pub fn new(
        secret: [u64; 2],
        buckets: Buckets,
        settings: SettingsMap,
        entries: Entries,
        entries_max: usize,
        max_staleness: Duration,
    ) -> Self {
        // A former agent's entries, and what was written while no agent was there.
        buckets.invalidate_all();
        let table = Table::new(entries.pages(), entries_max, now_ms());
        Self {
            secret,
            buckets,
            settings,
            cache: Mutex::new(Cache { table, entries }),
            judgement: Mutex::new(Judgement::refused(Cause::Starting)),
            recheck: Notify::new(),
            counts: Counts::default(),
            coherent: AtomicBool::new(false),
            fill_address: Mutex::new(None),
            fill_beat_ns: AtomicU64::new(monotonic_ns()),
            draining: AtomicBool::new(false),
            users: Mutex::new(None),
            freshness: Freshness::new(max_staleness),
        }
    }

    /// Makes all entries invalid and forgets them. May take some hundred milliseconds.
    pub fn flush(&self) {
        self.buckets.invalidate_all();
        count(&self.counts.flushes);
        let Cache { table, entries } = &mut *lock(&self.cache);
        table.clear(entries, now_ms());
    }

    /// Forbids hits, for `judgement`'s causes.
    pub fn refuse(&self, judgement: Judgement) {
        self.settings.set_coherent(false);
        self.coherent.store(false, Ordering::Release);
        *lock(&self.judgement) = judgement;
    }
}

/// A path that serves from the cache, as the watch sees it.
pub trait Place: Send + Sync {
    /// The cache.
    fn shared(&self) -> &Shared;

    /// How often a connection's bytes went by that are not understood; a new count means no hits until the agent has
    /// looked.
    fn foreign(&self) -> u64;

    /// Clients whose connections to the server's `port` are not understood.
    ///
    /// # Errors
    /// Why that is not known.
    fn unknown_peers(&self, port: u16) -> Result<Vec<SocketAddr>, String>;

    /// What of the path itself is not as strict coherence needs it.
    fn causes(&self) -> Vec<Cause>;

    /// Makes the handler's command table that of `commands`.
    ///
    /// # Errors
    /// If it cannot be written.
    fn store_commands(&self, commands: &Commands) -> Result<(), InstallError>;

    /// Makes `numbers` the users, beside the default one, that the handler lets read.
    ///
    /// # Errors
    /// If they cannot be written.
    fn store_users(&self, numbers: &[u32]) -> Result<(), InstallError>;
}
