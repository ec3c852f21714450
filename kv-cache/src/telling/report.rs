//! Gathers the status and the metrics from what runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_fastpath::handler::State as HandlerState;
use prometheus::Registry;
use xps_core::flow::{Flow, FlowKey};
use xps_core::handler::Reply;
use xps_core::verdict::Reason;
use xps_runtime::install::Stats;
use xps_runtime::metrics::Metrics;
use xps_runtime::plan::{Path, Plan};
use xps_runtime::relay::RelayCounts;
use xps_runtime::session::SegmentCounts;
use xps_runtime::status::{Addresses, causes};

use crate::coherence::Cause;
use crate::config::Current;
use crate::config::reload::Reloader;
use crate::entries::sweep::{Census, census};
use crate::path::kernel::Kernel;
use crate::path::process::Process;
use crate::server::tls::explained;
use crate::shared::{Counts, Shared, lock};
use crate::telling::latencies::UserPathLatencies;
use crate::telling::metrics;
use crate::telling::status::{Bypass, Coherence, Flows, Interface, Memory, Redis, Status};

/// Bytes that the kernel's hash table adds to a key and value of 8 bytes each: its element's head.
const INDEX_BYTES: u64 = 64;

/// How long Redis may take to answer, for the sidecar to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the cache is, and who counts what becomes of segments.
pub enum Source {
    /// In the stack.
    Kernel(Arc<Kernel>, Mutex<Stats>),
    /// In this process.
    Process(Arc<Process>, Arc<SegmentCounts>),
}

impl Source {
    /// The cache.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        match self {
            Self::Kernel(kernel, _) => &kernel.shared,
            Self::Process(process, _) => &process.shared,
        }
    }

    /// The counters now; zeros where they cannot be read.
    #[must_use]
    pub fn counters(&self) -> [u64; Reason::COUNT] {
        match self {
            Self::Kernel(_, stats) => lock(stats).read().unwrap_or([0; Reason::COUNT]),
            Self::Process(_, counts) => counts.read(),
        }
    }

    /// Flows in the stack.
    fn flows(&self) -> u64 {
        match self {
            Self::Kernel(kernel, _) => kernel.state.read().flows,
            Self::Process(..) => 0,
        }
    }

    fn census(&self) -> Census {
        match self {
            Self::Kernel(kernel, _) => census(kernel),
            Self::Process(..) => Census::default(),
        }
    }
}

/// Everything that can be reported on.
pub struct Report {
    plan: Plan,
    config: Arc<Current>,
    source: Arc<Source>,
    relay: Arc<RelayCounts>,
    reloader: Arc<Reloader>,
    metrics: Metrics,
}

