//! The handler's tables as maps of the programs.
//!
//! There are two sets of them, of which one is in use. A new one is written in this order, so that no request meets half of
//! it: the other set's generation becomes 0, which ends the heads that are still read by it; programs that have not seen
//! that end; the set is filled, and its generation written; the programs are told to use it. What heads that began before need
//! stays until the next time.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::mem::offset_of;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use http_fastpath::abi::{
    self, ANSWERS_MAX, Answer, Conditions, Counts, DATE_BYTES, Matcher, REFUSALS_MAX, RULES_MAX, Rules,
    Settings, TABLES, map,
};
use http_fastpath::head;
use http_fastpath::limit::Rate;
use xps_runtime::grace;
use xps_runtime::install::{InstallError, Installed};
use xps_runtime::lock::lock;
use xps_runtime::mapping::Mapping;

use crate::config::Config;
use crate::path::connected::Connected;
use crate::path::ledger::Client;
use crate::policy::Policy;

/// How long programs get to end where the kernel lets nobody wait for them: a thousand times what one takes.
const GRACE: Duration = Duration::from_millis(100);

/// A prefix of a client's address behind the generation that it belongs to, as words of memory.
type ClientWords = [u32; 6];

/// The tables.
pub struct Maps {
    settings: Mapping,
    matchers: Mapping,
    rules: Mapping,
    answers: Mapping,
    limit_sets: u32,
    tables: Mutex<Tables>,
}

/// What is reached by system calls, and what is known of it.
struct Tables {
    clients: LpmTrie<MapData, ClientWords, Conditions>,
    counts: PerCpuArray<MapData, [u64; 4]>,
    refusals: PerCpuArray<MapData, u64>,
    blocks: HashMap<MapData, [u64; 2], u64>,
    connected: Connected,
    /// Names of the rules of each set of tables.
    names: [Vec<String>; TABLES as usize],
    /// Whether rules of each set look at addresses.
    looks_at_clients: [bool; TABLES as usize],
    /// What was counted for rules in tables that are no more.
    counted: BTreeMap<String, Counts>,
}

impl Maps {
    /// The tables of an installation, whoever filled them.
    ///
    /// # Errors
    /// If the object's maps are not what this agent expects.
    pub fn of(installed: &Installed) -> Result<Self, InstallError> {
        let sized = |name: &str, elements: u32, bytes: usize| {
            let memory = installed.mapping(name)?;
            if memory.elements() < elements || memory.element_bytes() < bytes {
                return Err(InstallError::Object(format!(
                    "map {name} has {} values of {} bytes, {elements} of {bytes} are needed",
                    memory.elements(),
                    memory.element_bytes()
                )));
            }
            Ok(memory)
        };
        let limit_sets = installed.shape(map::LIMITS)?.entries;
        if !limit_sets.is_power_of_two() {
            return Err(InstallError::Object(format!(
                "map {} has {limit_sets} values, no power of two",
                map::LIMITS
            )));
        }
        let tables = Tables {
            clients: LpmTrie::try_from(installed.map(map::CLIENTS)?).map_err(failed(map::CLIENTS))?,
            counts: PerCpuArray::try_from(installed.map(map::COUNTS)?).map_err(failed(map::COUNTS))?,
            refusals: PerCpuArray::try_from(installed.map(map::REFUSALS)?).map_err(failed(map::REFUSALS))?,
            blocks: HashMap::try_from(installed.map(map::BLOCKS)?).map_err(failed(map::BLOCKS))?,
            connected: Connected::new(
                HashMap::try_from(installed.map(map::CONNECTIONS)?).map_err(failed(map::CONNECTIONS))?,
            ),
            names: Default::default(),
            looks_at_clients: [false; TABLES as usize],
            counted: BTreeMap::new(),
        };
        Ok(Self {
            settings: sized(map::SETTINGS, 1, size_of::<Settings>())?,
            matchers: sized(map::MATCHERS, TABLES, size_of::<Matcher>())?,
            rules: sized(map::RULES, TABLES, size_of::<Rules>())?,
            answers: sized(map::ANSWERS, TABLES * ANSWERS_MAX, size_of::<Answer>())?,
            limit_sets,
            tables: Mutex::new(tables),
        })
    }

