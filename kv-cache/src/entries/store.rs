//! The handler's tables, as the agent uses them: the maps of the programs, or memory of this process in the same form.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock};

use aya::maps::{HashMap, Map, MapData, MapError};
use dashmap::DashMap;
use kv_fastpath::abi::{
    BUCKETS, EntryHead, GLOBAL_BUCKET, HITS_MAX, KEY_BYTES_MAX, Location, MISSED, PAGE_BYTES, Settings,
    VERSION, map, users,
};
use kv_fastpath::coherence::PENDING_BITS;
use kv_fastpath::command::{Info, NAME_BYTES, Name};
use kv_fastpath::handler::Urgency;
use xps_core::siphash::SipHash13;
use xps_runtime::install::{InstallError, Installed};
use xps_runtime::mapping::Mapping;

use crate::entries::table::Store;
use crate::server::commands::Commands;
use crate::server::users::Users;

/// Buckets (C1) as shared memory.
#[derive(Clone, Debug)]
pub struct Buckets {
    memory: Arc<Mapping>,
}

impl Buckets {
    /// The buckets of an installation.
    ///
    /// # Errors
    /// If the map is missing, too small or not mappable.
    pub fn of(installed: &Installed) -> Result<Self, InstallError> {
        let memory = sized(installed, map::BUCKETS, BUCKETS as usize + 1, size_of::<u64>())?;
        Ok(Self { memory: Arc::new(memory) })
    }

    /// Buckets in this process.
    ///
    /// # Errors
    /// If there is not so much memory.
    pub fn in_process() -> io::Result<Self> {
        Ok(Self { memory: Arc::new(Mapping::in_process(BUCKETS + 1, size_of::<u64>())?) })
    }

    fn word(&self, bucket: u32) -> &AtomicU64 {
        self.memory.u64(bucket.min(GLOBAL_BUCKET) as usize * self.memory.element_bytes())
    }

    /// A bucket's word now. What the agent asks the server afterwards was not written before this version.
    #[must_use]
    pub fn read(&self, bucket: u32) -> u64 {
        self.word(bucket).load(Ordering::SeqCst)
    }

    /// Adds to a bucket's word.
    pub fn add(&self, bucket: u32, delta: u64) {
        self.word(bucket).fetch_add(delta, Ordering::SeqCst);
    }

    /// Makes all entries invalid: a new global version.
    pub fn invalidate_all(&self) {
        self.add(GLOBAL_BUCKET, 1 << PENDING_BITS);
    }
}

/// The agent's side of `SETTINGS`.
#[derive(Clone, Debug)]
pub struct SettingsMap {
    memory: Arc<Mapping>,
}

/// Offset of a field of [`Settings`].
macro_rules! at {
    ($field:ident) => {
        std::mem::offset_of!(Settings, $field)
    };
}

impl SettingsMap {
    /// The settings of an installation, with hits forbidden.
    ///
    /// # Errors
    /// If the map is missing, too small or not mappable.
    pub fn of(installed: &Installed, miss_sample: u32) -> Result<Self, InstallError> {
        Ok(Self::over(sized(installed, map::SETTINGS, 1, size_of::<Settings>())?, miss_sample))
    }

    /// Settings in this process, with hits forbidden. Until it is known clients are taken for those of a server that asks for a
    /// password: nobody could end them later.
    ///
    /// # Errors
    /// If there is not so much memory.
    pub fn in_process(miss_sample: u32) -> io::Result<Self> {
        let settings = Self::over(Mapping::in_process(1, size_of::<Settings>())?, miss_sample);
        settings.set_login(true);
        Ok(settings)
    }

    fn over(memory: Mapping, miss_sample: u32) -> Self {
        let settings = Self { memory: Arc::new(memory) };
        settings.set_coherent(false);
        settings.memory.u32(at!(miss_sample)).store(miss_sample, Ordering::Release);
        settings.memory.u32(at!(version)).store(VERSION, Ordering::Release);
        settings
    }

    /// Where the handler reads them; words change one at a time.
    #[must_use]
    pub fn pointer(&self) -> *const Settings {
        self.memory.pointer(0).cast()
    }

