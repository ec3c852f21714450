//! The links of an installation: made, taken over from an agent before, and removed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::{InstallError, Maps};
use crate::devices::Follows;
use crate::hook::{Hook, Place};
use crate::plan::{DevicePlan, Plan};
use crate::table;

use xps_core::abi::map;

/// Hooks all interfaces of a plan or, where one fails, none of those that were not hooked before.
pub(crate) fn hook_all(installation: &mut impl Follows, plan: &Plan) -> Result<(), InstallError> {
    let mut made = Vec::new();
    for device in &plan.devices {
        match installation.hook(device) {
            Ok(true) => made.push(device.ifindex),
            Ok(false) => {}
            Err(error) => {
                for ifindex in made {
                    // Whatever this says, the cause is the first error.
                    let _ = installation.unhook(ifindex);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Removes links to interfaces that are gone, or no longer in the plan, and forgets those interfaces.
pub(crate) fn drop_others(pins: &Path, maps: &Maps, plan: &Plan) -> Result<(), InstallError> {
    let system = |source| InstallError::System { what: "cannot list pinned links", source };
    for hook in Hook::all(pins).map_err(system)? {
        let (ifindex, namespace) = hook.facts().map_or((0, false), |facts| (facts.ifindex, facts.namespace));
        if !namespace && !plan.devices.iter().any(|device| device.ifindex == ifindex) {
            hook.remove().map_err(|source| InstallError::System { what: "cannot remove a link", source })?;
        }
    }
    let planned: Vec<_> = plan.devices.iter().map(|device| device.ifindex).collect();
    table::retain_devices(maps.open(map::DEVICES)?, &planned)
}

/// The pinned link with the new program in it, or a new link. Whether it is new.
pub(crate) fn link(program: &OwnedFd, ifindex: u32, place: Place, pins: &Path) -> io::Result<(Hook, bool)> {
    if let Some(hook) = Hook::pinned(ifindex, place, pins)? {
        match hook.replace(program.as_fd()) {
            Ok(()) => return Ok((hook, false)),
            // The interface is gone and its index given to another.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => hook.remove()?,
            Err(error) => return Err(error),
        }
    }
    Ok((Hook::attach(program.as_fd(), ifindex, place, pins)?, true))
}

/// The pinned link to this network namespace with the new program in it, or a new link.
pub(crate) fn link_namespace(program: &OwnedFd, pins: &Path) -> io::Result<Hook> {
    if let Some(hook) = Hook::pinned(0, Place::Listen, pins)? {
        match hook.replace(program.as_fd()) {
            Ok(()) => return Ok(hook),
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => hook.remove()?,
            Err(error) => return Err(error),
        }
    }
    Hook::attach_to_namespace(program.as_fd(), pins)
}

/// Removes the links that an agent before has left at these places of an interface. Whether there were any.
pub(crate) fn unlink(device: &DevicePlan, places: &[Place], pins: &Path) -> bool {
    let mut found = false;
    for &place in places {
        match Hook::pinned(device.ifindex, place, pins) {
            Ok(None) => {}
            Ok(Some(hook)) => {
                found = true;
                if let Err(error) = hook.remove() {
                    tracing::warn!(interface = device.name, place = place.label(), %error, "cannot remove a link");
                }
            }
            Err(error) => {
                tracing::warn!(interface = device.name, place = place.label(), %error, "cannot open a link");
            }
        }
    }
    found
}
