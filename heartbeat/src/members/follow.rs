//! Looks for the members again and again: names lead elsewhere, lists are changed.

use std::sync::{Arc, Mutex};

use heartbeat_fastpath::wire::NodeId;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use xps_runtime::endpoint::is_local;
use xps_runtime::lock::lock;

use super::{Found, Members, numbering};
use crate::config::Current;
use crate::prober::Prober;

/// The members as they were found last, and what became of looking for them.
#[derive(Debug)]
pub struct Directory {
    current: Arc<Current>,
    found: Mutex<Found>,
    /// Wakes whoever looks.
    again: Notify,
    /// How many there are.
    pub count: IntGauge,
    /// What could not be resolved.
    pub failures: IntCounter,
}

impl Directory {
    /// Looks once.
    ///
    /// # Errors
    /// If a metric's name is not one, which is a mistake of this program.
    pub async fn first(current: Arc<Current>) -> prometheus::Result<Self> {
        let count = IntGauge::new(
            "heartbeat_members",
            "Members of the cluster, without failed ones being taken off.",
        )?;
        let failures = IntCounter::new(
            "heartbeat_member_lookup_failures_total",
            "Names of members that could not be resolved; addresses that were known stay.",
        )?;
        let directory = Self { current, found: Mutex::default(), again: Notify::new(), count, failures };
        directory.look().await;
        Ok(directory)
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> Members {
        lock(&self.found).members.clone()
    }

    /// What does not work now.
    #[must_use]
    pub fn now_failing(&self) -> Vec<String> {
        lock(&self.found).failures.clone()
    }

    /// Sees to it that members are looked for soon.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// The number of this host among the addresses of `members.dns`, if one of them is this host's.
    #[must_use]
    pub fn own_number(&self) -> Option<NodeId> {
        let found = lock(&self.found);
        let mut own = found.members.iter().filter(|(id, address)| {
            address.is_some_and(|address| is_local(address.ip()) && numbering::of(address.ip()) == **id)
        });
        own.next().map(|(id, _)| *id)
    }

    /// Looks for the members; whether they have changed.
    async fn look(&self) -> bool {
        let before = self.members();
        let sources = self.current.read().members.clone();
        let now = sources.look(&before).await;
        self.failures.inc_by(now.failures.len() as u64);
        self.count.set(now.members.len() as i64);
        let mut found = lock(&self.found);
        // Each is told once, not whenever it is looked for.
        for failure in now.failures.iter().filter(|failure| !found.failures.contains(failure)) {
            tracing::warn!(failure, "looking for members");
        }
        let changed = now.members != before;
        *found = now;
        changed
    }

    /// Looks again until `stop` turns true, and tells the prober.
    pub async fn run(self: Arc<Self>, prober: Arc<Prober>, mut stop: watch::Receiver<bool>) {
        // Behind a failure, what was not told is told again.
        let mut told = true;
        loop {
            let mut ticks = interval(self.current.read().members.refresh);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.again.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if self.look().await || !told {
                let members = self.members();
                tracing::info!(members = members.len(), "the members have changed");
                told = match prober.set_members(members).await {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::error!(%error, "the members have changed, and not all are probed or may probe");
                        false
                    }
                };
            }
        }
    }
}
