//! The agent with a plain TCP line server behind it, in network namespaces of the test's own.
//!
//! Needs root: with `XPS_KERNEL_TESTS=1` it runs or fails, without it it says that it is skipped.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PLAIN: u16 = 7000;
const ACCELERATED: u16 = 7001;
const SERVER: [&str; 2] = ["10.79.0.1", "fd00:79::1"];
const CLIENT: [&str; 2] = ["10.79.0.2", "fd00:79::2"];

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn pings_are_answered_in_the_stack_and_the_rest_by_the_server() {
    if std::env::var("XPS_KERNEL_TESTS").as_deref() != Ok("1") {
        println!("SKIPPED: needs root and network namespaces; XPS_KERNEL_TESTS=1 runs it");
        return;
    }
    let (server, client) = (Namespace::create("server"), Namespace::create("client"));
    link(&server, &client);
    let bpf = BpfMount::create();
    let lines = serve(&server);
    let mut agent = Agent::start(&server, &bpf);
    for address in SERVER {
        let to = SocketAddr::new(address.parse::<IpAddr>().unwrap(), ACCELERATED);
        client.run(|| {
            pings_alone(to, &lines);
            mixtures(to, &lines);
            split_segments(to, 1);
            split_segments(to, 2);
        });
    }
    let counters = agent.stop();
    // Alone: all. Mixed: those that were sent alone. In split segments: as the segments fell.
    assert!(counters["requests_answered"] >= 2 * (200 + 100), "{counters:?}");
    assert!(counters["not_served"] >= 2 * 100, "{counters:?}");
    assert_eq!(counters["flow_opened"], 2 * 4, "{counters:?}");
    for wrong in ["bad_checksum", "write_failed", "opaque", "handshake_unseen"] {
        assert!(!counters.contains_key(wrong), "{counters:?}");
    }
    assert!(
        !bpf.0.path().join("line").read_dir().is_ok_and(|mut pins| pins.next().is_some()),
        "pins are left"
    );
    // The server does not miss it.
    client.run(|| {
        assert_eq!(ask(&mut connect(SocketAddr::new(SERVER[0].parse().unwrap(), PLAIN)), "PING\n"), "PONG\n")
    });
}

/// Every PING is answered, and the server sees none.
fn pings_alone(to: SocketAddr, lines: &AtomicU64) {
    let before = lines.load(Ordering::SeqCst);
    let mut stream = connect(to);
    for _ in 0..100 {
        assert_eq!(ask(&mut stream, "PING\n"), "PONG\n");
        assert_eq!(ask(&mut stream, "PING\nPING\n"), "PONG\nPONG\n");
    }
    assert_eq!(lines.load(Ordering::SeqCst), before, "the server was asked");
}

/// PINGs and other lines by turns, each alone and both in one segment.
fn mixtures(to: SocketAddr, lines: &AtomicU64) {
    let before = lines.load(Ordering::SeqCst);
    let mut stream = connect(to);
    for i in 0..100 {
        let line = format!("line {i}{}\n", ".".repeat(i * 29));
        assert_eq!(ask(&mut stream, "PING\n"), "PONG\n");
        assert_eq!(ask(&mut stream, &line), answer(&line));
        let both = format!("PING\n{line}PING\n");
        assert_eq!(ask(&mut stream, &both), answer(&both));
    }
    let seen = lines.load(Ordering::SeqCst) - before;
    assert!((400..500).contains(&seen), "the server got {seen} lines of 500");
}

