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
        let Self { wishes: Wishes { mode, interfaces, xdp, links: _ }, pin_directory } = old;
        difference.keep("path.mode", &mut self.wishes.mode, mode);
        difference.keep("path.interfaces", &mut self.wishes.interfaces, interfaces);
        difference.keep("path.xdp", &mut self.wishes.xdp, xdp);
        difference.keep("path.pin_directory", &mut self.pin_directory, pin_directory);
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
