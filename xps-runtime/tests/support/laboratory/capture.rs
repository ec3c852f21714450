//! TCP segments as a device sees them, in both directions.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

use super::Place;

/// Bytes that are kept of each packet: all headers.
const KEPT_BYTES: usize = 128;

/// What the socket may hold until it is read.
static BUFFER_BYTES: libc::c_int = 32 << 20;

/// Flags of TCP.
pub(crate) const SYN: u8 = 0x02;
/// See [`SYN`].
pub(crate) const PSH: u8 = 0x08;
/// See [`SYN`].
pub(crate) const ACK: u8 = 0x10;
/// See [`SYN`]: the other side's segments came marked.
pub(crate) const ECE: u8 = 0x40;
/// See [`SYN`]: this side has reduced its window for it.
pub(crate) const CWR: u8 = 0x80;

/// Codepoints of ECN (RFC 3168).
pub(crate) const ECT_0: u8 = 2;
/// See [`ECT_0`].
pub(crate) const CE: u8 = 3;

/// A segment that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// From where.
    pub(crate) source: SocketAddr,
    /// To where.
    pub(crate) destination: SocketAddr,
    /// Of the whole IP packet.
    pub(crate) packet_bytes: usize,
    /// Of the payload.
    pub(crate) payload_bytes: u32,
    /// Sequence number.
    pub(crate) seq: u32,
    /// Acknowledgement number.
    pub(crate) ack: u32,
    /// Flags of TCP.
    pub(crate) flags: u8,
    /// Codepoint of ECN.
    pub(crate) ecn: u8,
    /// Differentiated services codepoint.
    pub(crate) dscp: u8,
}

impl Segment {
    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Of an IP packet, if it holds the head of a segment.
    fn of(packet: &[u8], packet_bytes: usize) -> Option<Self> {
        let (source, destination, class, head): (IpAddr, IpAddr, u8, usize) = match packet.first()? >> 4 {
            4 if packet.get(9) == Some(&6) && u16_at(packet, 6)? & 0x1fff == 0 => {
                let address = |at| Some(Ipv4Addr::from(u32_at(packet, at)?).into());
                (address(12)?, address(16)?, packet[1], usize::from(packet[0] & 15) * 4)
            }
            6 if packet.get(6) == Some(&6) => {
                let address = |at: usize| {
                    let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                    Some(Ipv6Addr::from(bytes).into())
                };
                (address(8)?, address(24)?, (u16_at(packet, 0)? >> 4) as u8, 40)
            }
            _ => return None,
        };
        let tcp = packet.get(head..)?;
        let tcp_head = usize::from(tcp.get(12)? >> 4) * 4;
        Some(Self {
            source: (source, u16_at(tcp, 0)?).into(),
            destination: (destination, u16_at(tcp, 2)?).into(),
            packet_bytes,
            payload_bytes: packet_bytes.checked_sub(head + tcp_head)?.try_into().ok()?,
            seq: u32_at(tcp, 4)?,
            ack: u32_at(tcp, 8)?,
            flags: *tcp.get(13)?,
            ecn: class & 3,
            dscp: class >> 2,
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A packet socket on a device.
#[derive(Debug)]
pub(crate) struct Capture(Socket);

impl Capture {
    /// Begins to look at all that goes through a device. It should leave neither cutting nor joining to others
    /// ([`without_offload`](super::Network::without_offload)), or packets are longer than on the link.
    pub(crate) fn start(place: &Place, device: &str) -> Result<Self> {
        let every = (libc::ETH_P_ALL as u16).to_be();
        place.run(|| {
            let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
            force_buffer(&socket)?;
            // SAFETY: all-zero bytes are a valid sockaddr_ll.
            let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = every;
            address.sll_ifindex = index_of(device)?.cast_signed();
            // SAFETY: the address is valid for the length that is told, and is only read.
            let bound = unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    (&raw const address).cast(),
                    size_of::<libc::sockaddr_ll>() as libc::socklen_t,
                )
            };
            if bound != 0 {
                return Err(std::io::Error::last_os_error()).context(format!("a packet socket on {device}"));
            }
            socket.set_nonblocking(true)?;
            Ok(Self(socket))
        })
    }

    /// The segments since the last call.
    pub(crate) fn segments(&self) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        loop {
            let mut bytes = [MaybeUninit::<u8>::zeroed(); KEPT_BYTES];
            // With this flag the length is that of the whole packet.
            match self.0.recv_with_flags(&mut bytes, libc::MSG_TRUNC) {
                Ok(packet_bytes) => {
                    // SAFETY: all of them were zeroed.
                    let bytes = bytes.map(|byte| unsafe { byte.assume_init() });
                    segments.extend(Segment::of(&bytes[..packet_bytes.min(KEPT_BYTES)], packet_bytes));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(segments),
                Err(error) => bail!("the packet socket: {error}"),
            }
        }
    }
}

/// Beyond what the machine's limit for everybody allows.
fn force_buffer(socket: &Socket) -> Result<()> {
    // SAFETY: the value is a number of the length that is told, and is only read.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const BUFFER_BYTES).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

/// A device's index in the namespace of the calling thread.
pub(crate) fn index_of(device: &str) -> Result<u32> {
    let name = std::ffi::CString::new(device)?;
    // SAFETY: a valid C string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(std::io::Error::last_os_error()).with_context(|| format!("no device {device}")),
        index => Ok(index),
    }
}
