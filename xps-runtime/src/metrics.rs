//! What every service tells Prometheus: the path and its reason, the segments by reason, the relay.

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use xps_core::verdict::Reason;

use crate::pins::Runs;
use crate::plan::Plan;
use crate::relay::RelayReading;

/// The runtime's metrics in a registry, to which a service adds its own.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    path: IntGaugeVec,
    segments: IntCounterVec,
    flows: IntGauge,
    relay_connections: IntCounter,
    relay_failed: IntCounter,
    relay_refused: IntCounter,
    relay_open: IntGauge,
    relay_bytes: IntCounterVec,
    program_runs: IntCounterVec,
    program_seconds: CounterVec,
}

impl Metrics {
    /// Registers the runtime's metrics and `xps_build_info` of `service` in `version`.
    ///
    /// # Errors
    /// If the registry has metrics of these names already.
    pub fn new(registry: Registry, service: &str, version: &str) -> prometheus::Result<Self> {
        let build = IntGaugeVec::new(
            Opts::new("xps_build_info", "Constant 1; the labels say what runs."),
            &["service", "version", "abi"],
        )?;
        let abi = xps_core::abi::VERSION.to_string();
        build.with_label_values(&[service, version, &abi]).set(1);
        let metrics = Self {
            path: IntGaugeVec::new(
                Opts::new("xps_path", "1 for the path that new connections take, with its reason."),
                &["path", "reason"],
            )?,
            segments: IntCounterVec::new(
                Opts::new("xps_segments_total", "Segments and events in the stack, by what became of them."),
                &["reason"],
            )?,
            flows: IntGauge::new("xps_flows", "Connections in the flow table.")?,
            relay_connections: IntCounter::new(
                "xps_relay_connections_total",
                "Connections accepted on the user path.",
            )?,
            relay_failed: IntCounter::new(
                "xps_relay_connect_failures_total",
                "Connections on the user path for which the server could not be reached.",
            )?,
            relay_refused: IntCounter::new(
                "xps_relay_handshake_failures_total",
                "Connections on the user path closed because the client's handshake failed.",
            )?,
            relay_open: IntGauge::new("xps_relay_connections", "Connections open on the user path.")?,
            relay_bytes: IntCounterVec::new(
                Opts::new("xps_relay_bytes_total", "Bytes relayed on the user path, by direction."),
                &["to"],
            )?,
            program_runs: IntCounterVec::new(
                Opts::new(
                    "xps_program_runs_total",
                    "Runs of a BPF program, while kernel.bpf_stats_enabled is set.",
                ),
                &["program"],
            )?,
            program_seconds: CounterVec::new(
                Opts::new(
                    "xps_program_run_seconds_total",
                    "Time that a BPF program ran, while kernel.bpf_stats_enabled is set.",
                ),
                &["program"],
            )?,
            registry,
        };
        metrics.registry.register(Box::new(build))?;
        metrics.registry.register(Box::new(metrics.path.clone()))?;
        metrics.registry.register(Box::new(metrics.segments.clone()))?;
        metrics.registry.register(Box::new(metrics.flows.clone()))?;
        metrics.registry.register(Box::new(metrics.relay_connections.clone()))?;
        metrics.registry.register(Box::new(metrics.relay_failed.clone()))?;
        metrics.registry.register(Box::new(metrics.relay_refused.clone()))?;
        metrics.registry.register(Box::new(metrics.relay_open.clone()))?;
        metrics.registry.register(Box::new(metrics.relay_bytes.clone()))?;
        metrics.registry.register(Box::new(metrics.program_runs.clone()))?;
        metrics.registry.register(Box::new(metrics.program_seconds.clone()))?;
        Ok(metrics)
    }

    /// The registry.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The path that is taken now. Its reasons are those of [`crate::plan::Cause::label`]; the kernel path's is `planned`.
    pub fn set_path(&self, plan: &Plan) {
        self.path.reset();
        let mut reasons: Vec<_> = plan.causes.iter().map(crate::plan::Cause::label).collect();
        if reasons.is_empty() {
            reasons.push("planned");
        }
        for reason in reasons {
            self.path.with_label_values(&[plan.path.label(), reason]).set(1);
        }
    }

    /// The counters of the programs, in the order of [`Reason::ALL`], and the flows in the table.
    pub fn set_segments(&self, counts: &[u64; Reason::COUNT], flows: u64) {
        for (reason, count) in Reason::ALL.iter().zip(counts) {
            advance(&self.segments.with_label_values(&[reason.label()]), *count);
        }
        self.flows.set(i64::try_from(flows).unwrap_or(i64::MAX));
    }

