//! Connections that have ended without a word leave the table (S10); those whose requests take too long are closed; blocks
//! that are over are forgotten.
//!
//! Who sends a request byte by byte holds a connection of the server for as long as it likes. The programs see each segment but
//! no time that passes, so it is the agent that looks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http_fastpath::guard::{BEGUN_SHIFT, State as HandlerState};
use http_fastpath::judge;
use http_fastpath::matching::flag as matching;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use xps_core::flow::{Flow, FlowKey};
use xps_core::splice::flag;
use xps_runtime::control::{monotonic_ns, thread_cpu_ns};
use xps_runtime::ended::{Ended, flow_key};
use xps_runtime::lock::lock;
use xps_runtime::sockets::{self, Socket, SocketState};

use crate::config::{Connections, Current};
use crate::path::kernel::Kernel;

/// Time between two looks, at least.
const PERIOD: Duration = Duration::from_secs(1);
/// How much longer than the CPU time of a look the time between two is.
const SHARE: u32 = 50;
/// How long a flow stays that the stack has closed: what the client still sends is answered from it.
const CLOSED_STAYS: Duration = Duration::from_secs(10);

/// Sweeps until `stop` turns true.
pub async fn run(kernel: Arc<Kernel>, config: Arc<Current>, mut stop: watch::Receiver<bool>) {
    let mut sweep = Sweep::default();
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
        let config = config.read();
        let cost = tokio::task::block_in_place(|| {
            let before = thread_cpu_ns();
            let ports = [config.listen.accelerated_port, config.nginx.port()];
            if let Err(error) = sweep.look(&kernel, &config.connections, &ports) {
                tracing::debug!(%error, "connections cannot be looked at now");
            }
            Duration::from_nanos(thread_cpu_ns().saturating_sub(before))
        });
        due = start + cost * SHARE;
    }
}

/// Why connections were not looked at.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("the sockets cannot be listed: {0}")]
    Sockets(std::io::Error),
    #[error("a table cannot be read: {0}")]
    Tables(#[from] aya::maps::MapError),
}

/// What a request is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The rest of its head, which began then ([`http_fastpath::matching::Matching::begun`]).
    Head { begun: u32 },
    /// More of its body; the next byte has this number.
    Body { next: u32 },
}

impl Waiting {
    /// Whether it is the same that was waited for before.
    const fn goes_on(self, before: Self, any_byte: bool) -> bool {
        match (self, before) {
            (Self::Head { begun }, Self::Head { begun: earlier }) => begun == earlier,
            // A body whose rate counts is the same one also when it goes on.
            (Self::Body { next }, Self::Body { next: earlier }) => !any_byte || next == earlier,
            _ => false,
        }
    }
}

/// What was seen of a flow.
#[derive(Clone, Copy, Debug)]
struct Seen {
    waiting: Option<Waiting>,
    /// What it waited for at first.
    from: Option<Waiting>,
    closed: bool,
    /// Since when it is so.
    since: Instant,
}

/// What earlier looks have seen.
#[derive(Debug, Default)]
struct Sweep {
    ended: Ended,
    seen: HashMap<FlowKey, Seen>,
}

