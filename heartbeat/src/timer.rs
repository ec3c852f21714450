//! A timer on the clock that does not go back, in nanoseconds: intervals begin at a millisecond, which is as fine as the runtime's
//! own timers are.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

/// A timer that the runtime waits for.
pub(crate) struct Timer(AsyncFd<Descriptor>);

/// The same for the runtime, which asks for both kinds of descriptors.
struct Descriptor(TimerFd);

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// One that is not set. Within a runtime only.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the timer owns its descriptor and gives the same one each time.
        let timer = unsafe { AsyncFd::register(Descriptor(timer)) };
        Ok(Self(timer?))
    }

    /// Waits until then; a time that has passed is at once.
    pub(crate) async fn until(&self, at_ns: u64) -> io::Result<()> {
        // 0 would stop the timer.
        let at = TimeSpec::from(Duration::from_nanos(at_ns.max(1)));
        self.0.get_ref().0.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        // What it was set to before does not count: setting it anew has cleared that.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
