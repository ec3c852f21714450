//! A touch makes no system call: it is done where the kernel would kill the process for one.

use std::fs;

use heartbeat_lease::{Lease, layout};

/// Clocks that the kernel reads for processes in their own memory (vDSO).
const MAPPED: [&str; 4] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

/// From here on the kernel kills this process for every system call but exit; `false` if it refuses to. (The strict mode of
/// seccomp(2) would forbid to read the processor's clock, too.)
fn only_exit() -> bool {
    let word = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let mut filter = [
        // The number of the system call, first in `seccomp_data`.
        word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { jf: 1, ..word(equal, libc::SYS_exit as u32) },
        word(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        word(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter are valid, and the kernel copies them.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

/// What a child of this process ends with that does this.
fn in_child(what: impl FnOnce()) -> i32 {
    // SAFETY: the child only touches memory and makes system calls, so it does not matter which locks other threads held.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child");
    if child == 0 {
        let forbidden = only_exit();
        if forbidden {
            what();
        }
        // SAFETY: ends this thread, which is the only one of the child.
        unsafe { libc::syscall(libc::SYS_exit, i32::from(!forbidden)) };
        unreachable!("exit comes back to nobody");
    }
    let mut status = 0;
    // SAFETY: the child is ours and not waited for yet; the pointer is valid.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

#[test]
fn a_touch_makes_no_system_call() {
    let clock = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let clock = clock.unwrap_or_default();
    if !MAPPED.contains(&clock.trim()) {
        println!("SKIPPED: this machine's clock {clock:?} is read by a system call");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lease");
    fs::write(&path, layout::new_file(1_000_000_000)).expect("a file");
    let lease = Lease::open(&path).expect("a lease");
    lease.touch();
    let before = lease.alive_until_ns();
    let status = in_child(|| (0..1000).for_each(|_| lease.touch()));
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "ended with {status:#x}");
    assert!(lease.alive_until_ns() > before, "a child's touches count");
    // What is forbidden there is indeed.
    let status = in_child(|| {
        // SAFETY: takes nothing.
        unsafe { libc::getppid() };
    });
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS, "ended with {status:#x}");
}
