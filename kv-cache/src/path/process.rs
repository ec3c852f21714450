//! The user path's cache: the same handler, entries and rules as in the stack, in this process (C1–C11).
//!
//! Writes through the accelerated port are read by the handler before Redis can see them, as in the stack. Writes that
//! come another way are known from the tracking connection alone: so this path serves in bounded mode only.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock};

use kv_fastpath::abi::{KEY_BYTES_MAX, Settings};
use kv_fastpath::answer;
use kv_fastpath::coherence::REPLY_FAILS;
use kv_fastpath::command::{Info, Name};
use kv_fastpath::handler::{KEY_ROOM, KvCache, Scratch, State, Tables, Urgency};
use tokio::sync::mpsc;
use xps_core::handler::Reply;
use xps_runtime::control::{monotonic_ns, tai_ns};
use xps_runtime::install::InstallError;
use xps_runtime::session::InProcess;

use crate::coherence::{Cause, Stranger};
use crate::config::Current;
use crate::entries::reports::{Miss, QUEUE, Reports};
use crate::entries::store::{Buckets, Entries, EntryReader, SettingsMap};
use crate::server::commands::Commands;
use crate::server::users::Users;
use crate::shared::{Place, Shared, count};

/// The tables.
#[derive(Debug)]
pub struct Process {
    /// What the agent's tasks share.
    pub shared: Arc<Shared>,
    entries: EntryReader,
    commands: RwLock<HashMap<Name, Info>>,
    /// Users that may read every key; `None`: all that Redis accepts.
    readers: RwLock<Option<HashSet<u32>>>,
    misses: mpsc::Sender<Miss>,
    /// Counts misses, for sampling.
    missed: AtomicU32,
    /// Numbers for sampling: one after the other serves as well as random ones.
    drawn: AtomicU32,
    /// Reports that found the queue full.
    pub reports_lost: AtomicU64,
}

/// The handler's handle to them.
#[derive(Clone, Debug)]
pub struct InMemory(pub Arc<Process>);

impl Process {
    /// A cache without entries, and the reports of what it misses.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(current: &Arc<Current>) -> io::Result<(Arc<Self>, Reports)> {
        let config = current.read();
        let (entries, reader) = Entries::in_process(config.pages)?;
        // Keyed by the system's random numbers: what clients choose must not lead to a bucket of their choice.
        let random = RandomState::new();
        let secret = [random.hash_one(0_u64), random.hash_one(1_u64)];
        let shared = Shared::new(
            Arc::clone(current),
            secret,
            Buckets::in_process()?,
            SettingsMap::in_process(config.miss_sample)?,
            entries,
            config.entries_max as usize,
        );
        let (misses, queue) = mpsc::channel(QUEUE);
        let process = Self {
            shared: Arc::new(shared),
            entries: reader,
            commands: RwLock::new(rows_of(&Commands::before_learning())),
            readers: RwLock::new(Some(HashSet::new())),
            misses,
            missed: AtomicU32::new(0),
            drawn: AtomicU32::new(0),
            reports_lost: AtomicU64::new(0),
        };
        Ok((Arc::new(process), Reports::Queue(queue)))
    }
}

fn rows_of(commands: &Commands) -> HashMap<Name, Info> {
    commands.rows().map(|(name, info)| (*name, *info)).collect()
}

impl Place for Process {
    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn foreign(&self) -> u64 {
        0 // Every connection that is served is read from its first byte.
    }

    fn strangers(&self, _: u16) -> Result<Vec<Stranger>, String> {
        Ok(Vec::new())
    }

    fn reset_strangers(&self) -> usize {
        // The relay alone has their sockets. It has refused them all, but for those from before Redis asked for a password.
        0
    }

    fn causes(&self) -> Vec<Cause> {
        vec![Cause::UserPath]
    }

    fn store_commands(&self, commands: &Commands) -> Result<(), InstallError> {
        *self.commands.write().unwrap_or_else(PoisonError::into_inner) = rows_of(commands);
        Ok(())
    }

    fn store_users(&self, users: &Users) -> Result<(), InstallError> {
        let readers =
            if users.everyone { None } else { Some(users.numbers(self.shared.secret).into_iter().collect()) };
        *self.readers.write().unwrap_or_else(PoisonError::into_inner) = readers;
        Ok(())
    }
}

