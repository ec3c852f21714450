//! The addresses of this network namespace, which come and go while the agent runs: those that its routing tables say are
//! local, whether an interface has them or not. A load balancer's address, for one, is often a route only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::sync::watch;

use crate::interface::{self, Interface};
use crate::netlink::{Message, Netlink, Watch, attributes, word};

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
/// The route's interface is gone.
const RTNH_F_DEAD: u32 = 1;

/// After this time the kernel has done what it has told: that routes of IPv4 go with their interface is told of the interface
/// only, and may be so a moment later.
const SETTLED: Duration = Duration::from_millis(200);

/// How long a watch that failed waits.
const AGAIN: Duration = Duration::from_secs(1);

/// A local route: packets to these addresses are given to the sockets of this namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalRoute {
    /// The address, or the first one of a network.
    pub address: IpAddr,
    /// Leading bits of it that count.
    pub prefix_bits: u8,
    /// Index of the interface that has it.
    pub interface: u32,
    /// Index of the VRF in which it is local, 0 for none.
    pub vrf: u32,
}

impl LocalRoute {
    /// Whether it is one address and not a network.
    #[must_use]
    pub const fn is_host(&self) -> bool {
        self.prefix_bits == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

/// What is local in this namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The routes.
    pub routes: BTreeSet<LocalRoute>,
    /// Whether there is a VRF.
    pub has_vrfs: bool,
}

impl Here {
    /// The addresses of whoever is in no VRF.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let host = self.routes.iter().filter(|route| route.is_host() && route.vrf == 0);
        host.map(|route| route.address).collect()
    }
}

/// Watches the addresses of this namespace.
#[derive(Debug)]
pub struct Addresses {
    watch: Watch,
    known: Option<Here>,
    /// Whether something was told a moment ago.
    unsettled: bool,
}

