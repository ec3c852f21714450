//! The test network: a server's and a client's network namespace with a veth pair between, Redis and the sidecar in
//! the server's. Traffic goes nowhere else. Without root: all on loopback, on free ports.
//!
//! Everything that is made is removed when its value is dropped, also on a panic or Ctrl-C; what a killed run left
//! behind is removed by the next.

mod namespace;
mod process;
mod sidecar;

pub(crate) use namespace::Place;
pub(crate) use process::{pidfd, signal};
pub(crate) use sidecar::{Mode, Sidecar};

use crate::{cleanup, workspace};
use anyhow::{Context, Result};
use namespace::Namespace;
use process::Process;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const START_LIMIT: Duration = Duration::from_secs(20);

/// Where the servers listen.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    /// Redis itself.
    pub(crate) plain: u16,
    /// Through XPS.
    pub(crate) accelerated: u16,
    /// The sidecar's status, on loopback of the server's place.
    pub(crate) admin: u16,
    /// HAProxy or the reflector, when it runs.
    pub(crate) relay: u16,
}

/// The network and Redis. Fields are dropped in order: servers, then namespaces, then the folder.
pub(crate) struct Lab {
    _redis: Process,
    network: Option<Network>,
    folder: Folder,
    ports: Ports,
}

struct Network {
    server: Namespace,
    client: Namespace,
}

impl Lab {
    /// Makes the network (root) or takes loopback (anybody else) and starts Redis.
    pub(crate) fn create() -> Result<Self> {
        Self::create_with(&[])
    }

    /// The same with arguments for Redis.
    pub(crate) fn create_with(redis_arguments: &[&str]) -> Result<Self> {
        let (network, ports) = if workspace::is_root() {
            namespace::remove_leftovers();
            let ports = Ports { plain: 6379, accelerated: 6380, admin: 9180, relay: 6390 };
            (Some(Network::create().context("cannot make the test network")?), ports)
        } else {
            println!("not root: no network namespaces and no kernel path; everything runs on loopback");
            let [plain, accelerated, admin, relay] = free_ports()?;
            (None, Ports { plain, accelerated, admin, relay })
        };
        let folder = Folder::create()?;
        let place = network.as_ref().map_or_else(Place::here, |network| network.server.place().clone());
        let open = network.is_some();
        let redis = start_redis(&place, &folder.path, "redis", ports.plain, open, redis_arguments)?;
        Ok(Self { _redis: redis, network, folder, ports })
    }

    /// Where servers run.
    pub(crate) fn server(&self) -> Place {
        self.network.as_ref().map_or_else(Place::here, |network| network.server.place().clone())
    }

    /// Where clients run.
    pub(crate) fn client(&self) -> Place {
        self.network.as_ref().map_or_else(Place::here, |network| network.client.place().clone())
    }

    /// True if client and server have namespaces of their own, which the kernel path needs here.
    pub(crate) fn has_namespaces(&self) -> bool {
        self.network.is_some()
    }

    /// Where a client finds a port of the server.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        let address = if self.has_namespaces() { SERVER_ADDRESS } else { Ipv4Addr::LOCALHOST };
        SocketAddr::new(IpAddr::V4(address), port)
    }

    /// Where the servers listen.
    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    /// A folder for configuration and logs, removed with the lab.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// A BPF file system of the lab's own: what is pinned there goes when the lab goes.
    pub(crate) fn bpf_folder(&self) -> PathBuf {
        self.folder.path.join("bpf")
    }

    /// Starts the reflector on the relay port, with a Redis there for the handshakes. Both end when it is dropped.
    pub(crate) fn start_reflector(&self, program: &Path, value_bytes: usize) -> Result<Reflector> {
        let place = self.server();
        let open = self.has_namespaces();
        let redis = start_redis(&place, self.folder(), "redis-relay", self.ports.relay, open, &[])?;
        let arguments = [self.ports.relay.to_string(), value_bytes.to_string()];
        let mut agent = Process::start(&place, self.folder(), "reflector", program, &arguments)?;
        let server = self.address(self.ports.relay);
        // Redis itself has no such key.
        let answered = || {
            let mut stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"*2\r\n$3\r\nGET\r\n$7\r\nmissing\r\n")?;
            let mut reply = vec![0; format!("${value_bytes}\r\n\r\n").len() + value_bytes];
            stream.read_exact(&mut reply)?;
            anyhow::ensure!(reply.starts_with(format!("${value_bytes}\r\n").as_bytes()), "not reflected");
            Ok(())
        };
        agent.wait_until(START_LIMIT, || self.client().run(answered).is_ok())?;
        Ok(Reflector { _agent: agent, _redis: redis })
    }

    /// Starts HAProxy as a TCP relay from the relay port to Redis, in Redis's place. It ends when dropped.
    pub(crate) fn start_haproxy(&self) -> Result<Haproxy> {
        let program = workspace::find("haproxy").context("haproxy is missing; run `cargo xtask setup`")?;
        let path = self.folder().join("haproxy.cfg");
        let configuration = format!(
            "global\n  maxconn 4096\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
             listen redis\n  bind :{}\n  server redis 127.0.0.1:{}\n",
            self.ports.relay, self.ports.plain
        );
        fs::write(&path, configuration)?;
        let place = self.server();
        let arguments = ["-db".as_ref(), "-f".as_ref(), path.as_os_str()];
        let mut process = Process::start(&place, self.folder(), "haproxy", program, &arguments)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.relay));
        process.wait_until(START_LIMIT, || place.run(|| Ok(TcpStream::connect(address)?)).is_ok())?;
        Ok(Haproxy(process))
    }
}

