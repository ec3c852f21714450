//! The tcx links of one interface, and that at XDP, pinned so that they stay when the agent goes (S12).
//!
//! Links are made here by system call, since what a takeover needs, to know the interface that a pinned link is attached
//! to and whether it still is, is not offered by the loader.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where on the way of an interface's packets a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// XDP in native mode: in the driver, before [`Self::Ingress`].
    Arrival,
    /// XDP in generic mode: where the stack has made its buffer of the packet, before [`Self::Ingress`].
    ArrivalGeneric,
    /// tcx, on the way in.
    Ingress,
    /// tcx, on the way out.
    Egress,
    /// At the lookup of sockets, in the network namespace and at no interface.
    Listen,
}

impl Place {
    /// Those at XDP. An interface has a program at one of them only.
    pub const XDP: [Self; 2] = [Self::Arrival, Self::ArrivalGeneric];

    /// A short name, also in that of the link's pin; stable.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Arrival => "xdp",
            Self::ArrivalGeneric => "xdp_generic",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Listen => "sk_lookup",
        }
    }

    /// The name of the hook that it belongs to, for status and metrics; stable.
    #[must_use]
    pub const fn hook(self) -> &'static str {
        match self {
            Self::Arrival => "xdp",
            Self::ArrivalGeneric => "xdp_generic",
            Self::Ingress | Self::Egress => "tcx",
            Self::Listen => "sk_lookup",
        }
    }

    /// From `enum bpf_attach_type`.
    const fn attach_type(self) -> u32 {
        const BPF_XDP: u32 = 37;
        const BPF_SK_LOOKUP: u32 = 36;
        const BPF_TCX_INGRESS: u32 = 46;
        const BPF_TCX_EGRESS: u32 = 47;
        match self {
            Self::Arrival | Self::ArrivalGeneric => BPF_XDP,
            Self::Ingress => BPF_TCX_INGRESS,
            Self::Egress => BPF_TCX_EGRESS,
            Self::Listen => BPF_SK_LOOKUP,
        }
    }

    /// `flags` of the system call.
    const fn flags(self) -> u32 {
        const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
        const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
        match self {
            Self::Arrival => XDP_FLAGS_DRV_MODE,
            Self::ArrivalGeneric => XDP_FLAGS_SKB_MODE,
            Self::Ingress | Self::Egress | Self::Listen => 0,
        }
    }
}

/// First part of the name of a link's pin.
const PREFIX: &str = "link_";

/// A program attached to one place of one interface, and pinned.
#[derive(Debug)]
pub struct Hook {
    link: OwnedFd,
    pin: PathBuf,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Index of the interface, 0 if it is gone or the link is at none.
    pub ifindex: u32,
    /// Whether it is at a network namespace that still exists.
    pub namespace: bool,
    /// Id of the program.
    pub program_id: u32,
}

impl Hook {
    /// Attaches `program` behind the programs that are there already, and pins the link. At XDP there can be only one.
    ///
    /// # Errors
    /// The kernel's; then nothing is attached.
    pub fn attach(program: BorrowedFd<'_>, ifindex: u32, place: Place, pins: &Path) -> io::Result<Self> {
        Self::attach_to(program, ifindex, pin_of(pins, ifindex, place), place)
    }

    fn attach_to(program: BorrowedFd<'_>, target: u32, pin: PathBuf, place: Place) -> io::Result<Self> {
        let attributes = LinkCreate {
            program: program.as_raw_fd() as u32,
            target,
            attach_type: place.attach_type(),
            flags: place.flags(),
            ..LinkCreate::default()
        };
        let link = bpf_fd(BPF_LINK_CREATE, &attributes)?;
        let path = path_of(&pin)?;
        let object = Object { path: path.as_ptr() as u64, fd: link.as_raw_fd() as u32, flags: 0 };
        // If this fails the link's only descriptor is closed, which detaches it.
        bpf(BPF_OBJ_PIN, &object)?;
        Ok(Self { link, pin })
    }

