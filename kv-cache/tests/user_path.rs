//! The user path as users get it without privileges: a real Redis, the real binary, loopback only.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kv_cache::telling::admin;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(start.elapsed() < PATIENCE, "{what} took too long");
        sleep(Duration::from_millis(50));
    }
}

fn redis(folder: &Path, address: SocketAddr) -> Option<Process> {
    let child = Command::new("redis-server")
        .args([
            "--port",
            &address.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some(Process(child)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: redis-server is not installed; `cargo xtask setup` installs it");
            None
        }
        Err(error) => panic!("redis-server: {error}"),
    }
}

fn sidecar(redis: SocketAddr, accelerated: SocketAddr, admin: SocketAddr) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_kv-cache"))
        .arg("run")
        .args(["--set", &format!("redis.address={redis}")])
        .args(["--set", &format!("listen.accelerated_port={}", accelerated.port())])
        .args(["--set", "listen.addresses=127.0.0.1", "--set", &format!("listen.admin={admin}")])
        .args(["--set", "path.mode=user", "--set", "lease.drain_timeout=1s"])
        .spawn();
    Process(child.expect("kv-cache starts"))
}

/// What comes back for `bytes`, if that is as long as `expected`.
fn exchange(address: SocketAddr, bytes: &[u8], expected_len: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("sent");
    let mut answer = vec![0; expected_len];
    stream.read_exact(&mut answer).expect("an answer");
    answer
}

fn http(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn commands_pass_byte_for_byte_and_the_status_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, accelerated, admin_address) = (free_address(), free_address(), free_address());
    let Some(_redis) = redis(folder.path(), plain) else { return };
    let mut sidecar = sidecar(plain, accelerated, admin_address);
    until("getting ready", || http(admin_address, "/readyz").filter(|answer| answer.contains(" 200 ")));

    let value = "x".repeat(100_000);
    let script = format!(
        "PING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n\
         MULTI\r\nINCR n\r\nEXEC\r\n*2\r\n$3\r\nGET\r\n$4\r\nnone\r\nNOSUCH\r\n",
        value.len()
    );
    let expected = format!(
        "+PONG\r\n+OK\r\n${}\r\n{value}\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n$-1\r\n-ERR unknown command",
        value.len()
    );
    let answer = exchange(accelerated, script.as_bytes(), expected.len());
    assert!(answer == expected.as_bytes(), "the answers differ from Redis's");

    let status = admin::ask(admin_address).expect("a status");
    assert_eq!(status.path, "user");
    assert!(status.path_causes[0].starts_with("configured"), "{:?}", status.path_causes);
    assert_eq!(status.coherence.state, "off");
    assert_eq!(status.hits_total, 0);
    assert!(status.flows.relayed_total >= 1);
    let metrics = http(admin_address, "/metrics").expect("metrics");
    assert!(metrics.contains("xps_path{path=\"user\",reason=\"configured\"} 1"), "{metrics}");
    assert!(http(admin_address, "/healthz").expect("health").contains("ok"));
    let table = Command::new(env!("CARGO_BIN_EXE_kv-cache"))
        .args(["status", "--admin", &admin_address.to_string()])
        .output()
        .expect("kv-cache status");
    assert!(String::from_utf8_lossy(&table.stdout).contains("the configuration asks for the user path"));

    let terminated = Command::new("kill").arg(sidecar.0.id().to_string()).status().expect("kill");
    assert!(terminated.success());
    let ended = until("an orderly stop", || sidecar.0.try_wait().expect("its state"));
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let taken = taken.local_addr().expect("its address");
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, taken.port()));
    let _holder = match holder {
        Ok(listener) => listener,
        // Somebody was faster, which serves as well.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return,
        Err(error) => panic!("{error}"),
    };
    let output = Command::new(env!("CARGO_BIN_EXE_kv-cache"))
        .arg("run")
        .args([
            "--set",
            &format!("listen.accelerated_port={}", taken.port()),
            "--set",
            "listen.addresses=127.0.0.1",
        ])
        .args(["--set", "path.mode=user", "--set", &format!("listen.admin={}", free_address())])
        .output()
        .expect("kv-cache runs");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("in use") && text.contains(&taken.port().to_string()), "{text}");
}

#[test]
fn check_prints_ok_or_all_mistakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kv-cache.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let program =
            Command::new(env!("CARGO_BIN_EXE_kv-cache")).args(["check", "--config"]).arg(&file).output();
        let output = program.expect("kv-cache check");
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    assert_eq!(check("[redis]\naddress = \"127.0.0.1:7000\"\n"), (true, "OK\n".to_owned()));
    let (success, text) = check("[redis]\nadress = \"x\"\n[cache]\nmiss_sample = 3\n");
    assert!(!success);
    assert!(text.contains("did you mean \"address\"") && text.contains("power of two"), "{text}");
}
