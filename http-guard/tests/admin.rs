//! The real binary on the user path, on loopback, without privilege: what it says, who may act, and what a reload changes.

#[path = "../../kv-cache/tests/support/exposition.rs"]
mod exposition;
#[path = "../../xps-runtime/tests/support/route.rs"]
mod page;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use http_guard::telling::OWNER;
use http_guard::telling::status::Status;
use xps_runtime::admin::address::Address;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

const PRIVATE: &str = "[[rule]]\nname = \"private\"\npath_prefix = \"/private/\"\naction = \"deny\"\n";

/// A sidecar that ends with the test, and where it listens.
struct Sidecar {
    child: Child,
    admin: Address,
    accelerated: u16,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// A server that answers each connection's first request with "ok". It ends with the test's process.
fn server() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            // A client that is gone needs no answer.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    port
}

fn command(server: u16, accelerated: u16, admin: &Address, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_http-guard"));
    command
        .args(["run", "--set", &format!("nginx.address=127.0.0.1:{server}")])
        .args(["--set", &format!("listen.accelerated_port={accelerated}")])
        .args(["--set", "listen.addresses=127.0.0.1", "--set", &format!("listen.admin={admin}")])
        .args(["--set", "lease.drain_timeout=1s"])
        .args(arguments);
    command
}

fn start(admin: Address, arguments: &[&str]) -> Sidecar {
    let accelerated = free_port();
    let child = command(server(), accelerated, &admin, arguments).spawn().expect("http-guard starts");
    let asked = match &admin {
        // Any address of this machine leads to one that listens on all.
        Address::Tcp(tcp) => Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, tcp.port()))),
        Address::Unix(_) => admin,
    };
    let sidecar = Sidecar { child, admin: asked, accelerated };
    until("a start", || status(&sidecar.admin));
    sidecar
}

fn loopback() -> Address {
    Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())))
}

fn status(address: &Address) -> Option<Status> {
    OWNER.get_as(address, "/status", |text| serde_json::from_str(text)).ok()
}

fn http_guard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_http-guard")).args(arguments).output().expect("http-guard runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// The answer to a request as it stands there.
fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The status line of the answer to a GET.
fn get(sidecar: &Sidecar, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = raw(sidecar.accelerated, &request);
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn requests_are_judged_and_a_hangup_reads_the_rules_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guard.toml");
    std::fs::write(&file, PRIVATE).expect("a file");
    let name = file.display().to_string();
    let sidecar = start(loopback(), &["--config", &name, "--set", "path.mode=user"]);
    assert_eq!(get(&sidecar, "/"), "HTTP/1.1 200 OK");
    assert_eq!(get(&sidecar, "/private/x"), "HTTP/1.1 403 Forbidden");
    let now = status(&sidecar.admin).expect("a status");
    assert_eq!((now.path.as_str(), now.path_causes.len()), ("user", 1));
    assert_eq!((now.requests_total, now.passed_total, now.refused_total, now.replies_total), (2, 1, 1, 1));
    assert_eq!((now.rules[0].name.as_str(), now.rules[0].rejected), ("private", 1));
    std::fs::write(&file, PRIVATE.replace("\"deny\"", "\"deny\"\nstatus = 404")).expect("a file");
    let id = sidecar.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().expect("kill").success());
    until("a reload", || (get(&sidecar, "/private/x") == "HTTP/1.1 404 Not Found").then_some(()));
    std::fs::write(&file, "[[rule]]\nname = \"x\"\n").expect("a file");
    let refused = http_guard(&["reload", "--admin", &sidecar.admin.to_string()]);
    assert!(
        !refused.status.success() && said(&refused).contains("rule \"x\" has no action"),
        "{}",
        said(&refused)
    );
    assert_eq!(get(&sidecar, "/private/x"), "HTTP/1.1 404 Not Found");
    let top = http_guard(&["top", "--json", "--admin", &sidecar.admin.to_string()]);
    assert!(top.status.success() && said(&top).contains("\"127.0.0.1\""), "{}", said(&top));
}

#[test]
fn health_is_an_exit_code() {
    let nobody = http_guard(&["health", "--admin", "127.0.0.1:1"]);
    assert!(!nobody.status.success() && said(&nobody).contains("no http-guard answers"), "{}", said(&nobody));
    let sidecar = start(loopback(), &["--set", "path.mode=user"]);
    let address = sidecar.admin.to_string();
    let ready = until("readiness", || {
        let output = http_guard(&["health", "--admin", &address]);
        output.status.success().then_some(output)
    });
    assert_eq!(said(&ready), "ready\n");
}

