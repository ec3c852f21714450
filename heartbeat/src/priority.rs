//! Threads on which others depend run before other work of the machine, where that is allowed.
//!
//! Without `CAP_SYS_NICE` they stay as they are, which is no failure: they are later when the machine is busy, and the detector
//! knows of that.

use std::io;

/// What no process of ordinary priority has.
const NICE: libc::c_int = -20;

/// Runs the calling thread before all ordinary ones, if it may. For threads whose work nobody else decides: what a stranger can
/// wake would keep the machine from everything else.
pub(crate) fn real_time(thread: &str) {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: of the calling thread, and the pointer is valid.
    let refused =
        unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_RR, &raw const lowest) };
    if refused == 0 {
        tracing::debug!(thread, "is scheduled in real time");
    } else {
        raise(thread);
    }
}

/// Gives the calling thread the highest of the ordinary priorities, if it may. It counts only among threads of the same session
/// or control group.
pub(crate) fn raise(thread: &str) {
    // SAFETY: plain numbers; 0 is the calling thread (setpriority(2), "C library/kernel differences").
    if unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, NICE) } != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(thread, %error, "is scheduled like others; CAP_SYS_NICE would put it first");
    }
}