    /// Puts a policy in the place of the one there is. Blocks for a few milliseconds.
    ///
    /// # Errors
    /// If the kernel refuses; then the old policy stays.
    pub fn publish(&self, policy: &Policy, config: &Config) -> Result<(), InstallError> {
        let tables = &mut *lock(&self.tables);
        let old = self.in_use();
        let next = 1 - old;
        let generation = self.next_generation();
        self.generation_of(next).store(0, Ordering::Release);
        wait();
        tables.forget_counts(next)?;
        tables.forget_clients(self.generation_of(old).load(Ordering::Acquire))?;
        self.fill(tables, next, generation, policy)?;
        tables.names[next as usize].clone_from(&policy.names);
        tables.looks_at_clients[next as usize] = !policy.compiled.clients.is_empty();
        self.generation_of(next).store(generation, Ordering::Release);
        self.configure(config, tables.looks_at_clients.contains(&true));
        self.word(offset_of!(Settings, tables)).store(next, Ordering::Release);
        Ok(())
    }

    /// Fills a set of tables that no program reads.
    fn fill(
        &self,
        tables: &mut Tables,
        set: u32,
        generation: u32,
        policy: &Policy,
    ) -> Result<(), InstallError> {
        for (key, conditions) in policy.compiled.clients.entries(generation) {
            let mut words: ClientWords = [key.generation, key.padding, 0, 0, 0, 0];
            for (word, bytes) in words[2..].iter_mut().zip(key.address.chunks_exact(4)) {
                *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            let key = Key::new(key.bits, words);
            tables.clients.insert(&key, conditions, 0).map_err(failed(map::CLIENTS))?;
        }
        let rules = Rules { generation, ..*policy.compiled.rules };
        // SAFETY: these types consist of integers without gaps; their sizes are asserted where they are defined.
        let (rules, matcher) = unsafe { (bytes_of(&rules), bytes_of(&*policy.compiled.matcher)) };
        self.rules.write(set as usize * self.rules.element_bytes(), rules);
        for (place, answer) in (abi::answer_of(set, 0, false)..).zip(&policy.answers) {
            // SAFETY: as above.
            let answer = unsafe { bytes_of(answer) };
            self.answers.write(place as usize * self.answers.element_bytes(), answer);
        }
        // The generation comes last, when all else is there.
        let at = set as usize * self.matchers.element_bytes();
        let (start, end) = (offset_of!(Matcher, generation), offset_of!(Matcher, generation) + 4);
        self.matchers.write(at, &matcher[..start]);
        self.matchers.write(at + end, &matcher[end..]);
        Ok(())
    }

    /// What does not belong to a set of tables.
    fn configure(&self, config: &Config, clients: bool) {
        let secret = offset_of!(Settings, secret);
        let half = |i: usize| self.settings.u64(secret + 8 * i);
        if half(0).load(Ordering::Acquire) | half(1).load(Ordering::Acquire) == 0 {
            // Keys' tags are made with it, so it stays as long as the buckets do.
            let random = RandomState::new();
            half(0).store(random.hash_one(0_u64), Ordering::Release);
            half(1).store(random.hash_one(1_u64), Ordering::Release);
        }
        let head = offset_of!(Settings, head);
        let seed = half(1).load(Ordering::Acquire);
        let heads = config.heads.settings(seed);
        self.settings.u64(head + offset_of!(head::Settings, seed)).store(seed, Ordering::Release);
        for (field, value) in [
            (offset_of!(head::Settings, line_bytes_max), heads.line_bytes_max),
            (offset_of!(head::Settings, head_bytes_max), heads.head_bytes_max),
            (offset_of!(head::Settings, merge_slashes), heads.merge_slashes),
        ] {
            self.word(head + field).store(value, Ordering::Release);
        }
        self.word(offset_of!(Settings, limits_mask)).store(self.limits_mask(), Ordering::Release);
        self.word(offset_of!(Settings, clients)).store(clients.into(), Ordering::Release);
        let ipv6_prefix = config.connections.ipv6_prefix;
        self.word(offset_of!(Settings, ipv6_prefix)).store(ipv6_prefix, Ordering::Release);
        let per_client_max = config.connections.per_client_max;
        self.word(offset_of!(Settings, connections_max)).store(per_client_max, Ordering::Release);
        let new = config.connections.new.unwrap_or_default();
        let connections = offset_of!(Settings, connections);
        let of = |field: usize| self.settings.u64(connections + field);
        of(offset_of!(Rate, tolerance_ns)).store(new.tolerance_ns, Ordering::Release);
        of(offset_of!(Rate, interval_ns)).store(new.interval_ns, Ordering::Release);
    }

    /// From now on answers tell this date.
    pub fn set_date(&self, date: &[u8; DATE_BYTES]) {
        let which = self.word(offset_of!(Settings, date));
        let next = 1 - (which.load(Ordering::Acquire) & 1);
        self.settings.write(offset_of!(Settings, dates) + 32 * next as usize, date);
        which.store(next, Ordering::Release);
    }

    /// One of so many refusals is reported; a power of two.
    pub fn set_sample(&self, sample: u32) {
        debug_assert!(sample.is_power_of_two());
        self.word(offset_of!(Settings, refused_sample)).store(sample, Ordering::Release);
    }

    /// Names of the rules of a set of tables.
    #[must_use]
    pub fn names(&self, set: u32) -> Vec<String> {
        lock(&self.tables).names[(set & 1) as usize].clone()
    }

    /// What became of requests, by rule, since this agent started.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counts(&self) -> Result<BTreeMap<String, Counts>, MapError> {
        lock(&self.tables).all_counts()
    }