#[test]
fn the_operator_can_let_everything_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guard.toml");
    std::fs::write(&file, PRIVATE).expect("a file");
    let sidecar = start(loopback(), &["--config", &file.display().to_string(), "--set", "path.mode=user"]);
    let admin = sidecar.admin.to_string();
    for (action, disabled, answer) in
        [("disable", true, "HTTP/1.1 200 OK"), ("enable", false, "HTTP/1.1 403 Forbidden")]
    {
        let output = http_guard(&[action, "--admin", &admin]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(get(&sidecar, "/private/x"), answer);
        assert_eq!(status(&sidecar.admin).expect("a status").disabled, disabled);
    }
}

#[test]
fn what_only_the_user_path_does_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guard.toml");
    let rule =
        "[[rule]]\nname = \"slowly\"\naction = \"limit\"\nrate = \"100/s\"\nnodelay = false\nburst = 5\n";
    std::fs::write(&file, rule).expect("a file");
    let name = file.display().to_string();
    let sidecar = start(loopback(), &["--config", &name]);
    let now = status(&sidecar.admin).expect("a status");
    assert_eq!(now.path, "user");
    let cause = &now.path_causes[0];
    assert!(cause.starts_with("not_in_stack: ") && cause.contains("rule \"slowly\""), "{cause}");
    assert_eq!(get(&sidecar, "/"), "HTTP/1.1 200 OK");
    let demanded = ["--config", &name, "--set", "path.mode=kernel"];
    let output = command(server(), free_port(), &loopback(), &demanded).output().expect("http-guard runs");
    assert!(!output.status.success() && said(&output).contains("rule \"slowly\""), "{}", said(&output));
}

#[test]
fn a_web_page_cannot_act_and_others_cannot_see_clients() {
    let port = free_port();
    let everywhere = Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let sidecar = start(everywhere, &["--set", "path.mode=user"]);
    for action in ["enable", "disable", "reload", "top"] {
        let output = http_guard(&[action, "--admin", &sidecar.admin.to_string()]);
        assert!(said(&output).contains("set listen.admin to a loopback address"), "{}", said(&output));
    }
    drop(sidecar);
    let sidecar = start(loopback(), &["--set", "path.mode=user"]);
    let port = sidecar.admin.tcp().expect("an address").port();
    for (host, header) in [("localhost", ""), ("evil.example", "X-Http-Guard: 1\r\n")] {
        let request = format!(
            "POST /reload HTTP/1.1\r\nHost: {host}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(port, &request);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
}

#[test]
fn the_metrics_are_as_prometheus_wants_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guard.toml");
    std::fs::write(&file, PRIVATE).expect("a file");
    let sidecar = start(loopback(), &["--config", &file.display().to_string(), "--set", "path.mode=user"]);
    get(&sidecar, "/private/x");
    get(&sidecar, "/");
    let body = OWNER.get(&sidecar.admin, "/metrics").expect("metrics");
    let samples = exposition::parse(&body);
    for (name, value) in [
        ("xps_path{path=\"user\",reason=\"configured\"}", 1.0),
        ("http_guard_requests_total", 2.0),
        ("http_guard_requests_refused_total", 1.0),
        ("http_guard_requests_passed_total", 1.0),
        ("http_guard_replies_total", 1.0),
        ("http_guard_rule_requests_total{rule=\"private\",status=\"rejected\"}", 1.0),
        ("http_guard_syntax_refusals_total{reason=\"no_host\"}", 0.0),
        ("http_guard_blocked_clients", 0.0),
        ("http_guard_config_last_reload_successful", 1.0),
        ("xps_relay_connections_total", 2.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name} in\n{body}");
    }
    assert_eq!(OWNER.get(&sidecar.admin, "/readyz").expect("ready"), "ready\n");
}

#[test]
fn a_unix_socket_goes_with_the_sidecar() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let mut sidecar = start(Address::Unix(path.clone()), &["--set", "path.mode=user"]);
    let output = http_guard(&["status", "--admin", &sidecar.admin.to_string()]);
    assert!(output.status.success() && said(&output).contains("path          user"), "{}", said(&output));
    let id = sidecar.child.id().to_string();
    assert!(Command::new("kill").arg(&id).status().expect("kill").success());
    let ended = until("an orderly stop", || sidecar.child.try_wait().expect("its state"));
    assert!(ended.success() && !Path::exists(&path), "{ended}");
}

#[test]
fn a_browser_gets_a_page_that_shows_what_the_status_says() {
    let port = free_port();
    // Where others can reach it, too: it says no more than the status.
    let everywhere = Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    let _sidecar = start(everywhere, &["--set", "path.mode=user"]);
    page::check("http-guard", &raw(port, page::REQUEST));
}
