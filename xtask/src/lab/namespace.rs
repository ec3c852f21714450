//! Network namespaces: made, entered, removed.

use crate::{cleanup, workspace};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Where a program or a thread runs: in a namespace of the lab, or where this program itself runs.
#[derive(Clone)]
pub(crate) struct Place(Option<Arc<File>>);

impl Place {
    /// No namespace of its own.
    pub(crate) fn here() -> Self {
        Self(None)
    }

    /// A command that will run in this place, in a session of its own, and dies with this program. Unlike `ip netns exec` it
    /// keeps the mounts, so the BPF file system stays in sight.
    ///
    /// The scheduler shares the CPUs out between sessions (`sched_autogroup_enabled`). Services have one each; here all
    /// would be one with this program, and a server of one thread would get less than one of two, unlike anywhere else.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = self.0.clone();
        // SAFETY: between fork and exec only prctl, setsid and setns are called, all async-signal-safe; no allocation.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 || libc::setsid() < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                namespace.as_deref().map_or(Ok(()), enter)
            });
        }
        command
    }

    /// Moves the calling thread, and the sockets it will make, to this place. For threads made for the purpose.
    pub(crate) fn enter(&self) -> std::io::Result<()> {
        self.0.as_deref().map_or(Ok(()), enter)
    }

    /// Runs a function on a thread that is in this place.
    pub(crate) fn run<T: Send>(&self, function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter().context("cannot enter the network namespace")?;
                function()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn enter(namespace: &File) -> std::io::Result<()> {
    // SAFETY: the descriptor is open as long as `namespace` lives; setns changes only the calling thread.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// A named network namespace with its loopback up. Removed when dropped.
pub(crate) struct Namespace {
    name: String,
    place: Place,
    _removal: cleanup::Guard,
}

impl Namespace {
    /// Makes `xps-<pid>-<role>`.
    pub(crate) fn create(role: &str) -> Result<Self> {
        let name = format!("xps-{}-{role}", std::process::id());
        let removed = name.clone();
        let removal = cleanup::at_end(move || remove(&removed));
        workspace::output(Command::new("ip").args(["netns", "add", &name]))
            .context("cannot make a network namespace (needs CAP_SYS_ADMIN)")?;
        let file =
            File::open(format!("/run/netns/{name}")).context("cannot open the new network namespace")?;
        let namespace = Self { name, place: Place(Some(Arc::new(file))), _removal: removal };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The namespace's name for `ip -n`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where programs in it run.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Runs `ip` on this namespace.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<()> {
        workspace::output(Command::new("ip").args(["-n", &self.name]).args(arguments)).map(drop)
    }

    /// Sets a parameter of this namespace's network, by its path below /proc/sys.
    pub(crate) fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(name);
        self.place.run(|| fs::write(&path, value).with_context(|| format!("cannot write {}", path.display())))
    }
}

/// Removes namespaces whose maker was killed before it could.
pub(crate) fn remove_leftovers() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(pid) = maker(&name)
            && !fs::exists(format!("/proc/{pid}")).unwrap_or(true)
        {
            remove(&name);
        }
    }
}

/// What `ip netns del` does, without a child process, which a second signal to our process group would kill.
fn remove(name: &str) {
    let path = Path::new("/run/netns").join(name);
    workspace::unmount(&path);
    let _ = fs::remove_file(path);
}

fn maker(name: &str) -> Option<u32> {
    let (pid, role) = name.strip_prefix("xps-")?.split_once('-')?;
    matches!(role, "server" | "client" | "kernel" | "user" | "echo").then(|| pid.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_names_of_the_lab_are_taken_for_leftovers() {
        assert_eq!(super::maker("xps-12-server"), Some(12));
        assert_eq!(super::maker("xps-12-echo"), Some(12));
        assert_eq!(super::maker("xps-12-other"), None);
        assert_eq!(super::maker("other"), None);
        assert_eq!(super::maker("xps-x-client"), None);
    }
}