    /// How often a request was refused by its syntax, by the number of its refusal.
    ///
    /// # Errors
    /// The kernel's.
    pub fn refusals(&self) -> Result<Vec<u64>, MapError> {
        let refusals = &lock(&self.tables).refusals;
        (0..REFUSALS_MAX).map(|number| Ok(refusals.get(&number, 0)?.iter().sum())).collect()
    }

    /// How many clients are blocked at `now_ns`; forgets those that were.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sweep_blocks(&self, now_ns: u64) -> Result<u64, MapError> {
        let blocking = self.word(offset_of!(Settings, blocking));
        if blocking.load(Ordering::Acquire) == 0 {
            return Ok(0);
        }
        // Before looking: a program that blocks somebody meanwhile writes the block first, and then that there is one.
        blocking.store(0, Ordering::Release);
        let swept = lock(&self.tables).sweep_blocks(now_ns);
        if !matches!(swept, Ok(0)) {
            blocking.store(1, Ordering::Release);
        }
        swept
    }

    /// Compares the counts of clients' connections with those that there are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn compare_connections(&self, open: &BTreeMap<Client, u64>) -> Result<(), MapError> {
        lock(&self.tables).connected.compare(open)
    }

    /// The key of all hashes of what clients choose. There is one once a policy was [published](Self::publish).
    #[must_use]
    pub fn secret(&self) -> [u64; 2] {
        [0, 8].map(|half| self.settings.u64(offset_of!(Settings, secret) + half).load(Ordering::Acquire))
    }

    /// Number of sets of buckets less one.
    #[must_use]
    pub const fn limits_mask(&self) -> u32 {
        self.limit_sets - 1
    }

    /// Whether there may be clients that are blocked.
    #[must_use]
    pub fn is_blocking(&self) -> bool {
        self.word(offset_of!(Settings, blocking)).load(Ordering::Acquire) != 0
    }

    fn word(&self, offset: usize) -> &std::sync::atomic::AtomicU32 {
        self.settings.u32(offset)
    }

    /// Which set of tables the programs use.
    fn in_use(&self) -> u32 {
        self.word(offset_of!(Settings, tables)).load(Ordering::Acquire) & 1
    }

    fn generation_of(&self, set: u32) -> &std::sync::atomic::AtomicU32 {
        self.matchers.u32(set as usize * self.matchers.element_bytes() + offset_of!(Matcher, generation))
    }

    /// Another one than heads and prefixes may know. Flows know its low half, which is not 0 either.
    fn next_generation(&self) -> u32 {
        let latest = [0, 1].map(|set| self.generation_of(set).load(Ordering::Acquire));
        let next = latest[0].max(latest[1]).wrapping_add(1);
        if next & 0xffff == 0 { next.wrapping_add(1) } else { next }
    }
}

