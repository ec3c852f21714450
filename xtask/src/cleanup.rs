//! What was made is removed: at the end, on an error, on a panic (by `Drop`) and on Ctrl-C (by the signal thread).

use std::io::Read;
use std::os::fd::IntoRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

type Action = Box<dyn FnOnce() + Send>;

static NEXT: AtomicU64 = AtomicU64::new(0);
/// Newest last. The signal thread keeps it locked until the process ends, so that nothing new is made meanwhile.
static ACTIONS: Mutex<Vec<(u64, Action)>> = Mutex::new(Vec::new());

/// Runs its action once: when dropped, or when the process is told to stop, whichever comes first.
#[must_use]
pub(crate) struct Guard(u64);

/// Registers an action that removes something the caller has made or is about to make.
pub(crate) fn at_end(action: impl FnOnce() + Send + 'static) -> Guard {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    lock().push((id, Box::new(action)));
    Guard(id)
}

impl Drop for Guard {
    fn drop(&mut self) {
        let found = {
            let mut actions = lock();
            actions.iter().position(|(id, _)| *id == self.0).map(|index| actions.remove(index))
        };
        if let Some((_, action)) = found {
            action();
        }
    }
}

/// The writing end of the pipe by which the signal handler wakes the signal thread; -1 before there is one.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// From now on SIGINT, SIGTERM and SIGHUP remove what was made and end the process. A handler, not a blocked mask:
/// child processes would inherit the mask, and then not hear Ctrl-C.
pub(crate) fn install_signal_handler() -> std::io::Result<()> {
    let (mut wakes, wake) = std::io::pipe()?;
    WAKE.store(wake.into_raw_fd(), Ordering::Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: an all-zero sigaction is valid; the handler only calls write, which is async-signal-safe.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    std::thread::spawn(move || {
        let mut signal = [0];
        if wakes.read_exact(&mut signal).is_err() {
            return;
        }
        eprintln!("\nstopped by signal {}: removing what was made", signal[0]);
        let mut actions = lock();
        while let Some((_, action)) = actions.pop() {
            action();
        }
        std::process::exit(128 + i32::from(signal[0]));
    });
    Ok(())
}

extern "C" fn on_signal(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: write is async-signal-safe and the byte lives on this stack. A full pipe has woken the thread already.
    unsafe { libc::write(WAKE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
}

fn lock() -> std::sync::MutexGuard<'static, Vec<(u64, Action)>> {
    // A panic inside an action must not keep the others from running.
    ACTIONS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn runs_once_when_dropped() {
        let count = Arc::new(AtomicU64::new(0));
        let inner = count.clone();
        let guard = at_end(move || {
            inner.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 0);
        drop(guard);
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