    /// One of how many misses is reported.
    #[must_use]
    pub fn miss_sample(&self) -> u32 {
        self.memory.u32(at!(miss_sample)).load(Ordering::Relaxed)
    }

    /// One of how many misses is reported from now on.
    pub fn set_miss_sample(&self, miss_sample: u32) {
        self.memory.u32(at!(miss_sample)).store(miss_sample, Ordering::Release);
    }

    /// Looks up only one of so many segments of GETs from now on, a power of two; 0: each.
    pub fn set_bypass(&self, one_of: u32) {
        self.memory.u32(at!(bypass)).store(one_of, Ordering::Release);
    }

    /// Lets each connection pass a request, if `epoch` is another one than before.
    pub fn set_epoch(&self, epoch: u32) {
        self.memory.u32(at!(epoch)).store(epoch, Ordering::Release);
    }

    /// How long entries may be served that SETs on their way refresh, from now on, in nanoseconds; 0: they refresh none.
    pub fn set_refresh_ns(&self, lifetime_ns: u64) {
        self.memory.u64(at!(refresh_ns)).store(lifetime_ns, Ordering::SeqCst);
    }

    /// Asks for a recheck, as the programs do.
    pub fn ask_recheck(&self) {
        self.memory.u64(at!(rechecks)).fetch_add(1, Ordering::AcqRel);
    }

    /// How many rechecks the programs have asked for.
    #[must_use]
    pub fn rechecks(&self) -> u64 {
        self.memory.u64(at!(rechecks)).load(Ordering::Acquire)
    }

    /// Up to which counts the agent has looked.
    pub fn set_seen(&self, foreign: u64, rechecks: u64) {
        self.memory.u64(at!(foreign_seen)).store(foreign, Ordering::Release);
        self.memory.u64(at!(rechecks_seen)).store(rechecks, Ordering::Release);
    }

    /// Which connections of the default user may read every key, those that were never authenticated and those that were;
    /// and whether all must log in.
    pub fn set_users(&self, known: &Users) {
        let bits = (u32::from(known.initial) * users::INITIAL)
            | (u32::from(known.default) * users::DEFAULT)
            | (u32::from(known.login) * users::LOGIN);
        self.memory.u32(at!(users)).store(bits, Ordering::Release);
    }

    /// Whether all must log in, whoever may read then.
    pub fn set_login(&self, login: bool) {
        let bits = self.memory.u32(at!(users)).load(Ordering::Acquire) & !users::LOGIN;
        self.memory.u32(at!(users)).store(bits | (u32::from(login) * users::LOGIN), Ordering::Release);
    }

    /// Whether all must, as far as is known.
    #[must_use]
    pub fn login(&self) -> bool {
        self.memory.u32(at!(users)).load(Ordering::Acquire) & users::LOGIN != 0
    }

    /// Whether hits are allowed as far as coherence is concerned.
    pub fn set_coherent(&self, coherent: bool) {
        self.memory.u32(at!(coherent)).store(coherent.into(), Ordering::Release);
    }
}

/// `PAGES` and `INDEX`.
#[derive(Debug)]
pub struct Entries {
    pages: Arc<Mapping>,
    index: Index,
}

/// Which entry lies where.
#[derive(Debug)]
enum Index {
    Programs(HashMap<MapData, u64, u64>),
    Process(Arc<EntryIndex>),
}

/// The index of the user path.
#[derive(Debug, Default)]
pub struct EntryIndex {
    locations: DashMap<u64, AtomicU64>,
    /// Read while an entry's bytes are read, written while they are written. Programs need no such thing: none of them
    /// takes as long as the quarantine. A thread may.
    bytes: RwLock<()>,
}

/// Entries of the user path, as the handler reads them.
#[derive(Clone, Debug)]
pub struct EntryReader {
    pages: Arc<Mapping>,
    index: Arc<EntryIndex>,
}

impl EntryReader {
    /// Calls `read` while no entry's bytes are written.
    pub fn steady<T>(&self, read: impl FnOnce() -> T) -> T {
        let _steady = self.index.bytes.read().unwrap_or_else(PoisonError::into_inner);
        read()
    }

