//! What the prober counts, in the metrics of Prometheus' library, which many threads may read.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

use super::event::State;

/// Bounds of round trips, in seconds: from what a stack takes on the same host to what a suspicion takes.
const BOUNDS: [f64; 18] = [
    5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1, 5e-1, 1.0, 2.0,
];

/// The counters.
#[derive(Clone, Debug)]
pub struct Counts {
    /// How long members take to answer.
    pub round_trips: Histogram,
    /// How often a member was seen differently, by what it is seen as now.
    pub changes: IntCounterVec,
    /// Suspicions that were wrong: the suspect has answered, or was found by another node.
    pub suspicions_refuted: IntCounter,
    /// Members that were taken for failed and are alive.
    pub recoveries: IntCounter,
    /// How often a node of this host had to contradict that it has failed.
    pub accusations: IntCounter,
    /// Messages that were sent.
    pub sent: IntCounter,
    /// Messages that were not: no address of the member is known, or the system did not send.
    pub unsent: IntCounterVec,
    /// How much the detectors doubt themselves: the worst of this host's nodes.
    pub local_health: IntGauge,
}

impl Counts {
    /// All zero.
    ///
    /// # Errors
    /// If a name is not one, which is a mistake of this program.
    pub fn new() -> prometheus::Result<Self> {
        let changes = IntCounterVec::new(
            Opts::new(
                "heartbeat_member_changes_total",
                "How often a member was seen differently, by what it was seen as from then on.",
            ),
            &["state"],
        )?;
        for state in State::ALL {
            changes.with_label_values(&[state.label()]);
        }
        let unsent = IntCounterVec::new(
            Opts::new(
                "heartbeat_messages_unsent_total",
                "Messages that were not sent: the member's address is not known (unresolved), or the system refused (failed).",
            ),
            &["reason"],
        )?;
        for reason in ["unresolved", "failed"] {
            unsent.with_label_values(&[reason]);
        }
        Ok(Self {
            round_trips: Histogram::with_opts(
                HistogramOpts::new(
                    "heartbeat_round_trip_seconds",
                    "How long members take to answer a probe, as the kernel's clock saw the answer come.",
                )
                .buckets(BOUNDS.to_vec()),
            )?,
            changes,
            suspicions_refuted: IntCounter::new(
                "heartbeat_suspicions_refuted_total",
                "Suspicions that were wrong: the suspect answered, contradicted, or was found alive by another node.",
            )?,
            recoveries: IntCounter::new(
                "heartbeat_recoveries_total",
                "Members that were taken for failed and were then seen alive.",
            )?,
            accusations: IntCounter::new(
                "heartbeat_accusations_contradicted_total",
                "How often a node of this host had to contradict that it has failed.",
            )?,
            sent: IntCounter::new("heartbeat_messages_sent_total", "Messages that the agent sent.")?,
            unsent,
            local_health: IntGauge::new(
                "heartbeat_local_health",
                "How much this host's detectors doubt themselves: 0 if they are well; time-outs are this plus one times as long.",
            )?,
        })
    }

    /// For a registry.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.round_trips.clone()),
            Box::new(self.changes.clone()),
            Box::new(self.suspicions_refuted.clone()),
            Box::new(self.recoveries.clone()),
            Box::new(self.accusations.clone()),
            Box::new(self.sent.clone()),
            Box::new(self.unsent.clone()),
            Box::new(self.local_health.clone()),
        ]
    }

    /// A member is seen differently.
    pub(super) fn changed(&self, from: State, to: State) {
        self.changes.with_label_values(&[to.label()]).inc();
        match (from, to) {
            (State::Suspect, State::Alive | State::Degraded) => self.suspicions_refuted.inc(),
            (State::Failed, State::Alive | State::Degraded) => self.recoveries.inc(),
            _ => {}
        }
    }
}
