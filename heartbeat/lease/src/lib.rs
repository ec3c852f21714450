//! How an application tells heartbeat that it is alive: it touches a word of shared memory, again and again, and each time
//! promises to be alive for a while. Heartbeat's node answers probes while the promise stands.
//!
//! ```no_run
//! let lease = heartbeat_lease::Lease::open("/run/xps/heartbeat/orders.lease")?;
//! loop {
//!     // … a round of work …
//!     lease.touch();
//! #   break;
//! }
//! # Ok::<(), heartbeat_lease::OpenError>(())
//! ```
//!
//! A touch reads the clock, which the kernel maps into each process (vDSO), and stores a word: no system call, about as much
//! as an uncontended lock. Touch where the work is done, in the loop that would hang, not in a thread that does nothing
//! else: that one goes on when the application hangs. Touch at least three times a lease: heartbeat looks four times, and a
//! busy host may keep either waiting.
//!
//! Heartbeat makes the file (`lease_by = "shared"`), and it outlives heartbeat: whoever has it open touches on. Clocks must
//! be the same: in a container with a time namespace of its own, `CLOCK_MONOTONIC` may differ from the host's. Heartbeat
//! notices, does not believe such a promise, and says so in its status.
//!
//! For C and C++ there is `include/heartbeat_lease.h`, for others [`layout`].

pub mod layout;

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use layout::{BYTES, Layout};

/// A node's lease. Any thread may touch it; a child inherits it.
///
/// When it is dropped, or the process ends, what was promised last stands until it lapses; see [`Lease::release`].
#[derive(Debug)]
pub struct Lease {
    memory: NonNull<Layout>,
}

// SAFETY: what changes in the memory is atomic, and the mapping belongs to no thread.
unsafe impl Send for Lease {}
// SAFETY: as above.
unsafe impl Sync for Lease {}

impl Lease {
    /// Opens the file that heartbeat has made for the node (`lease_file` there).
    ///
    /// # Errors
    /// If it is not there yet, may not be opened, or is something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        Self::map(path).map_err(|cause| OpenError { path: path.to_owned(), cause })
    }

    fn map(path: &Path) -> Result<Self, Cause> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let mut head = [0; BYTES];
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() != BYTES as u64 {
            return Err(Cause::Stranger);
        }
        file.read_exact_at(&mut head, 0)?;
        if !layout::is_lease(&head) {
            return Err(Cause::Stranger);
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice; the descriptor is open.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), BYTES, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        match NonNull::new(base.cast()) {
            Some(memory) if base != libc::MAP_FAILED => Ok(Self { memory }),
            _ => Err(io::Error::last_os_error().into()),
        }
    }

    /// The application is alive for as long as heartbeat's configuration says, from now on.
    pub fn touch(&self) {
        self.touch_for(Duration::MAX);
    }

    /// The application is alive for `promise` from now on, or for [`Self::longest`] if that is less. What another thread has
    /// promised is not shortened.
    pub fn touch_for(&self, promise: Duration) {
        let layout = self.layout();
        let lease_ns = layout.lease_ns.load(Ordering::Relaxed);
        let now_ns = monotonic_ns();
        let longest_ns = now_ns.saturating_add(lease_ns);
        let promise_ns = u64::try_from(promise.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = now_ns.saturating_add(promise_ns).min(longest_ns);
        // Something in front of the word that heartbeat sees is something that the application has done before.
        let longer = |word| (!(until_ns..=longest_ns).contains(&word)).then_some(until_ns);
        // An error says that there is a longer promise already.
        let _ = layout.alive_until_ns.fetch_update(Ordering::Release, Ordering::Relaxed, longer);
    }

    /// The application is not alive any more, whatever has been promised: for an orderly end.
    pub fn release(&self) {
        self.layout().alive_until_ns.store(0, Ordering::Release);
    }

    /// The longest promise that counts.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.layout().lease_ns.load(Ordering::Relaxed))
    }

    /// Until when the application has promised to be alive, on `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn alive_until_ns(&self) -> u64 {
        self.layout().alive_until_ns.load(Ordering::Acquire)
    }

    fn layout(&self) -> &Layout {
        // SAFETY: mapped with this size and page alignment for as long as `self` lives; what others change is atomic. Whoever
        // may write the file could shorten it, and this process would get SIGBUS: that is only itself and heartbeat.
        unsafe { self.memory.as_ref() }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and nobody holds a reference that outlives `self`.
        unsafe {
            libc::munmap(self.memory.as_ptr().cast(), BYTES);
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of promises.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Why a lease was not opened.
#[derive(Debug)]
pub struct OpenError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    System(io::Error),
    Stranger,
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl OpenError {
    /// Whether there is no such file: heartbeat makes it when it starts, so try again later.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(&self.cause, Cause::System(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::System(error) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no lease {path}; heartbeat makes it when it starts (lease_file)")
            }
            Cause::System(error) => write!(f, "cannot open the lease {path}: {error}"),
            Cause::Stranger => {
                write!(
                    f,
                    "{path} is no lease of version {}; heartbeat makes them (lease_file)",
                    layout::VERSION
                )
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::System(error) => Some(error),
            Cause::Stranger => None,
        }
    }
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
