//! heartbeat: who is alive, as whom sees it.

use super::{Panel, lines, stat};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    vec![
        stat(
            "Path and reason",
            "none",
            "kernel: probes are answered in the stack; user: by the agent, and why.",
            &[(
                r#"xps_path{job="heartbeat",instance=~"$instance"} == 1"#,
                "{{instance}} {{path}}: {{reason}}",
            )],
        ),
        stat(
            "Members by state",
            "short",
            "As all observers see them.",
            &[(r#"sum by (state) (heartbeat_member_state{instance=~"$instance"})"#, "{{state}}")],
        ),
        stat(
            "Applications alive",
            "none",
            "1 while the lease of a node's application stands.",
            &[(r#"heartbeat_lease_alive{instance=~"$instance"}"#, "node {{node}}")],
        ),
        stat(
            "Doubt in oneself",
            "none",
            "0 is well. An agent that is late itself waits longer before it accuses others.",
            &[(r#"heartbeat_local_health{instance=~"$instance"}"#, "{{instance}}")],
        ),
        lines(
            "Members that are not alive",
            "short",
            "Observers that see a member suspect, degraded or failed.",
            &[(
                r#"sum by (node, state) (heartbeat_member_state{instance=~"$instance",state!="alive"})"#,
                "node {{node}} {{state}}",
            )],
        ),
        lines(
            "Suspicion (phi)",
            "none",
            "The worst of all observers.",
            &[(r#"max by (node) (heartbeat_member_phi{instance=~"$instance"})"#, "node {{node}}")],
        ),
        lines(
            "Round trips",
            "s",
            "How long members take to answer.",
            &[
                (
                    r#"max by (node) (heartbeat_member_round_trip_seconds{instance=~"$instance"})"#,
                    "node {{node}}, smoothed",
                ),
                (
                    r#"histogram_quantile(0.99, sum by (le) (rate(heartbeat_round_trip_seconds_bucket{instance=~"$instance"}[$__rate_interval])))"#,
                    "p99 of all",
                ),
            ],
        ),
        lines(
            "Replies by path",
            "pps",
            "Who answered probes.",
            &[(
                r#"sum by (path) (rate(heartbeat_replies_total{instance=~"$instance"}[$__rate_interval]))"#,
                "{{path}}",
            )],
        ),
        lines(
            "Dropped by reason",
            "pps",
            "Datagrams that were no probe to be answered.",
            &[(
                r#"sum by (reason) (rate(heartbeat_dropped_total{instance=~"$instance"}[$__rate_interval]))"#,
                "{{reason}}",
            )],
        ),
        lines(
            "Leases",
            "ops",
            "Renewals, and checks that failed.",
            &[
                (
                    r#"sum by (node) (rate(heartbeat_lease_renewals_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "node {{node}} renewed",
                ),
                (
                    r#"sum by (node) (rate(heartbeat_lease_failures_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "node {{node}} failed",
                ),
            ],
        ),
    ]
}
