//! Which path to take, and why. A pure function of the facts and the wishes, so every decision can be tested as a table.

mod cause;

use serde::Serialize;
use xps_core::abi::{DEVICES_MAX, Redirect};

use crate::interface::{ETHERNET, Interface, LOOPBACK};
use crate::probe::Facts;
use crate::xdp::{self, Without};

pub use cause::Cause;

/// Which links the programs of a service need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// tcx, which there is from Linux 6.6 on.
    #[default]
    Tcx,
    /// tcx or XDP, of which there is the latter from Linux 5.9 on.
    TcxOrXdp,
}

impl Links {
    /// First kernel with them.
    const fn kernel_min(self) -> (u32, u32) {
        match self {
            Self::Tcx => (6, 6),
            Self::TcxOrXdp => (5, 9),
        }
    }
}

/// What the configuration asks for, and what the service is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Which path.
    pub mode: Mode,
    /// Whether the server's own port is to be accelerated: then there is the kernel path or none.
    pub in_place: bool,
    /// Names of the interfaces to hook; empty for all.
    pub interfaces: Vec<String>,
    /// Where a program at XDP is wanted, if the service has one.
    pub xdp: xdp::Wish,
    /// Which links the service's programs need.
    pub links: Links,
}

impl Wishes {
    /// Whether the kernel path is not to be tried. In place there is no other.
    pub(crate) fn forgo_kernel(&self) -> bool {
        self.mode == Mode::User && !self.in_place
    }

    /// The links that are needed where the configuration has its way.
    fn needed(&self) -> Links {
        if self.xdp == xdp::Wish::Off { Links::Tcx } else { self.links }
    }
}

/// Which path the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The kernel path if possible, else the user path.
    #[default]
    Auto,
    /// The kernel path or an error.
    Kernel,
    /// The user path.
    User,
}

/// The path that connections to the accelerated port take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Through the programs in the stack.
    Kernel,
    /// Through the relay.
    User,
}

impl Path {
    /// As in status and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// What will be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The path.
    pub path: Path,
    /// Whether the server's own port is accelerated.
    pub in_place: bool,
    /// Interfaces to hook; empty on the user path.
    pub devices: Vec<DevicePlan>,
    /// Interfaces that are not hooked, each with its cause; empty on the user path.
    pub skipped: Vec<Skipped>,
    /// Why it is the user path; empty on the kernel path.
    pub causes: Vec<Cause>,
}

impl Plan {
    /// The user path, for these causes: also what a failed installation falls back to.
    #[must_use]
    pub const fn user(causes: Vec<Cause>) -> Self {
        Self { path: Path::User, in_place: false, devices: Vec::new(), skipped: Vec::new(), causes }
    }

    /// Interfaces through which traffic may pass unseen: those that strict coherence cannot do with (C9).
    pub fn blind(&self) -> impl Iterator<Item = &Skipped> {
        self.skipped.iter().filter(|skipped| skipped.blind)
    }
}

/// An interface to hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// How replies leave through it.
    pub redirect: Redirect,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Index of the VRF that it belongs to, 0 for none.
    pub vrf: u32,
    /// In which mode to try it with a program at XDP, or why not.
    pub xdp: Result<xdp::Mode, Without>,
}

/// An interface that is not hooked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Why it is not hooked.
    pub cause: Cause,
    /// Whether traffic may pass through it that no hooked interface sees.
    pub blind: bool,
}

/// A wish that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Named interfaces do not exist.
    #[error("no such interface: {}; there are {}", .missing.join(", "), .present.join(", "))]
    InterfaceMissing {
        /// Those that were named and are not there.
        missing: Vec<String>,
        /// Those that are there.
        present: Vec<String>,
    },
    /// The kernel path is wished for and not possible.
    #[error("the kernel path is not possible: {}; mend this or set the path's mode to \"auto\"",
        listed(.0))]
    KernelImpossible(Vec<Cause>),
    /// The server's own port is to be accelerated, for which there is no user path.
    #[error("listen.mode = \"in-place\" needs the kernel path, which is not possible: {}; mend this or set listen.mode to \
        \"beside\"", listed(.0))]
    InPlaceImpossible(Vec<Cause>),
}

