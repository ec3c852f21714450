//! `docs/metrics/http-guard.md`: the metrics of the real binary, on the user path, where it tells all it ever does.

#[path = "../../xps-runtime/tests/support/docs.rs"]
mod docs;
#[path = "../../xps-runtime/tests/support/metrics.rs"]
mod metrics;

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use http_guard::telling::OWNER;
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
    let file = folder.path().join("guard.toml");
    // A rule, so that there is one to be told of.
    std::fs::write(&file, "[[rule]]\nname = \"x\"\naction = \"count\"\n").expect("a file");
    let admin = Address::Unix(folder.path().join("admin.sock"));
    let child = Command::new(env!("CARGO_BIN_EXE_http-guard"))
        .args(["run", "--config", &file.display().to_string(), "--set", "path.mode=user"])
        // Clients are not what this is about: any port that is free will do.
        .args([
            "--set",
            &format!("listen.accelerated_port={}", free_port()),
            "--set",
            "listen.addresses=127.0.0.1",
        ])
        .args(["--set", &format!("listen.admin={admin}")])
        .spawn();
    let _sidecar = Sidecar(child.expect("http-guard starts"));
    let start = Instant::now();
    let text = loop {
        match OWNER.get(&admin, "/metrics") {
            Ok(text) => break text,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(30), "no start: {error}"),
        }
        sleep(Duration::from_millis(20));
    };
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

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
