//! The configuration: what is asked for, within which bounds.
//!
//! # Layout
//!
//! - `reference`: the page for operators, which a test holds against the keys.
//! - [`reload`]: read again while the sidecar runs.
//! - `tls`: its sections on TLS.

#[cfg(test)]
mod reference;
pub mod reload;

mod tls;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kv_fastpath::abi::{ENTRY_BYTES_MAX, EntryHead, KEY_BYTES_MAX, PAGE_BYTES};
use xps_core::handler::REPLY_MAX;
use xps_runtime::admin::address::{self, Address};
use xps_runtime::config::common::{ListenKeys, LogKeys, PathKeys, server_addresses};
use xps_runtime::config::source::{ConfigSource, SourceError};
use xps_runtime::config::{Mistakes, Reader, Section, Sources};
use xps_runtime::endpoint::{self, Endpoint};

use crate::coherence::Mode;
use crate::entries::limits::Limits;
use crate::server::credentials::{Secret, Server};

pub use tls::TlsListener;

/// Prefix of the environment's variables: `KV_CACHE_CACHE_MEMORY_BYTES` is `memory_bytes` of `[cache]`.
pub const PREFIX: &str = "KV_CACHE";

/// Largest value that can be cached, in bytes: its reply (`$1400\r\n…\r\n`) must fit one segment, and an entry with the
/// longest key its place.
pub const VALUE_BYTES_MAX: u32 = {
    let reply = REPLY_MAX - REPLY_FRAME;
    let entry =
        ENTRY_BYTES_MAX - size_of::<EntryHead>() - KEY_BYTES_MAX.next_multiple_of(8) - REPLY_FRAME - 8;
    if reply < entry { reply as u32 } else { entry as u32 }
};

/// Bytes around a value in its reply, at most: `$1400\r\n` and `\r\n`.
const REPLY_FRAME: usize = 9;

/// The configuration, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server, and as whom the agent comes; its port is the plain port.
    pub redis: Server,
    /// Where clients of XPS connect.
    pub listen: ListenKeys,
    /// Clients that come with TLS.
    pub tls: Option<TlsListener>,
    /// Addresses of this host at which the accelerated port is served in the stack; empty for all.
    pub server_addresses: Vec<IpAddr>,
    /// Where status and metrics are served.
    pub admin: Address,
    /// Which path, and where maps and links are pinned.
    pub path: PathKeys,
    /// Pages for entries.
    pub pages: u32,
    /// Entries at most.
    pub entries_max: u32,
    /// Largest value that is cached, in bytes.
    pub value_bytes_max: u32,
    /// One of how many misses is reported; a power of two.
    pub miss_sample: u32,
    /// Whether keys that do not exist are cached too.
    pub missing_keys: bool,
    /// Which keys are cached, and for how long.
    pub limits: Limits,
    /// Keys that Redis is told are in use, a second at most.
    pub touches_per_second: u32,
    /// Whether the handler steps aside while looking GETs up does not pay.
    pub adaptive_bypass: bool,
    /// Share of GETs that must hit for looking them up to pay, in percent.
    pub break_even_percent: u32,
    /// Over which time that share is looked at.
    pub bypass_window: Duration,
    /// Connections in the stack at once.
    pub flows_max: u32,
    /// How much staleness is allowed.
    pub coherence: Mode,
    /// How long ago a value that bounded mode serves may have been replaced, at most.
    pub max_staleness: Duration,
    /// Whether bounded mode asks Redis for invalidations.
    pub tracking: bool,
    /// Whether connections that are older than the hooks are closed.
    pub kill_older_connections: bool,
    /// Whether users whose rights Redis does not tell are taken to read every key, on the user path.
    pub trust_users: bool,
    /// How long the stack answers without a sign of life from the agent.
    pub lease: Duration,
    /// How long an orderly stop waits for connections.
    pub drain_timeout: Duration,
    /// What is logged, and how.
    pub log: LogKeys,
}

