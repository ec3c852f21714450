//! http-guard: what is refused, why and whom.

use super::{Panel, lines, of, path, rate, rate_by, stat};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    vec![
        path("http-guard", "kernel: requests are judged in the stack; user: by a proxy, and why.", "{{path}}: {{reason}}"),
        stat(
            "Refused share",
            "percentunit",
            "Of all requests.",
            [(
                format!("{} / {}", rate("http_guard_requests_refused_total"), rate("http_guard_requests_total")),
                "refused",
            )],
        ),
        stat(
            "Blocked clients",
            "short",
            "Offenders whose connections are not let in.",
            [(of("http_guard_blocked_clients"), "{{instance}}")],
        ),
        stat(
            "Disabled",
            "none",
            "1 while the operator lets everything pass.",
            [(of("http_guard_disabled"), "{{instance}}")],
        ),
        lines(
            "Requests",
            "reqps",
            "What is refused does not reach Nginx.",
            [
                (
                    rate("http_guard_requests_passed_total"),
                    "passed",
                ),
                (
                    rate("http_guard_requests_refused_total"),
                    "refused",
                ),
            ],
        ),
        lines(
            "Refusals by rule",
            "reqps",
            "What became of requests that a rule held for.",
            [(
                rate_by("rule, status", "http_guard_rule_requests_total"),
                "{{rule}}: {{status}}",
            )],
        ),
        lines(
            "Refusals by syntax",
            "reqps",
            "Requests that could be read in two ways.",
            [(
                rate_by("reason", "http_guard_syntax_refusals_total"),
                "{{reason}}",
            )],
        ),
        lines(
            "Offenders: connections ended or not let in",
            "cps",
            "",
            [(
                rate_by("result", "http_guard_closes_total"),
                "{{result}}",
            )],
        ),
        lines(
            "Segments by reason",
            "pps",
            "What became of segments in the stack; zero on the user path.",
            [(
                r#"topk(10, sum by (reason) (rate(xps_segments_total{job="http-guard",instance=~"$instance"}[$__rate_interval])))"#.to_owned(),
                "{{reason}}",
            )],
        ),
        lines(
            "Connections",
            "short",
            "",
            [(of("http_guard_connections"), "{{instance}}")],
        ),
    ]
}
