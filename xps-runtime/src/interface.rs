//! The interfaces of this network namespace, as RTNETLINK lists them. `/sys/class/net` is not read: in a container it may
//! show another namespace than the process lives in.

use std::io;

use crate::netlink::{Message, Netlink, attributes, word};

/// `ARPHRD_ETHER`.
pub const ETHERNET: u16 = 1;
/// `ARPHRD_LOOPBACK`.
pub const LOOPBACK: u16 = 772;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VRF_TABLE: u16 = 1;
const IFLA_LINK_NETNSID: u16 = 37;

/// The discipline of virtual devices that nobody has given another one.
const NO_QUEUE: &str = "noqueue";

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Index, unique in the namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// `ARPHRD_…`: what its packets begin with.
    pub hardware: u16,
    /// Whether it is administratively up.
    pub up: bool,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Index of the bridge, bond or VRF it belongs to.
    pub master: Option<u32>,
    /// Driver name of a virtual interface (`veth`, `bridge`, `wireguard`, …).
    pub kind: Option<String>,
    /// Number of its routing table, if it is a VRF.
    pub vrf_table: Option<u32>,
    /// Whether its other end lies in another network namespace.
    pub peer_elsewhere: bool,
    /// Name of the queueing discipline for what leaves; `None` if that is not known.
    pub discipline: Option<String>,
}

impl Interface {
    /// Whether what leaves may wait before, as far as is known.
    #[must_use]
    pub fn queues(&self) -> bool {
        self.discipline.as_deref() != Some(NO_QUEUE)
    }

    /// Whether the queueing discipline, and nothing else, is another one than `before`.
    #[must_use]
    pub fn is_only_requeued(&self, before: &Self) -> bool {
        self.discipline != before.discipline
            && Self { discipline: self.discipline.clone(), ..before.clone() } == *self
    }

    /// From the body of an `RTM_NEWLINK` or `RTM_DELLINK`; `None` if it is cut short or of another family.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        // struct ifinfomsg: family u8, pad u8, type u16, index i32, flags u32, change u32. Messages of other families
        // (a bridge's about its ports) repeat only a part.
        if *body.first()? != libc::AF_UNSPEC as u8 {
            return None;
        }
        let mut interface = Self {
            hardware: u16::from_ne_bytes(*body.get(2..)?.first_chunk()?),
            index: word(body, 4)?,
            up: word(body, 8)? & libc::IFF_UP as u32 != 0,
            ..Self::default()
        };
        for (kind, value) in attributes(body.get(16..)?) {
            match kind {
                IFLA_IFNAME => interface.name = text(value),
                IFLA_MTU => interface.mtu = word(value, 0)?,
                IFLA_MASTER => interface.master = word(value, 0).filter(|&index| index != 0),
                IFLA_QDISC => interface.discipline = Some(text(value)),
                IFLA_LINKINFO => {
                    let find = |wanted| attributes(value).find(|(kind, _)| *kind == wanted);
                    interface.kind = find(IFLA_INFO_KIND).map(|(_, name)| text(name));
                    if interface.kind.as_deref() == Some("vrf")
                        && let Some((_, data)) = find(IFLA_INFO_DATA)
                    {
                        let table = attributes(data).find(|(kind, _)| *kind == IFLA_VRF_TABLE);
                        interface.vrf_table = table.and_then(|(_, number)| word(number, 0));
                    }
                }
                IFLA_LINK_NETNSID => interface.peer_elsewhere = true,
                _ => {}
            }
        }
        Some(interface)
    }
}

/// All interfaces of this namespace, by index.
///
/// # Errors
/// The kernel's, as when a seccomp filter forbids netlink.
pub fn list() -> io::Result<Vec<Interface>> {
    let netlink = Netlink::open(libc::NETLINK_ROUTE, 0)?;
    let mut body = [0u8; 16];
    body[0] = libc::AF_UNSPEC as u8;
    let messages = netlink.request(libc::RTM_GETLINK, libc::NLM_F_DUMP as u16, &body)?;
    let mut interfaces: Vec<_> = messages.iter().filter_map(of_new_link).collect();
    interfaces.sort_by_key(|interface| interface.index);
    Ok(interfaces)
}

fn of_new_link(message: &Message) -> Option<Interface> {
    (message.kind == libc::RTM_NEWLINK).then(|| Interface::parse(&message.body))?
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read() {
        let mut body = vec![0, 0, 1, 0, 7, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0];
        body.extend_from_slice(&[9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0]);
        body.extend_from_slice(&[8, 0, 4, 0, 0xdc, 5, 0, 0]);
        body.extend_from_slice(&[8, 0, 37, 0, 0, 0, 0, 0]);
        body.extend_from_slice(b"\x08\0\x06\0tbf\0");
        body.extend_from_slice(&[13, 0, 18, 0, 9, 0, 1, 0, b'v', b'e', b't', b'h', 0, 0, 0, 0]);
        let expected = Interface {
            index: 7,
            name: "eth0".into(),
            hardware: ETHERNET,
            up: true,
            mtu: 1500,
            master: None,
            kind: Some("veth".into()),
            vrf_table: None,
            peer_elsewhere: true,
            discipline: Some("tbf".into()),
        };
        assert_eq!(Interface::parse(&body), Some(expected));
        assert_eq!(Interface::parse(&body[..9]), None);
    }

    #[test]
    fn a_vrf_tells_its_table() {
        let of = |kind: &[u8; 4]| {
            let mut body = vec![0; 16];
            body.extend_from_slice(&[24, 0, 18, 0, 8, 0, 1, 0]);
            body.extend_from_slice(kind);
            body.extend_from_slice(&[12, 0, 2, 0, 8, 0, 1, 0, 10, 0, 0, 0]);
            Interface::parse(&body).expect("an interface").vrf_table
        };
        assert_eq!((of(b"vrf\0"), of(b"tun\0")), (Some(10), None));
    }

    #[test]
    fn what_is_not_known_to_have_no_queue_may_have_one() {
        let of = |name: Option<&str>| Interface { discipline: name.map(Into::into), ..Interface::default() };
        let found = [None, Some("noop"), Some("fq_codel"), Some("tbf"), Some("noqueue")].map(of);
        assert_eq!(found.map(|interface| interface.queues()), [true, true, true, true, false]);
    }

    #[test]
    fn loopback_is_listed() {
        let interfaces = list().expect("netlink answers without privilege");
        assert!(interfaces.iter().any(|i| i.hardware == LOOPBACK && i.name == "lo" && i.mtu > 0));
        assert!(interfaces.iter().all(|i| i.discipline.is_some()), "{interfaces:?}");
    }
}
