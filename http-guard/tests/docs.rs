//! `docs/metrics/http-guard.md`: the metrics of the real binary, on the user path, where it tells all it ever does.

#[path = "../../xps-runtime/tests/support/docs.rs"]
mod docs;
#[path = "../../xps-runtime/tests/support/metrics.rs"]
mod metrics;
#[path = "../../xps-runtime/tests/support/sidecar.rs"]
mod sidecar;

use http_guard::telling::OWNER;
use sidecar::{Sidecar, free_port};
use xps_runtime::admin::address::Address;

#[test]
fn the_page_says_what_the_sidecar_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guard.toml");
    // A rule, so that there is one to be told of.
    std::fs::write(&file, "[[rule]]\nname = \"x\"\naction = \"count\"\n").expect("a file");
    let admin = Address::Unix(folder.path().join("admin.sock"));
    let more = ["--config", &file.display().to_string()];
    let _sidecar = Sidecar::start(env!("CARGO_BIN_EXE_http-guard"), free_port(), &admin, &more);
    let text = OWNER.get(&admin, "/metrics").expect("metrics");
    let families = metrics::families(&text);
    let closed = [
        ("http_guard_rule_requests_total", "status"),
        ("http_guard_syntax_refusals_total", "reason"),
        ("http_guard_config_reloads_total", "result"),
    ];
    docs::check(
        "metrics/http-guard.md",
        &metrics::page("Metrics of http-guard", &families, "http_guard_", &closed),
    );
    let strangers: Vec<_> = families
        .keys()
        .filter(|name| !name.starts_with("http_guard_") && !name.starts_with("xps_"))
        .collect();
    assert!(strangers.is_empty(), "on no page: {strangers:?}");
}
