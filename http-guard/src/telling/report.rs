//! Gathers the status and the metrics from what runs.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_fastpath::abi::Counts;
use http_fastpath::refusal::Refusal;
use prometheus::Registry;
use xps_core::verdict::Reason;
use xps_runtime::admin::Outcome;
use xps_runtime::lock::lock;
use xps_runtime::metrics::Metrics;
use xps_runtime::plan::{Path, Plan};
use xps_runtime::relay::RelayReading;
use xps_runtime::status::{Addresses, causes};

use crate::config::Current;
use crate::config::reload::Reloader;
use crate::date;
use crate::path::kernel::Kernel;
use crate::path::maps::add;
use crate::proxy::Proxy;
use crate::rules::Action;
use crate::telling::metrics;
use crate::telling::offenders::{Offenders, View};
use crate::telling::status::{Interface, Rule, Status};

/// How long Nginx may take to accept a connection, for the sidecar to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// How connections end since a request was refused.
const CLOSES: [Reason; 5] =
    [Reason::Closed, Reason::WasReset, Reason::Silenced, Reason::NotAdmitted, Reason::BlockedOnArrival];

/// Everything that can be reported on.
pub struct Report {
    plan: Plan,
    config: Arc<Current>,
    kernel: Option<Arc<Kernel>>,
    proxy: Arc<Proxy>,
    offenders: Arc<Offenders>,
    reloader: Arc<Reloader>,
    metrics: Metrics,
    /// What is switched is switched for both paths, by one at a time.
    turn: Mutex<()>,
}

impl Report {
    /// A report on what runs.
    ///
    /// # Errors
    /// If the metrics contradict each other, which is a mistake of this program.
    pub fn new(
        plan: Plan,
        config: Arc<Current>,
        kernel: Option<Arc<Kernel>>,
        proxy: Arc<Proxy>,
        offenders: Arc<Offenders>,
        reloader: Arc<Reloader>,
    ) -> prometheus::Result<Self> {
        let metrics = Metrics::new(Registry::new(), "http-guard", env!("CARGO_PKG_VERSION"))?;
        metrics.set_path(&plan);
        for collector in reloader.reloads().collectors() {
            metrics.registry().register(collector)?;
        }
        Ok(Self { plan, config, kernel, proxy, offenders, reloader, metrics, turn: Mutex::default() })
    }

    /// The status now.
    #[must_use]
    pub fn status(&self) -> Status {
        let listen = &self.config.read().listen;
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            path: self.plan.path.label().to_owned(),
            disabled: self.proxy.process().is_disabled(),
            path_causes: causes(&self.plan),
            listen_mode: listen.mode.label().to_owned(),
            accelerated_port: listen.accelerated_port,
            configuration: self.reloader.reloads().into(),
            ..Status::default()
        };
        let mut rules: BTreeMap<String, Counts> = BTreeMap::new();
        let mut refusals = vec![0; http_fastpath::abi::REFUSALS_MAX as usize];
        if let Some(kernel) = &self.kernel {
            of_kernel(kernel, &mut status);
            rules = kernel.maps.counts().unwrap_or_default();
            refusals = kernel.maps.refusals().unwrap_or(refusals);
        }
        of_proxy(&self.proxy, &mut status);
        for own in self.proxy.process().counts() {
            add(rules.entry(own.name).or_default(), own.counts);
        }
        for (all, own) in refusals.iter_mut().zip(self.proxy.process().refusals()) {
            *all += own;
        }
        status.rules = self.rules(&rules);
        let label = |refusal: &Refusal| (refusal.label().to_owned(), refusals[*refusal as usize]);
        status.refusals = Refusal::ALL.iter().map(label).collect();
        let rejected: u64 = status.rules.iter().map(|rule| rule.rejected).sum();
        status.refused_total = rejected + status.refusals.values().sum::<u64>();
        // They are counted one after the other: what passes meanwhile must not make this fall below zero.
        status.passed_total = status.requests_total.saturating_sub(status.refused_total);
        status
    }

    fn rules(&self, counts: &BTreeMap<String, Counts>) -> Vec<Rule> {
        let config = self.config.read();
        let rule = |rule: &crate::rules::Rule| {
            let counts = counts.get(&rule.name).copied().unwrap_or_default();
            let full_and_passed = match &rule.action {
                Action::Limit(limit) if limit.when_full == crate::rules::WhenFull::Pass => counts.full,
                _ => 0,
            };
            Rule {
                name: rule.name.clone(),
                action: rule.action.word().to_owned(),
                matched: counts.passed + counts.rejected + counts.rejected_dry_run + full_and_passed,
                passed: counts.passed,
                rejected: counts.rejected,
                rejected_dry_run: counts.rejected_dry_run,
                full: counts.full,
            }
        };
        config.rules.iter().map(rule).collect()
    }

    /// The metrics now, in Prometheus' text format.
    ///
    /// # Errors
    /// If they cannot be written as text.
    pub fn metrics(&self) -> prometheus::Result<String> {
        let proxy = self.proxy.counts();
        self.metrics.set_relay(&RelayReading {
            connections: proxy.connections,
            open: proxy.open,
            failed: proxy.unreachable,
            refused: proxy.without_header,
            bytes_to_server: proxy.bytes_to_server,
            bytes_to_client: proxy.bytes_to_client,
        });
        if let Some(kernel) = &self.kernel {
            let counted = lock(&kernel.stats).read().unwrap_or([0; Reason::COUNT]);
            self.metrics.set_segments(&counted, kernel.state.read().flows);
            if let Some(installed) = &*lock(&kernel.hooks.installed) {
                self.metrics.set_programs(&installed.runs());
                self.metrics.set_addresses(kernel.locals.entries(), &kernel.locals.unseen());
            }
        }
        Ok(self.metrics.text()? + &metrics::text(&self.status())?)
    }

    /// Clients that were refused most lately.
    #[must_use]
    pub fn top(&self, limit: usize) -> View {
        let names: Vec<_> = self.config.read().rules.iter().map(|rule| rule.name.clone()).collect();
        self.offenders.view(date::now_s(), &names, limit)
    }

    /// Lets everything pass, or takes that back.
    #[must_use]
    pub fn set_disabled(&self, disabled: bool) -> Outcome {
        let _turn = lock(&self.turn);
        if let Some(kernel) = &self.kernel {
            kernel.control.set_answer(!disabled);
            if !disabled {
                kernel.end_unread(&self.config.read());
            }
        }
        self.proxy.process().set_disabled(disabled);
        if disabled {
            tracing::info!("everything passes: the operator asked for it");
            let text = "everything passes from here on; `http-guard enable` or a restart ends that";
            return Outcome::Done(text.to_owned());
        }
        tracing::info!("requests are judged again");
        Outcome::Done("requests are judged again".to_owned())
    }

    /// Why the sidecar is not ready to serve, if so: the server must accept a connection.
    pub async fn not_ready(&self) -> Option<String> {
        let nginx = self.config.read().nginx.clone();
        let error = nginx.connect(READY_TIMEOUT).await.err()?;
        Some(format!("Nginx at {nginx} does not answer: {error}"))
    }
}

