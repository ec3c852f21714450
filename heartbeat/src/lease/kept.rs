//! One node's lease: until when it stands, what renewed it, and what went wrong.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_fastpath::wire::NodeId;
use heartbeat_lease::monotonic_ns;
use tracing::{info, warn};

use super::settings::By;
use super::view::LeaseView;

/// Who is told until when a node is alive: `CLOCK_MONOTONIC`, in nanoseconds.
pub type Sink = Arc<dyn Fn(NodeId, u64) + Send + Sync>;

/// Longest text that is kept of what went wrong, in characters: the other side may have written it.
const FAILURE_CHARACTERS_MAX: usize = 200;

/// The lease. The sink is called under its lock, so it hears of changes in their order, and of none after the end.
pub(super) struct Kept {
    node: NodeId,
    sink: Sink,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lease_ns: u64,
    alive_until_ns: u64,
    /// What was logged last.
    said_alive: bool,
    /// What is still to be logged.
    unsaid: Option<String>,
    renewals: u64,
    failures: u64,
    clamped: u64,
    absurd: u64,
    last_failure: Option<String>,
    closed: bool,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("node", &self.node).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Kept {
    /// A lease that has lapsed.
    pub(super) fn new(node: NodeId, sink: Sink) -> Arc<Self> {
        Arc::new(Self { node, sink, state: Mutex::default() })
    }

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    /// How long a promise may be from now on. What was promised is not longer either.
    pub(super) fn set_lease(&self, lease: Duration) {
        let mut state = self.state();
        state.lease_ns = nanoseconds(lease);
        let longest_ns = monotonic_ns().saturating_add(state.lease_ns);
        let until_ns = state.alive_until_ns.min(longest_ns);
        self.set(&mut state, until_ns);
    }

    /// A sign of life at `at_ns`.
    pub(super) fn renew(&self, at_ns: u64) {
        let mut state = self.state();
        state.renewals += 1;
        let until_ns = at_ns.saturating_add(state.lease_ns).max(state.alive_until_ns);
        self.set(&mut state, until_ns);
    }

    /// The application has called. `false` if nothing is renewed any more.
    pub(super) fn call(&self, promise: Option<Duration>) -> bool {
        let mut state = self.state();
        let promise_ns = promise.map_or(state.lease_ns, nanoseconds);
        if promise_ns > state.lease_ns {
            state.clamped += 1;
        }
        state.renewals += u64::from(promise_ns != 0);
        let until_ns = match promise_ns.min(state.lease_ns) {
            0 => 0,
            promise_ns => monotonic_ns().saturating_add(promise_ns).max(state.alive_until_ns),
        };
        self.set(&mut state, until_ns);
        !state.closed
    }

    /// The application's word says so; 0 that it is not alive.
    pub(super) fn promised(&self, until_ns: u64, clamped: bool) {
        let mut state = self.state();
        state.renewals += u64::from(until_ns != 0);
        state.clamped += u64::from(clamped);
        self.set(&mut state, until_ns);
    }

    /// Something that renews has failed; the lease goes on until it lapses.
    pub(super) fn fail(&self, why: &dyn fmt::Display) {
        let mut state = self.state();
        state.failures += 1;
        state.last_failure = Some(shortened(why));
    }

    /// The application promised what it cannot mean. It is logged once until another failure comes in between.
    pub(super) fn refuse(&self, why: &dyn fmt::Display) {
        let mut state = self.state();
        state.absurd += 1;
        let why = shortened(why);
        if state.last_failure.as_ref() != Some(&why) {
            state.unsaid = Some(why.clone());
        }
        state.last_failure = Some(why);
    }

    /// Something that the operator should know.
    pub(super) fn note(&self, what: String) {
        self.state().unsaid = Some(what);
    }

    /// Logs what there is to be known, and whether the lease has lapsed since it was last looked at, or stands again.
    ///
    /// Nobody who renews does this: who reads the log may be slow, and would hold up all leases.
    pub(super) fn tell(&self) {
        let mut state = self.state();
        let (unsaid, last_failure) = (state.unsaid.take(), state.last_failure.clone());
        let alive = monotonic_ns() < state.alive_until_ns;
        let changed = alive != state.said_alive && !state.closed;
        state.said_alive = alive;
        drop(state);
        let node = self.node.number();
        if let Some(what) = unsaid {
            warn!("node {node}: {what}");
        }
        match (changed, alive, last_failure) {
            (false, ..) => {}
            (true, true, _) => info!("node {node}: its application is alive"),
            (true, false, None) => warn!("node {node}: the lease of its application has lapsed"),
            (true, false, Some(why)) => {
                warn!("node {node}: the lease of its application has lapsed; last failure: {why}");
            }
        }
    }

    /// The sink hears of it no more.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    pub(super) fn view(&self, node: NodeId, by: By) -> LeaseView {
        let state = self.state();
        let remaining_ns = state.alive_until_ns.saturating_sub(monotonic_ns());
        LeaseView {
            node: node.number(),
            by,
            alive: remaining_ns != 0,
            remaining_ns,
            lease_ns: state.lease_ns,
            renewals: state.renewals,
            failures: state.failures,
            last_failure: state.last_failure.clone(),
            clamped: state.clamped,
            absurd: state.absurd,
        }
    }

    fn set(&self, state: &mut State, until_ns: u64) {
        if until_ns != state.alive_until_ns && !state.closed {
            state.alive_until_ns = until_ns;
            (self.sink)(self.node, until_ns);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time in nanoseconds; the longest one if it is longer.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// As one line that harms no terminal.
fn shortened(why: &dyn fmt::Display) -> String {
    let line = why.to_string().replace(|c: char| c.is_control(), " ");
    line.chars().take(FAILURE_CHARACTERS_MAX).collect()
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
