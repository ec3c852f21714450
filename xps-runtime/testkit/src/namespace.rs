//! Network namespaces and the test's own BPF file system: made, entered, removed.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

/// Prefix of the namespaces' names; the maker's process id follows.
const PREFIX: &str = "xps-test-";

/// Where a program or a thread runs.
#[derive(Clone, Debug)]
pub struct Place(Arc<File>);

impl Place {
    /// A command that will run in this place, keeps the test's mounts, and dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = Arc::clone(&self.0);
        // SAFETY: between fork and exec only prctl and setns are called, both async-signal-safe; no allocation.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                enter(&namespace)
            });
        }
        command
    }

    /// Runs a program to its end; an error holds what it said.
    pub fn run_program(&self, program: &str, arguments: &[&str]) -> Result<()> {
        output(self.command(program).args(arguments))
    }

    /// Calls a function on a thread in this place. Sockets that it makes stay in this place.
    pub fn run<T: Send>(&self, function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.0).context("cannot enter the network namespace")?;
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

fn output(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
    Ok(())
}

/// A named network namespace with its loopback up. Removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    place: Place,
}

impl Namespace {
    /// Makes a namespace. `name` must be unique among those that this process makes.
    pub fn create(name: &str) -> Result<Self> {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))
            .context("cannot make a network namespace")?;
        let path = Path::new("/run/netns").join(&name);
        let file = File::open(&path).inspect_err(|_| remove(&name));
        let namespace = Self { place: Place(Arc::new(file.context("cannot open the new namespace")?)), name };
        // Otherwise the link-local address of each interface appears a second or two after it, and what watches addresses looks
        // at everything again in the middle of a test.
        namespace.place.run(|| {
            for name in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{name}/accept_dad");
                // A kernel without IPv6 has none.
                if Path::new(&path).exists() {
                    fs::write(&path, "0").context(path)?;
                }
            }
            Ok(())
        })?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name for `ip -n`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where programs in it run.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Runs `ip` on this namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        output(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Whether the name is gone.
    pub fn is_gone(name: &str) -> bool {
        !Path::new("/run/netns").join(name).exists()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes namespaces whose maker was killed before it could.
pub fn remove_leftovers() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&name);
        }
    }
}

fn remove(name: &str) {
    // What cannot be removed is seen by the check that nothing remains.
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

/// A BPF file system on a folder. Unmounted when dropped.
#[derive(Debug)]
pub struct BpfMount(PathBuf);

impl BpfMount {
    /// Mounts one on `path`, which is made.
    pub fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path)?;
        let target = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: all arguments are valid C strings that live through the call; no data is handed over.
        let mounted =
            unsafe { libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        if mounted != 0 {
            return Err(std::io::Error::last_os_error()).context("cannot mount a BPF file system");
        }
        Ok(Self(path))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for BpfMount {
    fn drop(&mut self) {
        if let Ok(target) = CString::new(self.0.as_os_str().as_bytes()) {
            // SAFETY: a valid C string that lives through the call.
            unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        }
    }
}