    /// Where an entry's bytes lie, within [`steady`](Self::steady). Counts a hit.
    #[must_use]
    pub fn locate(&self, id: u64) -> Option<*const u8> {
        let word = {
            let place = self.index.locations.get(&id)?;
            let word = place.load(Ordering::Relaxed);
            if hits_of(word) < HITS_MAX {
                // Two at once may count one: it is a hint.
                place.store(with_hits(word, hits_of(word) + 1), Ordering::Relaxed);
            }
            word
        };
        Some(self.pages.pointer(start_of(&self.pages, location_of(word))))
    }

    /// An entry is not current: how urgent a new one is. See [`Tables::stale`](kv_fastpath::handler::Tables::stale).
    #[must_use]
    pub fn stale(&self, id: u64, settled: bool) -> Urgency {
        let Some(place) = self.index.locations.get(&id) else { return Urgency::Sampled };
        let word = place.load(Ordering::Relaxed);
        let (urgency, hits) = Urgency::of_stale(hits_of(word), settled);
        place.store(with_hits(word, hits), Ordering::Relaxed);
        urgency
    }
}

impl Entries {
    /// The entries of an installation.
    ///
    /// # Errors
    /// If a map is missing or has other sizes.
    pub fn of(installed: &Installed) -> Result<Self, InstallError> {
        let pages = Arc::new(sized(installed, map::PAGES, 1, PAGE_BYTES)?);
        Ok(Self { pages, index: Index::Programs(hash(installed, map::INDEX)?) })
    }

    /// Entries in this process, and who reads them.
    ///
    /// # Errors
    /// If there is not so much memory.
    pub fn in_process(pages: u32) -> io::Result<(Self, EntryReader)> {
        let pages = Arc::new(Mapping::in_process(pages, PAGE_BYTES)?);
        let index = Arc::new(EntryIndex::default());
        let reader = EntryReader { pages: Arc::clone(&pages), index: Arc::clone(&index) };
        Ok((Self { pages, index: Index::Process(index) }, reader))
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages.elements()
    }
}

/// Flag of an update: only what is there (include/uapi/linux/bpf.h).
const BPF_EXIST: u64 = 2;

/// The location as the map's word; programs see the same bytes as a [`Location`].
fn word_of(location: Location) -> u64 {
    let [p0, p1, p2, p3] = location.page.to_ne_bytes();
    let [o0, o1] = location.offset_words.to_ne_bytes();
    let [h0, h1] = location.hits.to_ne_bytes();
    u64::from_ne_bytes([p0, p1, p2, p3, o0, o1, h0, h1])
}

/// The same place, with this count of hits.
fn with_hits(word: u64, hits: u16) -> u64 {
    let [p0, p1, p2, p3, o0, o1, ..] = word.to_ne_bytes();
    let [h0, h1] = hits.to_ne_bytes();
    u64::from_ne_bytes([p0, p1, p2, p3, o0, o1, h0, h1])
}

fn location_of(word: u64) -> Location {
    let [p0, p1, p2, p3, o0, o1, ..] = word.to_ne_bytes();
    Location {
        page: u32::from_ne_bytes([p0, p1, p2, p3]),
        offset_words: u16::from_ne_bytes([o0, o1]),
        hits: hits_of(word),
    }
}

/// Where an entry starts in the pages, in bytes.
fn start_of(pages: &Mapping, location: Location) -> usize {
    location.page as usize * pages.element_bytes() + usize::from(location.offset_words) * 8
}

/// Hits as eviction takes them: of an entry that is not current any more they are not known.
fn hits_taken(word: u64) -> u16 {
    let hits = hits_of(word);
    if hits == MISSED { 1 } else { hits }
}

/// What was counted, or [`MISSED`].
fn hits_of(word: u64) -> u16 {
    let bytes = word.to_ne_bytes();
    u16::from_ne_bytes([bytes[6], bytes[7]])
}

