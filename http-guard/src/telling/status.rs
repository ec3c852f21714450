//! What the sidecar says about itself. The JSON's fields are stable; new ones may be added.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// Interfaces of the namespace.
    pub interfaces: Vec<Interface>,
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

/// The configuration, as far as it changes while the sidecar runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Whether it could be read when it was read last.
    pub last_reload_successful: bool,
    /// Keys whose new value holds only after a restart.
    pub waiting_for_restart: Vec<String>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: String| writeln!(f, "{name:<14}{value}");
        row(f, "path", self.path.clone())?;
        for cause in &self.path_causes {
            row(f, "", cause.clone())?;
        }
        for (i, interface) in self.interfaces.iter().enumerate() {
            let because = |cause: &str| if cause.is_empty() { String::new() } else { format!(" ({cause})") };
            let Interface { name, path, cause, blocks, blocks_cause } = interface;
            let (cause, blocks_cause) = (because(cause), because(blocks_cause));
            let text = format!("{name}: {path}{cause}, blocks at {blocks}{blocks_cause}");
            row(f, if i == 0 { "interfaces" } else { "" }, text)?;
        }
        if self.disabled {
            row(f, "disabled", "everything passes; `http-guard enable` or a restart ends that".to_owned())?;
        }
        if !self.configuration.last_reload_successful {
            let text = "the last reload failed, an older one holds; the log says why";
            row(f, "configuration", text.to_owned())?;
        }
        if !self.configuration.waiting_for_restart.is_empty() {
            let keys = self.configuration.waiting_for_restart.join(", ");
            row(f, "configuration", format!("only after a restart: {keys}"))?;
        }
        row(f, "connections", format!("{}, {} of them proxied", self.connections, self.connections_proxied))?;
        row(
            f,
            "requests",
            format!(
                "{}: {} passed, {} refused, {} of these answered",
                self.requests_total, self.passed_total, self.refused_total, self.replies_total
            ),
        )?;
        row(f, "blocked", format!("{} clients", self.blocked_clients))?;
        for (i, rule) in self.rules.iter().enumerate() {
            let mut text = format!("{} ({}): {} passed", rule.name, rule.action, rule.passed);
            for (count, what) in [
                (rule.rejected, "refused"),
                (rule.rejected_dry_run, "would have been refused"),
                (rule.full, "found no place for their key"),
            ] {
                if count != 0 {
                    text += &format!(", {count} {what}");
                }
            }
            row(f, if i == 0 { "rules" } else { "" }, text)?;
        }
        let list = |f: &mut fmt::Formatter<'_>, name: &str, counts: &BTreeMap<String, u64>| {
            for (i, (label, count)) in counts.iter().filter(|(_, count)| **count != 0).enumerate() {
                row(f, if i == 0 { name } else { "" }, format!("{label}: {count}"))?;
            }
            Ok(())
        };
        list(f, "syntax", &self.refusals)?;
        list(f, "closes", &self.closes)?;
        list(f, "segments", &self.segments)?;
        for (i, (program, instructions)) in self.verified_instructions.iter().enumerate() {
            row(f, if i == 0 { "verifier" } else { "" }, format!("{program}: {instructions} instructions"))?;
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
