//! The program at XDP, which a service may have. An installation does without it where it cannot be had.

use std::path::Path;

use aya::Ebpf;

use super::link;
use super::load::{Loaded, load_program};
use crate::hook::{Hook, Place};
use crate::plan::DevicePlan;
use crate::xdp::Without;

/// Loads it, if the service has one.
pub(super) fn load(ebpf: &mut Ebpf, name: Option<&'static str>) -> Result<Loaded, Without> {
    let name = name.ok_or(Without::NoProgram)?;
    load_program(ebpf, name).map_err(|error| {
        tracing::warn!(%error, "nothing is done at XDP");
        Without::Refused { reason: error.to_string() }
    })
}

/// Attaches it to an interface, or takes over the link that an agent before has left; or says why it is not there, and then
/// leaves no link either.
pub(super) fn hook(
    program: &Result<Loaded, Without>,
    device: &DevicePlan,
    pins: &Path,
) -> Result<Hook, Without> {
    let attempt = match (&device.xdp, program) {
        (Ok(()), Ok(program)) => link(&program.fd, device.ifindex, Place::Arrival, pins)
            .map(|(hook, _)| hook)
            .map_err(Without::from),
        (Err(why), _) | (Ok(()), Err(why)) => Err(why.clone()),
    };
    match &attempt {
        Ok(_) => tracing::info!(interface = device.name, "at XDP"),
        Err(why) => {
            tracing::debug!(interface = device.name, %why, "not at XDP");
            remove(device, pins);
        }
    }
    attempt
}

/// Removes the link that an agent before has left.
fn remove(device: &DevicePlan, pins: &Path) {
    let pinned = Hook::pinned(device.ifindex, Place::Arrival, pins);
    if let Err(error) = pinned.and_then(|hook| hook.map_or(Ok(()), Hook::remove)) {
        tracing::warn!(interface = device.name, %error, "cannot remove the link at XDP");
    }
}