impl Addresses {
    /// Starts to watch; [`Self::next`] first gives those that there are. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch() -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_ROUTE;
        Ok(Self { watch: Watch::open(groups as u32)?, known: None, unsettled: false })
    }

    /// Waits until they are others than those that were given last, and gives all of them. May be cancelled.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn next(&mut self) -> io::Result<&Here> {
        loop {
            let now = list()?;
            if self.known.as_ref() != Some(&now) {
                return Ok(self.known.insert(now));
            }
            if self.unsettled {
                let changed = tokio::time::timeout(SETTLED, self.watch.changed_by(is_of_addresses)).await;
                self.unsettled = changed.is_ok();
                changed.unwrap_or(Ok(()))?;
            } else {
                self.watch.changed_by(is_of_addresses).await?;
                self.unsettled = true;
            }
        }
    }

    /// Tells `apply` of them, now and whenever they are others, until `stop` turns true.
    pub async fn follow(mut self, mut stop: watch::Receiver<bool>, mut apply: impl FnMut(io::Result<&Here>)) {
        loop {
            let known = tokio::select! {
                known = self.next() => known,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let failed = known.is_err();
            apply(known);
            if failed {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Whether a message may be about local addresses: of routes, only local ones. A router has others that change all the time.
fn is_of_addresses(message: &Message) -> bool {
    !matches!(message.kind, libc::RTM_NEWROUTE | libc::RTM_DELROUTE)
        || message.body.get(7).is_none_or(|&kind| kind == libc::RTN_LOCAL)
}

/// What is local in this namespace now.
///
/// # Errors
/// The kernel's, as when a seccomp filter forbids netlink.
pub fn list() -> io::Result<Here> {
    let interfaces = interface::list()?;
    let tables = tables(&interfaces);
    let mut routes = BTreeSet::new();
    for (&table, &vrf) in &tables {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let of_table = dump(family, table)?;
            let local = of_table.iter().filter_map(|message| parse(message, table));
            routes.extend(local.map(|route| LocalRoute { vrf, ..route }));
        }
    }
    Ok(Here { routes, has_vrfs: tables.len() > 1 })
}

/// The tables that local addresses are in, each with its VRF.
fn tables(interfaces: &[Interface]) -> BTreeMap<u32, u32> {
    let of_vrfs = interfaces.iter().filter_map(|interface| Some((interface.vrf_table?, interface.index)));
    of_vrfs.chain([(u32::from(libc::RT_TABLE_LOCAL), 0)]).collect()
}

/// The local routes of a table; none if there is no such table or family.
fn dump(family: libc::c_int, table: u32) -> io::Result<Vec<Message>> {
    let netlink = Netlink::open(libc::NETLINK_ROUTE, 0)?;
    netlink.check_strictly();
    // struct rtmsg: family u8, lengths of destination and source u8, TOS u8, table u8, protocol u8, scope u8, type u8, flags u32.
    let mut body = vec![family as u8, 0, 0, 0, 0, 0, 0, libc::RTN_LOCAL, 0, 0, 0, 0];
    body.extend_from_slice(&8u16.to_ne_bytes());
    body.extend_from_slice(&RTA_TABLE.to_ne_bytes());
    body.extend_from_slice(&table.to_ne_bytes());
    let missing = [libc::ENOENT, libc::EOPNOTSUPP, libc::EAFNOSUPPORT];
    match netlink.request(libc::RTM_GETROUTE, libc::NLM_F_DUMP as u16, &body) {
        Err(error) if error.raw_os_error().is_some_and(|code| missing.contains(&code)) => Ok(Vec::new()),
        other => other,
    }
}

/// The route that an `RTM_NEWROUTE` tells, if it is a local one of this table; `None` also if it is cut short. A kernel that
/// does not check strictly gives all routes.
fn parse(message: &Message, table: u32) -> Option<LocalRoute> {
    let body = &message.body;
    let (family, prefix_bits) = (i32::from(*body.first()?), *body.get(1)?);
    let (own_table, kind, flags) = (u32::from(*body.get(4)?), *body.get(7)?, word(body, 8)?);
    let attribute =
        |wanted| attributes(body.get(12..)?).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let in_table = attribute(RTA_TABLE).and_then(|value| word(value, 0)).unwrap_or(own_table) == table;
    let alive = flags & RTNH_F_DEAD == 0;
    if message.kind != libc::RTM_NEWROUTE || kind != libc::RTN_LOCAL || !in_table || !alive {
        return None;
    }
    // A route to everything has no destination.
    let destination = attribute(RTA_DST);
    let address = match (family, destination) {
        (libc::AF_INET, Some(value)) => IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>()?)),
        (libc::AF_INET6, Some(value)) => IpAddr::V6(Ipv6Addr::from(*value.first_chunk::<16>()?)),
        (libc::AF_INET, None) => Ipv4Addr::UNSPECIFIED.into(),
        (libc::AF_INET6, None) => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let interface = attribute(RTA_OIF).and_then(|value| word(value, 0)).unwrap_or(0);
    Some(LocalRoute { address, prefix_bits, interface, vrf: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(family: i32, bits: u8, table: u8, kind: u8, attributes: &[(u16, &[u8])]) -> Message {
        let mut body = vec![family as u8, bits, 0, 0, table, 2, 254, kind, 0, 0, 0, 0];
        for (kind, value) in attributes {
            body.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
        }
        Message { kind: libc::RTM_NEWROUTE, body }
    }

    #[test]
    fn a_message_is_read() {
        const LOCAL: u32 = 255;
        let (v4, seven) = ([10, 0, 0, 1], 7u32.to_ne_bytes());
        let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        let whole: [(u16, &[u8]); 2] = [(RTA_DST, &v4), (RTA_OIF, &seven)];
        let route = |address: IpAddr, prefix_bits| LocalRoute { address, prefix_bits, interface: 7, vrf: 0 };
        let one = message(libc::AF_INET, 32, 255, libc::RTN_LOCAL, &whole);
        assert_eq!(parse(&one, LOCAL), Some(route(v4.into(), 32)));
        let six = [(RTA_DST, &v6.octets()[..]), (RTA_OIF, &seven)];
        let six = message(libc::AF_INET6, 128, 255, libc::RTN_LOCAL, &six);
        assert_eq!(parse(&six, LOCAL), Some(route(v6.into(), 128)));
        assert!(parse(&six, LOCAL).is_some_and(|route| route.is_host()));
        let all = message(libc::AF_INET, 0, 255, libc::RTN_LOCAL, &[(RTA_OIF, &seven)]);
        assert_eq!(parse(&all, LOCAL), Some(route([0; 4].into(), 0)));
        assert!(parse(&all, LOCAL).is_some_and(|route| !route.is_host()));
        // Numbers of tables beyond a byte are an attribute.
        let table = 1000u32.to_ne_bytes();
        let vrf =
            message(libc::AF_INET, 32, 252, libc::RTN_LOCAL, &[whole[0], whole[1], (RTA_TABLE, &table)]);
        assert_eq!((parse(&vrf, LOCAL), parse(&vrf, 1000)), (None, Some(route(v4.into(), 32))));
        let others = [
            message(libc::AF_INET, 32, 255, libc::RTN_BROADCAST, &whole),
            message(libc::AF_INET, 32, 254, libc::RTN_LOCAL, &whole),
            message(libc::AF_UNIX, 32, 255, libc::RTN_LOCAL, &whole),
            message(libc::AF_INET6, 128, 255, libc::RTN_LOCAL, &whole),
            Message { kind: libc::RTM_DELROUTE, ..one.clone() },
            Message { body: one.body[..9].to_vec(), ..one.clone() },
        ];
        assert!(others.iter().all(|message| parse(message, LOCAL).is_none()));
        let mut dead = one.clone();
        dead.body[8] = RTNH_F_DEAD as u8;
        assert_eq!(parse(&dead, LOCAL), None);
    }

    #[test]
    fn routes_of_others_wake_nobody() {
        let of = |kind| message(libc::AF_INET, 24, 254, kind, &[]);
        assert!(is_of_addresses(&of(libc::RTN_LOCAL)) && !is_of_addresses(&of(libc::RTN_UNICAST)));
        let link = Message { kind: libc::RTM_NEWLINK, ..of(libc::RTN_UNICAST) };
        assert!(is_of_addresses(&link));
    }

    #[test]
    fn vrfs_have_tables_of_their_own() {
        let red = Interface { index: 5, vrf_table: Some(10), ..Interface::default() };
        assert_eq!(tables(&[red, Interface::default()]), BTreeMap::from([(255, 0), (10, 5)]));
    }

    #[tokio::test]
    async fn what_is_there_is_given_first() {
        let mut addresses = Addresses::watch().unwrap();
        let first = addresses.next().await.unwrap().addresses();
        assert!(first.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{first:?}");
    }
}