fn of_kernel(kernel: &Kernel, status: &mut Status) {
    let counters = lock(&kernel.stats).read().unwrap_or([0; Reason::COUNT]);
    let counted = |reason: Reason| counters[reason as usize];
    status.requests_total = counted(Reason::Requests);
    status.replies_total = counted(Reason::RequestsAnswered);
    status.closes = CLOSES.iter().map(|reason| (reason.label().to_owned(), counted(*reason))).collect();
    status.segments =
        Reason::ALL.iter().map(|reason| (reason.label().to_owned(), counted(*reason))).collect();
    status.connections = kernel.state.read().flows;
    let counts = &kernel.counts;
    status.agent = [
        ("slow_heads", &counts.slow_heads),
        ("slow_bodies", &counts.slow_bodies),
        ("flows_collected", &counts.flows_collected),
    ]
    .map(|(name, count)| (name.to_owned(), count.load(Ordering::Relaxed)))
    .into();
    let installed = lock(&kernel.hooks.installed);
    let Some(installed) = &*installed else { return };
    let hooked = installed.arrivals().map(|(name, without)| Interface {
        name: name.to_owned(),
        path: Path::Kernel.label().to_owned(),
        cause: String::new(),
        blocks: if without.is_none() { "xdp" } else { "tcx" }.to_owned(),
        blocks_cause: without.map(ToString::to_string).unwrap_or_default(),
    });
    status.interfaces = hooked.collect();
    status.interfaces.extend(lock(&kernel.hooks.skipped).iter().map(|skipped| Interface {
        name: skipped.name.clone(),
        path: Path::User.label().to_owned(),
        cause: skipped.cause.to_string(),
        blocks: Path::User.label().to_owned(),
        blocks_cause: String::new(),
    }));
    status.addresses = Addresses::from(&*kernel.locals);
    let verified = installed.verified_instructions();
    status.verified_instructions =
        verified.iter().map(|(name, count)| ((*name).to_owned(), u64::from(*count))).collect();
    status.memory = installed.memory_bytes();
}

/// Adds what the proxy has done.
fn of_proxy(proxy: &Proxy, status: &mut Status) {
    let counts = proxy.counts();
    status.connections += counts.open;
    status.connections_proxied = counts.open;
    status.connections_proxied_total = counts.connections;
    status.requests_total += counts.requests;
    status.replies_total += counts.replies;
    status.blocked_clients = proxy.process().ledger().blocked();
    for (label, count) in [
        (Reason::WasReset.label(), counts.closed),
        (Reason::Silenced.label(), counts.silenced),
        (Reason::NotAdmitted.label(), counts.not_admitted),
        ("over_connections", counts.over_connections),
    ] {
        *status.closes.entry(label.to_owned()).or_default() += count;
    }
    for (label, count) in
        [("slow_proxied", counts.slow), ("delayed", counts.delayed), ("unread", counts.unread)]
    {
        *status.agent.entry(label.to_owned()).or_default() += count;
    }
}