/// A running reflector, and the Redis that its connections are made to.
pub(crate) struct Reflector {
    _agent: Process,
    _redis: Process,
}

/// A running HAProxy.
pub(crate) struct Haproxy(#[expect(dead_code, reason = "held so that it is killed when dropped")] Process);

impl Network {
    fn create() -> Result<Self> {
        let server = Namespace::create("server")?;
        let client = Namespace::create("client")?;
        server.ip(&[
            "link",
            "add",
            "veth0",
            "type",
            "veth",
            "peer",
            "name",
            "veth0",
            "netns",
            client.name(),
        ])?;
        for (namespace, v4, v6) in
            [(&server, SERVER_ADDRESS, "fd00:77::1/64"), (&client, CLIENT_ADDRESS, "fd00:77::2/64")]
        {
            namespace.ip(&["address", "add", &format!("{v4}/30"), "dev", "veth0"])?;
            // Without "nodad" the address is not usable for the first second.
            namespace.ip(&["address", "add", v6, "dev", "veth0", "nodad"])?;
            namespace.ip(&["link", "set", "veth0", "up"])?;
        }
        Ok(Self { server, client })
    }
}

/// Where configuration, logs and the lab's BPF file system lie.
struct Folder {
    path: PathBuf,
    _removal: cleanup::Guard,
}

impl Folder {
    fn create() -> Result<Self> {
        let parent = workspace::target().join("xps-lab");
        remove_leftovers(&parent);
        let path = parent.join(std::process::id().to_string());
        let removed = path.clone();
        let removal = cleanup::at_end(move || remove_folder(&removed));
        let bpf = path.join("bpf");
        fs::create_dir_all(&bpf).with_context(|| format!("cannot make {}", bpf.display()))?;
        if workspace::is_root()
            && let Err(error) = workspace::output(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&bpf))
        {
            // Not fatal: the sidecar will say why it cannot pin and take the user path.
            println!("no BPF file system can be mounted: {error:#}");
        }
        Ok(Self { path, _removal: removal })
    }
}

/// Unmounts first, and removes nothing through a mount that stays.
fn remove_folder(path: &Path) {
    let bpf = path.join("bpf");
    if workspace::is_root() && is_mounted(&bpf) {
        workspace::unmount(&bpf);
        if is_mounted(&bpf) {
            eprintln!("{} stays mounted; unmount it by hand", bpf.display());
            return;
        }
    }
    let _ = fs::remove_dir_all(path);
}

fn is_mounted(path: &Path) -> bool {
    let path = path.to_string_lossy();
    fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.split(' ').nth(4) == Some(&path)))
}

fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let alive =
            entry.file_name().to_string_lossy().parse::<u32>().map(|pid| fs::exists(format!("/proc/{pid}")));
        if let Ok(Ok(false)) = alive {
            remove_folder(&entry.path());
        }
    }
}

fn start_redis(
    place: &Place,
    folder: &Path,
    name: &str,
    port: u16,
    open: bool,
    more: &[&str],
) -> Result<Process> {
    let program =
        workspace::find("redis-server").context("redis-server is missing; run `cargo xtask setup`")?;
    let port_text = port.to_string();
    let folder_text =
        folder.to_str().context("the checkout's path is not UTF-8, which Redis's options must be")?;
    let mut arguments = vec!["--port", &port_text, "--save", "", "--appendonly", "no", "--daemonize", "no"];
    // Where it saves what a client asks it to save.
    arguments.extend(["--dir", folder_text]);
    // Only inside a namespace of the lab, which nobody else reaches, may anybody connect.
    arguments.extend(if open {
        ["--protected-mode", "no", "--bind", "* -::*"]
    } else {
        ["--protected-mode", "yes", "--bind", "127.0.0.1"]
    });
    arguments.extend(more);
    let mut process = Process::start(place, folder, name, program, &arguments)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    process.wait_until(START_LIMIT, || place.run(|| ping(address)).is_ok())?;
    Ok(process)
}

fn ping(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    anyhow::ensure!(&reply == b"+PONG\r\n", "no PONG from Redis");
    Ok(())
}

fn free_ports() -> Result<[u16; 4]> {
    // All held at once, so that they differ.
    let listeners: Vec<TcpListener> =
        (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