    /// The relay's counts.
    pub fn set_relay(&self, reading: &RelayReading) {
        advance(&self.relay_connections, reading.connections);
        advance(&self.relay_failed, reading.failed);
        advance(&self.relay_refused, reading.refused);
        self.relay_open.set(i64::try_from(reading.open).unwrap_or(i64::MAX));
        advance(&self.relay_bytes.with_label_values(&["server"]), reading.bytes_to_server);
        advance(&self.relay_bytes.with_label_values(&["client"]), reading.bytes_to_client);
    }

    /// Runs of the programs. Those that the kernel does not count are left out.
    pub fn set_programs(&self, programs: &[(&str, Runs)]) {
        for (program, runs) in programs.iter().filter(|(_, runs)| runs.count != 0) {
            advance(&self.program_runs.with_label_values(&[program]), runs.count);
            let seconds = self.program_seconds.with_label_values(&[program]);
            seconds.reset();
            seconds.inc_by(runs.time_ns as f64 / 1e9);
        }
    }

    /// All metrics of the registry in Prometheus' text format.
    ///
    /// # Errors
    /// If two metrics of the registry contradict each other.
    pub fn text(&self) -> prometheus::Result<String> {
        text_of(&self.registry)
    }
}

/// Metrics of one answer: what is counted elsewhere, told anew each time.
#[derive(Debug, Default)]
pub struct Page(Registry);

impl Page {
    /// What only grows.
    ///
    /// # Errors
    /// If the name is taken or is none, which is a mistake of the service; likewise below.
    pub fn counter(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }

    /// What only grows, by a label.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (text, value) in values {
            counters.with_label_values(&[text]).inc_by(*value);
        }
        self.0.register(Box::new(counters))
    }

    /// What only grows, by two labels.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn counters_by_two(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        values: &[([&str; 2], u64)],
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &labels)?;
        for (texts, value) in values {
            counters.with_label_values(texts).inc_by(*value);
        }
        self.0.register(Box::new(counters))
    }

    /// What rises and falls.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn gauge(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.0.register(Box::new(gauge))
    }

    /// 1 for each of `which`.
    ///
    /// # Errors
    /// Like [`counter`](Self::counter).
    pub fn states(&self, name: &str, help: &str, label: &str, which: &[&str]) -> prometheus::Result<()> {
        let gauges = GaugeVec::new(Opts::new(name, help), &[label])?;
        for text in which {
            gauges.with_label_values(&[text]).set(1.0);
        }
        self.0.register(Box::new(gauges))
    }

    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// If two metrics contradict each other, which is a mistake of the service.
    pub fn text(&self) -> prometheus::Result<String> {
        text_of(&self.0)
    }
}

fn text_of(registry: &Registry) -> prometheus::Result<String> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Brings a counter to what was counted elsewhere. One that fell has started anew, as when the maps were made again.
fn advance(counter: &IntCounter, count: u64) {
    let before = counter.get();
    if count < before {
        counter.reset();
        counter.inc_by(count);
    } else {
        counter.inc_by(count - before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Cause;

    #[test]
    fn what_is_set_is_told() {
        let metrics = Metrics::new(Registry::new(), "kv-cache", "0.1.0").unwrap();
        metrics.set_path(&Plan::user(vec![Cause::Configured, Cause::NoInterface]));
        let mut counts = [0; Reason::COUNT];
        counts[Reason::Miss as usize] = 7;
        metrics.set_segments(&counts, 3);
        counts[Reason::Miss as usize] = 9;
        metrics.set_segments(&counts, 2);
        metrics.set_relay(&RelayReading { connections: 5, open: 1, ..RelayReading::default() });
        let text = metrics.text().unwrap();
        let abi = xps_core::abi::VERSION;
        let build = format!("xps_build_info{{abi=\"{abi}\",service=\"kv-cache\",version=\"0.1.0\"}} 1");
        for line in [
            build.as_str(),
            "xps_path{path=\"user\",reason=\"configured\"} 1",
            "xps_path{path=\"user\",reason=\"no_interface\"} 1",
            "xps_segments_total{reason=\"miss\"} 9",
            "xps_flows 2",
            "xps_relay_connections_total 5",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(!text.contains("xps_program_runs_total{"), "nothing was counted");
        let runs = |count| [("ingress", Runs { count, time_ns: 1_500_000_000 }), ("egress", Runs::default())];
        metrics.set_programs(&runs(3));
        metrics.set_programs(&runs(4));
        let text = metrics.text().unwrap();
        assert!(text.contains("xps_program_runs_total{program=\"ingress\"} 4\n"), "{text}");
        assert!(text.contains("xps_program_run_seconds_total{program=\"ingress\"} 1.5\n"), "{text}");
        assert!(!text.contains("program=\"egress\""), "{text}");
        counts[Reason::Miss as usize] = 1;
        metrics.set_segments(&counts, 2);
        assert!(metrics.text().unwrap().contains("reason=\"miss\"} 1\n"));
    }
}
