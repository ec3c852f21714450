//! kv-cache: hits, and why there are none.

use super::{Panel, lines, stat};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    vec![
        stat(
            "Path and reason",
            "none",
            "kernel: requests are answered in the stack; user: by a relay, and why.",
            &[(r#"xps_path{job="kv-cache",instance=~"$instance"} == 1"#, "{{path}}: {{reason}}")],
        ),
        stat(
            "Coherence",
            "none",
            "What clients get. The cause says what strict coherence misses.",
            &[
                (r#"kv_cache_coherence{instance=~"$instance"} == 1"#, "{{state}}"),
                (
                    r#"kv_cache_coherence_cause{instance=~"$instance"} or 0 * kv_cache_coherent{instance=~"$instance"}"#,
                    "cause {{cause}}",
                ),
            ],
        ),
        stat(
            "Hit share",
            "percentunit",
            "Of GETs that were looked up.",
            &[(
                r#"sum(rate(kv_cache_hits_total{instance=~"$instance"}[$__rate_interval])) / (sum(rate(kv_cache_hits_total{instance=~"$instance"}[$__rate_interval])) + sum(rate(kv_cache_misses_total{instance=~"$instance"}[$__rate_interval])))"#,
                "hits",
            )],
        ),
        stat(
            "Bypass",
            "none",
            "1 while so few GETs hit that looking them up does not pay.",
            &[(r#"kv_cache_bypass_active{instance=~"$instance"}"#, "{{instance}}")],
        ),
        lines(
            "Requests by who answers",
            "reqps",
            "What is answered in the stack does not reach Redis.",
            &[
                (
                    r#"sum(rate(kv_cache_hits_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "in the stack",
                ),
                (
                    r#"sum(rate(kv_cache_requests_total{instance=~"$instance"}[$__rate_interval])) - sum(rate(kv_cache_hits_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "Redis",
                ),
            ],
        ),
        lines(
            "Passes by reason",
            "pps",
            "Why segments with requests went to Redis.",
            &[(
                r#"sum by (reason) (rate(kv_cache_passes_total{instance=~"$instance"}[$__rate_interval]))"#,
                "{{reason}}",
            )],
        ),
        lines(
            "Fills by result",
            "ops",
            "Values that Redis was asked for, and invalidations by other means than writes.",
            &[
                (
                    r#"sum by (result) (rate(kv_cache_fills_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "{{result}}",
                ),
                (
                    r#"sum by (source) (rate(kv_cache_invalidations_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "invalidated: {{source}}",
                ),
                (
                    r#"sum(rate(kv_cache_evictions_total{instance=~"$instance"}[$__rate_interval]))"#,
                    "evicted",
                ),
            ],
        ),
        lines("Entries", "short", "", &[(r#"kv_cache_entries{instance=~"$instance"}"#, "{{instance}}")]),
        lines(
            "Memory of entries",
            "bytes",
            "",
            &[
                (r#"kv_cache_entry_bytes{instance=~"$instance"}"#, "used, {{instance}}"),
                (r#"kv_cache_entry_limit_bytes{instance=~"$instance"}"#, "limit, {{instance}}"),
            ],
        ),
        lines(
            "Connections",
            "short",
            "In the stack, on the user path, and such as are not understood (with one of those nobody gets hits).",
            &[
                (r#"xps_flows{job="kv-cache",instance=~"$instance"}"#, "in the stack"),
                (r#"xps_relay_connections{job="kv-cache",instance=~"$instance"}"#, "user path"),
                (r#"kv_cache_opaque_flows{instance=~"$instance"}"#, "not understood"),
            ],
        ),
    ]
}