/// A counter and its name.
fn named(counts: &Counts) -> [(&'static str, &AtomicU64); 13] {
    [
        ("misses_reported", &counts.misses_reported),
        ("fills", &counts.fills),
        ("admitted", &counts.admitted),
        ("overtaken", &counts.overtaken),
        ("refused", &counts.refused),
        ("uncacheable", &counts.uncacheable),
        ("filtered", &counts.filtered),
        ("flushes", &counts.flushes),
        ("invalidations_tracked", &counts.invalidations_tracked),
        ("invalidations_all", &counts.invalidations_all),
        ("touches", &counts.touches),
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
        config: Arc<Current>,
        source: Arc<Source>,
        relay: Arc<RelayCounts>,
        reloader: Arc<Reloader>,
    ) -> prometheus::Result<Self> {
        let metrics = Metrics::new(Registry::new(), "kv-cache", env!("CARGO_PKG_VERSION"))?;
        metrics.set_path(&plan);
        for collector in reloader.reloads().collectors() {
            metrics.registry().register(collector)?;
        }
        if let Source::Process(_, counts) = &*source {
            metrics.registry().register(Box::new(UserPathLatencies::new(Arc::clone(counts))?))?;
        }
        Ok(Self { plan, config, source, relay, reloader, metrics })
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let counters = self.source.counters();
        let counted = |reason: Reason| counters[reason as usize];
        let relay = self.relay.read();
        let listen = &self.config.read().listen;
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            path: self.plan.path.label().to_owned(),
            path_causes: causes(&self.plan),
            listen_mode: listen.mode.label().to_owned(),
            accelerated_port: listen.accelerated_port,
            hits_total: counted(Reason::RequestsAnswered),
            misses_total: counted(Reason::Miss),
            requests_total: counted(Reason::Requests),
            configuration: self.reloader.status(),
            flows: Flows { relayed: relay.open, relayed_total: relay.connections, ..Flows::default() },
            passes: Reason::ALL.iter().map(|reason| (reason.label().to_owned(), counted(*reason))).collect(),
            ..Status::default()
        };
        let shared = self.source.shared();
        let census = self.source.census();
        status.flows.accelerated = census.accelerated;
        status.flows.observed = census.observed;
        status.flows.opaque = census.opaque;
        let judgement = lock(&shared.judgement).clone();
        status.coherence = Coherence {
            state: judgement.state().to_owned(),
            causes: judgement.causes.iter().map(|cause| format!("{}: {cause}", cause.label())).collect(),
            opaque_clients: census.opaque_clients.iter().map(ToString::to_string).collect(),
            tracking: {
                let state = shared.freshness.state();
                format!("{}: {state}", state.label())
            },
            max_staleness_ms: shared.freshness.bound().as_millis() as u64,
        };
        {
            let table = &lock(&shared.cache).table;
            status.entries = table.len() as u64;
            status.entry_bytes = table.bytes() as u64;
            status.entry_bytes_max = table.capacity_bytes() as u64;
        }
        let counts = named(&shared.counts);
        status.agent =
            counts.iter().map(|(name, n)| ((*name).to_owned(), n.load(Ordering::Relaxed))).collect();
        status.bypass = Bypass {
            active_seconds: shared.bypass.active_seconds(),
            share_percent: shared.bypass.share_percent(),
            break_even_percent: shared.config.read().break_even_percent.into(),
        };
        status.redis = Redis {
            idle_timeout_seconds: shared.idle_timeout_s.load(Ordering::Relaxed).into(),
            touches: shared.touches.state().describe(),
        };
        let Source::Kernel(kernel, _) = &*self.source else { return status };
        let installed = lock(&kernel.hooks.installed);
        let Some(installed) = &*installed else { return status };
        let hooked = installed.devices().map(|(_, name)| Interface {
            name: name.to_owned(),
            path: Path::Kernel.label().to_owned(),
            cause: String::new(),
        });
        status.interfaces = hooked.collect();
        status.interfaces.extend(lock(&kernel.hooks.skipped).iter().map(|skipped| Interface {
            name: skipped.name.clone(),
            path: Path::User.label().to_owned(),
            cause: skipped.cause.to_string(),
        }));
        status.addresses = Addresses::from(&*kernel.locals);
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
        let counted = self.source.counters();
        self.metrics.set_segments(&counted, self.source.flows());
        if let Source::Kernel(kernel, _) = &*self.source
            && let Some(installed) = &*lock(&kernel.hooks.installed)
        {
            self.metrics.set_programs(&installed.runs());
            self.metrics.set_addresses(kernel.locals.entries(), &kernel.locals.unseen());
        }
        let own = metrics::text(self.source.shared(), &counted, &self.source.census())?;
        Ok(self.metrics.text()? + &own)
    }

    /// Why the sidecar is not ready to serve, if so: the server must answer, and the watch must have looked at it.
    pub async fn not_ready(&self) -> Option<String> {
        let judgement = lock(&self.source.shared().judgement).clone();
        let waiting = |cause: &&Cause| {
            matches!(cause, Cause::Starting | Cause::Unreachable(_) | Cause::Loading | Cause::Draining)
        };
        if let Some(cause) = judgement.causes.iter().find(waiting) {
            return Some(cause.to_string());
        }
        if matches!(*self.source, Source::Kernel(..)) {
            return None;
        }
        let redis = &self.config.read().redis;
        let answer = redis.connect(READY_TIMEOUT).await.err();
        answer.map(|error| format!("Redis at {} does not answer: {}", redis.address, explained(&error)))
    }
}
