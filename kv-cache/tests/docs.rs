//! `docs/metrics/kv-cache.md`: the metrics of the real binary, on the user path, where it tells all it ever does.

#[path = "../../xps-runtime/tests/support/docs.rs"]
mod docs;
#[path = "../../xps-runtime/tests/support/metrics.rs"]
mod metrics;
#[path = "../../xps-runtime/tests/support/sidecar.rs"]
mod sidecar;

use kv_cache::telling::client;
use sidecar::{Sidecar, free_port};
use xps_runtime::admin::address::Address;

#[test]
fn the_page_says_what_the_sidecar_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let admin = Address::Unix(folder.path().join("admin.sock"));
    // Nothing listens on port 1, so that there is a cause of coherence to be told.
    let more = ["--set", "redis.address=127.0.0.1:1"];
    let _sidecar = Sidecar::start(env!("CARGO_BIN_EXE_kv-cache"), free_port(), &admin, &more);
    let text = client::ask(&admin, "GET", "/metrics").expect("metrics").body;
    let families = metrics::families(&text);
    let closed = [
        ("kv_cache_passes_total", "reason"),
        ("kv_cache_fills_total", "result"),
        ("kv_cache_invalidations_total", "source"),
        ("kv_cache_config_reloads_total", "result"),
        ("kv_cache_user_path_seconds", "result"),
    ];
    docs::check(
        "metrics/kv-cache.md",
        &metrics::page("Metrics of kv-cache", &families, "kv_cache_", &closed),
    );
    let strangers: Vec<_> =
        families.keys().filter(|name| !name.starts_with("kv_cache_") && !name.starts_with("xps_")).collect();
    assert!(strangers.is_empty(), "on no page: {strangers:?}");
}

#[test]
fn every_cause_of_coherence_is_told_what_to_do_about() {
    let page = docs::read("troubleshooting.md");
    let causes = docs::labels(include_str!("../src/coherence.rs"));
    assert!(causes.len() > 10, "{causes:?}");
    let missing: Vec<_> = causes.into_iter().filter(|label| !page.contains(&format!("`{label}`"))).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md does not tell of {missing:?}");
}
