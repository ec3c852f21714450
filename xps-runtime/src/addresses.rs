//! The addresses of this network namespace, which come and go while the agent runs.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{Message, Netlink, Watch, attributes};

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Watches the addresses of this namespace.
#[derive(Debug)]
pub struct Addresses {
    watch: Watch,
    known: Option<BTreeSet<IpAddr>>,
}

impl Addresses {
    /// Starts to watch; [`Self::next`] first gives those that there are. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn watch() -> io::Result<Self> {
        let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        Ok(Self { watch: Watch::open(groups as u32)?, known: None })
    }

    /// Waits until they are others than those that were given last, and gives all of them. May be cancelled.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn next(&mut self) -> io::Result<&BTreeSet<IpAddr>> {
        loop {
            let now = list()?;
            if self.known.as_ref() != Some(&now) {
                return Ok(self.known.insert(now));
            }
            self.watch.changed().await?;
        }
    }
}

/// The addresses of this namespace that are in use.
///
/// # Errors
/// The kernel's, as when a seccomp filter forbids netlink.
pub fn list() -> io::Result<BTreeSet<IpAddr>> {
    let netlink = Netlink::open(libc::NETLINK_ROUTE, 0)?;
    // struct ifaddrmsg, of any family.
    let body = [0u8; 8];
    let messages = netlink.request(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16, &body)?;
    Ok(messages.iter().filter_map(of_new_address).collect())
}

fn of_new_address(message: &Message) -> Option<IpAddr> {
    (message.kind == libc::RTM_NEWADDR).then(|| parse(&message.body))?
}

/// From the body of an `RTM_NEWADDR`; `None` if it is cut short, or if nobody may use the address: whether another host has it
/// is still to be found out (RFC 4862, section 5.4), or has been.
fn parse(body: &[u8]) -> Option<IpAddr> {
    // struct ifaddrmsg: family u8, prefix length u8, flags u8, scope u8, index u32.
    let (family, flags) = (i32::from(*body.first()?), u32::from(*body.get(2)?));
    let undecided = flags & libc::IFA_F_TENTATIVE != 0 && flags & libc::IFA_F_OPTIMISTIC == 0;
    if undecided || flags & libc::IFA_F_DADFAILED != 0 {
        return None;
    }
    let attribute = |wanted| attributes(body.get(8..)?).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
    // Between two hosts IFA_ADDRESS is the other one's.
    let value = attribute(IFA_LOCAL).or_else(|| attribute(IFA_ADDRESS))?;
    match family {
        libc::AF_INET => Some(IpAddr::V4(Ipv4Addr::from(*value.first_chunk::<4>()?))),
        libc::AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(*value.first_chunk::<16>()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(family: i32, flags: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family as u8, 24, flags as u8, 0, 7, 0, 0, 0];
        for (kind, value) in attributes {
            body.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
        }
        body
    }

    #[test]
    fn a_message_is_read() {
        let (here, there) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        let of_v6 = |flags| parse(&body(libc::AF_INET6, flags, &[(IFA_ADDRESS, &v6.octets())]));
        let pair = body(libc::AF_INET, 0, &[(IFA_ADDRESS, &there), (IFA_LOCAL, &here)]);
        assert_eq!(parse(&pair), Some(IpAddr::from(here)));
        assert_eq!(of_v6(0), Some(IpAddr::V6(v6)));
        assert_eq!(of_v6(libc::IFA_F_TENTATIVE), None);
        assert_eq!(of_v6(libc::IFA_F_TENTATIVE | libc::IFA_F_OPTIMISTIC), Some(IpAddr::V6(v6)));
        assert_eq!(of_v6(libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED), None);
        assert_eq!(parse(&body(libc::AF_INET6, 0, &[(IFA_ADDRESS, &here)])), None);
        assert_eq!(parse(&body(libc::AF_UNIX, 0, &[(IFA_ADDRESS, &here)])), None);
        assert_eq!(parse(&body(libc::AF_INET, 0, &[])), None);
        assert_eq!(parse(&pair[..5]), None);
    }

    #[tokio::test]
    async fn what_is_there_is_given_first() {
        let mut addresses = Addresses::watch().unwrap();
        let first = addresses.next().await.unwrap().clone();
        assert!(first.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{first:?}");
    }
}
