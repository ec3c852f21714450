//! The other kind of installation: for a service that answers single datagrams, with one program on the way in.
//!
//! [`crate::install`] is for servers of TCP: it sees both directions of all connections, and needs tcx for it. Here the object
//! has the same program twice, for XDP and for tcx ingress, and each interface gets one of the two, at the earliest place that
//! can be had and costs others nothing: at XDP in the driver, else at tcx, else (on kernels without tcx) at XDP in the
//! generic mode. Which it is, and why it is none before it, is told of each ([`Responder::devices`]).
//!
//! Maps and links are pinned as there, with the same lock: they stay when the agent is killed, and the next one takes them
//! over. An orderly stop removes everything ([`Responder::detach`]). The programs must answer nothing before the service's
//! tables say so, and when their agent is dead only as long as those let them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use xps_core::abi::map;

use crate::devices::Follows;
use crate::hook::{Hook, Place};
use crate::install::arrival;
use crate::install::links::{drop_others, hook_all, link, unlink};
use crate::install::load::{Loaded, load_maps, load_program};
use crate::install::{InstallError, Maps};
use crate::pins::{Layout, Pins, Runs, Shape};
use crate::plan::{DevicePlan, Plan};
use crate::table;
use crate::xdp::{Mode, Without};

/// What a service brings.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// The object file. Beside the service's own maps it has `DEVICES` as [`xps_core::abi`] names it.
    pub object: &'a [u8],
    /// Where to pin; on a BPF file system, no dots in its names. Created if missing.
    pub pin_directory: PathBuf,
    /// The program for XDP.
    pub xdp: &'static str,
    /// The program for tcx.
    pub tcx: &'static str,
    /// A map that can be mapped, whose first word of 32 bits is the version of all of them, which is written here.
    pub versioned: &'a str,
    /// The version that this agent knows. Pinned maps of another one are replaced.
    pub version: u32,
}

impl Service<'_> {
    fn layout(&self) -> Layout<'_> {
        Layout {
            fresh: Vec::new(),
            version: (self.versioned, 0),
            version_known: self.version,
            connections: None,
        }
    }
}

/// Why a program is not at a place that comes before the one where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Not at XDP, in the mode that was wanted.
    OfXdp(Without),
    /// Not at tcx.
    OfTcx {
        /// What the kernel said.
        reason: String,
    },
    /// Not at XDP in native mode, nor at tcx: the configuration asks for the generic one.
    Configured,
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfXdp(why) => write!(f, "{why}"),
            Self::OfTcx { reason } => write!(f, "tcx was refused: {reason}"),
            Self::Configured => write!(f, "the configuration asks for XDP in generic mode"),
        }
    }
}

/// A hooked interface.
#[derive(Debug)]
pub struct Device {
    name: String,
    place: Place,
    instead: Vec<Instead>,
    hook: Hook,
}

impl Device {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its packets are looked at.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Why not before, in the order of the places.
    #[must_use]
    pub fn instead(&self) -> &[Instead] {
        &self.instead
    }
}

/// An installation. Dropping it leaves everything in place for the next agent; see [`Responder::detach`].
#[derive(Debug)]
pub struct Responder {
    pins: Pins,
    maps: Maps,
    xdp: Result<Loaded, Without>,
    tcx: Loaded,
    devices: BTreeMap<u32, Device>,
    taken_over: bool,
}

impl Responder {
    /// Installs, or takes over what an agent that was killed has left. All interfaces of the plan or none: on failure
    /// everything that was made is removed; what was taken over stays.
    ///
    /// # Errors
    /// What failed and what to do about it.
    pub fn install(plan: &Plan, service: &Service<'_>) -> Result<Self, InstallError> {
        let pins = Pins::open(&service.pin_directory)?;
        let shapes = Shape::of_object(service.object)?;
        let layout = service.layout();
        let taken_over = pins.settle(&shapes, &layout)?;
        let parts = (|| {
            let mut ebpf = load_maps(&pins, &shapes, &layout, service.object, &[])?;
            let tcx = load_program(&mut ebpf, service.tcx)?;
            let xdp = arrival::load(&mut ebpf, Some(service.xdp));
            let maps = Maps::of(&ebpf)?;
            maps.mapping(service.versioned)?.u32(0).store(service.version, Ordering::Release);
            Ok((maps, tcx, xdp))
        })();
        let (maps, tcx, xdp) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                if !taken_over {
                    pins.clear();
                }
                return Err(error);
            }
        };
        let mut installed = Self { pins, maps, xdp, tcx, devices: BTreeMap::new(), taken_over };
        let attached = hook_all(&mut installed, plan)
            .and_then(|()| drop_others(installed.pins.directory(), &installed.maps, plan));
        match attached {
            Ok(()) => Ok(installed),
            Err(error) => {
                if !taken_over {
                    // Whatever this says, the cause is the first error.
                    let _ = installed.detach();
                }
                Err(error)
            }
        }
    }

    /// Removes what an agent that was killed has left in this network namespace, where it is not to be taken over: its
    /// programs would go on with its tables. Whether there was anything.
    ///
    /// # Errors
    /// If it cannot be looked at, or if its agent is alive.
    pub fn remove_left(pin_directory: &Path) -> Result<bool, InstallError> {
        let left = Pins::left(pin_directory)?;
        Ok(left.inspect(Pins::clear).is_some())
    }

    /// The hooked interfaces.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// Whether maps and links of an earlier agent were taken over.
    #[must_use]
    pub const fn taken_over(&self) -> bool {
        self.taken_over
    }

    /// The directory with the pins, for status and messages.
    #[must_use]
    pub fn pin_directory(&self) -> &Path {
        self.pins.directory()
    }

    /// The maps.
    #[must_use]
    pub const fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Instructions that the verifier went through, by program. 0 where the kernel does not say.
    #[must_use]
    pub fn verified_instructions(&self) -> Vec<(&'static str, u32)> {
        self.programs().map(|program| (program.name, program.verified)).collect()
    }

    /// How often and for how long the programs ran, where the kernel counts that (`kernel.bpf_stats_enabled`); else zeros.
    #[must_use]
    pub fn runs(&self) -> Vec<(&'static str, Runs)> {
        self.programs().map(|program| (program.name, program.runs())).collect()
    }

    fn programs(&self) -> impl Iterator<Item = &Loaded> {
        self.xdp.iter().chain([&self.tcx])
    }

    /// Takes everything out of the stack.
    ///
    /// # Errors
    /// The first failure; the rest is removed nevertheless.
    pub fn detach(self) -> Result<(), InstallError> {
        let mut result = Ok(());
        for (_, device) in self.devices {
            if let Err(source) = device.hook.remove() {
                result = result.and(Err(InstallError::Attach { device: device.name, source }));
            }
        }
        self.pins.clear();
        result
    }

    /// Attaches at the first of the places that can be had. Whether the link is new.
    fn attach(&self, device: &DevicePlan) -> Result<(Device, bool), InstallError> {
        let pins = self.pins.directory();
        let mut instead = first_instead(&device.xdp);
        let mut refused = None;
        for &place in places(&device.xdp) {
            let attempt = match (place, &self.xdp) {
                (Place::Ingress | Place::Egress, _) => link(&self.tcx.fd, device.ifindex, place, pins)
                    .map_err(|error| {
                        let reason = tcx_refused(&error);
                        refused = Some(error);
                        Instead::OfTcx { reason }
                    }),
                (_, Ok(program)) => arrival::attach(program, device, place, pins).map_err(Instead::OfXdp),
                (_, Err(why)) => Err(Instead::OfXdp(why.clone())),
            };
            match attempt {
                Ok((hook, new)) => {
                    unlink(device, &others(place), pins);
                    return Ok((Device { name: device.name.clone(), place, instead, hook }, new));
                }
                Err(why) => instead.push(why),
            }
        }
        let source = refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into());
        Err(InstallError::Attach { device: device.name.clone(), source })
    }
}