impl Store for Entries {
    fn take_hits(&mut self, id: u64) -> u16 {
        match &mut self.index {
            Index::Programs(index) => {
                let Ok(word) = index.get(&id, 0) else { return 0 };
                let hits = hits_taken(word);
                if hits != 0 {
                    // The programs stop counting at some point: they start again from zero. Hits in between are lost, and
                    // if this fails some are counted twice; it is a hint.
                    let _ = index.insert(id, with_hits(word, 0), BPF_EXIST);
                }
                hits
            }
            Index::Process(index) => {
                let Some(place) = index.locations.get(&id) else { return 0 };
                let word = place.load(Ordering::Relaxed);
                place.store(with_hits(word, 0), Ordering::Relaxed);
                hits_taken(word)
            }
        }
    }

    fn publish(&mut self, id: u64, location: Location) -> bool {
        // Whoever finds the location finds the entry's bytes.
        fence(Ordering::SeqCst);
        match &mut self.index {
            Index::Programs(index) => index.insert(id, word_of(location), 0).is_ok(),
            Index::Process(index) => {
                index.locations.insert(id, AtomicU64::new(word_of(location)));
                true
            }
        }
    }

    fn withdraw(&mut self, id: u64) {
        match &mut self.index {
            // The kernel says nothing but that it was not there.
            Index::Programs(index) => drop(index.remove(&id)),
            Index::Process(index) => drop(index.locations.remove(&id)),
        }
    }

    fn write(&mut self, location: Location, head: &EntryHead, key: &[u8], reply: &[u8]) {
        let index = match &self.index {
            Index::Programs(_) => None,
            Index::Process(index) => Some(Arc::clone(index)),
        };
        let _unread = index.as_ref().map(|index| index.bytes.write().unwrap_or_else(PoisonError::into_inner));
        let start = start_of(&self.pages, location);
        // A program that read a former entry here longer than the quarantine finds that it is no more.
        self.pages.u64(start).store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let key_at = start + size_of::<EntryHead>();
        let reply_at = key_at + key.len().next_multiple_of(8);
        self.write_padded(key_at, key);
        self.write_padded(reply_at, reply);
        let lengths = u64::from_ne_bytes({
            let [k0, k1] = head.key_len.to_ne_bytes();
            let [r0, r1] = head.reply_len.to_ne_bytes();
            let [d0, d1, d2, d3] = head.database.to_ne_bytes();
            [k0, k1, r0, r1, d0, d1, d2, d3]
        });
        let [r0, r1] = head.reply_room.to_ne_bytes();
        let room = u64::from_ne_bytes([r0, r1, 0, 0, 0, 0, 0, 0]);
        let words = [head.bucket, head.global, head.deadline_tai_ns, lengths, room];
        for (i, word) in words.into_iter().enumerate() {
            self.pages.u64(start + 8 * (i + 1)).store(word, Ordering::Relaxed);
        }
        self.pages.u64(start).store(head.id, Ordering::Release);
    }

    fn clear(&mut self) {
        match &mut self.index {
            Index::Programs(index) => {
                // A key that is removed while it is the cursor makes the kernel start again: so all keys first.
                let ids: Vec<u64> = index.keys().filter_map(Result::ok).collect();
                for id in ids {
                    let _ = index.remove(&id);
                }
            }
            Index::Process(index) => index.locations.clear(),
        }
    }
}

impl Entries {
    /// Database and key of the entry at `location`, which must be one.
    #[must_use]
    pub fn key(&self, location: Location) -> (u32, Vec<u8>) {
        let start = start_of(&self.pages, location);
        let lengths = start + std::mem::offset_of!(EntryHead, key_len);
        let [k0, k1, _, _, d0, d1, d2, d3] = self.pages.u64(lengths).load(Ordering::Relaxed).to_ne_bytes();
        let mut key = vec![0; usize::from(u16::from_ne_bytes([k0, k1])).min(KEY_BYTES_MAX)];
        self.pages.read(start + size_of::<EntryHead>(), &mut key);
        (u32::from_ne_bytes([d0, d1, d2, d3]), key)
    }

    /// Writes bytes, filled with zeros to a multiple of 8: the programs compare and copy whole words.
    fn write_padded(&self, at: usize, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        self.pages.write(at, words.as_flattened());
        if !tail.is_empty() {
            let mut last = [0; 8];
            last[..tail.len()].copy_from_slice(tail);
            self.pages.write(at + words.len() * 8, &last);
        }
    }
}

