//! kv-cache's kernel programs: the runtime's glue made concrete with the handler, and the handler's tables as maps.
#![no_std]
#![no_main]

use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::btf_map;
use kv_fastpath::abi::{
    BUCKETS as BUCKETS_LEN, COMMANDS_MAX, ENTRY_BYTES_MAX, HITS_MAX, Location, Miss, PAGE_BYTES, Page,
    Recheck, Settings, USERS_MAX, event,
};
use kv_fastpath::command::{Info, Name};
use kv_fastpath::handler::{KEY_ROOM, KvCache, Scratch, Tables, Urgency};
use kv_fastpath::{answer, update};
use xps_core::abi::Event;
use xps_core::bound::masked;
use xps_core::handler::Reply;
use xps_core::verdict::Reason;
use xps_core::word::{load_u64, store_u64};
use xps_ebpf::atomic;
use xps_ebpf::maps::Maps;

xps_ebpf::service! {
    handler: KvCache<KernelTables> = KvCache { tables: KernelTables },
    flows: 16384,
}

const MAPPABLE: usize = 1 << 10;

#[btf_map]
static BUCKETS: Array<u64, { BUCKETS_LEN as usize + 1 }, MAPPABLE> = Array::new();
#[btf_map]
static COMMANDS: HashMap<Name, Info, { COMMANDS_MAX as usize }> = HashMap::new();
#[btf_map]
static INDEX: HashMap<u64, Location, 262_144> = HashMap::new();
#[btf_map]
static PAGES: Array<Page, 2048, MAPPABLE> = Array::new();
#[btf_map]
static SETTINGS: Array<Settings, 1, MAPPABLE> = Array::new();
#[btf_map]
static USERS: HashMap<u32, u32, { USERS_MAX as usize }> = HashMap::new();

/// The handler's tables.
#[derive(Clone, Copy)]
struct KernelTables;

/// Records are read by the agent every few milliseconds; a wake-up for each would cost more than a miss.
const NO_WAKEUP: u64 = 1;

