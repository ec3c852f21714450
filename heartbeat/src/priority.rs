//! Threads on which others depend run before other work of the machine, where that is allowed.

/// What no process of ordinary priority has.
const NICE: libc::c_int = -20;

/// Gives this thread the highest of the ordinary priorities. Without `CAP_SYS_NICE` it stays as it is, which is no failure: it
/// is only later when the machine is busy, and the detector knows of that.
pub(crate) fn raise() {
    // SAFETY: plain system calls. Of a thread's own number only that thread's priority changes (setpriority(2), notes).
    let raised = unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, NICE) };
    if raised != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "the thread keeps its priority: CAP_SYS_NICE is missing");
    }
}
