//! http-guard's kernel programs: the runtime's glue made concrete with the handler, and the handler's tables as maps.
#![no_std]
#![no_main]

mod ledger;

use aya_ebpf::bindings::bpf_spin_lock as kernel_lock;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use http_fastpath::abi::{
    ANSWERS_MAX, Answer, BLOCKS_MAX, CLIENTS_MAX, CONNECTIONS_MAX, ClientKey, Conditions, Counts, Matcher,
    REFUSALS_MAX, RULES_MAX, Refused, Rules, Settings, TABLES, event,
};
use http_fastpath::guard::{HttpGuard, Scratch, State, Tables};
use http_fastpath::head;
use http_fastpath::judge::{self, Status};
use http_fastpath::limit::{Charge, Rate, Set};
use http_fastpath::matcher::Matched;
use http_fastpath::matching;
use http_fastpath::recall::{self, Remembered};
use http_fastpath::rules::{Found, Search};
use http_fastpath::words::{self, Words};
use xps_core::abi::Event;
use xps_core::bound::keep_in_memory;
use xps_core::handler::{Reply, Window};
use xps_core::verdict::Reason;
use xps_core::word::{load_u64, store_u64};
use xps_ebpf::maps::Maps;
use xps_ebpf::{arrival, atomic};

xps_ebpf::service! {
    handler: HttpGuard<KernelTables> = HttpGuard { tables: KernelTables },
    flows: 16384,
}

const MAPPABLE: usize = 1 << 10;
const NO_PREALLOC: usize = 1;
/// Sets of buckets, unless the agent asks for another number: half a million keys.
const LIMITS_LEN: usize = 1 << 16;

#[btf_map]
static MATCHERS: Array<Matcher, { TABLES as usize }, MAPPABLE> = Array::new();
#[btf_map]
static RULES: Array<Rules, { TABLES as usize }, MAPPABLE> = Array::new();
#[btf_map]
static CLIENTS: LpmTrie<[u32; 6], Conditions, { TABLES as usize * CLIENTS_MAX }> = LpmTrie::new();
#[btf_map]
static SETTINGS: Array<Settings, 1, MAPPABLE> = Array::new();
#[btf_map]
static LIMITS: Array<Set, LIMITS_LEN> = Array::new();
#[btf_map]
static ANSWERS: Array<Answer, { (TABLES * ANSWERS_MAX) as usize }, MAPPABLE> = Array::new();
#[btf_map]
static COUNTS: PerCpuArray<Counts, { TABLES as usize * RULES_MAX }> = PerCpuArray::new();
#[btf_map]
static REFUSALS: PerCpuArray<u64, { REFUSALS_MAX as usize }> = PerCpuArray::new();
#[btf_map]
static BLOCKS: HashMap<[u64; 2], u64, { BLOCKS_MAX as usize }> = HashMap::new();
#[btf_map]
static HEADS: PerCpuArray<Remembered, { recall::PLACES as usize }> = PerCpuArray::new();
#[btf_map]
static CONNECTIONS: HashMap<[u64; 2], u64, { CONNECTIONS_MAX as usize }, NO_PREALLOC> = HashMap::new();

/// The handler's tables.
#[derive(Clone, Copy)]
struct KernelTables;

/// Records are read by the agent every few milliseconds; a wake-up for each would cost more than a refusal.
const NO_WAKEUP: u64 = 1;

impl Tables for KernelTables {
    #[inline(always)]
    fn settings(&self) -> Option<*const Settings> {
        SETTINGS.get_ptr(0)
    }

    #[inline(always)]
    fn matcher(&self, tables: u32) -> Option<*const Matcher> {
        MATCHERS.get_ptr(tables)
    }

    #[inline(always)]
    fn rules(&self, tables: u32) -> Option<*const Rules> {
        RULES.get_ptr(tables)
    }

    #[inline(always)]
    fn client(&self, key: &ClientKey) -> Option<*const Conditions> {
        // As in `is_blocked`.
        let scratch = <xps_service::ServiceMaps as Maps<HttpGuard<Self>>>::scratch()?;
        // SAFETY: this CPU's own.
        let place = unsafe { &mut (*scratch).handler.prefix };
        *place = *key;
        // SAFETY: both are the length of the prefix in bits, and six words.
        CLIENTS.get(unsafe { &*core::ptr::from_ref(place).cast::<Key<[u32; 6]>>() }).map(core::ptr::from_ref)
    }