impl Sweep {
    fn look(&mut self, kernel: &Kernel, limits: &Connections, ports: &[u16]) -> Result<(), SweepError> {
        let now_ns = monotonic_ns();
        kernel.counts.blocked.store(kernel.maps.sweep_blocks(now_ns)?, Ordering::Relaxed);
        // The flows first: one that is opened in between has a socket when these are listed.
        let mut keys = Vec::new();
        let mut counted = BTreeMap::new();
        let mut slow = Vec::new();
        let now = Instant::now();
        let mut seen = HashMap::new();
        lock(&kernel.flows).for_each(|key, flow| {
            keys.push(*key);
            if flow.handler.matching.has(matching::COUNTED) {
                *counted.entry(judge::prefix(&key.client, limits.ipv6_prefix)).or_default() += 1;
            }
            let one = self.judge(key, flow, limits, now);
            if let Some(waiting) = one.waiting.filter(|waiting| one.is_slow(*waiting, limits, now, now_ns)) {
                slow.push((*key, waiting));
            }
            seen.insert(*key, one);
        })?;
        self.seen = seen;
        kernel.proxied.for_each(|client, open| *counted.entry(client).or_default() += u64::from(open));
        kernel.maps.compare_connections(&counted)?;
        close(kernel, &slow, ports).map_err(SweepError::Sockets)?;
        let gone = self.ended.look(&keys, ports).map_err(SweepError::Sockets)?;
        for key in gone {
            let stays = self
                .seen
                .get(&key)
                .is_some_and(|seen| seen.closed && now.duration_since(seen.since) < CLOSED_STAYS);
            if !stays && !self.ended.waits(&key) && lock(&kernel.flows).remove(&key)? {
                kernel.counts.flows_collected.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn judge(&self, key: &FlowKey, flow: &Flow<HandlerState>, limits: &Connections, now: Instant) -> Seen {
        let (waiting, closed) = (waiting(flow), flow.splice.has(flag::CLOSED));
        let now_seen = Seen { waiting, from: waiting, closed, since: now };
        let Some(before) = self.seen.get(key).filter(|seen| seen.closed == closed) else { return now_seen };
        let goes_on = match (waiting, before.waiting) {
            (None, None) => true,
            (Some(waiting), Some(before)) => waiting.goes_on(before, limits.body_rate_min == 0),
            _ => false,
        };
        let one = Seen { from: before.from, since: before.since, ..now_seen };
        if goes_on && !one.has_kept_pace(limits, now) { one } else { now_seen }
    }
}

impl Seen {
    /// Bytes of a body that have come since it is so.
    const fn bytes(&self) -> u32 {
        match (self.waiting, self.from) {
            (Some(Waiting::Body { next }), Some(Waiting::Body { next: first })) => next.wrapping_sub(first),
            _ => 0,
        }
    }

    /// Whether a body has come fast enough for the whole time in which that counts: then that time begins anew.
    fn has_kept_pace(&self, limits: &Connections, now: Instant) -> bool {
        let Some(Waiting::Body { .. }) = self.waiting else { return false };
        let time = now.duration_since(self.since);
        time > limits.body_timeout
            && self.bytes() != 0
            && f64::from(self.bytes()) >= limits.body_rate_min as f64 * time.as_secs_f64()
    }

    /// Whether it has taken too long. A flow's state may have been changed while it was copied, so one look is not enough.
    fn is_slow(&self, waiting: Waiting, limits: &Connections, now: Instant, now_ns: u64) -> bool {
        let seen = now.duration_since(self.since);
        match waiting {
            Waiting::Head { begun } => {
                let age = ((now_ns >> BEGUN_SHIFT) as u32).wrapping_sub(begun);
                let age = Duration::from_nanos(u64::from(age) << BEGUN_SHIFT);
                seen >= PERIOD / 2 && age > limits.header_timeout
            }
            Waiting::Body { .. } => seen > limits.body_timeout,
        }
    }
}

/// What the client of a flow lets its server wait for.
fn waiting(flow: &Flow<HandlerState>) -> Option<Waiting> {
    let over = flag::CLOSED | flag::RESET | flag::CLIENT_FIN | flag::SERVER_FIN;
    let unread = flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE;
    let splice = &flow.splice;
    if splice.flags & (over | unread) != 0 || !splice.has(flag::ACCELERATED) {
        return None;
    }
    if flow.handler.matching.has(matching::IN_HEAD) {
        return Some(Waiting::Head { begun: flow.handler.matching.begun });
    }
    // Where the server takes nothing now, it is not the client that is slow.
    let in_body = !flow.handler.request.at_boundary() && flow.handler.request.refusal().is_none();
    (in_body && splice.server_window != 0).then_some(Waiting::Body { next: splice.client_next })
}

/// Closes the server's sockets of flows: both sides see a reset.
fn close(kernel: &Kernel, slow: &[(FlowKey, Waiting)], ports: &[u16]) -> std::io::Result<()> {
    if slow.is_empty() {
        return Ok(());
    }
    let slow: HashMap<_, _> = slow.iter().copied().collect();
    let open = |socket: &&Socket| !matches!(socket.state, SocketState::Listen | SocketState::TimeWait);
    for socket in sockets::of_ports(ports)?.iter().filter(open) {
        let Some(waiting) = slow.get(&flow_key(socket.local, socket.remote)) else { continue };
        if sockets::destroy(socket)? {
            let counter = match waiting {
                Waiting::Head { .. } => &kernel.counts.slow_heads,
                Waiting::Body { .. } => &kernel.counts.slow_bodies,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}
