//! The configuration: what is asked for, within which bounds.
//!
//! # Layout
//!
//! - [`probing`]: how peers are probed.
//! - [`node`]: the nodes of this host.
//! - [`files`]: keys and members, which stand in files of their own.
//! - `reference`: the page for operators, which a test holds against the keys.
//! - [`reload`]: read again while the sidecar runs.

pub mod files;
pub mod node;
pub mod probing;
#[cfg(test)]
mod reference;
pub mod reload;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_fastpath::wire::ClusterId;
use xps_runtime::admin::address::{self, Address};
use xps_runtime::config::common::{LogKeys, PathKeys};
use xps_runtime::config::source::{ConfigSource, SourceError};
use xps_runtime::config::watched::Watched;
use xps_runtime::config::{Mistakes, Reader, Section, Sources};
use xps_runtime::endpoint;
use xps_runtime::plan::Mode;
use xps_runtime::xdp::Wish;

use crate::bfd::{self, SessionSettings};
use crate::keys::Ring;
use crate::lease;
use crate::members;
use node::Node;

/// Prefix of the environment's variables: `HEARTBEAT_CLUSTER_ID` is `id` of `[cluster]`.
pub const PREFIX: &str = "HEARTBEAT";

/// The port of heartbeat's messages, if no other is configured.
pub const PORT: u16 = 7946;

/// The configuration, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its keys.
    pub ring: Ring,
    /// Port of messages.
    pub port: u16,
    /// Addresses at which messages are taken; an unspecified one stands for all of its kind.
    pub addresses: Vec<IpAddr>,
    /// Where status and metrics are served.
    pub admin: Address,
    /// Which path, and where maps and links are pinned.
    pub path: PathKeys,
    /// How peers are probed.
    pub probe: heartbeat_detector::config::Config,
    /// Who the members are.
    pub members: members::Sources,
    /// The nodes of this host.
    pub nodes: Vec<Node>,
    /// Sessions of BFD.
    pub bfd: Vec<SessionSettings>,
    /// Where applications call by datagrams, if they may.
    pub lease_socket: Option<PathBuf>,
    /// What is run when a peer is seen differently.
    pub hook: Hook,
    /// What is logged, and how.
    pub log: LogKeys,
    /// Files that were read.
    pub files: Vec<Watched>,
}

/// The configuration that holds now, for all tasks.
pub type Current = xps_runtime::config::current::Current<Config>;

/// What is run when a peer is seen differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments; none if nothing is run.
    pub command: Vec<String>,
    /// How long it may take before it is killed.
    pub timeout: Duration,
}

impl Config {
    /// Reads the configuration as it is now.
    ///
    /// # Errors
    /// If the file cannot be read, or all mistakes at once.
    pub fn from(source: &ConfigSource) -> Result<Self, SourceError> {
        source.read_by(|file, environment, flags| Self::read(file, environment, flags, Self::ask_with_nodes))
    }

    /// The same for whoever only asks the cluster's nodes, and need not be one of them.
    ///
    /// # Errors
    /// If the file cannot be read, or all mistakes at once.
    pub fn of_cluster(source: &ConfigSource) -> Result<Self, SourceError> {
        source.read_by(|file, environment, flags| Self::read(file, environment, flags, Self::ask))
    }

