//! Which packets are this host's (T4): those that the kernel would give to a socket of this network namespace.

use super::{Direction, Scratch, Stack};
use crate::abi::{Control, Local, Scope};
use crate::handler::Handler;
use crate::packet::mapped;
use crate::word::load_be_u64;

/// Index of the loopback device in each network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Under this key the agent enters all of 127.0.0.0/8 that has no entry of its own.
pub const LOOPBACK_NETWORK: [u8; 16] = mapped([127, 0, 0, 1]);

/// What the agent says of the server's address of a packet, which is the destination at ingress and the source at egress;
/// `None` if it is another host's at this interface.
#[inline(always)]
pub(super) fn find<H: Handler, K: Stack<H>>(
    stack: &K,
    scratch: *mut Scratch<H::Scratch>,
    v6: bool,
    address: &[u8; 16],
) -> Option<*const Local> {
    let tail = load_be_u64(address, 8);
    let v4 = load_be_u64(address, 0) == 0 && tail >> 32 == 0xffff;
    if v4 == v6 {
        // `::ffff:a.b.c.d` is nobody's address on a wire (RFC 4038 §4.2), and would be taken for one of IPv4.
        return None;
    }
    let local = match stack.local(address) {
        Some(local) => local,
        None if v4 && tail >> 24 & 0xff == 127 => {
            // A key must lie in memory that helpers may read. Nothing is written yet, so the header's place is free.
            // SAFETY: the scratch value is this CPU's own while the program runs, and larger than an address.
            let key = unsafe { &mut *(&raw mut (*scratch).header).cast::<[u8; 16]>() };
            *key = LOOPBACK_NETWORK;
            stack.local(key)?
        }
        None => return None,
    };
    // SAFETY: a map's value, which the agent replaces as a whole.
    let Local { scope, index, .. } = unsafe { *local };
    let here = scope == Scope::Host as u32
        || scope == Scope::Interface as u32 && (stack.ifindex() == index || stack.ifindex() == LOOPBACK)
        || scope == Scope::Vrf as u32 && stack.vrf() == Some(index);
    if here { Some(local) } else { None }
}

/// Whether no other hook of this namespace has had the packet in this direction. One that passes a device and a device on it
/// (macvlan, ipvlan) passes the hooks of both, and must be read and translated once.
#[inline(always)]
pub(super) fn first_look<H: Handler, K: Stack<H>>(
    stack: &K,
    control: &Control,
    direction: Direction,
) -> bool {
    // Nobody else knows the number, and a reply that turns up at ingress again, over loopback, has the other one.
    let seen = match direction {
        Direction::Request => control.internal_mark,
        Direction::Response => !control.internal_mark,
    };
    if stack.seen() == seen {
        return false;
    }
    stack.set_seen(seen);
    true
}
