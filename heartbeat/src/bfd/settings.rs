//! The lists `[[bfd]]` of the configuration: one table for each session.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::path::Path;
use std::time::Duration;

use heartbeat_bfd::config::{Config, INTERVAL_MAX_US, INTERVAL_MIN_US, Keys};
use heartbeat_fastpath::bfd::authentication::Type;
use heartbeat_fastpath::bfd::{PORT_MULTIHOP, PORT_SINGLE_HOP};
use xps_runtime::config::Reader;

use super::key_file;

/// Name of the list.
const LIST: &str = "bfd";
const ADDRESS: &str = "an address, such as \"192.0.2.1\" or \"2001:db8::1\"";

/// What tells one session from another (RFC 5881 section 3, RFC 5883 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The other system.
    pub peer: IpAddr,
    /// This host's address, if it is to be a certain one.
    pub local: Option<IpAddr>,
    /// The interface, if it is to be a certain one.
    pub interface: Option<String>,
    /// Over several hops.
    pub multihop: bool,
}

impl SessionKey {
    /// The UDP port of its control packets.
    pub(super) const fn port(&self) -> u16 {
        if self.multihop { PORT_MULTIHOP } else { PORT_SINGLE_HOP }
    }
}

/// One session, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// Which one.
    pub key: SessionKey,
    /// Over several hops: least hop limit that is taken. Over one hop it is 255.
    pub min_ttl: u8,
    /// Intervals, multiplier, role and echo function.
    pub config: Config,
    /// Authentication.
    pub keys: Option<Keys>,
    /// A node of this host: while its application has not renewed its lease, the session is down.
    pub node: Option<u32>,
}

/// The lists as a whole.
#[derive(Debug)]
pub struct Settings;

impl Settings {
    /// Asks for all of `[[bfd]]`, key files included; what is wrong is told by [`Reader::finish`].
    ///
    /// `reflects` says whether echo packets of other systems can be sent back here, which only the stack does.
    pub fn ask(reader: &mut Reader, reflects: bool) -> Vec<SessionSettings> {
        let mut all: Vec<SessionSettings> = Vec::new();
        for table in reader.tables(LIST) {
            let Some(settings) = one(reader, &table, reflects) else { continue };
            let same = |other: &SessionSettings| {
                let (one, other) = (&settings.key, &other.key);
                // A packet of the second would be taken for the first's.
                one.peer == other.peer
                    && one.multihop == other.multihop
                    && (one.local.is_none() || other.local.is_none() || one.local == other.local)
                    && (one.interface.is_none()
                        || other.interface.is_none()
                        || one.interface == other.interface)
            };
            if all.iter().any(same) {
                let message = format!(
                    "a session with {} is there already; give each another `local` or `interface`, or remove one",
                    settings.key.peer
                );
                reader.mistake(&table, "peer", message);
                continue;
            }
            all.push(settings);
        }
        all
    }
}

fn micros(time: Duration) -> u32 {
    // Within the bounds that were asked for.
    u32::try_from(time.as_micros()).unwrap_or(INTERVAL_MAX_US)
}

/// One table. `None` if it says not even with whom.
fn one(reader: &mut Reader, table: &str, reflects: bool) -> Option<SessionSettings> {
    let interval_min = Duration::from_micros(INTERVAL_MIN_US.into());
    let intervals = interval_min..=Duration::from_micros(INTERVAL_MAX_US.into());
    let mut section = reader.section(table);
    let unspecified = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    let has_peer = section.is_given("peer");
    let peer = section.parsed("peer", unspecified, ADDRESS);
    let has_local = section.is_given("local");
    let local = Some(section.parsed("local", unspecified, ADDRESS)).filter(|_| has_local);
    let interface = Some(section.string("interface", "")).filter(|name| !name.is_empty());
    let multihop = section.boolean("multihop", false);
    let has_min_ttl = section.is_given("min_ttl");
    let min_ttl = section.integer("min_ttl", 254, 1..=255);
    let interval = section.duration("interval", Duration::from_millis(300), intervals.clone());
    let receive_interval = section.duration("receive_interval", interval, intervals.clone());
    let multiplier = section.integer("multiplier", 3, 1..=u8::MAX);
    let passive = section.boolean("passive", false);
    let has_echo = section.is_given("echo_interval");
    let echo_interval = section.duration("echo_interval", interval, intervals.clone());
    let has_echo_receive = section.is_given("echo_receive_interval");
    let echo_receive =
        section.duration("echo_receive_interval", Duration::from_millis(50), intervals.clone());
    let kinds = [
        ("none", None),
        ("keyed-sha1", Some(Type::Keyed)),
        ("meticulous-keyed-sha1", Some(Type::Meticulous)),
    ];
    let kind = section.choice("authentication", None, &kinds);
    let key_file = section.string("key_file", "");
    let has_node = section.is_given("node");
    let node = Some(section.integer("node", 1, 1..=u32::MAX)).filter(|_| has_node);

    let mut mistake = |key: &str, message: &str| reader.mistake(table, key, message);
    if !has_peer {
        mistake("peer", "a session needs `peer`, the address of the other system");
    } else if peer.is_unspecified() || peer.is_multicast() || peer.is_loopback() {
        mistake("peer", "a session is held with one other system; give its address");
    }
    if local.is_some_and(|local| local.is_ipv4() != peer.is_ipv4()) && has_peer {
        mistake("local", "`local` and `peer` are addresses of two kinds; give both as IPv4 or both as IPv6");
    }
    if interface.is_none() && matches!(peer, IpAddr::V6(peer) if peer.is_unicast_link_local()) {
        mistake("peer", "a link-local address is on every link; name the `interface`");
    }
    if has_min_ttl && !multihop {
        mistake("min_ttl", "over one hop only 255 is taken; `min_ttl` is for `multihop = true`");
    }
    if multihop && (has_echo || has_echo_receive) {
        mistake("echo_interval", "there are no echo packets over several hops (RFC 5883 section 3)");
    }
    if has_echo && interface.is_none() && !multihop {
        mistake(
            "echo_interval",
            "echo packets leave by an interface of their own accord; name the `interface`",
        );
    }
    let keys = keys(reader, table, kind, &key_file);
    let config = Config {
        desired_min_tx_us: micros(interval),
        required_min_rx_us: micros(receive_interval),
        detect_multiplier: NonZeroU8::new(multiplier).unwrap_or(NonZeroU8::MIN),
        passive,
        echo_interval_us: has_echo.then(|| micros(echo_interval)),
        required_min_echo_rx_us: if reflects && !multihop { micros(echo_receive) } else { 0 },
    };
    let key = SessionKey { peer, local, interface, multihop };
    has_peer.then_some(SessionSettings { key, min_ttl, config, keys, node })
}

fn keys(reader: &mut Reader, table: &str, kind: Option<Type>, file: &str) -> Option<Keys> {
    match (kind, file) {
        (None, "") => None,
        (None, _) => {
            reader.mistake(table, "key_file", "a key file without `authentication` is of no use; say which");
            None
        }
        (Some(_), "") => {
            reader.mistake(table, "authentication", "authentication needs `key_file`, a file with its keys");
            None
        }
        (Some(kind), path) => match key_file::read(Path::new(path)) {
            Ok((key, other)) => Some(Keys { kind, key, other }),
            Err(error) => {
                reader.mistake(table, "key_file", error);
                None
            }
        },
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