/// Causes in one line.
fn listed(causes: &[Cause]) -> String {
    causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Decides.
///
/// # Errors
/// If a named interface is missing, or the kernel path is demanded and not possible.
pub fn plan(facts: &Facts, wishes: &Wishes) -> Result<Plan, PlanError> {
    if wishes.forgo_kernel() {
        return Ok(Plan::user(vec![Cause::Configured]));
    }
    let mut causes = obstacles(facts, wishes.needed());
    let interfaces = facts.interfaces.as_deref().unwrap_or_default();
    if facts.interfaces.is_ok() {
        let there = |name: &String| interfaces.iter().any(|interface| interface.name == *name);
        let missing: Vec<_> = wishes.interfaces.iter().filter(|name| !there(name)).cloned().collect();
        if !missing.is_empty() {
            let present = interfaces.iter().map(|interface| interface.name.clone()).collect();
            return Err(PlanError::InterfaceMissing { missing, present });
        }
    }
    let mut devices = Vec::new();
    let mut skipped = Vec::new();
    for interface in interfaces {
        match device(interface, interfaces, wishes) {
            Ok(_) if devices.len() >= DEVICES_MAX as usize => {
                skipped.push(skip(interface, Cause::TooMany));
            }
            Ok(device) => devices.push(device),
            Err(cause) => skipped.push(skip(interface, cause)),
        }
    }
    if facts.interfaces.is_ok() && devices.is_empty() {
        causes.push(Cause::NoInterface);
    }
    match (causes.is_empty(), wishes.mode) {
        (true, _) => Ok(Plan { path: Path::Kernel, in_place: wishes.in_place, devices, skipped, causes }),
        (false, _) if wishes.in_place => Err(PlanError::InPlaceImpossible(causes)),
        (false, Mode::Kernel) => Err(PlanError::KernelImpossible(causes)),
        (false, _) => Ok(Plan::user(causes)),
    }
}

/// How one interface is hooked, or why it is not. `all` are the interfaces of the namespace.
///
/// # Errors
/// The cause.
pub fn device(interface: &Interface, all: &[Interface], wishes: &Wishes) -> Result<DevicePlan, Cause> {
    let of_kind = |interface: &Interface, kind: &str| interface.kind.as_deref() == Some(kind);
    let mut vrf = 0;
    if let Some(index) = interface.master {
        match all.iter().find(|other| other.index == index) {
            // What comes in through a member of a VRF is the member's at this hook; the VRF is a routing table.
            Some(master) if of_kind(master, "vrf") => vrf = index,
            Some(master) => return Err(Cause::Enslaved { master: master.name.clone() }),
            None => return Err(Cause::Enslaved { master: format!("interface {index}") }),
        }
    }
    if of_kind(interface, "vrf") {
        return Err(Cause::Vrf);
    }
    let redirect = match interface.hardware {
        LOOPBACK => Redirect::Loopback,
        // What goes to the peer passes by the interface's own queue. A veth has none unless somebody wants one there.
        ETHERNET if of_kind(interface, "veth") && interface.peer_elsewhere && !interface.queues() => {
            Redirect::Peer
        }
        ETHERNET => Redirect::Egress,
        other => {
            let kind = interface.kind.clone().unwrap_or_else(|| format!("hardware type {other}"));
            return Err(Cause::NoEthernetHeader { kind });
        }
    };
    if !wishes.interfaces.is_empty() && !wishes.interfaces.contains(&interface.name) {
        return Err(Cause::NotNamed);
    }
    Ok(DevicePlan {
        ifindex: interface.index,
        name: interface.name.clone(),
        redirect,
        mtu: interface.mtu,
        vrf,
        xdp: xdp::wanted(interface, wishes.xdp),
    })
}

/// An interface that is left out for `cause`.
#[must_use]
pub fn skip(interface: &Interface, cause: Cause) -> Skipped {
    // What comes in through a port of a bridge is seen at the bridge, if at all it is for this host.
    let seen_elsewhere = matches!(cause, Cause::Enslaved { .. });
    let blind = interface.up && !seen_elsewhere;
    Skipped { ifindex: interface.index, name: interface.name.clone(), cause, blind }
}

fn obstacles(facts: &Facts, needed: Links) -> Vec<Cause> {
    // Where the service itself cannot take the kernel path, that is what is to be read first.
    let mut causes = facts.service.clone();
    if facts.kernel.version < needed.kernel_min() {
        causes.push(Cause::KernelTooOld { release: facts.kernel.release.clone(), needed });
    }
    let names = facts.capabilities.missing();
    if !names.is_empty() {
        causes.push(Cause::CapabilitiesMissing { names });
    } else if let Err(reason) = &facts.programs {
        // Without the capabilities this would be said twice.
        causes.push(Cause::ProgramsRefused { reason: reason.clone() });
    }
    if let Err(reason) = &facts.bpffs {
        causes.push(Cause::NoBpffs { reason: reason.clone() });
    }
    if let Err(reason) = &facts.interfaces {
        causes.push(Cause::InterfacesUnknown { reason: reason.clone() });
    }
    causes
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
