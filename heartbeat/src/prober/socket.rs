//! A UDP socket that knows more of a datagram than its bytes: when it came, and to which of this host's addresses.
//!
//! When it came is the kernel's word (`SO_TIMESTAMPNS`, socket(7)), so an agent that reads late does not take its own delay
//! for the network's. To which address decides from where it is answered: a host with several would otherwise answer from
//! another one than was asked (`IP_PKTINFO`, ip(7); `IPV6_RECVPKTINFO`, RFC 3542 section 6.1).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::clock::Clock;

/// Bytes of a receive buffer: replies of all members may come while the agent does not run.
const BUFFER_BYTES: usize = 4 << 20;

/// Bytes of which a datagram is known to be none of ours.
const DATAGRAM_BYTES: usize = 128;

/// Where datagrams are received, one after the other.
#[derive(Debug)]
pub(super) struct Buffer {
    /// The last one's bytes.
    pub(super) bytes: [u8; DATAGRAM_BYTES],
    /// What the kernel says of it.
    control: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        let control = nix::cmsg_space!(libc::timespec, libc::in_pktinfo, libc::in6_pktinfo);
        Self { bytes: [0; DATAGRAM_BYTES], control }
    }
}

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    /// Bytes that were put into the buffer.
    pub(super) len: usize,
    /// From where.
    pub(super) from: SocketAddr,
    /// To which of this host's addresses, and through which interface.
    pub(super) to: Option<Local>,
    /// When, by `CLOCK_MONOTONIC`.
    pub(super) at_ns: u64,
}

/// An address of this host, at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    address: IpAddr,
    interface: u32,
}

/// A socket on one of the addresses at which messages are taken.
#[derive(Debug)]
pub(super) struct MessageSocket {
    socket: UdpSocket,
    v6: bool,
}

impl MessageSocket {
    /// Binds it. One for IPv6 takes IPv6 only.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        // The kernel gives less where its limit is lower (net.core.rmem_max); what is too much is dropped as by any network.
        socket.set_recv_buffer_size(BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, v6: address.is_ipv6() })
    }

    /// Whether it can send there.
    pub(super) const fn reaches(&self, address: SocketAddr) -> bool {
        self.v6 == address.is_ipv6()
    }

    /// Whether there may be something to receive.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(context)
    }

    /// The next datagram, or nothing if none is there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn receive(&self, buffer: &mut Buffer, clock: &Clock) -> io::Result<Option<Arrived>> {
        match self.socket.try_io(Interest::READABLE, || self.receive_now(buffer, clock)) {
            Ok(arrived) => Ok(Some(arrived)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn receive_now(&self, buffer: &mut Buffer, clock: &Clock) -> io::Result<Arrived> {
        let mut parts = [IoSliceMut::new(&mut buffer.bytes)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut buffer.control),
            MsgFlags::empty(),
        )?;
        let (mut to, mut stamp) = (None, None);
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmTimestampns(time) => stamp = Some(Duration::from(time)),
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    to = Some(Local { address: address.into(), interface: info.ipi_ifindex as u32 });
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                    to = Some(Local { address: address.into(), interface: info.ipi6_ifindex });
                }
                _ => {}
            }
        }
        let from = message.address.as_ref().and_then(address_of);
        let from = from.ok_or_else(|| io::Error::other("a datagram without a source"))?;
        // What is cut off is longer than any message, and is refused for its length.
        Ok(Arrived { len: message.bytes, from, to, at_ns: clock.arrival_ns(stamp) })
    }

    /// Sends a datagram, from this address if it matters. What there is no room for is lost, as in any network.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<Local>) -> io::Result<()> {
        let socket = self.socket.as_fd().as_raw_fd();
        let (parts, to) = ([IoSlice::new(bytes)], SockaddrStorage::from(to));
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(socket, &parts, control, MsgFlags::MSG_DONTWAIT, Some(&to)).map(drop)
        };
        // Several interfaces may have the same link-local address: there, and only there, the interface decides.
        let sent = match from {
            None => send(&[]),
            Some(Local { address: IpAddr::V4(address), .. }) => {
                let source = libc::in_addr { s_addr: u32::from(address).to_be() };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: source,
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                send(&[ControlMessage::Ipv4PacketInfo(&info)])
            }
            Some(Local { address: IpAddr::V6(address), interface }) => {
                let local = address.is_unicast_link_local();
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                    ipi6_ifindex: if local { interface } else { 0 },
                };
                send(&[ControlMessage::Ipv6PacketInfo(&info)])
            }
        };
        Ok(sent?)
    }
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || storage.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    let v6 = storage.as_sockaddr_in6();
    v6.map(|v6| SocketAddr::V6((*v6).into())).or_else(v4)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(socket: &MessageSocket, buffer: &mut Buffer) -> Arrived {
        loop {
            if let Some(arrived) = socket.receive(buffer, &Clock::read()).expect("a socket") {
                return arrived;
            }
            poll_fn(|context| socket.poll_readable(context)).await.expect("a socket");
        }
    }

    #[tokio::test]
    async fn who_is_asked_is_who_answers() {
        for (anywhere, asked) in [("0.0.0.0:0", "127.7.0.1"), ("[::]:0", "::1")] {
            let server = MessageSocket::bind(anywhere.parse().expect("an address")).expect("a socket");
            let port = server.socket.local_addr().expect("its address").port();
            let client = MessageSocket::bind(anywhere.parse().expect("an address")).expect("a socket");
            let asked = SocketAddr::new(asked.parse().expect("an address"), port);
            let before = Clock::read().now_ns();
            client.send(b"who?", asked, None).expect("sent");
            let mut buffer = Buffer::default();
            let question = next(&server, &mut buffer).await;
            assert_eq!(&buffer.bytes[..question.len], b"who?");
            assert_eq!(question.to.map(|local| local.address), Some(asked.ip()));
            // The stamp is that of another clock, whose distance from this one may drift a little meanwhile.
            assert!(question.at_ns + 1_000_000 >= before && question.at_ns <= Clock::read().now_ns());
            server.send(b"I", question.from, question.to).expect("sent");
            let answer = next(&client, &mut buffer).await;
            assert_eq!((&buffer.bytes[..answer.len], answer.from), (&b"I"[..], asked));
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_cut_and_stays_too_long() {
        let server = MessageSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let to = server.socket.local_addr().expect("its address");
        server.send(&[7; 4000], to, None).expect("sent");
        server.send(b"", to, None).expect("sent");
        let mut buffer = Buffer::default();
        assert_eq!(next(&server, &mut buffer).await.len, DATAGRAM_BYTES);
        assert_eq!(next(&server, &mut buffer).await.len, 0);
    }
}
