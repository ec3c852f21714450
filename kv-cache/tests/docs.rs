//! `docs/metrics/kv-cache.md`: the metrics of the real binary, on the user path, where it tells all it ever does.

#[path = "../../xps-runtime/tests/support/docs.rs"]
mod docs;
#[path = "../../xps-runtime/tests/support/metrics.rs"]
mod metrics;

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kv_cache::telling::client;
use xps_runtime::admin::address::Address;

/// A sidecar that ends with the test.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_page_says_what_the_sidecar_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let admin = Address::Unix(folder.path().join("admin.sock"));
    let child = Command::new(env!("CARGO_BIN_EXE_kv-cache"))
        // Nothing listens on port 1, so that there is a cause of coherence to be told.
        .args(["run", "--set", "redis.address=127.0.0.1:1", "--set", "path.mode=user"])
        // Clients are not what this is about: any port that is free will do.
        .args([
            "--set",
            &format!("listen.accelerated_port={}", free_port()),
            "--set",
            "listen.addresses=127.0.0.1",
        ])
        .args(["--set", &format!("listen.admin={admin}")])
        .spawn();
    let _sidecar = Sidecar(child.expect("kv-cache starts"));
    let start = Instant::now();
    let text = loop {
        match client::ask(&admin, "GET", "/metrics") {
            Ok(answer) => break answer.body,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "no start: {error}"),
        }
        sleep(Duration::from_millis(20));
    };
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

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn every_cause_of_coherence_is_told_what_to_do_about() {
    let page = docs::read("troubleshooting.md");
    let causes = docs::labels(include_str!("../src/coherence.rs"));
    assert!(causes.len() > 10, "{causes:?}");
    let missing: Vec<_> = causes.into_iter().filter(|label| !page.contains(&format!("`{label}`"))).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md does not tell of {missing:?}");
}
