//! The network laboratory: hosts, links and faults between a client and a server, each a network namespace, and the
//! situations in which the accelerated port must do what the plain port does. What a service is asked there, it says
//! itself ([`Service`]).

pub(crate) mod capture;
pub(crate) mod forged;
pub(crate) mod open;
mod paths;
pub(crate) mod service;
pub(crate) mod situations;
pub(crate) mod tcx;
mod topology;

pub(crate) use open::Way;
pub(crate) use paths::both_paths;
pub(crate) use service::{Service, Talk, on_each_port};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use super::namespace::{Namespace, Place};
use super::until;

/// The server's address.
pub(crate) const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));
/// The client's address.
pub(crate) const CLIENT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 2));
/// The server's address.
pub(crate) const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 1));
/// The client's address.
pub(crate) const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 2));
/// The server's addresses.
pub(crate) const SERVERS: [IpAddr; 2] = [SERVER_V4, SERVER_V6];
/// The client's addresses.
pub(crate) const CLIENTS: [IpAddr; 2] = [CLIENT_V4, CLIENT_V6];

/// The host where the server and its sidecar run.
pub(crate) const SERVER: &str = "server";
/// The host where clients run.
pub(crate) const CLIENT: &str = "client";

/// Makes the network of a test. The number is another one for each test of a process.
pub(crate) type Plan = fn(u32) -> Result<Network>;

/// Hosts by name. All are removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    number: u32,
    hosts: Vec<(&'static str, Namespace)>,
}

impl Network {
    /// A server and a client without a link.
    fn new(number: u32) -> Result<Self> {
        let mut network = Self { number, hosts: Vec::new() };
        network.add(SERVER)?;
        network.add(CLIENT)?;
        Ok(network)
    }

    fn add(&mut self, host: &'static str) -> Result<()> {
        self.hosts.push((host, Namespace::create(&format!("{}-{host}", self.number))?));
        // A new namespace takes these over from the machine.
        self.sysctl(host, "net.ipv4.conf.all.rp_filter", "0")?;
        self.sysctl(host, "net.ipv4.conf.default.rp_filter", "0")
    }

    /// A host's namespace.
    ///
    /// # Panics
    /// If the network has no such host.
    pub(crate) fn namespace(&self, host: &str) -> &Namespace {
        let found = self.hosts.iter().find(|(name, _)| *name == host);
        &found.unwrap_or_else(|| panic!("the network has no host {host}")).1
    }

    /// Where programs of a host run.
    ///
    /// # Panics
    /// Like [`namespace`](Self::namespace).
    pub(crate) fn place(&self, host: &str) -> &Place {
        self.namespace(host).place()
    }

    /// The namespaces' names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.hosts.iter().map(|(_, namespace)| namespace.name().to_owned()).collect()
    }

    /// Runs `ip` on a host, with words between blanks as arguments.
    pub(crate) fn ip(&self, host: &str, line: &str) -> Result<()> {
        self.namespace(host).ip(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a program on a host, with words between blanks as arguments, and gives what it says.
    pub(crate) fn said(&self, host: &str, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("no program")?;
        let output = self.place(host).command(program).args(words).output().context(line.to_owned())?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sets a parameter of a host's kernel.
    pub(crate) fn sysctl(&self, host: &str, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.place(host).run(|| std::fs::write(&path, value).with_context(|| format!("{path}: {value}")))
    }

    /// Makes these the rules of nftables on a host.
    pub(crate) fn rules(&self, host: &str, rules: &str) -> Result<()> {
        nft(self.place(host), rules)
    }

    /// Lets a device send and receive each packet as it is on the link.
    pub(crate) fn without_offload(&self, host: &str, device: &str) -> Result<()> {
        let off = ["-K", device, "tso", "off", "gso", "off", "gro", "off"];
        self.place(host).run_program("ethtool", &off)
    }

    /// Forgets what a host has learnt of paths.
    pub(crate) fn forget_paths(&self, host: &str) -> Result<()> {
        self.ip(host, "route flush cache")?;
        self.ip(host, "-6 route flush cache")
    }
}

/// Makes these the rules of nftables in a place.
pub(crate) fn nft(place: &Place, rules: &str) -> Result<()> {
    place.run_program("nft", &[&format!("flush ruleset\n{rules}")]).context("nftables")
}
