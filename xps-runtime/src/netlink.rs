//! A netlink socket and the framing of its messages: as much as interfaces, addresses and sockets need.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes of a message's head: length, type, flags, sequence, port.
const HEAD: usize = 16;

/// A netlink socket of one protocol.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
}

/// A message: type and what follows its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `nlmsg_type`.
    pub kind: u16,
    /// The bytes behind the head.
    pub body: Vec<u8>,
}

impl Netlink {
    /// Opens a socket of `protocol` (`NETLINK_ROUTE`, …) that is a member of `groups` (`RTMGRP_…`, 0 for none).
    ///
    /// # Errors
    /// The kernel's, as when the protocol is not compiled in.
    pub fn open(protocol: libc::c_int, groups: u32) -> io::Result<Self> {
        // SAFETY: plain system call; the descriptor is owned from here on.
        let socket = unsafe {
            let fd = libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                protocol,
            );
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: sockaddr_nl is plain data for which zero is valid.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = groups;
        // SAFETY: the address is valid for its size.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { socket }) }
    }

    /// Asks the kernel to hold requests for dumps against what they may say, and to leave out what they do not ask for. Linux
    /// does since 4.20; where it does not, dumps have more in them.
    pub(crate) fn check_strictly(&self) {
        let on: libc::c_int = 1;
        // SAFETY: the value is valid for its size.
        unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_GET_STRICT_CHK,
                std::ptr::from_ref(&on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }

    /// Sends a request and reads the whole answer: a dump up to its end, or one acknowledgement.
    ///
    /// # Errors
    /// The kernel's answer as an error number, or `TimedOut` if it does not answer within a second.
    pub fn request(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Message>> {
        let mut request = Vec::with_capacity(HEAD + body.len());
        request.extend_from_slice(&((HEAD + body.len()) as u32).to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        request.extend_from_slice(&1u32.to_ne_bytes());
        request.extend_from_slice(&0u32.to_ne_bytes());
        request.extend_from_slice(body);
        // SAFETY: the buffer is valid for its length.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut messages = Vec::new();
        loop {
            self.wait(1_000)?;
            for message in self.receive()? {
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(messages),
                    libc::NLMSG_ERROR => {
                        let code = message.body.first_chunk().map_or(-libc::EIO, |b| i32::from_ne_bytes(*b));
                        return if code == 0 {
                            Ok(messages)
                        } else {
                            Err(io::Error::from_raw_os_error(-code))
                        };
                    }
                    _ => messages.push(message),
                }
            }
        }
    }

    /// The messages that one read gives.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `ENOBUFS` if messages were lost.
    pub fn receive(&self) -> io::Result<Vec<Message>> {
        let mut buffer = vec![0u8; 64 * 1024];
        // SAFETY: the buffer is valid for its length.
        let read =
            unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if read < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(split(&buffer[..read as usize]))
    }

    fn wait(&self, milliseconds: i32) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one valid pollfd.
            match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
                0 => return Err(io::Error::new(io::ErrorKind::TimedOut, "netlink gave no answer")),
                1.. => return Ok(()),
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Waits until something of the network's configuration changes.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<Netlink>,
}

impl Watch {
    /// Of what is told to these groups (`RTMGRP_…`). Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(groups: u32) -> io::Result<Self> {
        let socket = Netlink::open(libc::NETLINK_ROUTE, groups)?;
        // SAFETY: the socket owns its descriptor and gives the same one each time.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket })
    }

    /// Waits for messages that `matter` and reads them all. They only say that it is time to compare, which is right also when
    /// messages were lost: whether those mattered is not known, so they do. May be cancelled.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn changed_by(&self, matter: impl Fn(&Message) -> bool) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            let mut changed = false;
            loop {
                match self.socket.get_ref().receive() {
                    Ok(messages) => changed |= messages.iter().any(&matter),
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            if changed {
                return Ok(());
            }
        }
    }
}

/// Splits what was read into messages; a truncated one at the end is left out.
#[must_use]
pub fn split(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(len) = word(bytes, 0) {
        let len = len as usize;
        if len < HEAD || len > bytes.len() {
            break;
        }
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        messages.push(Message { kind, body: bytes[HEAD..len].to_vec() });
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
    messages
}

/// The attributes (`nlattr`) in `bytes`: type without flags, and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..len)?;
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
        // The two upper bits say "nested" and "network byte order".
        Some((kind & 0x3fff, value))
    })
}

/// The word of 32 bits, in the machine's order, at `at`.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_and_rubbish_ends_them() {
        let mut bytes = Vec::new();
        for body in [&b"abc"[..], b"", b"0123456789"] {
            bytes.extend_from_slice(&((HEAD + body.len()) as u32).to_ne_bytes());
            bytes.extend_from_slice(&16u16.to_ne_bytes());
            bytes.extend_from_slice(&[0; 10]);
            bytes.extend_from_slice(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes.extend_from_slice(&[3, 0, 0, 0]);
        let bodies: Vec<_> = split(&bytes).into_iter().map(|m| m.body).collect();
        assert_eq!(bodies, [b"abc".to_vec(), vec![], b"0123456789".to_vec()]);
    }

    #[test]
    fn attributes_end_where_their_length_lies() {
        let bytes = [6, 0, 3, 0, b'l', b'o', 0, 0, 5, 0, 4, 0x80, 7, 0, 0, 0, 200, 0, 1, 0];
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(3, &b"lo"[..]), (4, &[7][..])]);
        assert_eq!(attributes(&[0; 8]).count(), 0);
    }
}
