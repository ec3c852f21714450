//! A packet socket: frames of any content go out of an interface, and what comes in is heard.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::heard::{self, Heard};

/// Bytes of frames that may wait to be read.
const ROOM: libc::c_int = 64 << 20;

/// `PACKET_IGNORE_OUTGOING` (include/uapi/linux/if_packet.h).
const IGNORE_OUTGOING: libc::c_int = 23;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Link {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(interface: &str) -> io::Result<Self> {
        let name = CString::new(interface)?;
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: no memory is handed over.
        let socket =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(all)) };
        checked(socket)?;
        // SAFETY: a descriptor that was just made, and that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        for (level, option, value) in [
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM),
            (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, ROOM),
            (libc::SOL_PACKET, IGNORE_OUTGOING, 1),
        ] {
            let value: *const libc::c_int = &raw const value;
            let len = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: the value lives through the call, and has this length.
            checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.cast(), len) })?;
        }
        // SAFETY: a C string.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = index as i32;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address lives through the call, and has this length.
        checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(Self { socket, buffer: vec![0; 1 << 16] })
    }

    /// The interface's own link address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<[u8; 6]> {
        // SAFETY: all zero is a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the address lives through the call, and has this length.
        let done =
            unsafe { libc::getsockname(self.socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
        checked(done)?;
        let [a, b, c, d, e, f, ..] = address.sll_addr;
        Ok([a, b, c, d, e, f])
    }

    /// Sends a frame. When it returns, the frame was mostly looked at already: a link of veth hands it over at once.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the frame lives through the call.
            let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            match checked(sent as libc::c_int) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other end's queue is full, or the frame is too long for the link: it is lost, as on any network.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EMSGSIZE)) => {
                    return Ok(());
                }
                done => return done.map(|_| ()),
            }
        }
    }

    /// What has come, if anything has.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take(&mut self) -> io::Result<Option<Heard>> {
        let (fd, buffer) = (self.socket.as_raw_fd(), &mut self.buffer);
        // SAFETY: the buffer has this length.
        let read = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
        match checked(read as libc::c_int) {
            Ok(len) => Ok(Some(heard::read(&self.buffer[..len as usize]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next frame, until `deadline` at most.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&mut self, deadline: Instant) -> io::Result<Option<Heard>> {
        loop {
            if let Some(heard) = self.take()? {
                return Ok(Some(heard));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let milliseconds = left.min(Duration::from_secs(1)).as_millis().max(1) as libc::c_int;
            let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, which lives through the call.
            unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        }
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
