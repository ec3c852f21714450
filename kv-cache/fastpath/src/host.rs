//! The handler's tables in a process's memory, with what an agent does to them: for tests and simulations.

use std::boxed::Box;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec;
use std::vec::Vec;

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, REPLY_MAX, Reply, Scan, WINDOW, Window};
use xps_core::siphash::SipHash13;
use xps_core::verdict::Verdict;

use crate::abi::{
    BUCKETS, ENTRY_BYTES_MAX, EntryHead, GLOBAL_BUCKET, HITS_MAX, KEY_BYTES_MAX, Settings, users,
};
use crate::coherence::{bucket_of, entry_id, settled};
use crate::command::{Class, Info, NAME_BYTES, Name};
use crate::connection::user_of;
use crate::handler::{KEY_ROOM, KvCache, Scratch, State, Tables, Urgency};

/// A page of one entry: aligned like those of the kernel.
type Page = Box<[u64; ENTRY_BYTES_MAX / 8]>;

/// Tables in memory.
#[derive(Debug)]
pub struct World {
    buckets: Vec<AtomicU64>,
    commands: HashMap<Name, Info>,
    entries: Mutex<Entries>,
    settings: Box<Mutex<Settings>>,
    shown_settings: Box<SharedSettings>,
    foreign: AtomicU64,
    now_ns: AtomicU64,
    random: AtomicU32,
    misses: Mutex<Vec<Miss>>,
    readers: Mutex<HashSet<u32>>,
    secret: [u64; 2],
}

/// Settings as the handler sees them: words that change one at a time.
#[repr(C)]
#[derive(Debug, Default)]
struct SharedSettings([AtomicU64; 7]);

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<u64, Page>,
    /// Hits of entries since they were made, or that they were missed.
    hits: HashMap<u64, u16>,
    /// Removed entries: somebody may still read them.
    removed: Vec<Page>,
}

/// A miss that was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Hash of database and key.
    pub id: u64,
    /// The database.
    pub database: u32,
    /// The key.
    pub key: Vec<u8>,
}

