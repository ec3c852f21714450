//! The configuration: what is asked for, within which bounds.
//!
//! # Layout
//!
//! - [`proxy`]: what only the user path does: whose word about clients is believed, and what the server is told.
//! - `reference`: the page for operators, which a test holds against the keys.
//! - [`reload`]: read again while the sidecar runs.

pub mod proxy;
#[cfg(test)]
mod reference;
pub mod reload;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http_fastpath::head;
use http_fastpath::limit::{Rate, WAYS};
use xps_runtime::admin::address::{self, Address};
use xps_runtime::config::common::{ListenKeys, LogKeys, PathKeys, server_addresses};
use xps_runtime::config::source::{ConfigSource, SourceError};
use xps_runtime::config::watched::Watched;
use xps_runtime::config::{Mistakes, Reader, Section, Sources};
use xps_runtime::endpoint::{self, Endpoint};
use xps_runtime::xdp::Wish;

use crate::answers::Page;
use crate::rules::{self, Rule};
use proxy::Proxy;

/// Prefix of the environment's variables: `HTTP_GUARD_NGINX_ADDRESS` is `address` of `[nginx]`.
pub const PREFIX: &str = "HTTP_GUARD";

/// The configuration, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server; its port is the plain port.
    pub nginx: Endpoint,
    /// How request heads are read.
    pub heads: Heads,
    /// Where clients of XPS connect.
    pub listen: ListenKeys,
    /// Addresses of this host at which the accelerated port is served in the stack; empty for all.
    pub server_addresses: Vec<IpAddr>,
    /// Where status and metrics are served.
    pub admin: Address,
    /// Which path, and where maps and links are pinned.
    pub path: PathKeys,
    /// Sets of buckets; a power of two.
    pub limit_sets: u32,
    /// Connections in the stack at once.
    pub flows_max: u32,
    /// What refusals say.
    pub page: Page,
    /// What is asked of connections.
    pub connections: Connections,
    /// What only the user path does.
    pub proxy: Proxy,
    /// How long the stack refuses without a sign of life from the agent.
    pub lease: Duration,
    /// How long an orderly stop waits for connections.
    pub drain_timeout: Duration,
    /// What is logged, and how.
    pub log: LogKeys,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// Files with addresses that the rules name, each once.
    pub files: Vec<Watched>,
}

/// The configuration that holds now, for all tasks.
pub type Current = xps_runtime::config::current::Current<Config>;

/// How request heads are read: as the server reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Whether several slashes are one.
    pub merge_slashes: bool,
    /// Longest head, in bytes.
    pub bytes_max: u32,
    /// Longest request line, in bytes.
    pub line_bytes_max: u32,
}

impl Heads {
    /// As the parser takes them; `seed` is a secret.
    #[must_use]
    pub fn settings(&self, seed: u64) -> head::Settings {
        head::Settings {
            seed,
            line_bytes_max: self.line_bytes_max,
            head_bytes_max: self.bytes_max,
            merge_slashes: self.merge_slashes.into(),
            padding: 0,
        }
    }
}

/// What is asked of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Connections that a client may have at once; 0: any number.
    pub per_client_max: u32,
    /// How often a client may connect, if there is a limit.
    pub new: Option<Rate>,
    /// Bits of an IPv6 address that make one client.
    pub ipv6_prefix: u32,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request's body may not go on.
    pub body_timeout: Duration,
    /// Bytes a second that must come of a body on average, within each such time; 0: any byte is enough.
    pub body_rate_min: u64,
}

