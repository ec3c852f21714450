//! What the sidecar says about itself. The JSON's fields are stable; new ones may be added.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use xps_runtime::status::{Configuration, Rows, because};

use crate::bfd::SessionView;
use crate::lease::LeaseView;

/// The status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of heartbeat.
    pub version: String,
    /// `kernel` or `user`: where probes are answered.
    pub path: String,
    /// Why it is the user path; empty on the kernel path.
    pub path_causes: Vec<String>,
    /// Interfaces of the namespace.
    pub interfaces: Vec<Interface>,
    /// The cluster's number, in hexadecimal digits.
    pub cluster: String,
    /// Number of the key that is sent with.
    pub key: u8,
    /// The nodes of this host, and whether their applications are alive.
    pub nodes: Vec<Node>,
    /// Datagrams to `lease.socket` that renewed nothing.
    pub lease_calls_refused: u64,
    /// Members by how they are seen; by several nodes of this host, each counts.
    pub members: BTreeMap<String, u64>,
    /// Sessions of BFD.
    pub bfd: Vec<SessionView>,
    /// Packets to BFD's ports that were no session's, by why.
    pub bfd_unclaimed: BTreeMap<String, u64>,
    /// Echo packets of BFD in the stack, by what became of them.
    pub echoes: BTreeMap<String, u64>,
    /// Names of members that cannot be resolved now, and what else is wrong with the list of members.
    pub member_failures: Vec<String>,
    /// Replies by the path that gave them.
    pub replies: BTreeMap<String, u64>,
    /// Datagrams that were dropped, by why.
    pub dropped: BTreeMap<String, u64>,
    /// How much the detectors doubt themselves; 0 if they are well.
    pub local_health: i64,
    /// The configuration, as far as it changes while the sidecar runs.
    pub configuration: Configuration,
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
    /// Where its probes are answered: `xdp`, `xdp_generic`, `tcx`, or `user` in the agent.
    pub place: String,
    /// Why not earlier; empty if it is as early as can be.
    pub cause: String,
}

/// A node of this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its number.
    pub id: u32,
    /// Its application's lease.
    pub lease: Option<LeaseView>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows(f);
        rows.path(&self.path, &self.path_causes)?;
        let interface = |interface: &Interface| {
            format!("{}: {}{}", interface.name, interface.place, because(&interface.cause))
        };
        rows.rows("interfaces", self.interfaces.iter().map(interface))?;
        rows.row("cluster", format!("{}, key {}", self.cluster, self.key))?;
        let node =
            |node: &Node| format!("{}: {}", node.id, node.lease.as_ref().map(told).unwrap_or_default());
        rows.rows("nodes", self.nodes.iter().map(node))?;
        if self.lease_calls_refused != 0 {
            rows.row("lease calls", format!("{} renewed nothing", self.lease_calls_refused))?;
        }
        rows.row("members", list(&self.members))?;
        rows.rows("", &self.member_failures)?;
        let session = |session: &SessionView| {
            let SessionView { peer, state, diagnostic, detection_us, ups, downs, .. } = session;
            let trouble = session.trouble.as_deref().map_or_else(String::new, |why| format!("; {why}"));
            format!(
                "{peer}: {} ({diagnostic}), noticed within {} ms, up {ups} and down {downs} times{trouble}",
                state.label(),
                detection_us / 1000
            )
        };
        rows.rows("bfd", self.bfd.iter().map(session))?;
        rows.counts("bfd echo", &self.echoes)?;
        rows.counts("bfd strangers", &self.bfd_unclaimed)?;
        if self.local_health != 0 {
            let text = format!("{} (this host is late or unheard: it waits longer)", self.local_health);
            rows.row("local health", text)?;
        }
        rows.configuration(&self.configuration)?;
        rows.row("replies", list(&self.replies))?;
        rows.row("dropped", list(&self.dropped))?;
        rows.verifier(&self.verified_instructions)
    }
}

/// Counts that are not zero, in a row.
fn list(counts: &BTreeMap<String, u64>) -> String {
    let given = counts.iter().filter(|(_, count)| **count != 0);
    given.map(|(label, count)| format!("{count} {label}")).collect::<Vec<_>>().join(", ")
}

/// How a lease stands, in a few words.
fn told(lease: &LeaseView) -> String {
    let mut text = if lease.alive {
        format!("alive for {} ms more", lease.remaining_ns / 1_000_000)
    } else {
        "its lease has lapsed".to_owned()
    };
    text += &format!(", by {}: {} renewals", lease.by, lease.renewals);
    for (count, what) in [
        (lease.failures, "failures"),
        (lease.clamped, "promises cut to the longest lease"),
        (lease.absurd, "promises not believed"),
    ] {
        if count != 0 {
            text += &format!(", {count} {what}");
        }
    }
    if let Some(failure) = &lease.last_failure {
        text += &format!("; last: {failure}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_path_interfaces_and_members() {
        let status = Status {
            path: "kernel".into(),
            interfaces: vec![
                Interface { name: "eth0".into(), place: "xdp".into(), cause: String::new() },
                Interface { name: "lo".into(), place: "tcx".into(), cause: "loopback".into() },
            ],
            members: BTreeMap::from([("alive".into(), 2), ("failed".into(), 1), ("suspect".into(), 0)]),
            ..Status::default()
        };
        let text = status.to_string();
        assert!(text.contains("path          kernel\n"), "{text}");
        assert!(text.contains("interfaces    eth0: xdp\n              lo: tcx (loopback)\n"), "{text}");
        assert!(text.contains("members       2 alive, 1 failed\n"), "{text}");
    }
}