/// The configuration that holds now, for all tasks.
pub type Current = xps_runtime::config::current::Current<Config>;

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn read(
        file: Option<(&str, &str)>,
        environment: Vec<(String, String)>,
        flags: Vec<(String, String)>,
    ) -> Result<Self, Mistakes> {
        let shown = flags.iter().any(|(key, _)| key == "redis.password");
        let mut reader = Reader::new(&Sources { file, prefix: PREFIX, environment, flags });
        if shown {
            let message =
                "everybody on the machine can read flags; use redis.password_file or KV_CACHE_REDIS_PASSWORD";
            reader.mistake("redis", "password", message);
        }
        let config = Self::ask(&mut reader);
        config.check(&mut reader);
        reader.finish()?;
        Ok(config)
    }

    /// Reads the configuration as it is now.
    ///
    /// # Errors
    /// If the file cannot be read, or all mistakes at once.
    pub fn from(source: &ConfigSource) -> Result<Self, SourceError> {
        source.read_by(Self::read)
    }

    fn ask(reader: &mut Reader) -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let seconds = Duration::from_secs;
        let mut redis = reader.section("redis");
        let mut redis = Server {
            address: redis.parsed("address", Endpoint::from(at(6379)), endpoint::EXPECTED),
            username: redis.string("username", ""),
            password: Secret::new(redis.secret("password")),
            tls: None,
            own: None,
        };
        redis.tls = tls::to_redis(reader, &redis.address);
        let tls = tls::listener(reader);
        let password_file = reader.section("redis").string("password_file", "");
        if !password_file.is_empty() {
            redis.password = password_of(reader, &password_file, &redis.password);
        }
        let listen = ListenKeys::ask(reader, 6380, redis.address.port());
        let admin = reader.section("listen").parsed("admin", Address::Tcp(at(9180)), address::EXPECTED);
        let server_addresses = server_addresses(reader);
        let mut path = PathKeys::ask(reader, "/sys/fs/bpf/xps/kv-cache", &[]);
        listen.demand(reader, &mut path);
        let mut cache = reader.section("cache");
        let page = PAGE_BYTES as u64;
        let pages = (cache.bytes("memory_bytes", 64 << 20, page..=1 << 36) / page) as u32;
        let entries_max = cache.integer("entries_max", 262_144, 1..=1 << 26);
        let value_bytes_max =
            cache.integer("value_bytes_max", 1400.min(VALUE_BYTES_MAX), 1..=VALUE_BYTES_MAX);
        let miss_sample = cache.integer("miss_sample", 4, 1..=1 << 16);
        let missing_keys = cache.boolean("missing_keys", true);
        let limits = limits(&mut cache);
        let touches_per_second = cache.integer("touches_per_second", 1_000, 0..=100_000);
        let adaptive_bypass = cache.boolean("adaptive_bypass", true);
        let break_even_percent = cache.integer("break_even_percent", 15, 1..=75);
        let bypass_window =
            cache.duration("bypass_window", seconds(10), Duration::from_millis(50)..=seconds(3600));
        let flows_max = reader.section("flows").integer("max", 16_384, 1..=1 << 22);
        let mut section = reader.section("coherence");
        let coherence =
            section.choice("mode", Mode::Strict, &[("strict", Mode::Strict), ("bounded", Mode::Bounded)]);
        let max_staleness =
            section.duration("max_staleness", seconds(1), Duration::from_millis(20)..=seconds(3600));
        let tracking = section.choice("tracking", true, &[("auto", true), ("off", false)]);
        let kill_older_connections = section.boolean("kill_older_connections", false);
        let trust_users = section.boolean("trust_users", false);
        let mut section = reader.section("lease");
        let lease = section.duration("duration", seconds(2), Duration::from_millis(200)..=seconds(60));
        let drain_timeout = section.duration("drain_timeout", seconds(30), Duration::ZERO..=seconds(3600));
        let log = LogKeys::ask(reader, "kv_cache");
        Self {
            redis,
            listen,
            tls,
            server_addresses,
            admin,
            path,
            pages,
            entries_max,
            value_bytes_max,
            miss_sample,
            missing_keys,
            limits,
            touches_per_second,
            adaptive_bypass,
            break_even_percent,
            bypass_window,
            flows_max,
            coherence,
            max_staleness,
            tracking,
            kill_older_connections,
            trust_users,
            lease,
            drain_timeout,
            log,
        }
    }

    fn check(&self, reader: &mut Reader) {
        // A Redis elsewhere may have any port.
        if self.listen.port_beside() == Some(self.redis.address.port()) && self.redis.address.says_local() {
            let message = "listen.accelerated_port is Redis's own port; it must be another, or listen.mode \"in-place\"";
            reader.mistake("listen", "accelerated_port", message);
        }
        if self.tls.is_some() && self.listen.in_place() {
            let message = "tls.port is the relay's, which listen.mode = \"in-place\" does not have; one of them must change";
            reader.mistake("tls", "port", message);
        }
        if let Some(TlsListener { port, .. }) = self.tls
            && (port == self.listen.accelerated_port
                || self.admin.tcp().is_some_and(|admin| admin.port() == port)
                || port == self.redis.address.port() && self.redis.address.says_local())
        {
            let message =
                format!("tls.port {port} is in use by Redis, as accelerated port or by listen.admin");
            reader.mistake("tls", "port", message);
        }
        let taken =
            |tcp: SocketAddr| tcp.port() == self.listen.accelerated_port || self.redis.address == tcp.into();
        if self.admin.tcp().is_some_and(taken) {
            reader.mistake(
                "listen",
                "admin",
                "listen.admin is in use by Redis or as accelerated port; it must be another",
            );
        }
        if self.redis.address.port() == 0 {
            reader.mistake("redis", "address", "redis.address has no port");
        }
        if !self.miss_sample.is_power_of_two() {
            reader.mistake("cache", "miss_sample", "cache.miss_sample must be a power of two");
        }
        for (key, prefixes) in [
            ("key_prefixes", &self.limits.key_prefixes),
            ("key_prefixes_excluded", &self.limits.key_prefixes_excluded),
        ] {
            if prefixes.iter().any(String::is_empty) {
                let message = format!("cache.{key} names an empty prefix, which every key has; leave it out");
                reader.mistake("cache", key, message);
            }
        }
    }
}