impl Tables for InMemory {
    fn command(&self, name: &Name) -> Option<Info> {
        self.0.commands.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    fn bucket(&self, index: u32) -> u64 {
        self.0.shared.buckets.read(index)
    }

    fn add(&self, index: u32, delta: u64) {
        self.0.shared.buckets.add(index, delta);
    }

    fn locate(&self, id: u64) -> Option<*const u8> {
        self.0.entries.locate(id)
    }

    /// Entries are read by several threads here, and not every write is seen: SETs do not change them.
    fn entry(&self, _: u64) -> Option<*mut u8> {
        None
    }

    fn fence(&self, _: &mut Scratch) {
        fence(Ordering::SeqCst);
    }

    /// Nothing once the bound may be broken: no hits then.
    fn settings(&self) -> Option<*const Settings> {
        let shared = &self.0.shared;
        let until_ns = shared.freshness.until_ns();
        let fresh = until_ns == u64::MAX || monotonic_ns() < until_ns;
        (fresh && !shared.draining.load(Ordering::Acquire)).then(|| shared.settings.pointer())
    }

    fn asks_for_login(&self) -> bool {
        self.0.shared.settings.login()
    }

    fn may_read(&self, user: u32) -> bool {
        let readers = self.0.readers.read().unwrap_or_else(PoisonError::into_inner);
        readers.as_ref().is_none_or(|readers| readers.contains(&user))
    }

    fn foreign(&self) -> u64 {
        0
    }

    fn secret(&self) -> [u64; 2] {
        self.0.shared.secret
    }

    fn tai_ns(&self) -> u64 {
        tai_ns()
    }

    fn random(&self) -> u32 {
        self.0.drawn.fetch_add(1, Ordering::Relaxed)
    }

    fn stale(&self, id: u64, settled: bool) -> Urgency {
        self.0.entries.stale(id, settled)
    }

    fn report_miss(&self, id: u64, database: u32, key: &[u8; KEY_ROOM], key_len: u32, urgency: Urgency) {
        let weight = urgency.one_of(self.0.shared.settings.miss_sample().max(1));
        // Misses of one kind are not counted apart from others: which of them is taken does not matter.
        if weight == 0 || !self.0.missed.fetch_add(1, Ordering::Relaxed).is_multiple_of(weight) {
            return;
        }
        let key = key[..(key_len as usize).min(KEY_BYTES_MAX)].to_vec();
        if self.0.misses.try_send(Miss { id, database, key, weight }).is_err() {
            count(&self.0.reports_lost);
        }
    }

    fn ask_recheck(&self) {
        self.0.shared.settings.ask_recheck();
        self.0.shared.recheck.notify_one();
    }

    fn answer_one(
        &self,
        database: u32,
        protocol: u32,
        index: u32,
        scratch: &mut Scratch,
        reply: &mut Reply,
    ) -> u32 {
        self.0.entries.steady(|| answer::one(self, database, protocol, index, scratch, reply))
    }
}

/// The handler of the user path.
#[derive(Clone, Debug)]
pub struct Cached(KvCache<InMemory>);

impl Cached {
    /// The handler over these tables.
    #[must_use]
    pub const fn new(process: Arc<Process>) -> Self {
        Self(KvCache { tables: InMemory(process) })
    }
}

impl InProcess for Cached {
    type Handler = KvCache<InMemory>;

    fn handler(&self) -> &Self::Handler {
        &self.0
    }

    fn start(&self) -> State {
        State::START
    }

    fn scratch() -> Box<Scratch> {
        Box::new(Scratch::EMPTY)
    }

    fn is_idle(&self, state: &State) -> bool {
        state.connection.idle()
    }

    fn gone(&self, state: &mut State) {
        let mut released = false;
        state.connection.each_hold(|bucket| {
            if !released {
                // What it did unseen may have changed users or settings: no hits before the agent has looked.
                self.0.tables.ask_recheck();
                released = true;
            }
            self.0.tables.add(bucket, REPLY_FAILS);
        });
    }
}