    /// Reads the configuration, and the files that it names from the folder where it is.
    fn read(
        file: Option<(&str, &str)>,
        environment: Vec<(String, String)>,
        flags: Vec<(String, String)>,
        ask: fn(&mut Reader, &Path) -> Option<Self>,
    ) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(&Sources { file, prefix: PREFIX, environment, flags });
        let folder = file.and_then(|(name, _)| Path::new(name).parent()).unwrap_or(Path::new(""));
        let config = ask(&mut reader, folder);
        reader.finish()?;
        // Without a key there is a mistake, so this one is not reached.
        config.ok_or_else(|| Mistakes(Vec::new()))
    }

    fn ask_with_nodes(reader: &mut Reader, folder: &Path) -> Option<Self> {
        let config = Self::ask(reader, folder);
        if config.as_ref().is_some_and(|config| config.nodes.is_empty()) {
            let message = "there is no node of this host; give a [node] with its id, as the members know it";
            reader.mistake("node", "id", message);
        }
        config
    }

    fn ask(reader: &mut Reader, folder: &Path) -> Option<Self> {
        let cluster = cluster(&mut reader.section("cluster"));
        let mut listen = reader.section("listen");
        let port = listen.integer("port", PORT, 1..=u16::MAX);
        let anywhere = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        let addresses =
            listen.parsed_list("addresses", anywhere, "IP addresses, such as \"0.0.0.0\" or \"::\"");
        let admin = listen.parsed(
            "admin",
            Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9182))),
            address::EXPECTED,
        );
        let at_xdp = [("auto", Wish::Auto), ("on", Wish::On), ("generic", Wish::Generic), ("off", Wish::Off)];
        let path = PathKeys::ask(reader, "/sys/fs/bpf/xps/heartbeat", &at_xdp);
        let probe = probing::ask(reader);
        let mut files = Vec::new();
        let ring = files::keys(reader, folder, cluster, &mut files);
        let members = members(reader, folder, port, &mut files);
        let nodes = node::ask(reader, &probe, &members);
        // Where the user path is taken in the end, nobody sends echo packets back: see `sessions`.
        let bfd = bfd::Settings::ask(reader, path.wishes.mode != Mode::User);
        let lease_socket = lease::settings::socket(&mut reader.section("lease"));
        let mut section = reader.section("hook");
        let hook = Hook {
            command: section.strings("command", &[]),
            timeout: section.duration("timeout", seconds(10), Duration::from_millis(100)..=seconds(3600)),
        };
        let log = LogKeys::ask(reader, "heartbeat");
        let config = Self {
            cluster,
            ring: ring?,
            port,
            addresses,
            admin,
            path,
            probe,
            members,
            nodes,
            bfd,
            lease_socket,
            hook,
            log,
            files,
        };
        config.check(reader);
        Some(config)
    }

    fn check(&self, reader: &mut Reader) {
        if self.addresses.is_empty() {
            let message = "listen.addresses is empty; it must name at least one address";
            reader.mistake("listen", "addresses", message);
        }
        if self.addresses.iter().any(IpAddr::is_multicast) {
            let message = "listen.addresses has a multicast address; members are probed one by one";
            reader.mistake("listen", "addresses", message);
        }
        if self.hook.command.first().is_some_and(|program| !Path::new(program).is_absolute()) {
            let message = "hook.command must begin with the absolute path of a program";
            reader.mistake("hook", "command", message);
        }
    }

    /// The sessions of BFD as they can be held: echo packets are sent back by the stack alone, so without it none are asked for.
    #[must_use]
    pub fn sessions(&self, in_stack: bool) -> Vec<SessionSettings> {
        let mut sessions = self.bfd.clone();
        for session in sessions.iter_mut().filter(|_| !in_stack) {
            session.config.required_min_echo_rx_us = 0;
        }
        sessions
    }

    /// Where messages are taken.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().map(|&address| SocketAddr::new(address, self.port))
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The cluster's number, which may be written in hexadecimal digits.
fn cluster(section: &mut Section<'_>) -> ClusterId {
    let Number(number) = section.parsed(
        "id",
        Number(1),
        "a number from 0 to 18446744073709551615, also in text such as \"0x1122334455667788\"",
    );
    ClusterId(number)
}

/// A number of 64 bits, in decimal or, behind `0x`, hexadecimal digits.
struct Number(u64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Number {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).map(Self),
            None => text.parse().map(Self),
        }
    }
}

fn members(reader: &mut Reader, folder: &Path, port: u16, files: &mut Vec<Watched>) -> members::Sources {
    let mut section = reader.section("members");
    let lines = section.strings("list", &[]);
    let file = section.string("file", "");
    let dns = section.string("dns", "");
    let refresh = section.duration("refresh", seconds(10), seconds(1)..=seconds(86400));
    let mut list = Vec::new();
    for line in &lines {
        match members::entry::Entry::parse(line, port) {
            Ok(entry) => list.push(entry),
            Err(what) => reader.mistake("members", "list", format!("members.list: {what}")),
        }
    }
    for (_, what) in members::entry::twice(&list) {
        reader.mistake("members", "list", format!("members.list: {what}"));
    }
    let in_file = files::members(reader, folder, &file, port, files);
    let dns = (!dns.is_empty()).then(|| dns.parse().or_else(|_| format!("{dns}:{port}").parse()).ok());
    if dns == Some(None) {
        let message = format!("members.dns must be {}", endpoint::EXPECTED);
        reader.mistake("members", "dns", message);
    }
    let file = (!file.is_empty()).then(|| folder.join(file));
    members::Sources { list, file, in_file, dns: dns.flatten(), refresh }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