impl Tables {
    /// Adds a set's counts to what was counted before, and begins anew.
    fn forget_counts(&mut self, set: u32) -> Result<(), InstallError> {
        let bad = failed(map::COUNTS);
        let counted = self.counts_of(set).map_err(&bad)?;
        for (name, counts) in counted {
            add(self.counted.entry(name).or_default(), counts);
        }
        self.names[set as usize].clear();
        let cpus = self.counts.get(&0, 0).map_err(&bad)?.len();
        for rule in 0..RULES_MAX as u32 {
            let zeros = PerCpuValues::try_from(vec![[0; 4]; cpus])
                .map_err(|source| InstallError::System { what: "the number of CPUs is not known", source })?;
            self.counts.set(abi::counts_of(set, rule), zeros, 0).map_err(&bad)?;
        }
        Ok(())
    }

    fn counts_of(&self, set: u32) -> Result<Vec<(String, Counts)>, MapError> {
        let names = self.names[set as usize].iter().zip(0..);
        let one = |(name, rule): (&String, u32)| {
            let mut counts = Counts::default();
            for [passed, rejected, rejected_dry_run, full] in
                self.counts.get(&abi::counts_of(set, rule), 0)?.iter().copied()
            {
                add(&mut counts, Counts { passed, rejected, rejected_dry_run, full });
            }
            Ok((name.clone(), counts))
        };
        names.map(one).collect()
    }

    fn all_counts(&self) -> Result<BTreeMap<String, Counts>, MapError> {
        let mut all = self.counted.clone();
        for set in 0..TABLES {
            for (name, counts) in self.counts_of(set)? {
                add(all.entry(name).or_default(), counts);
            }
        }
        Ok(all)
    }

    /// Removes the prefixes of all generations but one.
    fn forget_clients(&mut self, kept: u32) -> Result<(), InstallError> {
        let keys = self.clients.keys().collect::<Result<Vec<_>, _>>().map_err(failed(map::CLIENTS))?;
        for key in keys.iter().filter(|key| key.data()[0] != kept) {
            self.clients.remove(key).map_err(failed(map::CLIENTS))?;
        }
        Ok(())
    }

    fn sweep_blocks(&mut self, now_ns: u64) -> Result<u64, MapError> {
        let mut blocked = 0;
        let keys: Vec<_> = self.blocks.keys().filter_map(Result::ok).collect();
        for key in keys {
            match self.blocks.get(&key, 0) {
                Ok(until_ns) if until_ns > now_ns => blocked += 1,
                // A block that is made anew meanwhile is lost, until the client is refused again.
                Ok(_) => self.blocks.remove(&key)?,
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(blocked)
    }
}

/// Adds counts to others.
pub fn add(to: &mut Counts, more: Counts) {
    to.passed += more.passed;
    to.rejected += more.rejected;
    to.rejected_dry_run += more.rejected_dry_run;
    to.full += more.full;
}

fn failed(name: &'static str) -> impl Fn(MapError) -> InstallError {
    move |source| InstallError::Map { name: name.to_owned(), source }
}

/// Waits until programs have ended that are running now.
fn wait() {
    if grace::wait().is_err() {
        std::thread::sleep(GRACE);
    }
}

/// The bytes of a value.
///
/// # Safety
/// The type has no gaps between its fields, nor behind them.
unsafe fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: a value's bytes are there as long as it is; the caller vouches that all of them are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

const _: () = assert!(size_of::<Counts>() == size_of::<[u64; 4]>());