/// What an agent reads before it fetches a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The key's bucket.
    pub bucket: u64,
    /// The global bucket.
    pub global: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Tables that know some commands of Redis, vouched for, without entries.
    #[must_use]
    pub fn new() -> Self {
        let world = Self {
            buckets: (0..=BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            commands: some_commands(),
            entries: Mutex::default(),
            settings: Box::default(),
            shown_settings: Box::default(),
            foreign: AtomicU64::new(0),
            now_ns: AtomicU64::new(0),
            random: AtomicU32::new(0),
            misses: Mutex::default(),
            readers: Mutex::default(),
            secret: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
        };
        world.set(|settings| (settings.coherent, settings.users) = (1, users::INITIAL));
        world
    }

    /// Changes the settings.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = locked(&self.settings);
        change(&mut settings);
        let words = [
            u64::from(settings.version) | u64::from(settings.coherent) << 32,
            settings.foreign_seen,
            settings.rechecks_seen,
            settings.rechecks,
            u64::from(settings.miss_sample) | u64::from(settings.users) << 32,
            u64::from(settings.bypass) | u64::from(settings.epoch) << 32,
            settings.refresh_ns,
        ];
        for (shown, word) in self.shown_settings.0.iter().zip(words) {
            shown.store(word, Ordering::SeqCst);
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings_now(&self) -> Settings {
        *locked(&self.settings)
    }

    /// Allows a user, or takes that back.
    pub fn set_reader(&self, name: &[u8], allowed: bool) {
        let user = user_of(self.hash(name));
        let mut readers = locked(&self.readers);
        if allowed {
            readers.insert(user);
        } else {
            readers.remove(&user);
        }
    }

    /// Sets the count of foreign segments.
    pub fn set_foreign(&self, count: u64) {
        self.foreign.store(count, Ordering::SeqCst);
    }

    /// Sets the clock.
    pub fn set_now_ns(&self, now: u64) {
        self.now_ns.store(now, Ordering::SeqCst);
    }

    /// Sets the number that is drawn from now on.
    pub fn set_random(&self, number: u32) {
        self.random.store(number, Ordering::SeqCst);
    }

    /// Hash of a key.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hash = SipHash13::new(self.secret);
        hash.bytes(key);
        hash.finish()
    }

    /// A key's bucket.
    #[must_use]
    pub fn bucket_of(&self, key: &[u8]) -> u32 {
        bucket_of(self.hash(key))
    }

    /// What a fill of `key` starts with; `None` while something is pending.
    #[must_use]
    pub fn snapshot(&self, key: &[u8]) -> Option<Snapshot> {
        let snapshot =
            Snapshot { bucket: self.bucket(self.bucket_of(key)), global: self.bucket(GLOBAL_BUCKET) };
        (settled(snapshot.bucket) && settled(snapshot.global)).then_some(snapshot)
    }

    /// Inserts a whole reply. False if key or reply are too long.
    pub fn insert(
        &self,
        key: &[u8],
        database: u32,
        reply: &[u8],
        snapshot: Snapshot,
        deadline_tai_ns: u64,
    ) -> bool {
        if key.len() > KEY_BYTES_MAX || reply.len() > REPLY_MAX {
            return false;
        }
        let id = entry_id(self.hash(key), database);
        let mut page: Page = Box::new([0; ENTRY_BYTES_MAX / 8]);
        page[0] = id;
        page[1] = snapshot.bucket;
        page[2] = snapshot.global;
        page[3] = deadline_tai_ns;
        page[4] = key.len() as u64 | (reply.len() as u64) << 16 | u64::from(database) << 32;
        page[5] = reply.len().next_multiple_of(8) as u64;
        let mut at = size_of::<EntryHead>() / 8;
        for bytes in [key, reply] {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                page[at] = u64::from_le_bytes(word);
                at += 1;
            }
        }
        let mut entries = locked(&self.entries);
        entries.hits.remove(&id);
        if let Some(old) = entries.by_id.insert(id, page) {
            entries.removed.push(old);
        }
        true
    }

    /// Removes an entry. Whether it was there.
    pub fn remove(&self, key: &[u8], database: u32) -> bool {
        let id = entry_id(self.hash(key), database);
        let mut entries = locked(&self.entries);
        let Some(page) = entries.by_id.remove(&id) else { return false };
        entries.removed.push(page);
        true
    }

    /// Takes the misses reported so far.
    #[must_use]
    pub fn take_misses(&self) -> Vec<Miss> {
        core::mem::take(&mut *locked(&self.misses))
    }

    /// Buckets with something pending, and the pending counts.
    #[must_use]
    pub fn pending(&self) -> Vec<(u32, u64)> {
        let pending = |word: u64| word & ((1 << crate::coherence::PENDING_BITS) - 1);
        (0..=BUCKETS).map(|i| (i, pending(self.bucket(i)))).filter(|(_, n)| *n != 0).collect()
    }

    /// Gives a command another meaning.
    pub fn set_command(&mut self, name: &str, info: Info) {
        self.commands.insert(name_of(name), info);
    }
}

impl Tables for &World {
    fn command(&self, name: &Name) -> Option<Info> {
        self.commands.get(name).copied()
    }

    fn bucket(&self, index: u32) -> u64 {
        self.buckets[index as usize].load(Ordering::SeqCst)
    }

    fn add(&self, index: u32, delta: u64) {
        self.buckets[index as usize].fetch_add(delta, Ordering::SeqCst);
    }

    fn locate(&self, id: u64) -> Option<*const u8> {
        let mut entries = locked(&self.entries);
        let Entries { by_id, hits, .. } = &mut *entries;
        let page = by_id.get(&id)?;
        let hits = hits.entry(id).or_default();
        *hits = hits.saturating_add(1).min(HITS_MAX.max(*hits));
        Some(page.as_ptr().cast())
    }

    fn entry(&self, id: u64) -> Option<*mut u8> {
        locked(&self.entries).by_id.get_mut(&id).map(|page| page.as_mut_ptr().cast())
    }

    fn fence(&self, _: &mut Scratch) {
        fence(Ordering::SeqCst);
    }

    fn settings(&self) -> Option<*const Settings> {
        Some(core::ptr::from_ref(&*self.shown_settings).cast())
    }

