//! Why something is not as it could be.

use std::fmt;
use std::net::IpAddr;

use xps_core::abi::DEVICES_MAX;

use super::Links;

/// Why something is not as it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The configuration says so.
    Configured,
    /// The kernel does not have the links that are needed.
    KernelTooOld {
        /// The kernel's release.
        release: String,
        /// What is needed.
        needed: Links,
    },
    /// Privileges are missing.
    CapabilitiesMissing {
        /// Their names.
        names: Vec<&'static str>,
    },
    /// The kernel refuses programs from this process.
    ProgramsRefused {
        /// Its reason.
        reason: String,
    },
    /// Nowhere to pin.
    NoBpffs {
        /// What is wrong and what to do.
        reason: String,
    },
    /// The interfaces cannot be listed.
    InterfacesUnknown {
        /// Why.
        reason: String,
    },
    /// No interface can be hooked.
    NoInterface,
    /// The server is not in this network namespace: its packets do not pass this stack as a server's.
    ServerElsewhere {
        /// The address that is not of this namespace.
        address: IpAddr,
    },
    /// Where the server is could not be found out.
    ServerUnresolved {
        /// Why.
        reason: String,
    },
    /// The connection to the server is encrypted.
    Encrypted,
    /// The server's port is the accelerated port.
    SamePort {
        /// The port.
        port: u16,
    },
    /// The configuration asks for something that only the user path does.
    NotInStack {
        /// What, and who asks for it.
        what: String,
    },
    /// The kernel path was tried and failed.
    InstallFailed {
        /// The error.
        reason: String,
    },
    /// An interface without Ethernet header (tun, WireGuard, tunnels).
    NoEthernetHeader {
        /// Its driver, or the number of its hardware type.
        kind: String,
    },
    /// A bridge's or bond's port: its packets are seen at the bridge or bond.
    Enslaved {
        /// Name of the bridge or bond.
        master: String,
    },
    /// A VRF's own device: its members are hooked, and what its sockets send to each other passes it alone.
    Vrf,
    /// Not among the interfaces that the configuration names.
    NotNamed,
    /// More interfaces than can be hooked.
    TooMany,
}

impl Cause {
    /// A short name for metrics and status; stable.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::KernelTooOld { .. } => "kernel_too_old",
            Self::CapabilitiesMissing { .. } => "capabilities_missing",
            Self::ProgramsRefused { .. } => "programs_refused",
            Self::NoBpffs { .. } => "no_bpffs",
            Self::InterfacesUnknown { .. } => "interfaces_unknown",
            Self::NoInterface => "no_interface",
            Self::ServerElsewhere { .. } => "server_elsewhere",
            Self::ServerUnresolved { .. } => "server_unresolved",
            Self::Encrypted => "encrypted",
            Self::SamePort { .. } => "same_port",
            Self::NotInStack { .. } => "not_in_stack",
            Self::InstallFailed { .. } => "install_failed",
            Self::NoEthernetHeader { .. } => "no_ethernet_header",
            Self::Enslaved { .. } => "enslaved",
            Self::Vrf => "vrf",
            Self::NotNamed => "not_named",
            Self::TooMany => "too_many",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => write!(f, "the configuration asks for the user path"),
            Self::KernelTooOld { release, needed } => {
                let (first, second) = needed.kernel_min();
                let links = match needed {
                    Links::Tcx => "tcx",
                    Links::TcxOrXdp => "XDP",
                };
                write!(
                    f,
                    "kernel {release} is too old: {first}.{second} or newer is needed for {links} links"
                )
            }
            Self::CapabilitiesMissing { names } => {
                write!(f, "missing {}: run as root or grant them", names.join(", "))
            }
            Self::ProgramsRefused { reason } => write!(f, "the kernel refuses BPF programs: {reason}"),
            Self::NoBpffs { reason } => write!(f, "nowhere to pin: {reason}"),
            Self::InterfacesUnknown { reason } => write!(f, "the interfaces are not known: {reason}"),
            Self::NoInterface => write!(f, "no interface can be hooked"),
            Self::ServerElsewhere { address } => write!(
                f,
                "the server at {address} is not in this network namespace, so it is not this stack that serves for it: run \
                 beside the server for the kernel path"
            ),
            Self::ServerUnresolved { reason } => {
                write!(f, "whether the server is in this network namespace is not known: {reason}")
            }
            Self::Encrypted => {
                write!(f, "the connection to the server is encrypted, which the stack cannot read")
            }
            Self::SamePort { port } => {
                write!(f, "the server listens on the accelerated port {port} itself: choose another one")
            }
            Self::NotInStack { what } => write!(f, "only the user path can do this: {what}"),
            Self::InstallFailed { reason } => write!(f, "installing in the kernel failed: {reason}"),
            Self::NoEthernetHeader { kind } => write!(f, "its packets have no Ethernet header ({kind})"),
            Self::Enslaved { master } => write!(f, "it belongs to {master}, where its packets are seen"),
            Self::Vrf => write!(
                f,
                "it is a VRF: its members are hooked, but connections within it pass no other device"
            ),
            Self::NotNamed => write!(f, "it is not among the interfaces that the configuration names"),
            Self::TooMany => write!(f, "{DEVICES_MAX} interfaces are hooked already"),
        }
    }
}