impl Config {
    /// Reads the configuration as it is now.
    ///
    /// # Errors
    /// If the file cannot be read, or all mistakes at once.
    pub fn from(source: &ConfigSource) -> Result<Self, SourceError> {
        source.read_by(Self::read)
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn read(
        file: Option<(&str, &str)>,
        environment: Vec<(String, String)>,
        flags: Vec<(String, String)>,
    ) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(&Sources { file, prefix: PREFIX, environment, flags });
        reader.elsewhere("rule");
        let mut config = Self::ask(&mut reader);
        config.check(&mut reader);
        let mut mistakes = reader.finish().err().map_or_else(Vec::new, |Mistakes(mistakes)| mistakes);
        if let Some((name, text)) = file {
            // Files are named from where the configuration is.
            let folder = Path::new(name).parent().unwrap_or(Path::new(""));
            let files = RefCell::new(Vec::<Watched>::new());
            let load = |path: &str| {
                let file = Watched::at(folder.join(path));
                let text = std::fs::read_to_string(&file.path);
                if files.borrow().iter().all(|other| other.path != file.path) {
                    files.borrow_mut().push(file);
                }
                text
            };
            match rules::read(name, text, &load) {
                Ok(rules) => {
                    config.rules = rules.rules;
                    config.files = files.take();
                }
                // What is no TOML is no TOML to both.
                Err(Mistakes(more)) => {
                    let more: Vec<_> = more.into_iter().filter(|one| !mistakes.contains(one)).collect();
                    mistakes.extend(more);
                }
            }
        }
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    fn ask(reader: &mut Reader) -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let seconds = Duration::from_secs;
        let mut nginx = reader.section("nginx");
        let address = nginx.parsed("address", Endpoint::from(at(80)), endpoint::EXPECTED);
        let heads = Heads {
            merge_slashes: nginx.boolean("merge_slashes", true),
            bytes_max: nginx.integer("head_bytes_max", 8192, 256..=1 << 20),
            line_bytes_max: nginx.integer("line_bytes_max", 8192, 64..=1 << 20),
        };
        let listen = ListenKeys::ask(reader, 8080, address.port());
        let admin = reader.section("listen").parsed("admin", Address::Tcp(at(9181)), address::EXPECTED);
        let server_addresses = server_addresses(reader);
        let at_xdp = [("auto", Wish::Auto), ("on", Wish::On), ("off", Wish::Off)];
        let mut path = PathKeys::ask(reader, "/sys/fs/bpf/xps/http-guard", &at_xdp);
        listen.demand(reader, &mut path);
        let mut limits = reader.section("limits");
        let keys_max: u32 = limits.integer("keys_max", 524_288, 8..=1 << 26);
        let flows_max = limits.integer("flows_max", 16_384, 1..=1 << 22);
        let page = page(&mut reader.section("answers"));
        let connections = connections(&mut reader.section("connections"));
        let proxy = Proxy::ask(&mut reader.section("proxy"));
        let mut section = reader.section("lease");
        let lease = section.duration("duration", seconds(1), Duration::from_millis(200)..=seconds(60));
        let drain_timeout = section.duration("drain_timeout", seconds(30), Duration::ZERO..=seconds(3600));
        let log = LogKeys::ask(reader, "http_guard");
        Self {
            nginx: address,
            heads,
            listen,
            server_addresses,
            admin,
            path,
            limit_sets: keys_max.div_ceil(WAYS as u32).next_power_of_two(),
            flows_max,
            page,
            connections,
            proxy,
            lease,
            drain_timeout,
            log,
            rules: Vec::new(),
            files: Vec::new(),
        }
    }

    fn check(&self, reader: &mut Reader) {
        // A server elsewhere may have any port.
        if self.listen.port_beside() == Some(self.nginx.port()) && self.nginx.says_local() {
            let message = "listen.accelerated_port is Nginx's own port; it must be another, or listen.mode \"in-place\"";
            reader.mistake("listen", "accelerated_port", message);
        }
        let taken = |tcp: SocketAddr| tcp.port() == self.listen.accelerated_port || self.nginx == tcp.into();
        if self.admin.tcp().is_some_and(taken) {
            let message = "listen.admin is in use by Nginx or as accelerated port; it must be another";
            reader.mistake("listen", "admin", message);
        }
        if self.nginx.port() == 0 {
            reader.mistake("nginx", "address", "nginx.address has no port");
        }
        if self.heads.line_bytes_max > self.heads.bytes_max {
            let message =
                "nginx.line_bytes_max is more than nginx.head_bytes_max, of which the line is a part";
            reader.mistake("nginx", "line_bytes_max", message);
        }
    }

    /// What only the user path does, and which rule or key asks for it (G6).
    #[must_use]
    pub fn needs_user_path(&self) -> Vec<String> {
        let rules = self.rules.iter().filter_map(|rule| {
            let why = rule.needs_user_path()?;
            Some(format!("rule \"{}\" ({}): {why}", rule.name, rule.place))
        });
        let mut needs: Vec<_> = rules.collect();
        needs.extend(self.proxy.given.iter().map(|key| format!("proxy.{key}: a proxy is asked for")));
        needs
    }
}

fn page(section: &mut Section<'_>) -> Page {
    let default = Page::default();
    Page {
        body: section.string("body", &default.body),
        content_type: section.string("content_type", &default.content_type),
    }
}

fn connections(section: &mut Section<'_>) -> Connections {
    let second = Duration::from_secs(1);
    let timeouts = second..=3600 * second;
    let per_second: u64 = section.integer("new_per_second", 0, 0..=1_000_000);
    let burst: u64 = section.integer("new_burst", per_second.max(1), 1..=1_000_000);
    Connections {
        per_client_max: section.integer("per_client_max", 0, 0..=1_000_000),
        // Within these bounds there is such a rate, but for none.
        new: Rate::new(per_second, 1_000_000_000, burst).ok(),
        ipv6_prefix: section.integer("ipv6_prefix", 64, 1..=128),
        header_timeout: section.duration("header_timeout", 60 * second, timeouts.clone()),
        body_timeout: section.duration("body_timeout", 60 * second, timeouts),
        body_rate_min: section.bytes("body_rate_min", 0, 0..=1 << 30),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
