//! http-guard: what is refused, why and whom.

use super::{Panel, lines, stat};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    vec![
        stat(
            "Path and reason",
            "none",
            "kernel: requests are judged in the stack; user: by a proxy, and why.",
            &[(r#"xps_path{job="http-guard",instance=~"$instance"} == 1"#, "{{path}}: {{reason}}")],
        ),
        stat(
            "Refused share",
            "percentunit",
            "Of all requests.",
            &[(
                r#"sum(rate(http_guard_requests_refused_total{instance=~"$instance"}[$__rate_interval])) / sum(rate(http_guard_requests_total{instance=~"$instance"}[$__rate_interval]))"#,
                "refused",
            )],
        ),
        stat(
            "Blocked clients",
            "short",
            "Offenders whose connections are not let in.",
            &[(r#"http_guard_blocked_clients{instance=~"$instance"}"#, "{{instance}}")],
        ),
        stat(
            "Disabled",
            "none",
            "1 while the operator lets everything pass.",
            &[(r#"http_guard_disabled{instance=~"$instance"}"#, "{{instance}}")],
        ),
        lines(
            "Requests",
            "reqps",
            "What is refused does not reach Nginx.",
            &[
                (
                    r#"sum(rate(http_guard_requests_passed_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "passed",
                ),
                (
                    r#"sum(rate(http_guard_requests_refused_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "refused",
                ),
            ],
        ),
        lines(
            "Refusals by rule",
            "reqps",
            "What became of requests that a rule held for.",
            &[(
                r#"sum by (rule, status) (rate(http_guard_rule_requests_total{instance=~"$instance"}[$__rate_interval]))"#,
                "{{rule}}: {{status}}",
            )],
        ),
        lines(
            "Refusals by syntax",
            "reqps",
            "Requests that could be read in two ways.",
            &[(
                r#"sum by (reason) (rate(http_guard_syntax_refusals_total{instance=~"$instance"}[$__rate_interval]))"#,
                "{{reason}}",
            )],
        ),
        lines(
            "Offenders: connections ended or not let in",
            "cps",
            "",
            &[(
                r#"sum by (result) (rate(http_guard_closes_total{instance=~"$instance"}[$__rate_interval]))"#,
                "{{result}}",
            )],
        ),
        lines(
            "Segments by reason",
            "pps",
            "What became of segments in the stack; zero on the user path.",
            &[(
                r#"topk(10, sum by (reason) (rate(xps_segments_total{job="http-guard",instance=~"$instance"}[$__rate_interval])))"#,
                "{{reason}}",
            )],
        ),
        lines(
            "Connections",
            "short",
            "",
            &[(r#"http_guard_connections{instance=~"$instance"}"#, "{{instance}}")],
        ),
    ]
}
