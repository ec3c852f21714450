//! Programs of somebody else's at tcx, before or behind those of a sidecar.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::Place;
use super::capture::index_of;

/// Commands of bpf(2).
const PROG_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;
/// A program for tc and tcx.
const SCHED_CLS: u32 = 3;

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// What a device receives.
    Ingress = 46,
    /// What it sends.
    Egress = 47,
}

/// Where it stands among the programs of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Before all others (`BPF_F_BEFORE`).
    First = 1 << 3,
    /// Behind them (`BPF_F_AFTER`).
    Last = 1 << 4,
}

/// What a program says of each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// `TCX_NEXT`: the programs behind it decide.
    Next = -1,
    /// `TCX_PASS`: it goes on, and no program behind it is asked.
    Pass = 0,
}

/// A program on a device, as long as this lives.
#[derive(Debug)]
pub(crate) struct Attached(#[allow(dead_code, reason = "held, not used")] OwnedFd);

/// Puts a program on a device that says the same of all packets.
pub(crate) fn attach(place: &Place, device: &str, hook: Hook, order: Order, says: Says) -> Result<Attached> {
    let program = load(says).context("a program of two instructions")?;
    place.run(|| {
        // See `link_create` in linux/bpf.h: program, device, kind, flags; first and last have no relative.
        let mut attributes = [0u32; 16];
        attributes[..4].copy_from_slice(&[
            program.as_raw_fd().cast_unsigned(),
            index_of(device)?,
            hook as u32,
            order as u32,
        ]);
        Ok(Attached(bpf(LINK_CREATE, &attributes).context("a link of tcx")?))
    })
}

fn load(says: Says) -> io::Result<OwnedFd> {
    // r0 = says; exit
    let instructions: [u64; 2] = [u64::from((says as i32).cast_unsigned()) << 32 | 0xb7, 0x95];
    let license = c"GPL";
    let halves = |address: u64| [address as u32, (address >> 32) as u32];
    let [code_low, code_high] = halves(instructions.as_ptr() as u64);
    let [license_low, license_high] = halves(license.as_ptr() as u64);
    let mut attributes = [0u32; 32];
    // See `prog_load` in linux/bpf.h: type, count of instructions, their address, that of the license.
    attributes[..6].copy_from_slice(&[SCHED_CLS, 2, code_low, code_high, license_low, license_high]);
    bpf(PROG_LOAD, &attributes)
}

fn bpf(command: c_long, attributes: &[u32]) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are valid for the length that is told, all behind those that are set is zero, and what
    // they point to lives through the call.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) };
    match i32::try_from(descriptor) {
        // SAFETY: the kernel has just given it to us.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
