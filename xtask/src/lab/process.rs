//! A server that runs for the lab and is stopped with it.

use super::Place;
use crate::{cleanup, workspace};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running program whose output goes to a file.
pub(crate) struct Process {
    name: String,
    child: Child,
    handle: Arc<OwnedFd>,
    log: PathBuf,
    _killer: cleanup::Guard,
}

impl Process {
    /// Starts a program in a place. Its output goes to `<folder>/<name>.log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        place: &Place,
        folder: &Path,
        name: &str,
        program: impl AsRef<OsStr>,
        arguments: &[A],
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = place.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {name}; is it installed?"))?;
        let handle = Arc::new(pidfd(&child).with_context(|| format!("cannot hold on to {name}"))?);
        let killed = handle.clone();
        let killer = cleanup::at_end(move || signal(&killed, libc::SIGKILL));
        Ok(Self { name: name.to_owned(), child, handle, log, _killer: killer })
    }

    /// Waits until `ready` says so. Fails when the program ends first or the time is over, with what it said last.
    pub(crate) fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}). Its last words:\n{}", self.name, self.last_words());
            }
            if start.elapsed() > limit {
                bail!("{} was not ready after {limit:?}. Its last words:\n{}", self.name, self.last_words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The end of its output.
    pub(crate) fn last_words(&self) -> String {
        workspace::tail(&fs::read_to_string(&self.log).unwrap_or_default(), 15)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, number: libc::c_int) {
        signal(&self.handle, number);
    }

    /// Asks it to stop (SIGTERM) and waits. What has not ended by then is killed, and that is an error.
    pub(crate) fn stop(mut self, limit: Duration) -> Result<()> {
        signal(&self.handle, libc::SIGTERM);
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > limit {
                bail!(
                    "{} did not stop within {limit:?} of SIGTERM. Its last words:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A handle that never means another process, also after this one has ended and its id is used again.
pub(crate) fn pidfd(child: &Child) -> std::io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and has no memory effects.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone; descriptors fit an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Asks a process to end (SIGTERM) and waits. Whether it did in time; if not, it is killed.
pub(crate) fn end(process: &OwnedFd, limit_ms: libc::c_int) -> bool {
    signal(process, libc::SIGTERM);
    let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd that lives through the call.
    let is_over = unsafe { libc::poll(&raw mut poll, 1, limit_ms) } != 0;
    if !is_over {
        signal(process, libc::SIGKILL);
    }
    is_over
}

/// Sends a signal; to a process that has ended, none.
pub(crate) fn signal(process: &OwnedFd, signal: libc::c_int) {
    // SAFETY: no siginfo is handed over; a process that has ended gives ESRCH, which is what we want.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_and_reports_early_ends() {
        let folder = std::env::temp_dir();
        let sleeper = Process::start(&Place::here(), &folder, "xps-test-sleep", "sleep", &["60"]).unwrap();
        sleeper.stop(Duration::from_secs(5)).unwrap();
        let script = ["-c", "echo too early; exit 3"];
        let mut ended = Process::start(&Place::here(), &folder, "xps-test-end", "sh", &script).unwrap();
        let error = ended.wait_until(Duration::from_secs(5), || false).unwrap_err().to_string();
        assert!(error.contains("too early"), "{error}");
        for name in ["sleep", "end"] {
            fs::remove_file(folder.join(format!("xps-test-{name}.log"))).unwrap();
        }
    }
}
