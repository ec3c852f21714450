//! The sockets on which control packets of all sessions arrive: one for each port and kind of address.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use nix::cmsg_space;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longer than any packet; what does not fit is refused for its length.
const PACKET_BYTES_MAX: usize = 256;
/// How many packets are taken from a socket before others have their turn.
const BURST: usize = 1024;
/// Bytes that may wait while the agent is held up.
const QUEUE_BYTES: usize = 1 << 20;

/// A packet, and how it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) payload: &'a [u8],
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    /// Index of the interface.
    pub(super) device: u32,
    pub(super) hop_limit: u8,
    pub(super) multihop: bool,
}

/// A socket that is waited for.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: AsyncFd<UdpSocket>,
    pub(super) port: u16,
    pub(super) is_v4: bool,
    multihop: bool,
}

impl Receiver {
    /// Opens one. Within a runtime only.
    pub(super) fn open(port: u16, is_v4: bool, multihop: bool) -> io::Result<Self> {
        let domain = if is_v4 { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        // The system may allow less, which is no reason to go without.
        let _ = socket.set_recv_buffer_size(QUEUE_BYTES);
        let any = if is_v4 {
            setsockopt(&socket, Ipv4RecvTtl, &true)?;
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            socket.set_only_v6(true)?;
            setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        socket.bind(&SocketAddr::new(any, port).into())?;
        // SAFETY: the socket owns its descriptor and gives the same one each time.
        let socket = unsafe { AsyncFd::register_with_interest(UdpSocket::from(socket), Interest::READABLE) };
        Ok(Self { socket: socket?, port, is_v4, multihop })
    }

    /// Whether there may be a packet; if not, the task is woken when there is.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Stays ready until `drain` has found that nothing is there.
        self.socket.poll_read_ready(context).map_ok(drop)
    }

    /// Hands over what has arrived, up to a burst.
    pub(super) fn drain(&self, mut take: impl FnMut(Arrival<'_>)) -> io::Result<()> {
        let mut payload = [0; PACKET_BYTES_MAX];
        let mut space = cmsg_space!(libc::in6_pktinfo, libc::c_int);
        for _ in 0..BURST {
            let read = self.socket.try_io(Interest::READABLE, |socket| {
                Ok(receive(socket, &mut payload, &mut space, self.multihop)?.map(|head| (head.0, head.1)))
            });
            match read {
                // What is no packet of this kind says nothing.
                Ok(None) => {}
                Ok(Some((bytes, arrival))) => take(Arrival { payload: &payload[..bytes], ..arrival }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How many bytes came, and how. `None` if the system did not say.
fn receive(
    socket: &UdpSocket,
    payload: &mut [u8],
    space: &mut [u8],
    multihop: bool,
) -> io::Result<Option<(usize, Arrival<'static>)>> {
    let mut buffers = [IoSliceMut::new(payload)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut buffers, Some(space), MsgFlags::MSG_DONTWAIT)?;
    let address = message.address.as_ref();
    let v4 = address.and_then(|address| address.as_sockaddr_in()).map(|address| IpAddr::V4(address.ip()));
    let v6 = address.and_then(|address| address.as_sockaddr_in6()).map(|address| IpAddr::V6(address.ip()));
    let (mut hop_limit, mut place) = (None, None);
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4Ttl(limit) | ControlMessageOwned::Ipv6HopLimit(limit) => {
                hop_limit = u8::try_from(limit).ok();
            }
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let to = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                place = u32::try_from(info.ipi_ifindex).ok().map(|device| (IpAddr::V4(to), device));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                place = Some((IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)), info.ipi6_ifindex));
            }
            _ => {}
        }
    }
    let (Some(from), Some(hop_limit), Some((to, device))) = (v4.or(v6), hop_limit, place) else {
        return Ok(None);
    };
    Ok(Some((message.bytes, Arrival { payload: &[], from, to, device, hop_limit, multihop })))
}