impl Follows for Responder {
    fn hook(&mut self, device: &DevicePlan) -> Result<bool, InstallError> {
        table::set_device(self.maps.open(map::DEVICES)?, device)?;
        if self.devices.contains_key(&device.ifindex) {
            return Ok(false);
        }
        let (hooked, new) = self.attach(device)?;
        let why = hooked.instead.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        tracing::debug!(interface = device.name, place = hooked.place.hook(), why, "attached");
        self.devices.insert(device.ifindex, hooked);
        Ok(new)
    }

    fn unhook(&mut self, ifindex: u32) -> Result<bool, InstallError> {
        let Some(device) = self.devices.remove(&ifindex) else { return Ok(false) };
        let removed = device.hook.remove();
        table::remove_device(self.maps.open(map::DEVICES)?, ifindex)?;
        removed.map_err(|source| InstallError::Attach { device: device.name, source })?;
        Ok(true)
    }
}

/// All places that an interface's program can be at.
const ALL: [Place; 3] = [Place::Arrival, Place::Ingress, Place::ArrivalGeneric];

fn others(place: Place) -> Vec<Place> {
    ALL.into_iter().filter(|other| *other != place).collect()
}

/// The places to try, in this order. Whoever turns XDP off does not get it where there is no tcx either.
const fn places(xdp: &Result<Mode, Without>) -> &'static [Place] {
    match xdp {
        Ok(Mode::Native) => &ALL,
        Ok(Mode::Generic) => &[Place::ArrivalGeneric, Place::Ingress],
        Err(Without::Configured) => &[Place::Ingress],
        Err(_) => &[Place::Ingress, Place::ArrivalGeneric],
    }
}

/// Why a place is not even tried.
fn first_instead(xdp: &Result<Mode, Without>) -> Vec<Instead> {
    match xdp {
        Ok(Mode::Native) => Vec::new(),
        Ok(Mode::Generic) => vec![Instead::Configured],
        Err(why) => vec![Instead::OfXdp(why.clone())],
    }
}

/// What the kernel said of a tcx link.
fn tcx_refused(error: &io::Error) -> String {
    match error.raw_os_error() {
        // The attach type is none that it knows.
        Some(libc::EINVAL) => "the kernel has no tcx links (Linux 6.6 and newer do)".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_tried_from_the_best_one_on() {
        use Place::{Arrival, ArrivalGeneric, Ingress};
        let costly = || Without::Costly { kind: "veth".into() };
        let cases: [(_, &[Place], _); 4] = [
            (Ok(Mode::Native), &[Arrival, Ingress, ArrivalGeneric], vec![]),
            (Ok(Mode::Generic), &[ArrivalGeneric, Ingress], vec![Instead::Configured]),
            (Err(costly()), &[Ingress, ArrivalGeneric], vec![Instead::OfXdp(costly())]),
            (Err(Without::Configured), &[Ingress], vec![Instead::OfXdp(Without::Configured)]),
        ];
        for (xdp, expected, instead) in cases {
            assert_eq!(places(&xdp), expected, "{xdp:?}");
            assert_eq!(first_instead(&xdp), instead);
        }
    }

    #[test]
    fn a_kernel_without_tcx_is_named() {
        let refused = |code| tcx_refused(&io::Error::from_raw_os_error(code));
        assert!(refused(libc::EINVAL).contains("6.6"), "{}", refused(libc::EINVAL));
        assert!(!refused(libc::EPERM).contains("6.6"), "{}", refused(libc::EPERM));
    }
}
