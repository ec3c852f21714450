//! heartbeat: who is alive, as whom sees it.

use super::{Panel, lines, of, path, rate_by, stat};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    vec![
        path("heartbeat", "kernel: probes are answered in the stack; user: by the agent, and why.", "{{instance}} {{path}}: {{reason}}"),
        stat(
            "Members by state",
            "short",
            "As all observers see them.",
            [(format!("sum by (state) ({})", of("heartbeat_member_state")), "{{state}}")],
        ),
        stat(
            "Applications alive",
            "none",
            "1 while the lease of a node's application stands.",
            [(of("heartbeat_lease_alive"), "node {{node}}")],
        ),
        stat(
            "Doubt in oneself",
            "none",
            "0 is well. An agent that is late itself waits longer before it accuses others.",
            [(of("heartbeat_local_health"), "{{instance}}")],
        ),
        lines(
            "Members that are not alive",
            "short",
            "Observers that see a member suspect, degraded or failed.",
            [(
                r#"sum by (node, state) (heartbeat_member_state{instance=~"$instance",state!="alive"})"#.to_owned(),
                "node {{node}} {{state}}",
            )],
        ),
        lines(
            "Suspicion (phi)",
            "none",
            "The worst of all observers.",
            [(format!("max by (node) ({})", of("heartbeat_member_phi")), "node {{node}}")],
        ),
        lines(
            "Round trips",
            "s",
            "How long members take to answer.",
            [
                (
                    format!("max by (node) ({})", of("heartbeat_member_round_trip_seconds")),
                    "node {{node}}, smoothed",
                ),
                (
                    r#"histogram_quantile(0.99, sum by (le) (rate(heartbeat_round_trip_seconds_bucket{instance=~"$instance"}[$__rate_interval])))"#.to_owned(),
                    "p99 of all",
                ),
            ],
        ),
        lines(
            "Replies by path",
            "pps",
            "Who answered probes.",
            [(
                rate_by("path", "heartbeat_replies_total"),
                "{{path}}",
            )],
        ),
        lines(
            "Dropped by reason",
            "pps",
            "Datagrams that were no probe to be answered.",
            [(
                rate_by("reason", "heartbeat_dropped_total"),
                "{{reason}}",
            )],
        ),
        lines(
            "Leases",
            "ops",
            "Renewals, and checks that failed.",
            [
                (
                    rate_by("node", "heartbeat_lease_renewals_total"),
                    "node {{node}} renewed",
                ),
                (
                    rate_by("node", "heartbeat_lease_failures_total"),
                    "node {{node}} failed",
                ),
            ],
        ),
    ]
}
