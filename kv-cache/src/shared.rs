//! What the agent's tasks share, whichever path serves; and what a path must offer them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use xps_runtime::control::monotonic_ns;
use xps_runtime::install::InstallError;
pub use xps_runtime::lock::lock;

use crate::coherence::freshness::Freshness;
use crate::coherence::{Cause, Judgement, Stranger};
use crate::config::Current;
use crate::entries::bypass::Bypass;
use crate::entries::store::{Buckets, Entries, SettingsMap};
use crate::entries::table::Table;
use crate::entries::touch::Touches;
use crate::server::commands::Commands;
use crate::server::users::Users;
use crate::server::whereabouts::Whereabouts;
use crate::telling::top::Top;

/// The cache and what is known about it.
#[derive(Debug)]
pub struct Shared {
    /// The configuration that holds now.
    pub config: Arc<Current>,
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
    /// The ends of programs can be waited for, so that they may write to entries: SETs on their way refresh entries where
    /// every write is seen.
    pub refreshes: AtomicBool,
    /// Hits are allowed: whether filling makes sense.
    pub coherent: AtomicBool,
    /// The fill loop's own connection to Redis, while there is one.
    pub fill_address: Mutex<Option<SocketAddr>>,
    /// When the fill loop last came by, `CLOCK_MONOTONIC` in nanoseconds.
    pub fill_beat_ns: AtomicU64,
    /// An orderly stop is under way.
    pub draining: AtomicBool,
    /// The operator has forbidden hits.
    pub disabled: AtomicBool,
    /// Redis's idle timeout in seconds, as it was seen last; 0: it has none.
    pub idle_timeout_s: AtomicU32,
    /// Whether Redis is told which keys are in use.
    pub touches: Touches,
    /// Whether the handler steps aside.
    pub bypass: Bypass,
    /// Who watches the keys that are asked for most.
    pub top: Top,
    /// The users that the handler knows.
    pub users: Mutex<Option<Users>>,
    /// How old a value may be.
    pub freshness: Freshness,
    /// Where Redis is.
    pub whereabouts: Whereabouts,
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
    /// Misses of keys that the configuration keeps out of the cache.
    pub filtered: AtomicU64,
    /// Times all entries were made invalid.
    pub flushes: AtomicU64,
    /// Keys that the tracking connection named.
    pub invalidations_tracked: AtomicU64,
    /// Times it told that any key may have changed.
    pub invalidations_all: AtomicU64,
    /// Keys that Redis was told are in use.
    pub touches: AtomicU64,
    /// Flows forgotten since their socket was gone.
    pub flows_collected: AtomicU64,
    /// Connections killed since they were older than the hooks, or not understood before any login.
    pub connections_killed: AtomicU64,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
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
        config: Arc<Current>,
        secret: [u64; 2],
        buckets: Buckets,
        settings: SettingsMap,
        entries: Entries,
        entries_max: usize,
    ) -> Self {
        // A former agent's entries, and what was written while no agent was there.
        buckets.invalidate_all();
        let table = Table::new(entries.pages(), entries_max, now_ms());
        let freshness = Freshness::new(config.read().max_staleness);
        Self {
            config,
            secret,
            buckets,
            settings,
            cache: Mutex::new(Cache { table, entries }),
            judgement: Mutex::new(Judgement::refused(Cause::Starting)),
            recheck: Notify::new(),
            counts: Counts::default(),
            refreshes: AtomicBool::new(false),
            coherent: AtomicBool::new(false),
            fill_address: Mutex::new(None),
            fill_beat_ns: AtomicU64::new(monotonic_ns()),
            draining: AtomicBool::new(false),
            disabled: AtomicBool::new(false),
            idle_timeout_s: AtomicU32::new(0),
            touches: Touches::default(),
            bypass: Bypass::default(),
            top: Top::default(),
            users: Mutex::new(None),
            freshness,
            whereabouts: Whereabouts::default(),
        }
    }

    /// Makes all entries invalid and forgets them. May take some hundred milliseconds.
    pub fn flush(&self) {
        // Before the version is raised: a SET must not make an entry valid again that is to be forgotten.
        self.settings.set_refresh_ns(0);
        self.buckets.invalidate_all();
        count(&self.counts.flushes);
        let Cache { table, entries } = &mut *lock(&self.cache);
        table.clear(entries, now_ms());
        self.settings.set_refresh_ns(self.refresh_ns(self.coherent.load(Ordering::Acquire)));
    }

    /// How long entries may be served that SETs on their way refresh, in nanoseconds; 0: they refresh none.
    fn refresh_ns(&self, coherent: bool) -> u64 {
        let strict = coherent && !self.freshness.is_bound();
        if strict && self.refreshes.load(Ordering::Acquire) {
            self.config.read().limits.ttl_max_ns()
        } else {
            0
        }
    }

    /// Forbids hits, for `judgement`'s causes.
    pub fn refuse(&self, judgement: Judgement) {
        self.set_hits(&mut lock(&self.judgement), judgement);
    }

    /// Allows hits as `judgement` says, unless the operator has forbidden them meanwhile. Whether they are allowed.
    pub fn allow(&self, judgement: Judgement) -> bool {
        self.set_hits(&mut lock(&self.judgement), judgement)
    }

    /// Forbids hits until [`enable`](Self::enable).
    pub fn disable(&self) {
        let mut judgement = lock(&self.judgement);
        self.disabled.store(true, Ordering::Release);
        let known = judgement.clone();
        self.set_hits(&mut judgement, known);
    }

    /// Takes [`disable`](Self::disable) back; the next check decides.
    pub fn enable(&self) {
        let judgement = lock(&self.judgement);
        self.disabled.store(false, Ordering::Release);
        drop(judgement);
        self.settings.ask_recheck();
        self.recheck.notify_one();
    }

    /// One at a time, by the lock, so that no check that began before the operator forbade hits allows them.
    fn set_hits(&self, shown: &mut Judgement, mut judgement: Judgement) -> bool {
        if self.disabled.load(Ordering::Acquire) {
            judgement.disable();
        }
        // Before hits are allowed: the programs look at both.
        self.settings.set_refresh_ns(self.refresh_ns(judgement.coherent));
        self.settings.set_coherent(judgement.coherent);
        self.coherent.store(judgement.coherent, Ordering::Release);
        let coherent = judgement.coherent;
        *shown = judgement;
        coherent
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
    fn strangers(&self, port: u16) -> Result<Vec<Stranger>, String>;

    /// Resets the connections that hold everybody's hits since they are not understood, and of which no login is known (C11).
    /// How many those were.
    fn reset_strangers(&self) -> usize;

    /// What of the path itself is not as strict coherence needs it.
    fn causes(&self) -> Vec<Cause>;

    /// Makes the handler's command table that of `commands`.
    ///
    /// # Errors
    /// If it cannot be written.
    fn store_commands(&self, commands: &Commands) -> Result<(), InstallError>;

    /// Tells the handler whom it lets read, beside the default user.
    ///
    /// # Errors
    /// If that cannot be written.
    fn store_users(&self, users: &Users) -> Result<(), InstallError>;
}
