//! A client in the middle, and around it servers in namespaces of their own, each at a link of its own. Without root all is on
//! loopback.
//!
//! What comes to a server is handled by the first CPU, in an interrupt (receive packet steering). Over a pair of virtual
//! devices the stack of the receiver would otherwise run within the system call of the sender, at the sender's priority, which
//! no network card does.

use super::namespace::{Namespace, remove_leftovers};
use super::{Folder, Place, free_ports};
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server's end of its link.
const DEVICE: &str = "veth0";

/// The network. Fields are dropped in order: namespaces, then the folder.
pub(crate) struct Star {
    servers: Vec<Server>,
    client: Option<Namespace>,
    folder: Folder,
}

/// One of the servers.
pub(crate) struct Server {
    role: &'static str,
    /// Its number, from 1.
    number: u8,
    namespace: Option<Namespace>,
}

impl Star {
    /// Makes a server for each role.
    pub(crate) fn create(roles: &[&'static str]) -> Result<Self> {
        let is_root = workspace::is_root();
        if !is_root {
            println!("not root: no network namespaces and no kernel path; everything runs on loopback");
        }
        remove_leftovers();
        let client = is_root.then(|| Namespace::create("client")).transpose()?;
        let mut star = Self { servers: Vec::new(), client, folder: Folder::create()? };
        for (role, number) in roles.iter().zip(1..) {
            let server = Server::create(role, number, star.client.as_ref())
                .with_context(|| format!("cannot make the network of {role}"))?;
            star.servers.push(server);
        }
        Ok(star)
    }

    /// The server of a role.
    pub(crate) fn server(&self, role: &str) -> Result<&Server> {
        self.servers.iter().find(|server| server.role == role).with_context(|| format!("no server is {role}"))
    }

    /// Where clients run.
    pub(crate) fn client(&self) -> Place {
        self.client.as_ref().map_or_else(Place::here, |client| client.place().clone())
    }

    /// True if client and servers have namespaces of their own.
    pub(crate) fn has_namespaces(&self) -> bool {
        self.client.is_some()
    }

    /// A folder for configuration and logs, removed with the network.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// A BPF file system of the network's own.
    pub(crate) fn bpf_folder(&self) -> PathBuf {
        self.folder.path.join("bpf")
    }

    /// Ports to listen on: these in a namespace, free ones elsewhere.
    pub(crate) fn choose_ports<const N: usize>(&self, wanted: [u16; N]) -> Result<[u16; N]> {
        if self.has_namespaces() { Ok(wanted) } else { free_ports() }
    }
}

impl Server {
    fn create(role: &'static str, number: u8, client: Option<&Namespace>) -> Result<Self> {
        let mut server = Self { role, number, namespace: None };
        let Some(client) = client else { return Ok(server) };
        let namespace = Namespace::create(role)?;
        let theirs = format!("veth{number}");
        let pair = ["link", "add", DEVICE, "type", "veth", "peer", "name", &theirs, "netns", client.name()];
        namespace.ip(&pair)?;
        let ends = [(&namespace, DEVICE, server.address_in(1)), (client, &theirs, server.address_in(2))];
        for (end, device, address) in ends {
            end.ip(&["address", "add", &format!("{address}/30"), "dev", device])?;
            end.ip(&["link", "set", device, "up"])?;
        }
        if std::thread::available_parallelism().map_or(1, usize::from) > 1 {
            // The file system that shows a namespace's devices has to be mounted in it, which this does.
            let steer = format!("echo 1 > /sys/class/net/{DEVICE}/queues/rx-0/rps_cpus");
            let command = ["netns", "exec", namespace.name(), "sh", "-c", &steer];
            workspace::output(Command::new("ip").args(command))
                .context("packets cannot be steered to a CPU")?;
        }
        server.namespace = Some(namespace);
        Ok(server)
    }

    const fn address_in(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, host)
    }

    /// What it is.
    pub(crate) fn role(&self) -> &'static str {
        self.role
    }

    /// Its number among the servers, from 1.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// Where its programs run.
    pub(crate) fn place(&self) -> Place {
        self.namespace.as_ref().map_or_else(Place::here, |namespace| namespace.place().clone())
    }

    /// Where the client finds it.
    pub(crate) fn address(&self) -> IpAddr {
        self.at(1)
    }

    /// Where it finds the client.
    pub(crate) fn client_address(&self) -> IpAddr {
        self.at(2)
    }

    fn at(&self, host: u8) -> IpAddr {
        IpAddr::V4(if self.namespace.is_some() { self.address_in(host) } else { Ipv4Addr::LOCALHOST })
    }

    /// The name of the client's end of the link.
    pub(crate) fn client_device(&self) -> String {
        format!("veth{}", self.number)
    }

    /// Takes its link down, or up again. It is so when this returns.
    pub(crate) fn set_link(&self, up: bool) -> Result<()> {
        let Some(namespace) = &self.namespace else { bail!("loopback is not taken down") };
        namespace.place().run(|| set_up(DEVICE, up).with_context(|| format!("the link of {}", self.role)))
    }
}

/// Sets or clears a device's `IFF_UP` (netdevice(7)).
fn set_up(device: &str, up: bool) -> Result<()> {
    // SAFETY: socket takes three integers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: an ifreq is bytes and integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = CString::new(device)?;
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: both calls get an ifreq that lives through them, with the name of a device.
    let failed = unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) != 0 || {
            let flags = request.ifr_ifru.ifru_flags;
            let is_up = libc::IFF_UP as libc::c_short;
            request.ifr_ifru.ifru_flags = if up { flags | is_up } else { flags & !is_up };
            libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) != 0
        }
    };
    if failed { Err(std::io::Error::last_os_error().into()) } else { Ok(()) }
}
