//! What the sidecar says about itself. The JSON's fields are stable; new ones may be added.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use xps_runtime::status::{Addresses, Configuration, Rows, because};

/// The status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of kv-cache.
    pub version: String,
    /// `kernel` or `user`: the path that connections to the accelerated port take.
    pub path: String,
    /// Why it is the user path; empty on the kernel path.
    pub path_causes: Vec<String>,
    /// `beside` or `in-place`: whether clients connect to a port beside the server's own, or to that.
    pub listen_mode: String,
    /// That port.
    pub accelerated_port: u16,
    /// Interfaces of the namespace.
    pub interfaces: Vec<Interface>,
    /// Addresses of this host.
    pub addresses: Addresses,
    /// Entries that the stack can answer from.
    pub entries: u64,
    /// Bytes that they take.
    pub entry_bytes: u64,
    /// Bytes that they may take.
    pub entry_bytes_max: u64,
    /// GETs answered in the stack.
    pub hits_total: u64,
    /// Segments of GETs that could have been answered and had no valid entry.
    pub misses_total: u64,
    /// Requests seen through the accelerated port and on the plain one.
    pub requests_total: u64,
    /// Segments by what became of them.
    pub passes: BTreeMap<String, u64>,
    /// Connections.
    pub flows: Flows,
    /// Whether hits are allowed.
    pub coherence: Coherence,
    /// The configuration, as far as it changes while the sidecar runs.
    pub configuration: Configuration,
    /// Whether the handler steps aside.
    pub bypass: Bypass,
    /// What Redis is shown of keys and connections that are in use.
    pub redis: Redis,
    /// The agent's own work.
    pub agent: BTreeMap<String, u64>,
    /// Memory, in bytes.
    pub memory: Memory,
    /// Instructions that the verifier went through, by program.
    pub verified_instructions: BTreeMap<String, u64>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `kernel` if it is hooked, else `user`.
    pub path: String,
    /// Why it is not hooked; empty if it is.
    pub cause: String,
}

/// Connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flows {
    /// Through the accelerated port, in the stack.
    pub accelerated: u64,
    /// On the plain port, observed.
    pub observed: u64,
    /// Of both, those whose stream is not understood: while there is one, nobody gets hits.
    pub opaque: u64,
    /// Through the relay, now.
    pub relayed: u64,
    /// Through the relay since the start.
    pub relayed_total: u64,
}

/// Whether hits are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coherence {
    /// `strict`, `bounded` or `off`.
    pub state: String,
    /// What is not as strict coherence needs it: a short name, a colon, and what to do.
    pub causes: Vec<String>,
    /// Clients of the first few connections whose stream is not understood.
    pub opaque_clients: Vec<String>,
    /// Whether Redis tells of changed keys: `not_needed`, `connected`, or `unavailable` with the reason.
    pub tracking: String,
    /// In the state `bounded`: how long ago a value that is served may have been replaced, in milliseconds.
    pub max_staleness_ms: u64,
}

/// Whether the handler steps aside, since too few GETs hit for looking them up to pay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bypass {
    /// For how long it has stepped aside, in seconds; absent if it does not.
    pub active_seconds: Option<u64>,
    /// Share of hits among the GETs that were looked up lately, in percent; absent if there were few.
    pub share_percent: Option<u64>,
    /// The share below which looking up does not pay, in percent.
    pub break_even_percent: u64,
}

