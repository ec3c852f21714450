//! The test network: a server's and a client's network namespace with a veth pair between, Redis or Nginx and the sidecar
//! in the server's. Traffic goes nowhere else. Without root: all on loopback, on free ports.
//!
//! Everything that is made is removed when its value is dropped, also on a panic or Ctrl-C; what a killed run left
//! behind is removed by the next.
//!
//! # Layout
//! - `namespace`, `process`: what a lab is made of.
//! - [`redis`], [`nginx`]: what it is made for: the server that a service stands before.
//! - `haproxy`, `reflector`: what the service is compared with.
//! - `sidecar`: a service and its status, which it is asked for by `get`; `kv_cache`, `http_guard` and `heartbeat` start one
//!   each.
//! - `star`: another network, of several servers around one client. `events`: what heartbeat says of its members.

mod events;
mod get;
mod haproxy;
pub(crate) mod heartbeat;
mod http_guard;
mod kv_cache;
mod namespace;
pub(crate) mod nginx;
mod process;
pub(crate) mod redis;
mod reflector;
mod sidecar;
mod star;

pub(crate) use events::{Change, Events};
pub(crate) use get::get;
pub(crate) use namespace::Place;
pub(crate) use nginx::Nginx;
pub(crate) use process::{Process, end, pidfd};
pub(crate) use redis::Redis;
pub(crate) use sidecar::{Mode, Sidecar};
pub(crate) use star::{Server, Star};

use crate::{cleanup, workspace};
use anyhow::{Context, Result};
use namespace::Namespace;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The server's second one.
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 4);
/// The first is the one that connections have unless they ask for the other.
const CLIENT_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(10, 77, 0, 3)];
const START_LIMIT: Duration = Duration::from_secs(20);

/// Where the servers listen.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    /// The server itself.
    pub(crate) plain: u16,
    /// Through XPS.
    pub(crate) accelerated: u16,
    /// The sidecar's status, on loopback of the server's place.
    pub(crate) admin: u16,
    /// HAProxy or the reflector, when it runs.
    pub(crate) relay: u16,
}

/// The network and a server. Fields are dropped in order: the server, then namespaces, then the folder.
pub(crate) struct Lab<S> {
    server: S,
    network: Option<Network>,
    folder: Folder,
}

struct Network {
    server: Namespace,
    client: Namespace,
}

impl Lab<()> {
    /// Makes the network (root) or takes loopback (anybody else). No server yet.
    pub(crate) fn empty() -> Result<Self> {
        let network = if workspace::is_root() {
            namespace::remove_leftovers();
            Some(Network::create().context("cannot make the test network")?)
        } else {
            println!("not root: no network namespaces and no kernel path; everything runs on loopback");
            None
        };
        Ok(Self { server: (), network, folder: Folder::create()? })
    }

    /// The same lab with a server.
    fn with<S>(self, server: S) -> Lab<S> {
        Lab { server, network: self.network, folder: self.folder }
    }
}

impl<S> Lab<S> {
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

    /// The same under another address of the server. A client that uses one of its ports for both, the plain and the accelerated
    /// port, uses it for two connections to the same socket of the server (the stack translates one to the other), which
    /// refuses the second for a minute after the first (RFC 7323, section 5.3). Of two addresses that cannot happen.
    pub(crate) fn other_address(&self, port: u16) -> SocketAddr {
        let address = if self.has_namespaces() { OTHER_ADDRESS } else { Ipv4Addr::LOCALHOST };
        SocketAddr::new(IpAddr::V4(address), port)
    }

    /// Addresses that clients can have. The first is the one they have unless they ask for the other.
    pub(crate) fn client_addresses(&self) -> [Ipv4Addr; 2] {
        if self.has_namespaces() {
            CLIENT_ADDRESSES
        } else {
            [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]
        }
    }

    /// A folder for configuration and logs, removed with the lab.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A BPF file system of the lab's own: what is pinned there goes when the lab goes.
    pub(crate) fn bpf_folder(&self) -> PathBuf {
        self.folder.bpf()
    }

    /// Ports to listen on: these in a namespace of the lab, free ones elsewhere.
    fn choose_ports<const N: usize>(&self, wanted: [u16; N]) -> Result<[u16; N]> {
        if self.has_namespaces() { Ok(wanted) } else { free_ports() }
    }
}

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
        for (namespace, v4, v6) in [
            (&server, &[SERVER_ADDRESS, OTHER_ADDRESS][..], "fd00:77::1/64"),
            (&client, &CLIENT_ADDRESSES, "fd00:77::2/64"),
        ] {
            for v4 in v4 {
                namespace.ip(&["address", "add", &format!("{v4}/29"), "dev", "veth0"])?;
            }
            // Without "nodad" the address is not usable for the first second.
            namespace.ip(&["address", "add", v6, "dev", "veth0", "nodad"])?;
            namespace.ip(&["link", "set", "veth0", "up"])?;
        }
        Ok(Self { server, client })
    }
}

/// Where configuration, logs and the lab's BPF file system lie.
pub(crate) struct Folder {
    path: PathBuf,
    _removal: cleanup::Guard,
}

impl Folder {
    /// Makes one that is removed when it is dropped, and what killed runs have left.
    pub(crate) fn create() -> Result<Self> {
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

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its BPF file system; without root an empty folder.
    pub(crate) fn bpf(&self) -> PathBuf {
        self.path.join("bpf")
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

/// Ports of loopback that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All held at once, so that they differ.
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
