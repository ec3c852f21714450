//! Echo packets of this host's sessions: they go to the other system's hardware address, and to this host's own IP address,
//! so the other system's stack sends them back (RFC 5881 section 4). The system's own UDP neither sends nor takes such
//! packets.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use heartbeat_bfd::ECHO_BYTES;
use heartbeat_fastpath::bfd::{HOP_LIMIT, PORT_ECHO};
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use xps_core::checksum::{fold, of_bytes};
use xps_runtime::netlink::{Netlink, attributes, word};

const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Bytes of the longest packet.
const PACKET_BYTES_MAX: usize = V6_HEADER + UDP_HEADER + ECHO_BYTES;
/// How many packets are taken before others have their turn.
const BURST: usize = 256;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

/// A socket for one session's echo packets.
#[derive(Debug)]
pub(super) struct EchoSocket {
    socket: AsyncFd<OwnedFd>,
    device: u32,
    local: IpAddr,
    peer: IpAddr,
    /// The other system's hardware address, once it is known.
    hardware: Option<[u8; 6]>,
}

impl EchoSocket {
    /// Opens one on an interface. Needs the capability `NET_RAW`. Within a runtime only.
    pub(super) fn open(device: u32, local: IpAddr, peer: IpAddr) -> io::Result<Self> {
        // Protocol 0: nothing arrives before the filter is there and the socket is bound.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), Some(Protocol::from(0)))?;
        socket.attach_filter(&filter(local.is_ipv4()))?;
        socket.bind(&at_link(device, local.is_ipv4(), [0; 6]))?;
        // SAFETY: the descriptor is owned, and the same one each time.
        let socket = unsafe { AsyncFd::register_with_interest(OwnedFd::from(socket), Interest::READABLE) };
        let mut echo = Self { socket: socket?, device, local, peer, hardware: None };
        echo.look_up();
        Ok(echo)
    }

    /// Whether it still fits.
    pub(super) fn fits(&self, device: u32, local: IpAddr) -> bool {
        self.device == device && self.local == local
    }

    /// Asks the system for the other one's hardware address, which it knows: control packets go there all the time.
    pub(super) fn look_up(&mut self) {
        if let Ok(Some(hardware)) = neighbour(self.device, self.peer) {
            self.hardware = Some(hardware);
        }
    }