/// Makes the programs' command table that of `commands`. Between the steps a command may be missing, which is safe.
///
/// # Errors
/// If the map cannot be written.
pub fn store_commands(installed: &Installed, commands: &Commands) -> Result<(), InstallError> {
    let failed = |source| InstallError::Map { name: map::COMMANDS.to_owned(), source };
    let mut table: HashMap<MapData, Name, [u8; 4]> = hash(installed, map::COMMANDS)?;
    let old: Vec<[u8; NAME_BYTES]> = table.keys().filter_map(Result::ok).collect();
    for name in old {
        if !commands.rows().any(|(own, _)| *own == name) {
            let _ = table.remove(&name);
        }
    }
    for (name, info) in commands.rows() {
        let Info { class, first, last, step } = *info;
        let value = [class, first as u8, last as u8, step as u8];
        table.insert(name, value, 0).map_err(failed)?;
    }
    Ok(())
}

/// Makes `numbers` the users, beside the default one, that the programs let read. Those that may no longer go first.
///
/// # Errors
/// If the map cannot be written.
pub fn store_users(installed: &Installed, numbers: &[u32]) -> Result<(), InstallError> {
    let failed = |source| InstallError::Map { name: map::USERS.to_owned(), source };
    let mut table: HashMap<MapData, u32, u32> = hash(installed, map::USERS)?;
    let old: Vec<u32> = table.keys().filter_map(Result::ok).collect();
    for number in old.iter().filter(|number| !numbers.contains(number)) {
        table.remove(number).map_err(failed)?;
    }
    for number in numbers {
        table.insert(number, 1, 0).map_err(failed)?;
    }
    Ok(())
}

/// The keyed hash of a key, as the programs compute it.
#[must_use]
pub fn key_hash(secret: [u64; 2], key: &[u8]) -> u64 {
    let mut hash = SipHash13::new(secret);
    hash.bytes(key);
    hash.finish()
}

fn hash<K: aya::Pod, V: aya::Pod>(
    installed: &Installed,
    name: &str,
) -> Result<HashMap<MapData, K, V>, InstallError> {
    let failed = |source: MapError| InstallError::Map { name: name.to_owned(), source };
    let map: Map = installed.map(name)?;
    HashMap::try_from(map).map_err(failed)
}

fn sized(installed: &Installed, name: &str, elements: usize, bytes: usize) -> Result<Mapping, InstallError> {
    let memory = installed.mapping(name)?;
    if (memory.elements() as usize) < elements || memory.element_bytes() < bytes {
        return Err(InstallError::Object(format!(
            "map {name} has {} values of {} bytes, {elements} of {bytes} are needed",
            memory.elements(),
            memory.element_bytes()
        )));
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_one_word() {
        let location = Location { page: 0x0102_0304, offset_words: 0x0506, hits: 0x0708 };
        // SAFETY: both are plain data of 8 bytes without padding.
        let word: u64 = unsafe { std::mem::transmute(location) };
        assert_eq!(word_of(location), word);
        assert_eq!(hits_of(word), 0x0708);
        assert_eq!(with_hits(word, 0), word_of(Location { hits: 0, ..location }));
        assert_eq!(location_of(word), location);
    }

    #[test]
    fn in_a_process_clients_must_log_in_until_the_users_are_known() {
        let settings = SettingsMap::in_process(1).unwrap();
        // SAFETY: the settings' memory lives as long as they do.
        let shown = || unsafe { settings.pointer().read_volatile() }.users;
        assert_eq!((shown(), settings.login()), (users::LOGIN, true));
        let rule = |text: &str| Users::of(&[text.to_owned()], &[]);
        settings.set_users(&rule("user default on nopass ~* +@all"));
        assert_eq!((shown(), settings.login()), (users::INITIAL | users::DEFAULT, false));
        settings.set_users(&rule("user default on #1 ~* +@all"));
        assert_eq!((shown(), settings.login()), (users::DEFAULT | users::LOGIN, true));
        settings.set_login(false);
        assert_eq!((shown(), settings.login()), (users::DEFAULT, false));
    }
}