/// What Redis is shown of keys and connections that are in use, where it goes by that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redis {
    /// Its idle timeout, in seconds; 0: it has none. Each connection passes a request in each quarter of it.
    pub idle_timeout_seconds: u64,
    /// Whether it is told which keys are in use: a short name, a colon, and what follows from it.
    pub touches: String,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Of a flow's map entry without the reply that is kept for repetition.
    pub flow_bytes: u64,
    /// Of that reply.
    pub flow_reply_bytes: u64,
    /// Of an average entry: its bytes in a page and its place in the index.
    pub entry_bytes_average: u64,
    /// Of each map, as the kernel counts it.
    pub maps: BTreeMap<String, u64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows(f);
        rows.path(&self.path, &self.path_causes)?;
        rows.row("listen", format!("{}, port {}", self.listen_mode, self.accelerated_port))?;
        let interface = |interface: &Interface| {
            format!("{}: {}{}", interface.name, interface.path, because(&interface.cause))
        };
        rows.rows("interfaces", self.interfaces.iter().map(interface))?;
        rows.addresses(&self.addresses)?;
        rows.row("coherence", &self.coherence.state)?;
        rows.rows("", &self.coherence.causes)?;
        if self.coherence.state == "bounded" {
            rows.row("", format!("no value is older than {} ms", self.coherence.max_staleness_ms))?;
            rows.row("tracking", &self.coherence.tracking)?;
        }
        if self.flows.opaque != 0 {
            let text = format!(
                "no hits while {} connections are open that are not understood, among them {}",
                self.flows.opaque,
                self.coherence.opaque_clients.join(", ")
            );
            rows.row("", text)?;
        }
        if let Some(seconds) = self.bypass.active_seconds {
            let share = self.bypass.share_percent.unwrap_or_default();
            let text = format!(
                "active for {seconds} s: {share} % of GETs would hit, looking up pays from {} % on",
                self.bypass.break_even_percent
            );
            rows.row("bypass", text)?;
        }
        if self.redis.idle_timeout_seconds != 0 {
            let text = format!(
                "closes connections after {} s without a request; each passes one in time",
                self.redis.idle_timeout_seconds
            );
            rows.row("redis", text)?;
        }
        if !(self.redis.touches.is_empty() || self.redis.touches.starts_with("not_needed")) {
            rows.row("eviction", &self.redis.touches)?;
        }
        rows.configuration(&self.configuration)?;
        let Self { entries, entry_bytes, entry_bytes_max, .. } = self;
        rows.row("entries", format!("{entries}, {entry_bytes} of {entry_bytes_max} bytes"))?;
        let asked = self.hits_total + self.misses_total;
        let share =
            (self.hits_total * 100).checked_div(asked).map_or(String::new(), |share| format!(" ({share} %)"));
        rows.row("hits", format!("{}{share}", self.hits_total))?;
        rows.row("misses", self.misses_total)?;
        rows.row("requests", self.requests_total)?;
        let Flows { accelerated, observed, relayed, .. } = self.flows;
        rows.row("flows", format!("{accelerated} accelerated, {observed} observed, {relayed} relayed"))?;
        let memory = &self.memory;
        let text =
            format!("{} bytes a flow, and {} for its last reply", memory.flow_bytes, memory.flow_reply_bytes);
        rows.row("memory", text)?;
        rows.row("", format!("{} bytes an entry on average", memory.entry_bytes_average))?;
        rows.verifier(&self.verified_instructions)?;
        rows.counts("segments", &self.passes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_that_are_promised() {
        let json = serde_json::to_value(Status::default()).expect("JSON");
        for field in [
            "path",
            "path_causes",
            "listen_mode",
            "accelerated_port",
            "interfaces",
            "entries",
            "entry_bytes",
            "hits_total",
            "misses_total",
            "requests_total",
            "passes",
            "flows",
            "coherence",
            "memory",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert!(json["coherence"]["causes"].is_array());
    }

    #[test]
    fn the_table_tells_path_and_causes() {
        let status = Status {
            path: "user".into(),
            path_causes: vec!["missing CAP_BPF".into()],
            hits_total: 3,
            misses_total: 1,
            ..Status::default()
        };
        let text = status.to_string();
        assert!(!text.contains("not understood"), "{text}");
        assert!(text.contains("path          user\n              missing CAP_BPF\n"), "{text}");
        assert!(text.contains("3 (75 %)"), "{text}");
    }

    #[test]
    fn the_table_names_who_holds_everything() {
        let mut status = Status { path: "kernel".into(), ..Status::default() };
        status.flows.opaque = 2;
        status.coherence.state = "strict".into();
        status.coherence.opaque_clients = vec!["10.0.0.1:4000".into()];
        let text = status.to_string();
        assert!(text.contains("strict\n              no hits while 2 connections"), "{text}");
        assert!(text.contains("10.0.0.1:4000\n"), "{text}");
    }
}
