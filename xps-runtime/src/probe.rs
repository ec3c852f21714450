//! What this kernel, these privileges and these interfaces allow. Only looks; the one thing it may change, and only if
//! asked to, is to mount a BPF file system where none is.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::interface::{self, Interface};
use crate::plan::Cause;

/// What to look at.
#[derive(Clone, Debug)]
pub struct ProbeRequest {
    /// Where the service wants to pin its maps and links.
    pub pin_directory: PathBuf,
    /// Whether a BPF file system may be mounted at [`BPFFS`] if the pin directory lies below it and none is there.
    pub mount_bpffs: bool,
}

/// Where a BPF file system is expected.
pub const BPFFS: &str = "/sys/fs/bpf";

/// `BPF_FS_MAGIC`.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

/// What was found. Every negative finding says why.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The kernel's release.
    pub kernel: Kernel,
    /// Effective capabilities.
    pub capabilities: Capabilities,
    /// Whether the kernel takes a program of the kind needed, from this process.
    pub programs: Result<(), String>,
    /// Whether the pin directory lies on a BPF file system.
    pub bpffs: Result<(), String>,
    /// The interfaces of this network namespace.
    pub interfaces: Result<Vec<Interface>, String>,
    /// What the service itself knows to stand against the kernel path; the probe leaves it empty.
    pub service: Vec<Cause>,
}

/// A kernel's release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// First and second number.
    pub version: (u32, u32),
    /// As the kernel spells it.
    pub release: String,
}

impl Kernel {
    /// From a release such as `6.6.12-generic`.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { version, release: release.to_owned() }
    }
}

/// Effective capabilities of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The mask, as in `/proc/self/status`.
    pub mask: u64,
}

impl Capabilities {
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;

    /// From the text of `/proc/self/status`.
    #[must_use]
    pub fn parse(status: &str) -> Self {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self { mask: line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0) }
    }

    const fn has(self, bit: u32) -> bool {
        self.mask & 1 << bit != 0
    }

    /// Whether everything was granted by the old, wide capability.
    #[must_use]
    pub const fn sys_admin(self) -> bool {
        self.has(Self::SYS_ADMIN)
    }

    /// Names of those that the kernel path needs and that are missing.
    #[must_use]
    pub fn missing(self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.has(Self::BPF) && !self.sys_admin() {
            missing.push("CAP_BPF");
        }
        if !self.has(Self::NET_ADMIN) {
            missing.push("CAP_NET_ADMIN");
        }
        // Without it the verifier refuses variable pointers, which every parser has.
        if !self.has(Self::PERFMON) && !self.sys_admin() {
            missing.push("CAP_PERFMON");
        }
        missing
    }
}

/// Looks at the machine.
#[must_use]
pub fn probe(request: &ProbeRequest) -> Facts {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = Capabilities::parse(&status);
    Facts {
        kernel: Kernel::parse(release.trim()),
        capabilities,
        programs: programs(),
        bpffs: bpffs(request, capabilities),
        interfaces: interface::list().map_err(|error| format!("netlink does not list them: {error}")),
        service: Vec::new(),
    }
}

/// Tries to load an empty program. Capabilities alone do not tell: a seccomp filter, an LSM or lockdown may refuse.
fn programs() -> Result<(), String> {
    match aya::sys::is_program_supported(aya::programs::ProgramType::SchedClassifier) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the kernel does not know programs for traffic control (CONFIG_NET_CLS_ACT)".into()),
        Err(error) => Err(chain(&error)),
    }
}

fn bpffs(request: &ProbeRequest, capabilities: Capabilities) -> Result<(), String> {
    if on_bpffs(&request.pin_directory) {
        return Ok(());
    }
    let directory = request.pin_directory.display();
    if !request.pin_directory.starts_with(BPFFS) {
        return Err(format!("{directory} is not on a BPF file system; mount one there or choose another"));
    }
    let advice =
        format!("run `mount -t bpf bpf {BPFFS}` on the host, or mount the host's into the container");
    if !request.mount_bpffs || !capabilities.sys_admin() {
        return Err(format!("no BPF file system at {BPFFS}; {advice}"));
    }
    match mount_bpffs() {
        Ok(()) => {
            // In a mount namespace of its own the mount, and with it all pins, ends with the namespace.
            tracing::warn!(at = BPFFS, "mounted a BPF file system, since there was none");
            Ok(())
        }
        Err(error) => {
            Err(format!("no BPF file system at {BPFFS} and it cannot be mounted ({error}); {advice}"))
        }
    }
}

fn mount_bpffs() -> io::Result<()> {
    let path = CString::new(BPFFS)?;
    // SAFETY: three strings that end in zero, no data.
    let done = unsafe {
        libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), libc::MS_NOSUID, std::ptr::null())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether `path`, or the nearest of its ancestors that exists, lies on a BPF file system.
#[must_use]
pub fn on_bpffs(path: &Path) -> bool {
    for path in path.ancestors() {
        let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
        // SAFETY: statfs is plain data for which zero is valid; the path ends in zero.
        let (done, found) = unsafe {
            let mut found: libc::statfs = std::mem::zeroed();
            (libc::statfs(path.as_ptr(), &raw mut found), found)
        };
        if done == 0 {
            return found.f_type == BPFFS_MAGIC;
        }
    }
    false
}

/// An error with all its sources, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Transparent errors repeat their source.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        for (release, version) in [
            ("6.18.44-fc", (6, 18)),
            ("6.6.0", (6, 6)),
            ("5.15.0-91-generic", (5, 15)),
            ("7.0-rc1", (7, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(Kernel::parse(release).version, version, "{release}");
        }
    }

    #[test]
    fn capabilities_are_read() {
        let of = |mask: u64| {
            Capabilities::parse(&format!("Name:\tx\nCapEff:\t{mask:016x}\nCapBnd:\t0\n")).missing()
        };
        assert_eq!(of(0), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(of(1 << 12 | 1 << 38 | 1 << 39), [""; 0]);
        assert_eq!(of(1 << 21), ["CAP_NET_ADMIN"]);
        assert_eq!(Capabilities::parse("").mask, 0);
    }

    #[test]
    fn an_ordinary_directory_is_not_a_bpf_file_system() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!on_bpffs(directory.path()));
        assert!(!on_bpffs(&directory.path().join("not/there")));
        let request = ProbeRequest { pin_directory: directory.path().join("pins"), mount_bpffs: true };
        let error = bpffs(&request, Capabilities::default()).unwrap_err();
        assert!(error.contains("not on a BPF file system"), "{error}");
    }
}
