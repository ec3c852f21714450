//! What the sidecar says about itself. The JSON's fields are stable; new ones may be added.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use xps_runtime::status::{Addresses, Configuration, Rows, because};

/// The status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of http-guard.
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
    /// Whether the operator lets everything pass.
    pub disabled: bool,
    /// Connections that are open, in the stack and through the proxy.
    pub connections: u64,
    /// Of those, the ones through the proxy.
    pub connections_proxied: u64,
    /// Connections through the proxy since the start.
    pub connections_proxied_total: u64,
    /// Requests whose heads were read to their end, or that were refused by their syntax.
    pub requests_total: u64,
    /// Those that were refused.
    pub refused_total: u64,
    /// Those that went to the server.
    pub passed_total: u64,
    /// Requests that were answered instead of the server.
    pub replies_total: u64,
    /// Connections that were closed with an answer, or reset, or left without an answer, since a request was refused.
    pub closes: BTreeMap<String, u64>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// Requests that were refused by their syntax, by what is wrong with them.
    pub refusals: BTreeMap<String, u64>,
    /// Clients that are blocked now.
    pub blocked_clients: u64,
    /// The configuration, as far as it changes while the sidecar runs.
    pub configuration: Configuration,
    /// Segments in the stack by what became of them.
    pub segments: BTreeMap<String, u64>,
    /// The agent's own work.
    pub agent: BTreeMap<String, u64>,
    /// Memory of each map, in bytes.
    pub memory: BTreeMap<String, u64>,
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
    /// Where clients that are blocked are stopped: `xdp`, `tcx`, or `user` in the proxy.
    pub blocks: String,
    /// Why not at XDP; empty if it is there, or not hooked at all.
    pub blocks_cause: String,
}

/// A rule, and what became of the requests that it held for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What it does.
    pub action: String,
    /// How often it decided, or counted.
    pub matched: u64,
    /// They passed.
    pub passed: u64,
    /// They were refused.
    pub rejected: u64,
    /// They would have been refused, but for the dry run.
    pub rejected_dry_run: u64,
    /// The table of limits had no place for their key.
    pub full: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows(f);
        rows.path(&self.path, &self.path_causes)?;
        rows.row("listen", format!("{}, port {}", self.listen_mode, self.accelerated_port))?;
        rows.rows("interfaces", &self.interfaces)?;
        rows.addresses(&self.addresses)?;
        if self.disabled {
            rows.row("disabled", "everything passes; `http-guard enable` or a restart ends that")?;
        }
        rows.configuration(&self.configuration)?;
        let Self { connections, connections_proxied, .. } = self;
        rows.row("connections", format!("{connections}, {connections_proxied} of them proxied"))?;
        let Self { requests_total, passed_total, refused_total, replies_total, .. } = self;
        let text = format!(
            "{requests_total}: {passed_total} passed, {refused_total} refused, {replies_total} of these answered"
        );
        rows.row("requests", text)?;
        rows.row("blocked", format!("{} clients", self.blocked_clients))?;
        rows.rows("rules", &self.rules)?;
        rows.counts("syntax", &self.refusals)?;
        rows.counts("closes", &self.closes)?;
        rows.counts("segments", &self.segments)?;
        rows.verifier(&self.verified_instructions)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, path, cause, blocks, blocks_cause } = self;
        write!(f, "{name}: {path}{}, blocks at {blocks}{}", because(cause), because(blocks_cause))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {} passed", self.name, self.action, self.passed)?;
        for (count, what) in [
            (self.rejected, "refused"),
            (self.rejected_dry_run, "would have been refused"),
            (self.full, "found no place for their key"),
        ] {
            if count != 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
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
            "version",
            "connections",
            "requests_total",
            "refused_total",
            "passed_total",
            "replies_total",
            "rules",
            "refusals",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        let rule = serde_json::to_value(Rule::default()).expect("JSON");
        for field in ["name", "action", "matched", "passed", "rejected", "rejected_dry_run", "full"] {
            assert!(rule.get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn the_table_tells_path_causes_and_rules() {
        let rule =
            Rule { name: "logins".into(), action: "limit".into(), passed: 3, rejected: 1, ..Rule::default() };
        let status = Status {
            path: "user".into(),
            path_causes: vec!["not_in_stack: rule \"x\"".into()],
            interfaces: vec![Interface {
                name: "eth0".into(),
                path: "kernel".into(),
                blocks: "tcx".into(),
                blocks_cause: "no driver".into(),
                ..Interface::default()
            }],
            rules: vec![rule],
            ..Status::default()
        };
        let text = status.to_string();
        assert!(text.contains("path          user\n              not_in_stack: rule \"x\"\n"), "{text}");
        assert!(text.contains("interfaces    eth0: kernel, blocks at tcx (no driver)\n"), "{text}");
        assert!(text.contains("rules         logins (limit): 3 passed, 1 refused\n"), "{text}");
    }
}
