//! Waiting for programs that are running.
//!
//! Programs run within RCU's read-side sections (net/core/dev.c: `sch_handle_ingress`, `sch_handle_egress` and their callers).
//! `membarrier(MEMBARRIER_CMD_GLOBAL)` waits for a grace period of it (kernel/sched/membarrier.c: `synchronize_rcu`): every
//! program that was running when it was called has ended when it returns.

use std::io;

/// `MEMBARRIER_CMD_QUERY` and `MEMBARRIER_CMD_GLOBAL` (include/uapi/linux/membarrier.h).
const QUERY: libc::c_int = 0;
const GLOBAL: libc::c_int = 1;

fn membarrier(command: libc::c_int) -> io::Result<libc::c_long> {
    // SAFETY: a system call on numbers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Whether the kernel lets a process wait. It does not where it was started with `nohz_full`.
#[must_use]
pub fn can_wait() -> bool {
    membarrier(QUERY).is_ok_and(|commands| commands & libc::c_long::from(GLOBAL) != 0)
}

/// Waits until all programs have ended that are running now. Takes some milliseconds, and blocks.
///
/// # Errors
/// If the kernel does not offer it: see [`can_wait`].
pub fn wait() -> io::Result<()> {
    membarrier(GLOBAL).map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_can_be_waited_for_is_waited_for() {
        assert_eq!(super::can_wait(), super::wait().is_ok());
    }
}