/// A stream of lines, cut anywhere, written while the answers are read.
fn split_segments(to: SocketAddr, seed: u64) {
    let mut state = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let text: String = (0..600)
        .map(|i| {
            if random(3) == 0 {
                format!("{i}{}\n", "x".repeat(random(900) as usize))
            } else {
                "PING\n".to_owned()
            }
        })
        .collect();
    let mut stream = connect(to);
    let mut writer = stream.try_clone().unwrap();
    let sent = text.clone();
    let writing = std::thread::spawn(move || {
        let mut rest = sent.as_bytes();
        while !rest.is_empty() {
            let len = (1 + random(40) as usize).min(rest.len());
            writer.write_all(&rest[..len]).unwrap();
            rest = &rest[len..];
            if random(4) == 0 {
                std::thread::sleep(Duration::from_micros(300));
            }
        }
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = String::new();
    stream.read_to_string(&mut got).unwrap();
    writing.join().unwrap();
    assert!(
        got == answer(&text),
        "seed {seed}: {} bytes came, not the {} of the server alone",
        got.len(),
        text.len()
    );
}

/// What a server that answers by itself would send.
fn answer(lines: &str) -> String {
    lines
        .lines()
        .map(|line| if line == "PING" { "PONG\n".to_owned() } else { format!("<{line}>\n") })
        .collect()
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends and reads as many bytes as the right answer has.
fn ask(stream: &mut TcpStream, lines: &str) -> String {
    stream.write_all(lines.as_bytes()).unwrap();
    let mut got = vec![0; answer(lines).len()];
    stream.read_exact(&mut got).unwrap();
    String::from_utf8(got).unwrap()
}

/// The plain server; counts the lines that it got.
fn serve(place: &Namespace) -> Arc<AtomicU64> {
    let lines = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lines);
    let listener = place.run(|| TcpListener::bind(("::", PLAIN)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let lines = Arc::clone(&counted);
            std::thread::spawn(move || -> std::io::Result<()> {
                stream.set_nodelay(true)?;
                for line in BufReader::new(stream.try_clone()?).lines() {
                    lines.fetch_add(1, Ordering::SeqCst);
                    (&stream).write_all(answer(&line?).as_bytes())?;
                }
                Ok(())
            });
        }
    });
    lines
}

/// The running agent.
struct Agent {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    fn start(place: &Namespace, bpf: &BpfMount) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xps-line"));
        command
            .args([&ACCELERATED.to_string(), &format!("127.0.0.1:{PLAIN}")])
            .arg(bpf.0.path().join("line"));
        let namespace = place.file.try_clone().unwrap();
        // SAFETY: between fork and exec only prctl and setns are called; no allocation.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                enter(&namespace)
            });
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let path = said.next().expect("the agent ended at once").unwrap();
        assert_eq!(path, "path: kernel", "{:?}", said.collect::<Vec<_>>());
        let output = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&output);
        std::thread::spawn(move || {
            said.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line))
        });
        Self { child, output }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = std::time::Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "{what} took too long: {:?}", self.output.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it in order; its last counters.
    fn stop(&mut self) -> HashMap<String, u64> {
        // SAFETY: a process of ours that was not waited for, so the number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        self.until("an orderly stop", |agent| agent.child.try_wait().unwrap().is_some());
        assert!(self.child.wait().unwrap().success(), "{:?}", self.output.lock().unwrap());
        let output = self.output.lock().unwrap();
        let last = output.iter().rev().find_map(|line| line.strip_prefix("counters: ")).expect("counters");
        let pairs = last.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A BPF file system of the test's own.
struct BpfMount(tempfile::TempDir);

impl BpfMount {
    fn create() -> Self {
        let folder = tempfile::Builder::new().prefix("xps-line-").tempdir().unwrap();
        let path = CString::new(folder.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: strings that end in zero, no data.
        let done =
            unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        assert_eq!(done, 0, "no BPF file system: {}", std::io::Error::last_os_error());
        Self(folder)
    }
}

impl Drop for BpfMount {
    fn drop(&mut self) {
        if let Ok(path) = CString::new(self.0.path().as_os_str().as_bytes()) {
            // SAFETY: a string that ends in zero.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// A network namespace, removed when dropped.
struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    fn create(role: &str) -> Self {
        let name = format!("xps-line-{}-{role}", std::process::id());
        ip(&["netns", "add", &name]);
        let file = File::open(Path::new("/run/netns").join(&name)).unwrap();
        let namespace = Self { name, file };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.name], arguments].concat());
    }

    /// Runs a function on a thread in the namespace.
    fn run<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.file).unwrap();
                function()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn enter(namespace: &File) -> std::io::Result<()> {
    // SAFETY: the descriptor is open; only the calling thread is moved.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

fn link(server: &Namespace, client: &Namespace) {
    server.ip(&["link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", &client.name]);
    for (namespace, [v4, v6]) in [(server, SERVER), (client, CLIENT)] {
        namespace.ip(&["address", "add", &format!("{v4}/30"), "dev", "veth0"]);
        // Without "nodad" the address is not usable for the first second.
        namespace.ip(&["address", "add", &format!("{v6}/64"), "dev", "veth0", "nodad"]);
        namespace.ip(&["link", "set", "veth0", "up"]);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("the program ip (package iproute2)");
    assert!(status.success(), "ip {arguments:?}: {status}");
}