fn limits(cache: &mut Section<'_>) -> Limits {
    let ttl_given = cache.is_given("ttl_max");
    let longest = Duration::from_secs(10 * 365 * 86_400);
    let ttl_max = cache.duration("ttl_max", longest, Duration::from_millis(1)..=longest);
    Limits {
        key_bytes_max: cache.integer("key_bytes_max", KEY_BYTES_MAX, 1..=KEY_BYTES_MAX),
        key_prefixes: cache.strings("key_prefixes", &[]),
        key_prefixes_excluded: cache.strings("key_prefixes_excluded", &[]),
        ttl_max: ttl_given.then_some(ttl_max),
    }
}

/// The first line of the file.
fn password_of(reader: &mut Reader, path: &str, other: &Secret) -> Secret {
    if !other.is_empty() {
        reader.mistake("redis", "password_file", "redis.password is given too; only one of them can count");
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Secret::new(text.lines().next().unwrap_or_default().to_owned()),
        Err(error) => {
            reader.mistake(
                "redis",
                "password_file",
                format!("redis.password_file {path} cannot be read: {error}"),
            );
            Secret::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_a_configuration() {
        let config = Config::read(None, Vec::new(), Vec::new()).expect("defaults");
        assert_eq!(config.redis, Server::open(([127, 0, 0, 1], 6379).into()));
        assert_eq!(config.pages, 2048);
        assert_eq!(config.value_bytes_max, 1400);
    }

    #[test]
    fn all_mistakes_are_told() {
        let file = "[redis]\naddress = \"127.0.0.1:6380\"\n[cache]\nmiss_sample = 3\nmemroy_bytes = 1\n";
        let mistakes = Config::read(Some(("kv.toml", file)), Vec::new(), Vec::new()).expect_err("mistakes");
        let text = mistakes.to_string();
        for part in [
            "accelerated_port is Redis's own",
            "kv.toml:4: cache.miss_sample must be a power",
            "memory_bytes",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn in_place_there_is_one_port_and_no_user_path() {
        let read = |file: &str| Config::read(Some(("kv.toml", file)), Vec::new(), Vec::new());
        let place = "[listen]\nmode = \"in-place\"\n";
        let config = read(place).expect("it");
        assert_eq!((config.listen.accelerated_port, config.listen.port_beside()), (6379, None));
        assert!(config.path.wishes.in_place);
        assert!(read(&format!("{place}accelerated_port = 6379\n")).is_ok());
        for (more, part) in [
            ("accelerated_port = 6380\n", "kv.toml:3: listen.accelerated_port is 6380"),
            ("addresses = [\"::\"]\n", "kv.toml:3: listen.addresses is for the user path"),
            ("connections_max = 5\n", "kv.toml:3: listen.connections_max is for the user path"),
            ("[path]\nmode = \"user\"\n", "kv.toml:4: path.mode is \"user\""),
            ("admin = \"127.0.0.1:6379\"\n", "listen.admin is in use"),
        ] {
            let mistakes = read(&format!("{place}{more}")).expect_err("a mistake").to_string();
            assert!(mistakes.contains(part), "{mistakes}");
        }
        let beside = read("[listen]\nmode = \"inplace\"\n").expect_err("no such mode").to_string();
        assert!(beside.contains("\"beside\", \"in-place\""), "{beside}");
    }

    #[test]
    fn addresses_of_this_host_are_named_or_all() {
        let read = |file: &str| Config::read(Some(("kv.toml", file)), Vec::new(), Vec::new());
        assert!(read("").expect("defaults").server_addresses.is_empty());
        let named = read("[server]\naddresses = [\"10.0.0.1\", \"fd00::1\"]\n").expect("addresses");
        let expected: Vec<IpAddr> = ["10.0.0.1", "fd00::1"].map(|text| text.parse().expect("it")).into();
        assert_eq!(named.server_addresses, expected);
        for (file, part) in [
            (
                "[server]\naddresses = [\"::\"]\n",
                "kv.toml:2: server.addresses names no address in particular",
            ),
            ("[server]\naddresses = [\"host\"]\n", "a list of addresses of this host"),
        ] {
            let mistakes = read(file).expect_err("a mistake").to_string();
            assert!(mistakes.contains(part), "{mistakes}");
        }
    }

    #[test]
    fn limits_are_read_and_checked() {
        let none = Config::read(None, Vec::new(), Vec::new()).expect("defaults").limits;
        assert_eq!(none.ttl_max, None);
        assert!(none.admits(&[b'k'; 250]));
        let file = "[cache]\nttl_max = \"1500ms\"\nkey_bytes_max = 16\nkey_prefixes = [\"a:\", \"b:\"]\n";
        let environment = vec![("KV_CACHE_CACHE_KEY_PREFIXES_EXCLUDED".to_owned(), "a:x, b:x".to_owned())];
        let limits = Config::read(Some(("kv.toml", file)), environment, Vec::new()).expect("it").limits;
        assert_eq!(limits.ttl_max, Some(Duration::from_millis(1500)));
        assert!(limits.admits(b"a:1") && !limits.admits(b"b:x1") && !limits.admits(b"c:1"));
        let file = "[cache]\nttl_max = \"0s\"\nkey_bytes_max = 251\nkey_prefixes = [\"\"]\n";
        let mistakes = Config::read(Some(("kv.toml", file)), Vec::new(), Vec::new()).expect_err("mistakes");
        let text = mistakes.to_string();
        for part in ["kv.toml:2: ", "kv.toml:3: ", "kv.toml:4: cache.key_prefixes names an empty prefix"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_password_comes_by_file_or_environment_and_is_never_shown() {
        let environment = vec![("KV_CACHE_REDIS_PASSWORD".to_owned(), "hunter2".to_owned())];
        let config = Config::read(None, environment.clone(), Vec::new()).expect("it");
        assert_eq!(config.redis.password.reveal(), "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "secret of a file\n").expect("a file");
        let flags = vec![("redis.password_file".to_owned(), path.display().to_string())];
        let config = Config::read(None, Vec::new(), flags.clone()).expect("it");
        assert_eq!(config.redis.password.reveal(), "secret of a file");
        let both = Config::read(None, environment, flags).expect_err("two passwords").to_string();
        assert!(both.contains("only one") && !both.contains("hunter2"), "{both}");
        for (file, flags) in [
            ("", vec![("redis.password".to_owned(), "hunter2".to_owned())]),
            ("[redis]\npassword = 1234567\n", Vec::new()),
            ("[redis]\npassword_file = \"/nosuch\"\n", Vec::new()),
        ] {
            let mistakes = Config::read(Some(("kv.toml", file)), Vec::new(), flags).expect_err("a mistake");
            let text = mistakes.to_string();
            assert!(
                text.contains("password") && !text.contains("hunter2") && !text.contains("1234567"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let environment = vec![("KV_CACHE_PATH_MODE".to_owned(), "user".to_owned())];
        let config = Config::read(Some(("kv.toml", "[path]\nmode = \"auto\"\n")), environment, Vec::new())
            .expect("it");
        assert_eq!(config.path.wishes.mode, xps_runtime::plan::Mode::User);
    }
}