    /// Whether there may be a packet; if not, the task is woken when there is.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read_ready(context).map_ok(drop)
    }

    /// Sends a payload on its way.
    pub(super) fn send(&mut self, payload: &[u8; ECHO_BYTES]) -> io::Result<()> {
        if self.hardware.is_none() {
            self.look_up();
        }
        let hardware = self.hardware.ok_or(io::ErrorKind::HostUnreachable)?;
        let to = at_link(self.device, self.local.is_ipv4(), hardware);
        let packet = packet(self.local, payload);
        socket2::SockRef::from(self.socket.get_ref()).send_to(&packet, &to).map(drop)
    }

    /// Hands over payloads of what has come back, up to a burst.
    pub(super) fn drain(&self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut bytes = [0; PACKET_BYTES_MAX + 1];
        for _ in 0..BURST {
            let read =
                self.socket.try_io(Interest::READABLE, |socket| Ok(nix::unistd::read(socket, &mut bytes)?));
            match read {
                Ok(len) => {
                    if let Some(payload) = payload(self.local, &bytes[..len]) {
                        take(payload);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A packet from its IP header on, whose ends are both `local`.
fn packet(local: IpAddr, payload: &[u8; ECHO_BYTES]) -> Vec<u8> {
    let len = (UDP_HEADER + ECHO_BYTES) as u16;
    let mut packet = Vec::with_capacity(PACKET_BYTES_MAX);
    let address = match local {
        IpAddr::V4(local) => {
            let [hi, lo] = (V4_HEADER as u16 + len).to_be_bytes();
            // "Internetwork control", not to be cut.
            packet.extend([0x45, 0xc0, hi, lo, 0, 0, 0x40, 0, HOP_LIMIT, UDP, 0, 0]);
            packet.extend(local.octets().repeat(2));
            let sum = !fold(of_bytes(&packet));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            local.octets().to_vec()
        }
        IpAddr::V6(local) => {
            let [hi, lo] = len.to_be_bytes();
            packet.extend([0x6c, 0, 0, 0, hi, lo, UDP, HOP_LIMIT]);
            packet.extend(local.octets().repeat(2));
            local.octets().to_vec()
        }
    };
    let udp = packet.len();
    for half in [PORT_ECHO, PORT_ECHO, len, 0] {
        packet.extend(half.to_be_bytes());
    }
    packet.extend(payload);
    let pseudo = 2 * of_bytes(&address) + u64::from(UDP) + u64::from(len);
    let sum = match !fold(pseudo + of_bytes(&packet[udp..])) {
        0 => 0xffff,
        sum => sum,
    };
    packet[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The payload of what the filter let pass, if it is for this host's address. Whether it is one that was sent, the session
/// knows.
fn payload(local: IpAddr, packet: &[u8]) -> Option<&[u8]> {
    let (header, to) = match local {
        IpAddr::V4(local) => (V4_HEADER, packet.get(16..20)? == local.octets()),
        IpAddr::V6(local) => (V6_HEADER, packet.get(24..40)? == local.octets()),
    };
    if to { packet.get(header + UDP_HEADER..) } else { None }
}

/// Lets whole UDP datagrams to the port pass, without options and extension headers.
fn filter(is_v4: bool) -> Vec<SockFilter> {
    let port = u32::from(PORT_ECHO);
    // Loads of a byte (0x30) and of two (0x28), jumps where equal (0x15) and where a bit is set (0x45), returns (0x06).
    let accept = [SockFilter::new(0x06, 0, 0, 0xffff), SockFilter::new(0x06, 0, 0, 0)];
    let checks = if is_v4 {
        vec![
            SockFilter::new(0x30, 0, 0, 0),
            SockFilter::new(0x15, 0, 7, 0x45),
            SockFilter::new(0x30, 0, 0, 9),
            SockFilter::new(0x15, 0, 5, UDP.into()),
            SockFilter::new(0x28, 0, 0, 6),
            SockFilter::new(0x45, 3, 0, 0x3fff),
            SockFilter::new(0x28, 0, 0, 22),
            SockFilter::new(0x15, 0, 1, port),
        ]
    } else {
        vec![
            SockFilter::new(0x30, 0, 0, 6),
            SockFilter::new(0x15, 0, 3, UDP.into()),
            SockFilter::new(0x28, 0, 0, 42),
            SockFilter::new(0x15, 0, 1, port),
        ]
    };
    checks.into_iter().chain(accept).collect()
}

/// The address of an interface, and of a system there.
fn at_link(device: u32, is_v4: bool, hardware: [u8; 6]) -> SockAddr {
    let protocol = if is_v4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
    let init = |storage: *mut socket2::SockAddrStorage, len: *mut libc::socklen_t| {
        let address = storage.cast::<libc::sockaddr_ll>();
        // SAFETY: the storage is zeroed, large enough and aligned for every kind of address, and ours alone.
        unsafe {
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_protocol = (protocol as u16).to_be();
            (*address).sll_ifindex = device.cast_signed();
            (*address).sll_halen = 6;
            (&mut (*address).sll_addr)[..6].copy_from_slice(&hardware);
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        }
        Ok(())
    };
    // SAFETY: all of the address was written, and its length.
    match unsafe { SockAddr::try_init(init) } {
        Ok(((), address)) => address,
        Err(never) => unreachable!("nothing in it fails: {never}"),
    }
}

/// The hardware address that the system knows of another one on this link.
fn neighbour(device: u32, address: IpAddr) -> io::Result<Option<[u8; 6]>> {
    let (family, wanted) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let netlink = Netlink::open(libc::NETLINK_ROUTE, 0)?;
    // struct ndmsg: family u8, padding, index i32, state u16, flags u8, type u8.
    let mut body = [0; 12];
    body[0] = family as u8;
    for message in netlink.request(libc::RTM_GETNEIGH, libc::NLM_F_DUMP as u16, &body)? {
        if word(&message.body, 4) != Some(device) {
            continue;
        }
        let Some(rest) = message.body.get(12..) else { continue };
        let of = |kind| attributes(rest).find(|(found, _)| *found == kind).map(|(_, value)| value);
        if of(NDA_DST) == Some(&wanted[..]) {
            return Ok(of(NDA_LLADDR).and_then(|value| value.try_into().ok()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_right_checksums_and_gives_its_payload() {
        for local in ["192.0.2.7", "2001:db8::7"].map(|text| text.parse::<IpAddr>().unwrap()) {
            let sent = [7; ECHO_BYTES];
            let packet = packet(local, &sent);
            assert_eq!(payload(local, &packet), Some(&sent[..]), "{local}");
            let other = if local.is_ipv4() { "192.0.2.8" } else { "2001:db8::8" };
            assert_eq!(payload(other.parse().unwrap(), &packet), None, "{local}");
            let header = packet.len() - UDP_HEADER - ECHO_BYTES;
            if local.is_ipv4() {
                assert_eq!(fold(of_bytes(&packet[..header])), 0xffff);
            }
            let addresses = if local.is_ipv4() { &packet[12..20] } else { &packet[8..40] };
            let pseudo = of_bytes(addresses) + u64::from(UDP) + (UDP_HEADER + ECHO_BYTES) as u64;
            assert_eq!(fold(pseudo + of_bytes(&packet[header..])), 0xffff, "{local}");
        }
    }
}
