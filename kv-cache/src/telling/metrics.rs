//! kv-cache's own metrics, beside those of the runtime ([`xps_runtime::metrics`]).
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for what only grows. No label holds a
//! key, a client or anything else that there may be many of. Everything is counted elsewhere and only told here, so each
//! answer is made anew.

use std::sync::atomic::{AtomicU64, Ordering};

use xps_core::verdict::Reason;
use xps_runtime::metrics::Page;

use crate::entries::sweep::Census;
use crate::entries::touch;
use crate::shared::{Shared, lock};

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The metrics of a cache in Prometheus' text format. `counted` are the counts by reason, in the order of [`Reason::ALL`].
///
/// # Errors
/// If two metrics contradict each other, which is a mistake of this program.
pub fn text(shared: &Shared, counted: &[u64; Reason::COUNT], census: &Census) -> prometheus::Result<String> {
    let page = Page::default();
    requests(&page, counted)?;
    entries(&page, shared)?;
    agent(&page, shared)?;
    coherence(&page, shared, census)?;
    operations(&page, shared)?;
    page.text()
}

fn requests(page: &Page, counted: &[u64; Reason::COUNT]) -> prometheus::Result<()> {
    let of = |reason: Reason| counted[reason as usize];
    page.counter(
        "kv_cache_requests_total",
        "Requests that were read, on the accelerated and on the plain port.",
        of(Reason::Requests),
    )?;
    page.counter(
        "kv_cache_hits_total",
        "GETs that were answered from the cache.",
        of(Reason::RequestsAnswered),
    )?;
    page.counter(
        "kv_cache_misses_total",
        "Segments of GETs that were looked up and had no valid entry.",
        of(Reason::Miss),
    )?;
    let passed = [
        Reason::Miss,
        Reason::NotServed,
        Reason::TooLarge,
        Reason::NotIdle,
        Reason::Incomplete,
        Reason::Suspended,
        Reason::NotPermitted,
        Reason::NoLease,
        Reason::Bypassed,
        Reason::Presence,
        Reason::Raced,
        Reason::Opaque,
        Reason::Unusual,
        Reason::HandshakeUnseen,
        Reason::Retransmission,
        Reason::PlainPort,
    ];
    let passed: Vec<_> = passed.iter().map(|reason| (reason.label(), of(*reason))).collect();
    page.counters(
        "kv_cache_passes_total",
        "Segments with requests that went to Redis, by why they were not answered.",
        "reason",
        &passed,
    )
}

fn entries(page: &Page, shared: &Shared) -> prometheus::Result<()> {
    let (entries, bytes, bytes_max, removed) = {
        let table = &lock(&shared.cache).table;
        (table.len(), table.bytes(), table.capacity_bytes(), table.removed())
    };
    page.gauge("kv_cache_entries", "Entries in the cache.", entries as f64)?;
    page.gauge("kv_cache_entry_bytes", "Bytes that the entries take.", bytes as f64)?;
    page.gauge("kv_cache_entry_limit_bytes", "Bytes that entries may take.", bytes_max as f64)?;
    page.counter("kv_cache_evictions_total", "Entries that made room for others.", removed.evicted)?;
    page.counter(
        "kv_cache_expirations_total",
        "Entries that were removed since their time was over.",
        removed.expired,
    )
}

fn agent(page: &Page, shared: &Shared) -> prometheus::Result<()> {
    let counts = &shared.counts;
    page.counter(
        "kv_cache_misses_reported_total",
        "Misses that were reported to the agent: a sample.",
        read(&counts.misses_reported),
    )?;
    page.counter(
        "kv_cache_misses_filtered_total",
        "Reported misses of keys that the configuration keeps out of the cache.",
        read(&counts.filtered),
    )?;
    page.counters(
        "kv_cache_fills_total",
        "Values that Redis was asked for to be cached, by what became of them.",
        "result",
        &[
            ("admitted", read(&counts.admitted)),
            ("overtaken", read(&counts.overtaken)),
            ("refused", read(&counts.refused)),
            ("uncacheable", read(&counts.uncacheable)),
        ],
    )?;
    page.counters(
        "kv_cache_invalidations_total",
        "Times that entries were made invalid by other means than a write that passed, by source: all at once (flush, \
         tracking_all), or a key (tracking).",
        "source",
        &[
            ("flush", read(&counts.flushes)),
            ("tracking", read(&counts.invalidations_tracked)),
            ("tracking_all", read(&counts.invalidations_all)),
        ],
    )?;
    page.counter(
        "kv_cache_touches_total",
        "Times that Redis was told that a key is in use.",
        read(&counts.touches),
    )?;
    page.counter(
        "kv_cache_flows_collected_total",
        "Connections that the agent removed since their socket was gone.",
        read(&counts.flows_collected),
    )?;
    page.counter(
        "kv_cache_connections_killed_total",
        "Connections that the agent has ended: older than the hooks, or not understood before any login.",
        read(&counts.connections_killed),
    )
}

fn coherence(page: &Page, shared: &Shared, census: &Census) -> prometheus::Result<()> {
    let judgement = lock(&shared.judgement).clone();
    page.gauge("kv_cache_coherent", "Whether hits are allowed.", judgement.coherent.into())?;
    page.states(
        "kv_cache_coherence",
        "1 for what clients get: strict, bounded or off.",
        "state",
        &[judgement.state()],
    )?;
    let causes: Vec<_> = judgement.causes.iter().map(crate::coherence::Cause::label).collect();
    page.states(
        "kv_cache_coherence_cause",
        "1 for what is not as strict coherence needs it.",
        "cause",
        &causes,
    )?;
    page.states(
        "kv_cache_tracking",
        "1 for the state of the connection by which Redis tells of changes.",
        "state",
        &[shared.freshness.state().label()],
    )?;
    page.gauge(
        "kv_cache_staleness_limit_seconds",
        "How long ago a value that bounded coherence serves may have been replaced, at most.",
        shared.freshness.bound().as_secs_f64(),
    )?;
    page.gauge(
        "kv_cache_opaque_flows",
        "Connections whose stream is not understood; while there is one, nobody gets hits.",
        census.opaque as f64,
    )
}

fn operations(page: &Page, shared: &Shared) -> prometheus::Result<()> {
    page.gauge(
        "kv_cache_bypass_active",
        "Whether GETs are not looked up, since too few would hit.",
        shared.bypass.active_seconds().is_some().into(),
    )?;
    page.counter(
        "kv_cache_bypass_activations_total",
        "Times that looking GETs up began not to pay.",
        read(&shared.bypass.activations),
    )?;
    page.gauge(
        "kv_cache_redis_idle_timeout_seconds",
        "After which time without a request Redis closes a connection; 0: never.",
        shared.idle_timeout_s.load(Ordering::Relaxed).into(),
    )?;
    page.gauge(
        "kv_cache_touch_refused",
        "Whether Redis refuses to be told which keys are in use, and evicts by use.",
        matches!(shared.touches.state(), touch::State::Refused(_)).into(),
    )
}
