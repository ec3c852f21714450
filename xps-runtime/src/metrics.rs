//! What services tell Prometheus.
//!
//! - [`Common`]: every service's: the path and its reason, the programs.
//! - [`Metrics`]: with that, what the services before a TCP server have in common: the segments by reason, the relay.
//! - [`Page`]: what a service counts elsewhere.

mod common;
mod page;

use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use xps_core::verdict::Reason;

use crate::locals::Unseen;
use crate::pins::Runs;
use crate::plan::Plan;
use crate::relay::RelayReading;

pub use common::Common;
pub use page::Page;

/// The runtime's metrics in a registry, to which a service adds its own.
#[derive(Clone, Debug)]
pub struct Metrics {
    common: Common,
    segments: IntCounterVec,
    flows: IntGauge,
    addresses: IntGauge,
    addresses_unseen: IntGaugeVec,
    relay_connections: IntCounter,
    relay_failed: IntCounter,
    relay_refused: IntCounter,
    relay_open: IntGauge,
    relay_bytes: IntCounterVec,
}

impl Metrics {
    /// Registers the runtime's metrics and `xps_build_info` of `service` in `version`.
    ///
    /// # Errors
    /// If the registry has metrics of these names already.
    pub fn new(registry: Registry, service: &str, version: &str) -> prometheus::Result<Self> {
        let metrics = Self {
            segments: IntCounterVec::new(
                Opts::new("xps_segments_total", "Segments and events in the stack, by what became of them."),
                &["reason"],
            )?,
            flows: IntGauge::new("xps_flows", "Connections in the flow table.")?,
            addresses: IntGauge::new(
                "xps_local_addresses",
                "Addresses of this host that the programs know; packets for others are left alone.",
            )?,
            addresses_unseen: IntGaugeVec::new(
                Opts::new(
                    "xps_local_addresses_unseen",
                    "1 for a cause why packets for some of this host's addresses are left alone.",
                ),
                &["cause"],
            )?,
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
            common: Common::new(registry, service, version, xps_core::abi::VERSION)?,
        };
        let registry = metrics.registry();
        registry.register(Box::new(metrics.segments.clone()))?;
        registry.register(Box::new(metrics.flows.clone()))?;
        registry.register(Box::new(metrics.addresses.clone()))?;
        registry.register(Box::new(metrics.addresses_unseen.clone()))?;
        registry.register(Box::new(metrics.relay_connections.clone()))?;
        registry.register(Box::new(metrics.relay_failed.clone()))?;
        registry.register(Box::new(metrics.relay_refused.clone()))?;
        registry.register(Box::new(metrics.relay_open.clone()))?;
        registry.register(Box::new(metrics.relay_bytes.clone()))?;
        Ok(metrics)
    }

    /// The registry.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        self.common.registry()
    }

    /// As [`Common::set_path`].
    pub fn set_path(&self, plan: &Plan) {
        self.common.set_path(plan);
    }

    /// As [`Common::set_programs`].
    pub fn set_programs(&self, programs: &[(&str, Runs)]) {
        self.common.set_programs(programs);
    }

    /// All metrics of the registry in Prometheus' text format.
    ///
    /// # Errors
    /// If two metrics of the registry contradict each other.
    pub fn text(&self) -> prometheus::Result<String> {
        self.common.text()
    }

    /// The counters of the programs, in the order of [`Reason::ALL`], and the flows in the table.
    pub fn set_segments(&self, counts: &[u64; Reason::COUNT], flows: u64) {
        for (reason, count) in Reason::ALL.iter().zip(counts) {
            advance(&self.segments.with_label_values(&[reason.label()]), *count);
        }
        self.flows.set(i64::try_from(flows).unwrap_or(i64::MAX));
    }

    /// The addresses of this host: how many the programs know, and the kinds of those that they leave alone.
    pub fn set_addresses(&self, known: usize, unseen: &[Unseen]) {
        self.addresses.set(i64::try_from(known).unwrap_or(i64::MAX));
        for label in Unseen::LABELS {
            let there = unseen.iter().any(|one| one.label() == label);
            self.addresses_unseen.with_label_values(&[label]).set(there.into());
        }
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
        metrics.set_addresses(4, &[Unseen::TableFull { left_out: 1 }]);
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
            "xps_local_addresses 4",
            "xps_local_addresses_unseen{cause=\"addresses_full\"} 1",
            "xps_local_addresses_unseen{cause=\"local_network\"} 0",
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
