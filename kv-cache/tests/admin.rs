//! The admin interface of the real binary: where it listens, who may act. On the user path, on loopback, without
//! privilege, without a server.

#[path = "support/exposition.rs"]
mod exposition;
#[path = "../../xps-runtime/tests/support/route.rs"]
mod page;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kv_cache::telling::client;
use xps_runtime::admin::address::Address;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A sidecar that ends with the test.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(start.elapsed() < PATIENCE, "{what} took too long");
        sleep(Duration::from_millis(20));
    }
}

fn start(admin: &Address) -> Sidecar {
    start_with(admin, &[])
}

fn start_with(admin: &Address, arguments: &[&str]) -> Sidecar {
    let child = Command::new(env!("CARGO_BIN_EXE_kv-cache"))
        .arg("run")
        .args(arguments)
        .args(["--set", &format!("redis.address=127.0.0.1:{}", free_port())])
        .args(["--set", &format!("listen.accelerated_port={}", free_port())])
        .args(["--set", "listen.addresses=127.0.0.1", "--set", &format!("listen.admin={admin}")])
        .args(["--set", "path.mode=user", "--set", "lease.drain_timeout=1s"])
        .spawn();
    let sidecar = Sidecar(child.expect("kv-cache starts"));
    let asked = match admin {
        // Any address of this machine leads to one that listens on all.
        Address::Tcp(tcp) => Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, tcp.port()))),
        Address::Unix(_) => admin.clone(),
    };
    until("a start", || client::status(asked.clone()).ok());
    sidecar
}

fn kv_cache(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kv-cache")).args(arguments).output().expect("kv-cache runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// The answer to a request as it stands there.
fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_commands_come_by_a_unix_socket_that_goes_with_the_sidecar() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let address = Address::Unix(path.clone());
    let mut sidecar = start(&address);
    let status = kv_cache(&["status", "--admin", &address.to_string()]);
    assert!(status.status.success() && said(&status).contains("path          user"), "{}", said(&status));
    // Whether there is something to act on is another matter: it was not refused for who asks.
    let flushed = kv_cache(&["flush", "--admin", &address.to_string()]);
    assert!(!said(&flushed).contains("refused"), "{}", said(&flushed));
    let terminated = Command::new("kill").arg(sidecar.0.id().to_string()).status().expect("kill");
    assert!(terminated.success());
    until("an orderly stop", || sidecar.0.try_wait().expect("its state"));
    assert!(!Path::exists(&path), "the socket is still there");
}

#[test]
fn what_others_can_reach_shows_and_does_not_act() {
    let port = free_port();
    let _sidecar = start(&Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))));
    let loopback = format!("127.0.0.1:{port}");
    for action in ["flush", "enable", "disable", "reload"] {
        let output = kv_cache(&[action, "--admin", &loopback]);
        assert!(!output.status.success());
        assert!(said(&output).contains("set listen.admin to a loopback address"), "{}", said(&output));
    }
    assert!(kv_cache(&["status", "--admin", &loopback]).status.success());
}

#[test]
fn health_is_an_exit_code() {
    let nobody = kv_cache(&["health", "--admin", "127.0.0.1:1"]);
    assert!(!nobody.status.success() && said(&nobody).contains("no kv-cache answers"), "{}", said(&nobody));
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    let _sidecar = start(&address);
    // There is no Redis, which is told once it was looked for.
    until("word of Redis", || {
        let waiting = kv_cache(&["health", "--admin", &address.to_string()]);
        assert!(!waiting.status.success(), "{}", said(&waiting));
        said(&waiting).contains("Redis").then_some(())
    });
}

#[test]
fn a_web_page_cannot_act() {
    let port = free_port();
    let _sidecar = start(&Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    let post = |host: &str, header: &str| {
        raw(
            port,
            &format!(
                "POST /flush HTTP/1.1\r\nHost: {host}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        )
    };
    for (host, header) in [("localhost", ""), ("evil.example", "X-Kv-Cache: 1\r\n")] {
        let answer = post(host, header);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    // Asked first, by OPTIONS, it does not say that the header may be sent.
    let preflight = raw(
        port,
        "OPTIONS /flush HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!(!preflight.to_ascii_lowercase().contains("access-control-allow"), "{preflight}");
    assert!(preflight.starts_with("HTTP/1.1 405 "), "{preflight}");
    let answer = post("localhost", "X-Kv-Cache: 1\r\n");
    assert!(!answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // Nor by a GET, as an image would send it.
    let get =
        raw(port, "GET /flush HTTP/1.1\r\nHost: localhost\r\nX-Kv-Cache: 1\r\nConnection: close\r\n\r\n");
    assert!(get.starts_with("HTTP/1.1 405 "), "{get}");
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kv-cache.toml");
    std::fs::write(&file, "").expect("a file");
    let port = free_port();
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let sidecar = start_with(&address, &["--config", &file.display().to_string()]);
    let hangup = || {
        let sent = Command::new("kill").args(["-HUP", &sidecar.0.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    };
    let metric = |line: &str| {
        until(line, || {
            let answer = client::ask(&address, "GET", "/metrics").ok()?;
            answer.body.lines().any(|other| other == line).then_some(())
        });
    };
    metric("kv_cache_config_last_reload_successful 1");
    std::fs::write(&file, "[flows]\nmax = 5\n").expect("a file");
    hangup();
    metric("kv_cache_config_reloads_total{result=\"success\"} 1");
    let status = client::status(address.clone()).expect("a status");
    assert_eq!(status.configuration.waiting_for_restart, ["flows.max"]);
    assert!(status.to_string().contains("only after a restart: flows.max"), "{status}");
    std::fs::write(&file, "[flows]\nmax = 0\n").expect("a file");
    hangup();
    metric("kv_cache_config_reloads_total{result=\"failure\"} 1");
    metric("kv_cache_config_last_reload_successful 0");
    let refused = kv_cache(&["reload", "--admin", &address.to_string()]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("kv-cache.toml:2: flows.max is 0"), "{}", said(&refused));
}

#[test]
fn the_metrics_are_as_prometheus_wants_them() {
    let port = free_port();
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let _sidecar = start(&address);
    let answer = raw(port, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let samples = exposition::parse(body);
    for (name, value) in [
        ("xps_path{path=\"user\",reason=\"configured\"}", 1.0),
        ("kv_cache_coherence{state=\"off\"}", 1.0),
        ("kv_cache_hits_total", 0.0),
        ("kv_cache_misses_total", 0.0),
        ("kv_cache_passes_total{reason=\"miss\"}", 0.0),
        ("kv_cache_fills_total{result=\"admitted\"}", 0.0),
        ("kv_cache_evictions_total", 0.0),
        ("kv_cache_invalidations_total{source=\"tracking\"}", 0.0),
        ("kv_cache_entries", 0.0),
        ("kv_cache_entry_bytes", 0.0),
        ("kv_cache_entry_limit_bytes", f64::from(64 << 20)),
        ("kv_cache_bypass_active", 0.0),
        ("xps_flows", 0.0),
        ("kv_cache_user_path_seconds_bucket{result=\"hit\",le=\"+Inf\"}", 0.0),
        ("kv_cache_user_path_seconds_count{result=\"pass\"}", 0.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{body}");
    }
    assert!(samples.keys().any(|name| name.starts_with("xps_build_info{")), "{body}");
}

#[test]
fn a_browser_gets_a_page_that_shows_what_the_status_says() {
    let port = free_port();
    // Where others can reach it, too: it says no more than the status.
    let _sidecar = start(&Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))));
    page::check("kv-cache", &raw(port, page::REQUEST));
}