    fn may_read(&self, user: u32) -> bool {
        locked(&self.readers).contains(&user)
    }

    fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::SeqCst)
    }

    fn secret(&self) -> [u64; 2] {
        self.secret
    }

    fn tai_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn random(&self) -> u32 {
        self.random.load(Ordering::SeqCst)
    }

    fn stale(&self, id: u64, settled: bool) -> Urgency {
        let mut entries = locked(&self.entries);
        let hits = entries.hits.entry(id).or_default();
        let urgency;
        (urgency, *hits) = Urgency::of_stale(*hits, settled);
        urgency
    }

    fn report_miss(&self, id: u64, database: u32, key: &[u8; KEY_ROOM], key_len: u32, urgency: Urgency) {
        if urgency == Urgency::Never {
            return;
        }
        let key = &key[..(key_len as usize).min(KEY_BYTES_MAX)];
        locked(&self.misses).push(Miss { id, database, key: key.to_vec() });
    }

    fn ask_recheck(&self) {
        self.set(|settings| settings.rechecks += 1);
    }
}

/// A command's name as it is looked up.
#[must_use]
pub fn name_of(name: &str) -> Name {
    let mut bytes = [0; NAME_BYTES];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// A connection through the handler, its segments scanned as the runtime scans them.
pub struct Flow<T: Tables> {
    /// The handler.
    pub handler: KvCache<T>,
    /// The connection's state.
    pub state: State,
    scratch: Box<Scratch>,
    reply: Box<Reply>,
    window_bytes: usize,
    skips: [u64; 2],
    opaque: [bool; 2],
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with these bytes.
    Reply(Vec<u8>),
    /// Went up to the server, for this reason.
    Pass(xps_core::verdict::Reason),
    /// Went nowhere, and the connection has ended.
    Ended,
}

impl<T: Tables> Flow<T> {
    /// A new connection.
    pub fn new(tables: T) -> Self {
        Self {
            handler: KvCache { tables },
            state: State::START,
            scratch: Box::new(Scratch::EMPTY),
            reply: Box::new(Reply::EMPTY),
            window_bytes: WINDOW,
            skips: [0; 2],
            opaque: [false; 2],
        }
    }

    /// Shows the handler windows of at most `bytes`.
    #[must_use]
    pub fn with_windows_of(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes.clamp(1, WINDOW);
        self
    }

    /// A segment of the client. `tcp_idle`: whether an answer is possible as far as TCP is concerned.
    pub fn request(&mut self, payload: &[u8], tcp_idle: bool) -> Outcome {
        let Self { handler, scratch, .. } = self;
        handler.begin(&FlowKey::default(), scratch);
        if !self.scan(0, payload) {
            if self.handler.holds(&self.scratch) {
                return Outcome::Ended;
            }
            return Outcome::Pass(xps_core::verdict::Reason::Opaque);
        }
        *self.reply = Reply::EMPTY;
        let verdict = if tcp_idle {
            self.handler.answer(&mut self.state, &mut self.scratch, &mut self.reply, REPLY_MAX as u32)
        } else {
            Verdict::Pass(xps_core::verdict::Reason::NotIdle)
        };
        match verdict {
            Verdict::Reply => Outcome::Reply(self.reply.bytes[..self.reply.len as usize].to_vec()),
            Verdict::Pass(reason) | Verdict::Drop(reason) | Verdict::Close(reason) => {
                self.handler.passed(&mut self.state, &mut self.scratch);
                Outcome::Pass(reason)
            }
        }
    }

    /// A segment of the server. Whether it was understood.
    pub fn response(&mut self, payload: &[u8]) -> bool {
        self.scan(1, payload)
    }

    /// Number of requests of the last segment.
    pub fn requests(&self) -> u32 {
        self.handler.requests(&self.scratch)
    }

    /// Whether a direction became opaque.
    pub fn is_opaque(&self) -> bool {
        self.opaque[0] || self.opaque[1]
    }

    /// The connection is gone, and the agent gives back what it held.
    pub fn forget(self) {
        let tables = &self.handler.tables;
        self.state.connection.each_hold(|bucket| tables.add(bucket, crate::coherence::REPLY_FAILS));
    }

    fn scan(&mut self, direction: usize, payload: &[u8]) -> bool {
        if self.opaque[direction] {
            return false;
        }
        let mut at = 0;
        let mut window = Window::EMPTY;
        loop {
            let skipped = self.skips[direction].min((payload.len() - at) as u64);
            at += skipped as usize;
            self.skips[direction] -= skipped;
            if at == payload.len() {
                return true;
            }
            let bytes = &payload[at..payload.len().min(at + self.window_bytes)];
            // What is behind the window's end must not matter.
            window.bytes = [0xa5; WINDOW];
            window.bytes[..bytes.len()].copy_from_slice(bytes);
            (window.at, window.len, window.base, window.skip) = (0, bytes.len() as u32, at as u32, 0);
            // Each call reads a byte or finishes an argument of none.
            for _ in 0..=WINDOW * 2 {
                let Self { handler, state, scratch, .. } = self;
                let scan = match direction {
                    0 => handler.request(&mut window, state, scratch),
                    _ => handler.response(&mut window, state, scratch),
                };
                assert!(window.at <= window.len);
                match scan {
                    Scan::Again | Scan::Settle => continue,
                    Scan::More => assert_eq!(window.at, window.len),
                    Scan::Skip => {
                        self.skips[direction] = u64::from(window.skip);
                    }
                    Scan::Opaque => {
                        if direction == 0 && self.handler.holds(&self.scratch) {
                            return false;
                        }
                        if !self.is_opaque() {
                            self.handler.opaque(&mut self.state);
                        }
                        self.opaque[direction] = true;
                        return false;
                    }
                }
                break;
            }
            at += window.at as usize;
        }
    }
}

fn some_commands() -> HashMap<Name, Info> {
    let rows: &[(&str, Class, i8, i8, i8)] = &[
        ("get", Class::Get, 1, 1, 1),
        ("ping", Class::Harmless, 0, 0, 0),
        ("mget", Class::Harmless, 1, -1, 1),
        ("lpush", Class::Harmless, 1, 1, 1),
        ("set", Class::Keys, 1, 1, 1),
        ("incr", Class::Keys, 1, 1, 1),
        ("del", Class::Keys, 1, -1, 1),
        ("mset", Class::Keys, 1, -1, 2),
        ("rename", Class::Keys, 1, 2, 1),
        ("eval", Class::Anything, 0, 0, 0),
        ("flushall", Class::Anything, 0, 0, 0),
        ("acl", Class::Container, 0, 0, 0),
        ("acl|setuser", Class::Recheck, 0, 0, 0),
        ("client", Class::Container, 0, 0, 0),
        ("client|id", Class::Harmless, 0, 0, 0),
        ("client|reply", Class::Unpaired, 0, 0, 0),
        ("multi", Class::Multi, 0, 0, 0),
        ("exec", Class::Exec, 0, 0, 0),
        ("discard", Class::Discard, 0, 0, 0),
        ("watch", Class::Watch, 0, 0, 0),
        ("unwatch", Class::Unwatch, 0, 0, 0),
        ("select", Class::Select, 0, 0, 0),
        ("subscribe", Class::Unpaired, 0, 0, 0),
        ("monitor", Class::Unpaired, 0, 0, 0),
        ("auth", Class::Auth, 0, 0, 0),
        ("hello", Class::Hello, 0, 0, 0),
        ("asking", Class::Asking, 0, 0, 0),
        ("quit", Class::Session, 0, 0, 0),
        ("reset", Class::Session, 0, 0, 0),
    ];
    let info =
        |row: &(&str, Class, i8, i8, i8)| Info { class: row.1 as u8, first: row.2, last: row.3, step: row.4 };
    rows.iter().map(|row| (name_of(row.0), info(row))).collect()
}

/// A request as clients encode it.
#[must_use]
pub fn encode(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = std::format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(std::format!("${}\r\n", argument.len()).bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A value as Redis replies it.
#[must_use]
pub fn bulk(value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    bytes.extend(std::format!("${}\r\n", value.len()).bytes());
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