impl Tables for KernelTables {
    #[inline(always)]
    fn command(&self, name: &Name) -> Option<Info> {
        // The stack has no room for a key, and Linux 6.1 takes none from memory that came as a function's argument.
        let scratch = <xps_service::ServiceMaps as Maps<KvCache<Self>>>::scratch()?;
        // SAFETY: this CPU's own.
        let key = unsafe { &mut (*scratch).handler.name };
        *key = *name;
        // SAFETY: four bytes, changed as a whole by the agent only before connections are understood.
        COMMANDS.get_ptr(&*key).map(|info| unsafe { *info })
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> u64 {
        match BUCKETS.get_ptr(index) {
            // SAFETY: a word of the map, aligned.
            Some(word) => unsafe { word.read_volatile() },
            None => 1, // Never settled.
        }
    }

    #[inline(always)]
    fn add(&self, index: u32, delta: u64) {
        if let Some(word) = BUCKETS.get_ptr_mut(index) {
            // SAFETY: a word of the map, aligned. The fetching form is a full barrier on every machine.
            unsafe { atomic::fetch_add(word, delta) };
        }
    }

    #[inline(always)]
    fn locate(&self, id: u64) -> Option<*const u8> {
        let location = INDEX.get_ptr_mut(&id)?;
        // SAFETY: a word of the map, aligned; read once.
        let (page, offset) = unsafe {
            let word = load_u64(location.cast());
            // The count of hits is a hint for eviction: additions that other CPUs overwrite do no harm, so the entry's
            // cache line is written only while the count is low.
            let hits = (word >> 48) as u16;
            if hits < HITS_MAX {
                (&raw mut (*location).hits).write_volatile(hits + 1);
            }
            (word as u32, (word >> 32) as u32 & 0xffff)
        };
        within_page(PAGES.get_ptr_mut(page)?, offset).map(<*mut u8>::cast_const)
    }

    #[inline(always)]
    fn entry(&self, id: u64) -> Option<*mut u8> {
        // SAFETY: a word of the map, aligned; read once.
        let (page, offset) = unsafe {
            let word = load_u64(INDEX.get_ptr(&id)?.cast());
            (word as u32, (word >> 32) as u32 & 0xffff)
        };
        within_page(PAGES.get_ptr_mut(page)?, offset)
    }

    #[inline(always)]
    fn fence(&self, scratch: &mut Scratch) {
        // SAFETY: this CPU's own word, aligned. The fetching form is a full barrier on every machine.
        unsafe { atomic::fetch_add(&raw mut scratch.order, 0) };
    }

    #[inline(always)]
    fn settings(&self) -> Option<*const Settings> {
        SETTINGS.get_ptr(0)
    }

    #[inline(always)]
    fn may_read(&self, user: u32) -> bool {
        USERS.get_ptr(&user).is_some()
    }

    #[inline(always)]
    fn foreign(&self) -> u64 {
        match <xps_service::ServiceMaps as Maps<KvCache<Self>>>::state() {
            // SAFETY: a word of the map, aligned.
            Some(state) => unsafe { (&raw const (*state).foreign).read_volatile() },
            None => u64::MAX,
        }
    }

    #[inline(always)]
    fn secret(&self) -> [u64; 2] {
        match <xps_service::ServiceMaps as Maps<KvCache<Self>>>::control() {
            // SAFETY: written by the agent before any program runs.
            Some(control) => unsafe { (*control).secret },
            None => [0; 2],
        }
    }

    #[inline(always)]
    fn tai_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { helper::bpf_ktime_get_tai_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { helper::bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn stale(&self, id: u64, settled: bool) -> Urgency {
        let Some(location) = INDEX.get_ptr_mut(&id) else { return Urgency::Sampled };
        // SAFETY: a word of the map, aligned. Two CPUs that come at once both report, which does no harm.
        unsafe {
            let (urgency, hits) = Urgency::of_stale((&raw const (*location).hits).read_volatile(), settled);
            (&raw mut (*location).hits).write_volatile(hits);
            urgency
        }
    }

    #[inline(always)]
    fn report_miss(&self, id: u64, database: u32, key: &[u8; KEY_ROOM], key_len: u32, urgency: Urgency) {
        let Some(settings) = SETTINGS.get_ptr(0) else { return };
        // SAFETY: a word of the map, aligned.
        let sample = unsafe { (&raw const (*settings).miss_sample).read_volatile() };
        let weight = urgency.one_of(sample);
        if weight == 0 || self.random() & weight.wrapping_sub(1) != 0 {
            return;
        }
        let Some(mut record) = xps_service::EVENTS.reserve_untyped::<Miss>(0) else {
            count(Reason::EventLost);
            return;
        };
        let miss = record.as_mut_ptr();
        // SAFETY: the record is ours until it is submitted; the key has KEY_ROOM readable bytes.
        unsafe {
            (*miss).head = Event { kind: event::MISS, len: (size_of::<Miss>() - size_of::<Event>()) as u32 };
            (*miss).id = id;
            (*miss).database = database;
            (*miss).key_len = key_len;
            (*miss).weight = weight;
            (*miss).padding = 0;
            let to = (&raw mut (*miss).key).cast::<u8>();
            for i in 0..KEY_ROOM / 8 {
                store_u64(to.add(i * 8), load_u64(key.as_ptr().add(i * 8)));
            }
        }
        // The kernel wakes the agent only if it has read everything before.
        record.submit(if urgency == Urgency::Now { 0 } else { NO_WAKEUP });
    }

    #[inline(always)]
    fn ask_recheck(&self) {
        if let Some(settings) = SETTINGS.get_ptr_mut(0) {
            // SAFETY: a word of the map, aligned.
            unsafe { atomic::fetch_add(&raw mut (*settings).rechecks, 1) };
        }
        if let Some(mut record) = xps_service::EVENTS.reserve_untyped::<Recheck>(0) {
            // SAFETY: the record is ours until it is submitted.
            unsafe { (*record.as_mut_ptr()).head = Event { kind: event::RECHECK, len: 0 } };
            record.submit(0);
        } else {
            count(Reason::EventLost);
        }
    }

    #[inline(always)]
    fn answer_one(
        &self,
        database: u32,
        protocol: u32,
        index: u32,
        scratch: &mut Scratch,
        reply: &mut Reply,
    ) -> u32 {
        kv_answer_one(database, protocol, index, scratch, reply)
    }

    #[inline(always)]
    fn refresh(&self, database: u32, scratch: &mut Scratch) {
        kv_refresh(database, scratch);
    }
}

/// The place in a page, in units of 8 bytes, with [`ENTRY_BYTES_MAX`] bytes behind it.
#[inline(always)]
fn within_page(page: *mut Page, offset: u32) -> Option<*mut u8> {
    let offset = masked::<0x7ff8>(offset * 8);
    if offset > PAGE_BYTES - ENTRY_BYTES_MAX {
        return None;
    }
    // SAFETY: within the page.
    Some(unsafe { page.cast::<u8>().add(offset) })
}

#[inline(always)]
fn count(reason: Reason) {
    if let Some(counter) = <xps_service::ServiceMaps as Maps<KvCache<KernelTables>>>::counter(reason as u32) {
        // SAFETY: this CPU's counter.
        unsafe { *counter += 1 };
    }
}

/// A SET's value put into its key's entry, verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn kv_refresh(database: u32, scratch: *mut Scratch) -> u32 {
    if !scratch.is_null() {
        // SAFETY: checked; it belongs to the caller.
        unsafe { update::refresh(&KernelTables, database, &mut *scratch) };
    }
    0
}

/// One GET of a segment, verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn kv_answer_one(
    database: u32,
    protocol: u32,
    index: u32,
    scratch: *mut Scratch,
    reply: *mut Reply,
) -> u32 {
    if scratch.is_null() || reply.is_null() {
        return answer::MISSED;
    }
    // SAFETY: checked; both belong to the caller.
    unsafe { answer::one(&KernelTables, database, protocol, index, &mut *scratch, &mut *reply) }
}
