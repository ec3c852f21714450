//! Sections that several sidecars have: `[path]`, `[log]` and `[server]`.

use std::net::IpAddr;
use std::path::PathBuf;

use super::Reader;
use crate::logging::{self, Format};
use crate::plan::{Mode, Wishes};
use crate::reloads::Difference;
use crate::xdp::Wish;

/// Which path, and where to pin: `[path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathKeys {
    /// Which path, and which interfaces.
    pub wishes: Wishes,
    /// Where maps and links are pinned.
    pub pin_directory: PathBuf,
}

impl PathKeys {
    /// Reads the section. `xdp` are the words for places at XDP; none where the service has no program there.
    pub fn ask(reader: &mut Reader, pin_directory: &str, xdp: &[(&str, Wish)]) -> Self {
        let mut path = reader.section("path");
        let modes = [("auto", Mode::Auto), ("kernel", Mode::Kernel), ("user", Mode::User)];
        let mut wishes = Wishes {
            mode: path.choice("mode", Mode::Auto, &modes),
            interfaces: path.strings("interfaces", &[]),
            ..Wishes::default()
        };
        if !xdp.is_empty() {
            wishes.xdp = path.choice("xdp", Wish::Auto, xdp);
        }
        let pin_directory: PathBuf = path.string("pin_directory", pin_directory).into();
        if !pin_directory.is_absolute() {
            let message = "path.pin_directory must be an absolute path on a BPF file system";
            path.mistake("pin_directory", message);
        }
        Self { wishes, pin_directory }
    }

    /// What a reload does with it: nothing of it can change at run time.
    pub fn keep(&mut self, old: &Self, difference: &mut Difference) {
        let Self { wishes: Wishes { mode, in_place: _, interfaces, xdp, links: _ }, pin_directory } = old;
        difference.keep("path.mode", &mut self.wishes.mode, mode);
        difference.keep("path.interfaces", &mut self.wishes.interfaces, interfaces);
        difference.keep("path.xdp", &mut self.wishes.xdp, xdp);
        difference.keep("path.pin_directory", &mut self.pin_directory, pin_directory);
    }
}

/// Where clients of XPS connect: `listen.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenMode {
    /// To a port beside the server's own.
    Beside,
    /// To the server's own port.
    InPlace,
}

impl ListenMode {
    /// As in configuration, status and log.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Beside => "beside",
            Self::InPlace => "in-place",
        }
    }
}

/// Where clients connect: the keys of `[listen]` that the sidecars of servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenKeys {
    /// To which port: one beside the server's, or that itself.
    pub mode: ListenMode,
    /// That port.
    pub accelerated_port: u16,
    /// Addresses that the user path listens on.
    pub addresses: Vec<IpAddr>,
    /// Connections on the user path at once.
    pub connections_max: usize,
}

impl ListenKeys {
    /// Reads them. `accelerated_port` is the usual port beside the server, `server_port` the server's own.
    pub fn ask(reader: &mut Reader, accelerated_port: u16, server_port: u16) -> Self {
        let mut listen = reader.section("listen");
        let modes = [ListenMode::Beside, ListenMode::InPlace].map(|mode| (mode.label(), mode));
        let mode = listen.choice("mode", ListenMode::Beside, &modes);
        let accelerated_port = match mode {
            ListenMode::Beside => listen.integer("accelerated_port", accelerated_port, 1..=u16::MAX),
            ListenMode::InPlace => {
                let port = listen.integer("accelerated_port", server_port, 0..=u16::MAX);
                if port != server_port {
                    let message = format!(
                        "listen.accelerated_port is {port}, but with listen.mode = \"in-place\" clients connect to the \
                         server's own port, {server_port}; leave it out"
                    );
                    listen.mistake("accelerated_port", message);
                }
                server_port
            }
        };
        if mode == ListenMode::InPlace {
            for key in ["addresses", "connections_max"] {
                if listen.is_given(key) {
                    let message = format!(
                        "listen.{key} is for the user path, which listen.mode = \"in-place\" does not have; leave it out"
                    );
                    listen.mistake(key, message);
                }
            }
        }
        let any = vec![IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        let addresses = listen.parsed_list("addresses", any, "addresses, such as [\"0.0.0.0\", \"::\"]");
        if addresses.is_empty() {
            let message = "listen.addresses is empty; it must name at least one address";
            listen.mistake("addresses", message);
        }
        let connections_max = listen.integer("connections_max", 10_000, 1..=1_000_000);
        Self { mode, accelerated_port, addresses, connections_max }
    }

    /// Asks for the path that this needs: in place there is the kernel path or none.
    pub fn demand(&self, reader: &mut Reader, path: &mut PathKeys) {
        path.wishes.in_place = self.in_place();
        if self.in_place() && path.wishes.mode == Mode::User {
            let message = "path.mode is \"user\", but listen.mode = \"in-place\" has no user path; one of them must change";
            reader.mistake("path", "mode", message);
        }
    }

    /// Whether clients connect to the server's own port.
    #[must_use]
    pub fn in_place(&self) -> bool {
        self.mode == ListenMode::InPlace
    }

    /// The port beside the server's own, if there is one.
    #[must_use]
    pub fn port_beside(&self) -> Option<u16> {
        (!self.in_place()).then_some(self.accelerated_port)
    }

    /// What a reload does with it: nothing of it can change at run time.
    pub fn keep(&mut self, old: &Self, difference: &mut Difference) {
        let Self { mode, accelerated_port, addresses, connections_max } = old;
        difference.keep("listen.mode", &mut self.mode, mode);
        difference.keep("listen.accelerated_port", &mut self.accelerated_port, accelerated_port);
        difference.keep("listen.addresses", &mut self.addresses, addresses);
        difference.keep("listen.connections_max", &mut self.connections_max, connections_max);
    }
}

/// Addresses of this host at which the accelerated port is served in the stack, empty for all: `[server]`.
pub fn server_addresses(reader: &mut Reader) -> Vec<IpAddr> {
    let mut server = reader.section("server");
    let expected = "addresses of this host, such as [\"10.0.0.1\", \"fd00::1\"]";
    let addresses = server.parsed_list("addresses", Vec::<IpAddr>::new(), expected);
    if addresses.iter().any(IpAddr::is_unspecified) {
        let message = "server.addresses names no address in particular; leave it out for all of them";
        server.mistake("addresses", message);
    }
    addresses
}

/// What is logged, and how: `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    /// Form of the log.
    pub format: Format,
    /// What is logged, as `tracing`'s filters: `info`, `kv_cache=debug`.
    pub level: String,
}

impl LogKeys {
    /// Reads the section. `module` is what a filter would name.
    pub fn ask(reader: &mut Reader, module: &str) -> Self {
        let mut log = reader.section("log");
        let formats = [("text", Format::Text), ("json", Format::Json)];
        let format = log.choice("format", Format::Text, &formats);
        let level = log.string("level", "info");
        if !logging::is_level(&level) {
            let message =
                format!("log.level must be a level such as \"info\", or a filter such as \"{module}=debug\"");
            log.mistake("level", message);
        }
        Self { format, level }
    }

    /// What a reload does with it: the level holds at once, the form stays.
    pub fn compare(&mut self, old: &Self, difference: &mut Difference) {
        difference.keep("log.format", &mut self.format, &old.format);
        difference.change("log.level", &self.level, &old.level);
    }
}
