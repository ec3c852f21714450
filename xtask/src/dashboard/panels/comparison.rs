//! Clients of the load profile: the plain against the accelerated port.

use super::{Panel, lines};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    const RATE: &str = "As the clients of the load profile see it, which use one port after the other.";
    vec![
        lines(
            "Redis: requests",
            "reqps",
            RATE,
            [(r#"load_requests_per_second{service="redis"}"#.to_owned(), "{{workload}}, {{port}}")],
        ),
        lines(
            "Redis: latency",
            "s",
            "Percentiles of a turn.",
            [(r#"load_latency_seconds{service="redis"}"#.to_owned(), "{{port}}, {{quantile}}")],
        ),
        lines(
            "Accelerated against plain: rate",
            "none",
            "Above 1 the accelerated port is faster.",
            [(
                r#"load_requests_per_second{port="accelerated"} / ignoring(port) load_requests_per_second{port="plain"}"#.to_owned(),
                "{{service}}, {{workload}}",
            )],
        ),
        lines(
            "Nginx: requests",
            "reqps",
            RATE,
            [(r#"load_requests_per_second{service="nginx"}"#.to_owned(), "{{workload}}, {{port}}")],
        ),
        lines(
            "Nginx: latency, p99",
            "s",
            "Percentile of a turn.",
            [(r#"load_latency_seconds{service="nginx",quantile="0.99"}"#.to_owned(), "{{workload}}, {{port}}")],
        ),
        lines(
            "Accelerated against plain: latency, p99",
            "none",
            "Below 1 the accelerated port is faster.",
            [(
                r#"load_latency_seconds{port="accelerated",quantile="0.99"} / ignoring(port) load_latency_seconds{port="plain",quantile="0.99"}"#.to_owned(),
                "{{service}}, {{workload}}",
            )],
        ),
    ]
}
