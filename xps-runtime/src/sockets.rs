//! The kernel's own list of TCP connections (`NETLINK_SOCK_DIAG`): what is there, whoever opened it and whenever.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::netlink::Netlink;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`.
const DESTROY: u16 = 21;
/// Bytes of `struct inet_diag_sockid`.
const ID_BYTES: usize = 48;

/// States of a TCP socket, with the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketState {
    /// Data flows.
    Established,
    /// This side is opening.
    SynSent,
    /// The other side is opening.
    SynReceived,
    /// This side has closed, and its FIN is not acknowledged.
    FinWait1,
    /// This side has closed; the other may still send.
    FinWait2,
    /// Closed; old segments are waited for.
    TimeWait,
    /// No state.
    Close,
    /// The other side has closed; this one may still send.
    CloseWait,
    /// Both have closed, the FIN of this side last and not acknowledged.
    LastAck,
    /// Waits for connections.
    Listen,
    /// Both have closed at once.
    Closing,
    /// A number that this list does not know.
    Other(u8),
}

impl SocketState {
    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            // 12 is the kernel's form of a connection that is not yet a socket.
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            other => Self::Other(other),
        }
    }

    /// Whether the peer's bytes can still reach the application.
    #[must_use]
    pub const fn receives(self) -> bool {
        !matches!(self, Self::Listen | Self::TimeWait | Self::Close | Self::SynSent)
    }
}

/// One TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its own address; IPv4-mapped addresses as IPv4.
    pub local: SocketAddr,
    /// The peer's, likewise.
    pub remote: SocketAddr,
    /// Its state.
    pub state: SocketState,
    family: u8,
    /// `inet_diag_sockid`, which names exactly this socket, not a later one with the same addresses.
    id: [u8; ID_BYTES],
}

/// All TCP sockets of this namespace whose own port is one of these, of IPv4 and IPv6 and in all states.
///
/// # Errors
/// As [`of_port`].
pub fn of_ports(ports: &[u16]) -> io::Result<Vec<Socket>> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    let mut sockets = Vec::new();
    for port in ports {
        sockets.extend(of_port(port)?);
    }
    Ok(sockets)
}

/// All TCP sockets of this namespace whose own port is `port`, of IPv4 and IPv6 and in all states.
///
/// # Errors
/// The kernel's: `ENOENT` where it is built without `CONFIG_INET_DIAG` or the module is missing.
pub fn of_port(port: u16) -> io::Result<Vec<Socket>> {
    let netlink = Netlink::open(libc::NETLINK_SOCK_DIAG, 0)?;
    let mut sockets = Vec::new();
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let mut id = [0; ID_BYTES];
        id[..2].copy_from_slice(&port.to_be_bytes());
        let messages = match netlink.request(BY_FAMILY, libc::NLM_F_DUMP as u16, &request(family, &id)) {
            // A kernel without IPv6 has no such sockets.
            Err(error)
                if family == libc::AF_INET6 as u8 && error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
            {
                continue;
            }
            other => other?,
        };
        let found = messages.iter().filter(|message| message.kind == BY_FAMILY);
        sockets.extend(found.filter_map(|message| parse(&message.body)).filter(|s| s.local.port() == port));
    }
    Ok(sockets)
}

/// Aborts a connection: both sides see a reset. Whether it was still there.
///
/// # Errors
/// `Unsupported` where the kernel is built without `CONFIG_INET_DIAG_DESTROY`; `PermissionDenied` without `CAP_NET_ADMIN`.
pub fn destroy(socket: &Socket) -> io::Result<bool> {
    let netlink = Netlink::open(libc::NETLINK_SOCK_DIAG, 0)?;
    match netlink.request(DESTROY, libc::NLM_F_ACK as u16, &request(socket.family, &socket.id)) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(false),
            Some(libc::EOPNOTSUPP) => Err(io::ErrorKind::Unsupported.into()),
            _ => Err(error),
        },
    }
}

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, id.
fn request(family: u8, id: &[u8; ID_BYTES]) -> Vec<u8> {
    let mut body = vec![family, libc::IPPROTO_TCP as u8, 0, 0];
    body.extend_from_slice(&u32::MAX.to_ne_bytes());
    body.extend_from_slice(id);
    body
}

/// `struct inet_diag_msg`: family, state, timer, retransmissions, id, and what is not needed here.
fn parse(body: &[u8]) -> Option<Socket> {
    let family = *body.first()?;
    let id: [u8; ID_BYTES] = *body.get(4..)?.first_chunk()?;
    let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    let address = |at: usize| {
        if i32::from(family) == libc::AF_INET {
            return IpAddr::V4(Ipv4Addr::new(id[at], id[at + 1], id[at + 2], id[at + 3]));
        }
        let bytes: [u8; 16] = std::array::from_fn(|i| id[at + i]);
        Ipv6Addr::from(bytes).to_canonical()
    };
    Some(Socket {
        local: SocketAddr::new(address(4), port(0)),
        remote: SocketAddr::new(address(20), port(2)),
        state: SocketState::from_number(*body.get(1)?),
        family,
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn states(port: u16) -> Vec<(SocketState, SocketAddr)> {
        of_port(port).unwrap().into_iter().map(|s| (s.state, s.remote)).collect()
    }

    #[test]
    fn listeners_and_connections_are_listed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_server, _) = listener.accept().unwrap();
            let found = states(port);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found.iter().any(|(state, _)| *state == SocketState::Listen));
            assert!(found.contains(&(SocketState::Established, client.local_addr().unwrap())));
        }
    }

    #[test]
    fn mapped_addresses_are_given_as_ipv4() {
        let Ok(listener) = TcpListener::bind("[::]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_server, _) = listener.accept().unwrap();
        assert!(states(port).contains(&(SocketState::Established, client.local_addr().unwrap())));
    }
}
