//! A Redis and a sidecar, on loopback, without privilege.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kv_cache::telling::admin;
use kv_cache::telling::status::Status;

use crate::authority::Issued;
use crate::client::Client;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(start.elapsed() < PATIENCE, "{what} took too long");
        sleep(Duration::from_millis(20));
    }
}

/// A Redis.
pub(crate) struct Redis {
    _process: Process,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
}

impl Redis {
    /// Starts one that also speaks TLS if there is a certificate for it; `None` if it is not installed, which is said.
    pub(crate) fn start(folder: &Path, tls: Option<(&Issued, &Path)>, more: &[&str]) -> Option<Self> {
        let (plain, secure) = (free_address(), free_address());
        let mut command = redis(folder, plain);
        if let Some((Issued { certificate, key }, authority)) = tls {
            command.arg("--tls-port").arg(secure.port().to_string());
            command.arg("--tls-cert-file").arg(certificate).arg("--tls-key-file").arg(key);
            command.arg("--tls-ca-cert-file").arg(authority);
        }
        command.args(more);
        Self::run(command, plain, secure)
    }

    /// Starts one without TLS at an address of choice.
    pub(crate) fn start_at(folder: &Path, address: SocketAddr) -> Option<Self> {
        Self::run(redis(folder, address), address, address)
    }

    fn run(mut command: Command, plain: SocketAddr, secure: SocketAddr) -> Option<Self> {
        let process = match command.stdout(Stdio::null()).spawn() {
            Ok(child) => Process(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("SKIPPED: redis-server is not installed; `cargo xtask setup` installs it");
                return None;
            }
            Err(error) => panic!("redis-server: {error}"),
        };
        until("Redis's start", || TcpStream::connect(plain).ok());
        Some(Self { _process: process, plain, tls: secure })
    }
}

fn redis(folder: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--save", "", "--appendonly", "no", "--bind"]).arg(address.ip().to_string());
    command.arg("--port").arg(address.port().to_string()).arg("--dir").arg(folder);
    command
}

/// Name of the configuration file, if there is to be one.
pub(crate) const CONFIGURATION: &str = "kv-cache.toml";

/// A sidecar.
pub(crate) struct Sidecar {
    _process: Process,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: PathBuf,
}

impl Sidecar {
    /// Starts one on the user path, with settings.
    pub(crate) fn start(folder: &Path, settings: &[(&str, String)]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_kv-cache")), folder, settings)
    }

    /// The same by a command that ends in that of the sidecar.
    pub(crate) fn start_by(mut command: Command, folder: &Path, settings: &[(&str, String)]) -> Self {
        let (plain, tls, admin) = (free_address(), free_address(), free_address());
        let log = folder.join(format!("kv-cache-{}.log", plain.port()));
        command.arg("run").env_remove("KV_CACHE_REDIS_PASSWORD");
        let file = folder.join(CONFIGURATION);
        if file.exists() {
            command.arg("--config").arg(&file);
        }
        let mut set = |key: &str, value: &str| {
            command.arg("--set").arg(format!("{key}={value}"));
        };
        set("listen.accelerated_port", &plain.port().to_string());
        set("listen.addresses", "127.0.0.1");
        set("listen.admin", &admin.to_string());
        set("lease.drain_timeout", "1s");
        set("cache.miss_sample", "1");
        set("log.level", "kv_cache=debug,xps_runtime=debug");
        if file.exists() || settings.iter().any(|(key, _)| *key == "tls.certificate_file") {
            set("tls.port", &tls.port().to_string());
        }
        if !settings.iter().any(|(key, _)| *key == "path.mode") {
            set("path.mode", "user");
        }
        for (key, value) in settings {
            set(key, value);
        }
        let output = std::fs::File::create(&log).expect("a log");
        let process = Process(command.stderr(output).spawn().expect("kv-cache starts"));
        let sidecar = Self { _process: process, plain, tls, admin, log };
        until("the sidecar's start", || admin::ask(admin).ok());
        sidecar
    }

    pub(crate) fn status(&self) -> Status {
        admin::ask(self.admin).expect("a status")
    }

    /// Waits for the state of coherence.
    pub(crate) fn becomes(&self, state: &str) {
        let start = Instant::now();
        while self.status().coherence.state != state {
            assert!(start.elapsed() < PATIENCE, "not {state}: {:?}\n{}", self.status().coherence, self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a cause of the state of coherence.
    pub(crate) fn says(&self, label: &str) -> String {
        until(label, || self.status().coherence.causes.into_iter().find(|cause| cause.starts_with(label)))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    pub(crate) fn metrics(&self) -> String {
        let mut client = Client::plain(self.admin);
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        String::from_utf8_lossy(&client.rest().expect("metrics")).into_owned()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Has it read its configuration again. Whether it took it, and what was said.
    pub(crate) fn reload(&self) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kv-cache"));
        let output =
            command.args(["reload", "--admin", &self.admin.to_string()]).output().expect("kv-cache reload");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Asks until hits are given.
    pub(crate) fn warm(&self, client: &mut Client, key: &str, value: &str) {
        let before = self.status().hits_total;
        until("a hit", || {
            assert_eq!(client.command(&format!("GET {key}")).expect("a reply"), value);
            (self.status().hits_total > before).then_some(())
        });
    }
}

/// A setting that is a path.
pub(crate) fn file<'a>(key: &'a str, path: &Path) -> (&'a str, String) {
    (key, path.display().to_string())
}

/// A setting that is text.
pub(crate) fn text(key: &str, value: impl ToString) -> (&str, String) {
    (key, value.to_string())
}
