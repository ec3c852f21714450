//! The agents themselves, whatever they do.

use super::{Panel, lines, of, stat};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    vec![
        stat(
            "Up",
            "none",
            "1 for each agent that Prometheus reaches.",
            [(
                r#"up{job=~"kv-cache|http-guard|heartbeat",instance=~"$instance"}"#.to_owned(),
                "{{job}} {{instance}}",
            )],
        ),
        stat("Versions", "none", "", [(of("xps_build_info"), "{{service}} {{version}}, ABI {{abi}}")]),
        lines(
            "Answers to Prometheus",
            "s",
            "How long an agent takes to tell its metrics: an agent without CPU time is slow.",
            [(
                r#"scrape_duration_seconds{job=~"kv-cache|http-guard|heartbeat",instance=~"$instance"}"#
                    .to_owned(),
                "{{job}} {{instance}}",
            )],
        ),
    ]
}
