//! The socket by which a session's control packets leave.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use heartbeat_fastpath::bfd::HOP_LIMIT;
use socket2::{Domain, Protocol, Socket, Type};
use xps_runtime::random;

use super::settings::SessionKey;

/// Source ports are from this one on, the upper quarter of all (RFC 5881 section 4).
const PORT_MIN: u16 = 0xc000;
/// "Internetwork control" (RFC 2474 section 4.2.2.2), as other implementations mark their packets.
const CLASS: u32 = 0xc0;
/// How many ports are tried.
const TRIES: usize = 64;

/// A socket with a source port of its own.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    to: SocketAddr,
    /// This host's address towards the other system.
    pub(super) local: IpAddr,
    /// Index of the interface that it is bound to.
    pub(super) device: Option<u32>,
}

impl Sender {
    /// Opens one. `taken` says which ports other sessions have.
    pub(super) fn open(
        key: &SessionKey,
        device: Option<u32>,
        taken: impl Fn(u16) -> bool,
    ) -> io::Result<Self> {
        let to = match key.peer {
            // Without the interface a link-local address leads nowhere.
            IpAddr::V6(peer) => SocketAddr::V6(SocketAddrV6::new(peer, key.port(), 0, device.unwrap_or(0))),
            IpAddr::V4(_) => SocketAddr::new(key.peer, key.port()),
        };
        let local = match key.local {
            Some(local) => local,
            None => towards(key, to)?,
        };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            let port = PORT_MIN | u16::from_ne_bytes(random::bytes()?);
            if taken(port) {
                continue;
            }
            let socket = socket(key)?;
            match socket.bind(&with_scope(local, port, device).into()) {
                Ok(()) => return Ok(Self { socket: socket.into(), to, local, device }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// The source port; 0 if the system does not say.
    pub(super) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }

    pub(super) fn send(&self, payload: &[u8]) -> io::Result<()> {
        self.socket.send_to(payload, self.to).map(drop)
    }
}

fn with_scope(address: IpAddr, port: u16, device: Option<u32>) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(address, port, 0, device.unwrap_or(0)))
        }
        _ => SocketAddr::new(address, port),
    }
}

fn socket(key: &SessionKey) -> io::Result<Socket> {
    let is_v4 = key.peer.is_ipv4();
    let domain = if is_v4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if is_v4 {
        socket.set_ttl_v4(HOP_LIMIT.into())?;
        socket.set_tos_v4(CLASS)?;
    } else {
        socket.set_unicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_tclass_v6(CLASS)?;
    }
    if let Some(interface) = &key.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    Ok(socket)
}

/// The address that the system would choose.
fn towards(key: &SessionKey, to: SocketAddr) -> io::Result<IpAddr> {
    let any = match key.peer {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = socket(key)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    socket.connect(&to.into())?;
    let local = socket.local_addr()?.as_socket().map(|address| address.ip());
    local.ok_or_else(|| io::Error::other("the system names no address"))
}
