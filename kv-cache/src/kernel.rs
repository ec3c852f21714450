//! The kernel path as the agent's tasks share it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kv_fastpath::abi::map;
use kv_fastpath::handler::State as HandlerState;
use xps_core::flow::FlowKey;
use xps_runtime::control::{Control, State, monotonic_ns};
use xps_runtime::flow_table::FlowTable;
use xps_runtime::install::{InstallError, Installed};
use xps_runtime::plan::Skipped;

use crate::coherence::{Cause, Judgement};
use crate::store::{Buckets, Entries, SettingsMap};
use crate::table::Table;
use crate::users::Users;

/// Handles to an installation.
pub struct Kernel {
    /// The installation itself: hooks for new interfaces, maps. `None` once it was taken out of the stack.
    pub installed: Mutex<Option<Installed>>,
    /// Switches and lease.
    pub control: Control,
    /// What the programs count for the agent.
    pub state: State,
    /// Buckets (C1).
    pub buckets: Buckets,
    /// The handler's settings.
    pub settings: SettingsMap,
    /// The flow table.
    pub flows: Mutex<FlowTable<HandlerState>>,
    /// The entries and where they lie.
    pub cache: Mutex<Cache>,
    /// What was judged last about coherence.
    pub judgement: Mutex<Judgement>,
    /// Interfaces that are not hooked, with their causes.
    pub skipped: Mutex<Vec<Skipped>>,
    /// The programs ask for a new check.
    pub recheck: tokio::sync::Notify,
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
    /// The users that the programs know.
    pub users: Mutex<Option<Users>>,
}

/// The entries, and the store they lie in.
#[derive(Debug)]
pub struct Cache {
    /// Where each lies.
    pub table: Table,
    /// The maps.
    pub entries: Entries,
}

/// What the agent has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Misses that the programs reported.
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

impl Kernel {
    /// Handles to `installed`. The table starts empty; nothing is answered yet.
    ///
    /// # Errors
    /// If the object's maps are not what this agent expects.
    pub fn of(
        installed: Installed,
        miss_sample: u32,
        skipped: Vec<Skipped>,
    ) -> Result<Arc<Self>, InstallError> {
        let entries = Entries::of(&installed)?;
        let entries_max = installed.shape(map::INDEX)?.entries as usize;
        let table = Table::new(entries.pages(), entries_max, now_ms());
        // SAFETY: the object is built from the same source as this program, so the states are the same type; it consists
        // of integers and arrays of them only.
        let flows = unsafe { installed.flow_table::<HandlerState>()? };
        let buckets = Buckets::of(&installed)?;
        // A former agent's entries, and what was written while no agent was there.
        buckets.invalidate_all();
        Ok(Arc::new(Self {
            control: installed.control(),
            state: installed.state(),
            settings: SettingsMap::of(&installed, miss_sample)?,
            buckets,
            flows: Mutex::new(flows),
            cache: Mutex::new(Cache { table, entries }),
            judgement: Mutex::new(Judgement::refused(Cause::Starting)),
            skipped: Mutex::new(skipped),
            recheck: tokio::sync::Notify::new(),
            counts: Counts::default(),
            coherent: AtomicBool::new(false),
            fill_address: Mutex::new(None),
            fill_beat_ns: AtomicU64::new(monotonic_ns()),
            draining: AtomicBool::new(false),
            users: Mutex::new(None),
            installed: Mutex::new(Some(installed)),
        }))
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

    /// The key's hash under the installation's secret.
    #[must_use]
    pub fn secret(&self) -> [u64; 2] {
        self.control.read().secret
    }
}

/// `CLOCK_MONOTONIC` in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

/// The client's address of a flow, as `CLIENT LIST` shows it.
#[must_use]
pub fn client_address(key: &FlowKey) -> SocketAddr {
    let ip = std::net::Ipv6Addr::from(key.client);
    let ip = ip.to_ipv4_mapped().map_or(std::net::IpAddr::V6(ip), std::net::IpAddr::V4);
    SocketAddr::new(ip, key.client_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xps_runtime::ended::flow_key;

    #[test]
    fn a_socket_and_its_flow_have_the_same_client() {
        for (local, remote) in [("10.0.0.1:6379", "10.0.0.2:4000"), ("[fd00::1]:6379", "[fd00::2]:4000")] {
            let (local, remote) = (local.parse().expect("an address"), remote.parse().expect("an address"));
            let key = flow_key(local, remote);
            assert_eq!(client_address(&key), remote);
            assert_eq!(key.plain_port, 6379);
        }
    }
}
