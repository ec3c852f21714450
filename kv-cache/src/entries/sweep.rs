//! Takes away what has ended without a word: flows whose socket is gone, entries whose time is over (S10).
//!
//! A flow is forgotten when the server's socket for it was absent in two looks at least a second apart. If its handler
//! still holds buckets, the server must also say that it has no such client: it may be carrying out a write of a
//! connection that was closed under it. A server that is gone carries out nothing. Such a flow does not wait for the minute that its socket may be in TIME_WAIT, since
//! as long as it holds the global bucket nobody gets hits.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kv_fastpath::coherence::REPLY_FAILS;
use kv_fastpath::connection::Connection as ConnectionState;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use xps_core::flow::FlowKey;
use xps_core::splice::{Splice, flag};
use xps_runtime::control::{tai_ns, thread_cpu_ns};
use xps_runtime::ended::{Ended, client_address};
use xps_runtime::flow_table::is_accelerated;
use xps_runtime::grace;

use crate::path::kernel::Kernel;
use crate::server::credentials::Server;
use crate::server::redis::{Connection, RedisError};
use crate::shared::{Cache, Shared, count, lock, now_ms};

/// Time between two looks, at least.
const PERIOD: Duration = Duration::from_secs(1);
/// How much longer than the CPU time of a look the time between two is: the kernel walks over all its sockets, whosever
/// they are. Not longer than the time that it took: on a busy machine that would put off what frees everybody's hits.
const SHARE: u32 = 300;

/// Sweeps entries until `stop` turns true.
pub async fn entries(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::task::block_in_place(|| {
            let before = now_ms();
            let ended = shared.refreshes.load(Ordering::Acquire) && grace::wait().is_ok();
            let Cache { table, entries } = &mut *lock(&shared.cache);
            if ended {
                table.programs_ended(before);
            }
            // All pages within ten seconds, and at least some of a small table.
            let pages = table.capacity_bytes() / kv_fastpath::abi::PAGE_BYTES / 10 + 64;
            table.sweep(entries, now_ms(), tai_ns(), pages);
        });
    }
}

/// Sweeps flows until `stop` turns true.
pub async fn flows(kernel: Arc<Kernel>, mut stop: watch::Receiver<bool>) {
    let mut ended = Ended::default();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let start = Instant::now();
        if start < due {
            continue;
        }
        let mut cost = Duration::ZERO;
        let config = kernel.shared.config.read();
        let ports = [config.listen.accelerated_port, config.redis.address.port()];
        if let Err(error) = collect(&kernel, &config.redis, &ports, &mut ended, &mut cost).await {
            tracing::debug!(%error, "flows that have ended cannot be told now");
        }
        due = start + cost * SHARE;
    }
}

/// Why flows were not collected.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("the sockets cannot be listed: {0}")]
    Sockets(std::io::Error),
    #[error("the flow table cannot be read: {0}")]
    Flows(#[from] aya::maps::MapError),
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// Looks once; says in `cost` what that took of a CPU.
async fn collect(
    kernel: &Kernel,
    redis: &Server,
    ports: &[u16],
    ended: &mut Ended,
    cost: &mut Duration,
) -> Result<(), SweepError> {
    let gone = tokio::task::block_in_place(|| {
        let before = thread_cpu_ns();
        // The flows first: one that is opened in between has a socket when these are listed.
        let flows = lock(&kernel.flows).keys()?;
        let gone = ended.look(&flows, ports).map_err(SweepError::Sockets);
        *cost = Duration::from_nanos(thread_cpu_ns().saturating_sub(before));
        gone
    })?;
    let mut clients = None;
    for key in gone {
        let Some(flow) = lock(&kernel.flows).get(&key)? else { continue };
        if flow.handler.connection.holds_nothing() {
            if ended.waits(&key) {
                continue;
            }
        } else {
            if clients.is_none() {
                clients = Some(server_clients(&kernel.shared, redis).await?);
            }
            let address = client_address(&key).to_string();
            if clients.as_ref().is_some_and(|clients| clients.contains(&address)) {
                continue;
            }
        }
        if lock(&kernel.flows).remove(&key)? {
            let mut released = false;
            flow.handler.connection.each_hold(|bucket| {
                if !released {
                    // What it did unseen may have changed users or settings: no hits before the agent has looked.
                    kernel.shared.settings.ask_recheck();
                    released = true;
                }
                kernel.shared.buckets.add(bucket, REPLY_FAILS);
            });
            if released {
                kernel.shared.recheck.notify_one();
            }
            count(&kernel.shared.counts.flows_collected);
        }
    }
    Ok(())
}

/// The server's clients, as it says itself; none of a server that is gone.
async fn server_clients(shared: &Shared, redis: &Server) -> Result<HashSet<String>, RedisError> {
    match Connection::open(redis).await {
        Ok(mut connection) => Ok(connection.clients().await?.into_iter().collect()),
        // Nobody listens, nor does the watch have a server: what was under way ended with it. A client that reconnects from
        // the same port would wait for this flow until there is another server.
        Err(RedisError::Connect { source, .. })
            if source.kind() == std::io::ErrorKind::ConnectionRefused
                && !shared.coherent.load(Ordering::Acquire) =>
        {
            Ok(HashSet::new())
        }
        Err(error) => Err(error),
    }
}

/// Whether a connection needs the programs. In place one that nothing was answered on goes on without them.
#[must_use]
pub fn needs_programs(splice: &Splice, in_place: bool) -> bool {
    if in_place { splice.has_offset() } else { is_accelerated(splice) }
}

/// What is in the flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections through the accelerated port.
    pub accelerated: u64,
    /// Connections observed on the plain port.
    pub observed: u64,
    /// How many of both are not understood any more: while there is one, nobody gets hits (C8).
    pub opaque: u64,
    /// Clients of the first few of those.
    pub opaque_clients: Vec<SocketAddr>,
}

/// Clients that a census names at most.
const NAMED_MAX: usize = 8;

impl Census {
    fn add(&mut self, key: &FlowKey, splice: &Splice, connection: &ConnectionState) {
        if splice.has(flag::ACCELERATED) {
            self.accelerated += 1;
        } else {
            self.observed += 1;
        }
        if connection.holds_all() {
            self.opaque += 1;
            if self.opaque_clients.len() < NAMED_MAX {
                self.opaque_clients.push(client_address(key));
            }
        }
    }
}

/// Counts the flows.
pub fn census(kernel: &Kernel) -> Census {
    let mut census = Census::default();
    let looked =
        lock(&kernel.flows).for_each(|key, flow| census.add(key, &flow.splice, &flow.handler.connection));
    if let Err(error) = looked {
        tracing::debug!(%error, "the flow table cannot be read");
    }
    census
}