    /// Attaches `program` to this network namespace, at [`Place::Listen`], and pins the link.
    ///
    /// # Errors
    /// The kernel's; then nothing is attached.
    pub fn attach_to_namespace(program: BorrowedFd<'_>, pins: &Path) -> io::Result<Self> {
        let namespace = std::fs::File::open("/proc/thread-self/ns/net")?;
        // The descriptor stands where other links have the interface.
        Self::attach_to(program, namespace.as_raw_fd() as u32, pin_of(pins, 0, Place::Listen), Place::Listen)
    }

    /// The pinned link of an interface, if there is one.
    ///
    /// # Errors
    /// The kernel's, other than that there is none.
    pub fn pinned(ifindex: u32, place: Place, pins: &Path) -> io::Result<Option<Self>> {
        Self::open(pin_of(pins, ifindex, place))
    }

    fn open(pin: PathBuf) -> io::Result<Option<Self>> {
        let path = path_of(&pin)?;
        match bpf_fd(BPF_OBJ_GET, &Object { path: path.as_ptr() as u64, fd: 0, flags: 0 }) {
            Ok(link) => Ok(Some(Self { link, pin })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All links that are pinned in `pins`.
    ///
    /// # Errors
    /// The file system's or the kernel's.
    pub fn all(pins: &Path) -> io::Result<Vec<Self>> {
        let mut hooks = Vec::new();
        for entry in std::fs::read_dir(pins)? {
            let entry = entry?;
            if entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
                hooks.extend(Self::open(entry.path())?);
            }
        }
        Ok(hooks)
    }

    /// What the kernel says of the link.
    ///
    /// # Errors
    /// The kernel's.
    pub fn facts(&self) -> io::Result<LinkFacts> {
        let mut info = LinkInfo::default();
        let attributes = Info {
            fd: self.link.as_raw_fd() as u32,
            len: size_of::<LinkInfo>() as u32,
            info: (&raw mut info) as u64,
        };
        bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
        let namespace = info.kind == BPF_LINK_TYPE_NETNS;
        Ok(LinkFacts {
            ifindex: if namespace { 0 } else { info.target },
            namespace: namespace && info.target != 0,
            program_id: info.program_id,
        })
    }

    /// Puts `program` in place of the attached one, at once for all packets: none sees both or neither.
    ///
    /// # Errors
    /// `ENOLINK` if the interface is gone; else the kernel's.
    pub fn replace(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let attributes = LinkUpdate {
            link: self.link.as_raw_fd() as u32,
            program: program.as_raw_fd() as u32,
            ..LinkUpdate::default()
        };
        bpf(BPF_LINK_UPDATE, &attributes).map(drop)
    }

    /// Detaches and removes the pin.
    ///
    /// # Errors
    /// The file system's, if the pin cannot be removed; the program is detached in any case.
    pub fn remove(self) -> io::Result<()> {
        // Detaching first: another process that holds the link open would keep it attached.
        let detached = bpf(BPF_LINK_DETACH, &self.link.as_raw_fd());
        match std::fs::remove_file(&self.pin) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => match detached {
                // The interface is gone, and the link with it.
                Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => Err(error),
                _ => Ok(()),
            },
        }
    }
}

fn pin_of(pins: &Path, ifindex: u32, place: Place) -> PathBuf {
    pins.join(format!("{PREFIX}{ifindex}_{}", place.label()))
}

fn path_of(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

// From enum bpf_cmd.
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

// The parts of union bpf_attr that are used. The kernel takes what follows as zero.

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    expected_revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct Info {
    fd: u32,
    len: u32,
    info: u64,
}

/// `struct bpf_link_info`: its union begins at offset 16, with the interface of a tcx or XDP link, or the inode of a network
/// namespace.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    target: u32,
    attach_type: u32,
}

/// From `enum bpf_link_type`.
const BPF_LINK_TYPE_NETNS: u32 = 5;

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: each caller passes the part of bpf_attr that belongs to the command, with its true size; pointers in it are
    // valid for the time of the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

fn bpf_fd<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the command has just given this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
