//! Which connections have something to read.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Watches all connections of a thread.
pub(super) struct Epoll {
    fd: OwnedFd,
    /// One for each connection: a single call tells of all.
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// Watches these; they are named by their positions.
    pub(super) fn watch<C: AsFd>(connections: &[C]) -> Result<Self> {
        // SAFETY: takes flags only; a descriptor that is returned belongs to us alone.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        for (index, connection) in connections.iter().enumerate() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
            let watched = connection.as_fd().as_raw_fd();
            // SAFETY: both descriptors are open and the event lives until the call returns.
            let result =
                unsafe { libc::epoll_ctl(fd.as_raw_fd(), libc::EPOLL_CTL_ADD, watched, &raw mut event) };
            if result < 0 {
                return Err(Error::last_os_error());
            }
        }
        // epoll_wait wants room for one at least.
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; connections.len().max(1)] })
    }

    /// The positions of those that have something, after a wait (whole milliseconds) if there are none yet.
    pub(super) fn ready(&mut self, limit: Duration) -> Result<impl Iterator<Item = usize>> {
        let (room, limit_ms) = (self.events.len() as i32, limit.as_millis() as i32);
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, limit_ms) };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
        };
        Ok(self.events[..count].iter().map(|event| event.u64 as usize))
    }
}