    #[inline(always)]
    fn charge(&self, index: u32, tag: u64, rate: Rate) -> Charge {
        let Some(set) = LIMITS.get_ptr_mut(index) else { return Charge::Full };
        let now_ns = self.now_ns();
        // SAFETY: an array's value stays; its lock is taken and given back here, and nothing in between calls anything.
        unsafe {
            let lock = (&raw mut (*set).lock).cast::<kernel_lock>();
            helper::bpf_spin_lock(lock);
            let charge = (*set).charge(tag, now_ns, rate);
            helper::bpf_spin_unlock(lock);
            charge
        }
    }

    #[inline(always)]
    fn answer(&self, index: u32) -> Option<*const Answer> {
        ANSWERS.get_ptr(index)
    }

    #[inline(always)]
    fn count(&self, index: u32, status: Status) {
        let Some(counts) = COUNTS.get_ptr_mut(index) else { return };
        // SAFETY: this CPU's counters.
        let counts = unsafe { &mut *counts };
        match status {
            Status::Passed => counts.passed += 1,
            Status::Rejected => counts.rejected += 1,
            Status::RejectedDryRun => counts.rejected_dry_run += 1,
            Status::Full => counts.full += 1,
        }
    }

    #[inline(always)]
    fn count_refusal(&self, number: u8) {
        if let Some(count) = REFUSALS.get_ptr_mut(u32::from(number)) {
            // SAFETY: this CPU's counter.
            unsafe { *count += 1 };
        }
    }

    #[inline(always)]
    fn block(&self, client: [u64; 2], time_ns: u64) -> bool {
        let Some(settings) = SETTINGS.get_ptr_mut(0) else { return false };
        let until_ns = self.now_ns() + time_ns;
        if BLOCKS.insert(client, until_ns, 0).is_err() {
            count(Reason::EventLost);
            return false;
        }
        // SAFETY: a word of the map, aligned.
        unsafe { (&raw mut (*settings).blocking).write_volatile(1) };
        true
    }

    #[inline(always)]
    fn is_blocked(&self, client: &[u64; 2]) -> bool {
        // The stack has no room for a key, and Linux 6.1 takes none from memory that came as a function's argument.
        let Some(scratch) = <xps_service::ServiceMaps as Maps<HttpGuard<KernelTables>>>::scratch() else {
            return true;
        };
        // SAFETY: this CPU's own.
        let key = unsafe { &mut (*scratch).handler.blocked };
        *key = *client;
        // SAFETY: a word of the map, aligned.
        BLOCKS.get_ptr(&*key).is_some_and(|until_ns| unsafe { until_ns.read_volatile() } > self.now_ns())
    }

    #[inline(always)]
    fn connections(&self, client: [u64; 2]) -> u64 {
        // SAFETY: a word of the map, aligned.
        at_least_zero(CONNECTIONS.get_ptr(client).map_or(0, |count| unsafe { count.read_volatile() }))
    }

    #[inline(always)]
    fn connected(&self, client: [u64; 2]) -> u64 {
        const NO_EXIST: u64 = 1;
        // Another CPU may have made it meanwhile.
        if CONNECTIONS.get_ptr(client).is_none() {
            let _ = CONNECTIONS.insert(client, 0, NO_EXIST);
        }
        let Some(count) = CONNECTIONS.get_ptr_mut(client) else { return 0 };
        // SAFETY: a word of the map, aligned.
        at_least_zero(unsafe { atomic::fetch_add(count, 1) }.wrapping_add(1))
    }

    #[inline(always)]
    fn disconnected(&self, client: [u64; 2]) {
        if let Some(count) = CONNECTIONS.get_ptr_mut(client) {
            // SAFETY: a word of the map, aligned.
            unsafe { atomic::add(count, u64::MAX) };
        }
    }

