//! Gathers the status and the metrics from what runs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_fastpath::handler::State as HandlerState;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use xps_core::flow::{Flow, FlowKey};
use xps_core::handler::Reply;
use xps_core::verdict::Reason;
use xps_runtime::install::Stats;
use xps_runtime::metrics::Metrics;
use xps_runtime::plan::{Path, Plan};
use xps_runtime::relay::RelayCounts;

use crate::coherence::Cause;
use crate::kernel::Kernel;
use crate::shared::{Counts, lock};
use crate::status::{Coherence, Flows, Interface, Memory, Status};
use crate::sweep::census;

/// Bytes that the kernel's hash table adds to a key and value of 8 bytes each: its element's head.
const INDEX_BYTES: u64 = 64;

/// Everything that can be reported on.
pub struct Report {
    plan: Plan,
    redis: SocketAddr,
    kernel: Option<(Arc<Kernel>, Mutex<Stats>)>,
    relay: Arc<RelayCounts>,
    metrics: Metrics,
    own: Own,
}

/// kv-cache's own metrics.
struct Own {
    entries: IntGauge,
    entry_bytes: IntGauge,
    coherent: IntGauge,
    opaque_flows: IntGauge,
    causes: IntGaugeVec,
    events: IntCounterVec,
}

/// A counter and its name.
fn named(counts: &Counts) -> [(&'static str, &AtomicU64); 11] {
    [
        ("misses_reported", &counts.misses_reported),
        ("fills", &counts.fills),
        ("admitted", &counts.admitted),
        ("overtaken", &counts.overtaken),
        ("refused", &counts.refused),
        ("uncacheable", &counts.uncacheable),
        ("flushes", &counts.flushes),
        ("invalidations_tracked", &counts.invalidations_tracked),
        ("invalidations_all", &counts.invalidations_all),
        ("flows_collected", &counts.flows_collected),
        ("connections_killed", &counts.connections_killed),
    ]
}

impl Report {
    /// A report on what runs.
    ///
    /// # Errors
    /// If the metrics contradict each other, which is a mistake of this program.
    pub fn new(
        plan: Plan,
        redis: SocketAddr,
        kernel: Option<(Arc<Kernel>, Stats)>,
        relay: Arc<RelayCounts>,
    ) -> prometheus::Result<Self> {
        let metrics = Metrics::new(Registry::new(), "kv-cache", env!("CARGO_PKG_VERSION"))?;
        metrics.set_path(&plan);
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let own = Own {
            entries: gauge("kv_cache_entries", "Entries that the stack can answer from.")?,
            entry_bytes: gauge("kv_cache_entry_bytes", "Bytes that the entries take.")?,
            coherent: gauge("kv_cache_coherent", "Whether hits are allowed.")?,
            opaque_flows: gauge(
                "kv_cache_opaque_flows",
                "Connections whose stream is not understood; while there is one, nobody gets hits.",
            )?,
            causes: IntGaugeVec::new(
                Opts::new("kv_cache_coherence_cause", "1 for what is not as strict coherence needs it."),
                &["cause"],
            )?,
            events: IntCounterVec::new(
                Opts::new("kv_cache_agent_events_total", "The agent's own work, by kind."),
                &["event"],
            )?,
        };
        let registry = metrics.registry();
        registry.register(Box::new(own.entries.clone()))?;
        registry.register(Box::new(own.entry_bytes.clone()))?;
        registry.register(Box::new(own.coherent.clone()))?;
        registry.register(Box::new(own.opaque_flows.clone()))?;
        registry.register(Box::new(own.causes.clone()))?;
        registry.register(Box::new(own.events.clone()))?;
        let kernel = kernel.map(|(kernel, stats)| (kernel, Mutex::new(stats)));
        Ok(Self { plan, redis, kernel, relay, metrics, own })
    }

    fn counters(&self) -> [u64; Reason::COUNT] {
        let read = self.kernel.as_ref().and_then(|(_, stats)| lock(stats).read().ok());
        read.unwrap_or([0; Reason::COUNT])
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let counters = self.counters();
        let counted = |reason: Reason| counters[reason as usize];
        let relay = self.relay.read();
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            path: self.plan.path.label().to_owned(),
            path_causes: self.plan.causes.iter().map(|cause| format!("{}: {cause}", cause.label())).collect(),
            hits_total: counted(Reason::RequestsAnswered),
            misses_total: counted(Reason::Miss),
            requests_total: counted(Reason::Requests),
            flows: Flows { relayed: relay.open, relayed_total: relay.connections, ..Flows::default() },
            coherence: Coherence {
                state: "off".to_owned(),
                causes: vec!["user_path: on the user path nothing is cached".to_owned()],
                ..Coherence::default()
            },
            ..Status::default()
        };
        let Some((kernel, _)) = &self.kernel else { return status };
        status.passes =
            Reason::ALL.iter().map(|reason| (reason.label().to_owned(), counted(*reason))).collect();
        let census = census(kernel);
        status.flows.accelerated = census.accelerated;
        status.flows.observed = census.observed;
        status.flows.opaque = census.opaque;
        let judgement = lock(&kernel.shared.judgement).clone();
        status.coherence = Coherence {
            state: judgement.state().to_owned(),
            causes: judgement.causes.iter().map(|cause| format!("{}: {cause}", cause.label())).collect(),
            opaque_clients: census.opaque_clients.iter().map(ToString::to_string).collect(),
            tracking: {
                let state = kernel.shared.freshness.state();
                format!("{}: {state}", state.label())
            },
            max_staleness_ms: kernel.shared.freshness.bound().as_millis() as u64,
        };
        {
            let table = &lock(&kernel.shared.cache).table;
            status.entries = table.len() as u64;
            status.entry_bytes = table.bytes() as u64;
            status.entry_bytes_max = table.capacity_bytes() as u64;
        }
        let counts = named(&kernel.shared.counts);
        status.agent =
            counts.iter().map(|(name, n)| ((*name).to_owned(), n.load(Ordering::Relaxed))).collect();
        let installed = lock(&kernel.installed);
        let Some(installed) = &*installed else { return status };
        let hooked = installed.devices().map(|(_, name)| Interface {
            name: name.to_owned(),
            path: Path::Kernel.label().to_owned(),
            cause: String::new(),
        });
        status.interfaces = hooked.collect();
        status.interfaces.extend(lock(&kernel.skipped).iter().map(|skipped| Interface {
            name: skipped.name.clone(),
            path: Path::User.label().to_owned(),
            cause: skipped.cause.to_string(),
        }));
        let verified = installed.verified_instructions();
        status.verified_instructions =
            verified.iter().map(|(name, count)| ((*name).to_owned(), u64::from(*count))).collect();
        let flow = size_of::<Flow<HandlerState>>() + size_of::<FlowKey>();
        status.memory = Memory {
            flow_bytes: (flow - size_of::<Reply>()) as u64,
            flow_reply_bytes: size_of::<Reply>() as u64,
            entry_bytes_average: status
                .entry_bytes
                .checked_div(status.entries)
                .map_or(0, |bytes| bytes + INDEX_BYTES),
            maps: installed.memory_bytes(),
        };
        status
    }

    /// The metrics now, in Prometheus' text format.
    ///
    /// # Errors
    /// If they cannot be written as text.
    pub fn metrics(&self) -> prometheus::Result<String> {
        self.metrics.set_relay(&self.relay.read());
        if let Some((kernel, _)) = &self.kernel {
            self.metrics.set_segments(&self.counters(), kernel.state.read().flows);
            {
                let table = &lock(&kernel.shared.cache).table;
                self.own.entries.set(i64::try_from(table.len()).unwrap_or(i64::MAX));
                self.own.entry_bytes.set(i64::try_from(table.bytes()).unwrap_or(i64::MAX));
            }
            let judgement = lock(&kernel.shared.judgement).clone();
            self.own.coherent.set(judgement.coherent.into());
            self.own.opaque_flows.set(i64::try_from(census(kernel).opaque).unwrap_or(i64::MAX));
            self.own.causes.reset();
            for cause in &judgement.causes {
                self.own.causes.with_label_values(&[cause.label()]).set(1);
            }
            for (name, count) in named(&kernel.shared.counts) {
                let counter = self.own.events.with_label_values(&[name]);
                counter.inc_by(count.load(Ordering::Relaxed).saturating_sub(counter.get()));
            }
        }
        self.metrics.text()
    }

    /// Why the sidecar is not ready to serve, if so: the server must answer, and the kernel path must have looked at it.
    pub async fn not_ready(&self) -> Option<String> {
        if let Some((kernel, _)) = &self.kernel {
            let judgement = lock(&kernel.shared.judgement).clone();
            let waiting = |cause: &&Cause| {
                matches!(cause, Cause::Starting | Cause::Unreachable(_) | Cause::Loading | Cause::Draining)
            };
            return judgement.causes.iter().find(waiting).map(ToString::to_string);
        }
        let connecting = tokio::net::TcpStream::connect(self.redis);
        match tokio::time::timeout(Duration::from_secs(1), connecting).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("Redis at {} does not answer: {error}", self.redis)),
            Err(_) => Some(format!("Redis at {} does not answer", self.redis)),
        }
    }
}
