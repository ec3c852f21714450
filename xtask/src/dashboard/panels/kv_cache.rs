//! kv-cache: hits, and why there are none.

use super::{Panel, lines, of, path, rate, rate_by, stat};

/// The panels, from left to right.
pub(super) fn panels() -> Vec<Panel> {
    vec![
        path(
            "kv-cache",
            "kernel: requests are answered in the stack; user: by a relay, and why.",
            "{{path}}: {{reason}}",
        ),
        stat(
            "Coherence",
            "none",
            "What clients get. The cause says what strict coherence misses.",
            [
                (format!("{} == 1", of("kv_cache_coherence")), "{{state}}"),
                (
                    format!("{} or 0 * {}", of("kv_cache_coherence_cause"), of("kv_cache_coherent")),
                    "cause {{cause}}",
                ),
            ],
        ),
        stat(
            "Hit share",
            "percentunit",
            "Of GETs that were looked up.",
            [(
                format!("{0} / ({0} + {1})", rate("kv_cache_hits_total"), rate("kv_cache_misses_total")),
                "hits",
            )],
        ),
        stat(
            "Bypass",
            "none",
            "1 while so few GETs hit that looking them up does not pay.",
            [(of("kv_cache_bypass_active"), "{{instance}}")],
        ),
        lines(
            "Requests by who answers",
            "reqps",
            "What is answered in the stack does not reach Redis.",
            [
                (rate("kv_cache_hits_total"), "in the stack"),
                (format!("{} - {}", rate("kv_cache_requests_total"), rate("kv_cache_hits_total")), "Redis"),
            ],
        ),
        lines(
            "Passes by reason",
            "pps",
            "Why segments with requests went to Redis.",
            [(rate_by("reason", "kv_cache_passes_total"), "{{reason}}")],
        ),
        lines(
            "Fills by result",
            "ops",
            "Values that Redis was asked for, and invalidations by other means than writes.",
            [
                (rate_by("result", "kv_cache_fills_total"), "{{result}}"),
                (rate_by("source", "kv_cache_invalidations_total"), "invalidated: {{source}}"),
                (rate("kv_cache_evictions_total"), "evicted"),
            ],
        ),
        lines("Entries", "short", "", [(of("kv_cache_entries"), "{{instance}}")]),
        lines(
            "Memory of entries",
            "bytes",
            "",
            [
                (of("kv_cache_entry_bytes"), "used, {{instance}}"),
                (of("kv_cache_entry_limit_bytes"), "limit, {{instance}}"),
            ],
        ),
        lines(
            "Connections",
            "short",
            "In the stack, on the user path, and such as are not understood (with one of those nobody gets hits).",
            [
                (r#"xps_flows{job="kv-cache",instance=~"$instance"}"#.to_owned(), "in the stack"),
                (r#"xps_relay_connections{job="kv-cache",instance=~"$instance"}"#.to_owned(), "user path"),
                (of("kv_cache_opaque_flows"), "not understood"),
            ],
        ),
    ]
}
