//! The program at XDP, which a service may have. An installation does without it where it cannot be had.

use std::path::Path;

use aya::Ebpf;

use super::links::{link, unlink};
use super::load::{Loaded, load_program};
use crate::hook::{Hook, Place};
use crate::plan::DevicePlan;
use crate::xdp::Without;

/// Loads it, if the service has one.
pub(crate) fn load(ebpf: &mut Ebpf, name: Option<&'static str>) -> Result<Loaded, Without> {
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
        (Ok(mode), Ok(program)) => attach(program, device, mode.place(), pins).map(|(hook, _)| hook),
        (Err(why), _) | (Ok(_), Err(why)) => Err(why.clone()),
    };
    match &attempt {
        Ok(_) => tracing::info!(interface = device.name, "at XDP"),
        Err(why) => {
            tracing::debug!(interface = device.name, %why, "not at XDP");
            unlink(device, &Place::XDP, pins);
        }
    }
    attempt
}

/// A program in one of the places at XDP, of which only one can be in use. Whether the link is new.
pub(crate) fn attach(
    program: &Loaded,
    device: &DevicePlan,
    place: Place,
    pins: &Path,
) -> Result<(Hook, bool), Without> {
    let attempt = || link(&program.fd, device.ifindex, place, pins).map_err(Without::from);
    let others = Place::XDP.into_iter().filter(|other| *other != place);
    match attempt() {
        // By this service itself, which was in the other mode before?
        Err(Without::Taken) if unlink(device, &others.collect::<Vec<_>>(), pins) => attempt(),
        other => other,
    }
}
