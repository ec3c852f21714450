//! Clocks and CPUs of those who measure.

use std::io;

/// Real-time priority of whoever probes (sched(7)).
pub(super) const PROBES: libc::c_int = 10;
/// That of whoever watches whether the CPUs run: above all else here.
pub(super) const WATCHES: libc::c_int = 20;

/// `CLOCK_MONOTONIC`, as heartbeat's events tell it.
pub(super) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time that it is given; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How many there are, also to a thread that is bound to one of them.
pub(super) fn count() -> usize {
    // SAFETY: sysconf has no preconditions.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(online).unwrap_or(1).max(1)
}

/// The CPU of whoever probes. Packets to servers are handled by the first.
pub(super) fn last() -> usize {
    count() - 1
}

/// Binds the calling thread to a CPU.
pub(super) fn be_on(cpu: usize) -> io::Result<()> {
    // SAFETY: a set of CPUs is bits, and the call reads one that lives through it; 0 is the calling thread.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread a real-time priority. Whether it may have one.
pub(super) fn be_urgent(priority: libc::c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: reads a parameter that lives through the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) == 0 }
}

/// Whether threads of this program may be urgent.
pub(super) fn may_be_urgent() -> bool {
    std::thread::spawn(|| be_urgent(PROBES)).join().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_thread_counts_all() {
        let (all, bound) = (count(), std::thread::spawn(|| be_on(0).map(|()| count())).join().unwrap());
        assert_eq!(bound.unwrap(), all);
        assert_eq!(last() + 1, all);
    }
}