    #[inline(always)]
    fn report(&self, client: &[u8; 16], cause: u32) {
        let Some(settings) = SETTINGS.get_ptr(0) else { return };
        // SAFETY: words of the map, aligned.
        let (weight, tables) = unsafe {
            (
                (&raw const (*settings).refused_sample).read_volatile(),
                (&raw const (*settings).tables).read_volatile(),
            )
        };
        // SAFETY: a helper without arguments.
        if weight == 0 || unsafe { helper::bpf_get_prandom_u32() } & weight.wrapping_sub(1) != 0 {
            return;
        }
        let Some(mut record) = xps_service::EVENTS.reserve_untyped::<Refused>(0) else {
            count(Reason::EventLost);
            return;
        };
        let refused = record.as_mut_ptr();
        // The address is read now: read before, it would have waited on the stack.
        keep_in_memory();
        // SAFETY: the record is ours until it is submitted.
        unsafe {
            (*refused).head =
                Event { kind: event::REFUSED, len: (size_of::<Refused>() - size_of::<Event>()) as u32 };
            let (from, to) = (client.as_ptr(), (&raw mut (*refused).address).cast::<u8>());
            store_u64(to, load_u64(from));
            store_u64(to.add(8), load_u64(from.add(8)));
            (*refused).tables = tables;
            (*refused).cause = cause;
            (*refused).weight = weight;
            (*refused).padding = 0;
        }
        record.submit(NO_WAKEUP);
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { helper::bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn read_head(
        &self,
        window: &mut Window,
        state: &mut State,
        matcher: &Matcher,
        settings: &Settings,
    ) -> head::Event {
        head::Event::from_u32(http_read_head(window, state, matcher, settings))
    }

    #[inline(always)]
    fn search(&self, rules: &Rules, matched: &Matched, search: &mut Search) -> Found {
        Found::from_u32(http_search(rules, matched, search))
    }

    #[inline(always)]
    fn decides(&self, rule: u32, state: &mut State, scratch: &mut Scratch) -> bool {
        http_decides(rule, state, scratch) != 0
    }

    #[inline(always)]
    fn remembered(&self, place: u32) -> Option<*mut Remembered> {
        HEADS.get_ptr_mut(place)
    }

    #[inline(always)]
    fn write(&self, words: Words, last: bool, reply: &mut Reply) -> bool {
        http_write(words.index, words.retry_s, words.head_only, u32::from(last), reply) != 0
    }
}

/// A count of connections, which is below zero for a moment where the agent has just forgotten a client.
#[inline(always)]
const fn at_least_zero(count: u64) -> u64 {
    if count >> 63 != 0 { 0 } else { count }
}

#[inline(always)]
fn count(reason: Reason) {
    if let Some(counter) = <xps_service::ServiceMaps as Maps<HttpGuard<KernelTables>>>::counter(reason as u32)
    {
        // SAFETY: this CPU's counter.
        unsafe { *counter += 1 };
    }
}

/// Who is blocked opens no connection. Its packets may have several buffers ("frags"): headers are in the first one.
#[xdp(frags)]
fn http_block(ctx: XdpContext) -> u32 {
    arrival::run::<HttpGuard<KernelTables>, xps_service::ServiceMaps>(
        &ctx,
        &HttpGuard { tables: KernelTables },
    )
}

/// Some bytes of a head, verified by themselves.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn http_read_head(
    window: *mut Window,
    state: *mut State,
    matcher: *const Matcher,
    settings: *const Settings,
) -> u32 {
    if window.is_null() || state.is_null() || matcher.is_null() || settings.is_null() {
        return head::Event::Refused as u32;
    }
    // SAFETY: checked; all of them belong to the caller, or are values of maps, which stay while the program runs.
    unsafe { matching::read_head(&mut *window, &mut *state, &*matcher, &*settings, None) as u32 }
}

/// The next rule that holds, among a few, verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn http_search(rules: *const Rules, matched: *const Matched, search: *mut Search) -> u32 {
    if rules.is_null() || matched.is_null() || search.is_null() {
        return Found::None as u32;
    }
    // SAFETY: checked; they belong to the caller, or are a map's value, which stays while the program runs.
    unsafe { (*search).step(&*rules, &*matched) as u32 }
}

/// Whether a rule that holds decides, verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn http_decides(rule: u32, state: *mut State, scratch: *mut Scratch) -> u32 {
    if state.is_null() || scratch.is_null() {
        return 0;
    }
    // SAFETY: checked; both belong to the caller.
    u32::from(unsafe { judge::decides(&KernelTables, rule, &*state, &mut *scratch) })
}

/// One answer, verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn http_write(index: u32, retry_s: u32, head_only: u32, last: u32, reply: *mut Reply) -> u32 {
    if reply.is_null() {
        return 0;
    }
    let words = Words { index, retry_s, head_only };
    // SAFETY: checked; it belongs to the caller.
    u32::from(unsafe { words::write(&KernelTables, words, last != 0, &mut *reply) })
}
