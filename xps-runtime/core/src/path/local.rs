//! Which packets are this host's (T4): those that the kernel would give to a socket of this network namespace.

use super::arrival::{SERVICE_VLAN, VLAN};
use super::{Direction, Scratch, Stack};
use crate::abi::{Control, Local, Scope};
use crate::handler::Handler;
use crate::packet::{self, mapped};
use crate::predicate::Role;
use crate::word::load_be_u64;

/// Index of the loopback device in each network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Under this key the agent enters all of 127.0.0.0/8 that has no entry of its own.
pub const LOOPBACK_NETWORK: [u8; 16] = mapped([127, 0, 0, 1]);

/// Priority tags before another tag, at most; nobody sends more than one.
const PRIORITY_TAGS_MAX: u32 = 3;

/// Takes priority tags off that stand before another tag, as the kernel does (`__netif_receive_skb_core`), so that what is
/// behind them can be judged. Whether that was possible.
#[inline(always)]
pub fn priority_tags_off<H: Handler, K: Stack<H>>(stack: &K) -> bool {
    for _ in 0..=PRIORITY_TAGS_MAX {
        let protocol = stack.protocol();
        let nested = protocol == VLAN || protocol == SERVICE_VLAN;
        if !nested || stack.vlan() != Some(0) || !stack.for_this_host() {
            return true;
        }
        if !stack.pop_tag() {
            return false;
        }
    }
    false
}

/// What is asked of [`role`], in one word: which predicate looks at the packet, and where its server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub u32);

impl Asked {
    /// About a packet of this `direction` whose server has the port `server_port`.
    #[inline(always)]
    #[must_use]
    pub const fn new(index: u8, v6: bool, direction: Direction, server_port: u16) -> Self {
        Self((server_port as u32) << 16 | (direction as u32) << 9 | (v6 as u32) << 8 | index as u32)
    }
}

/// The packet is not this host's, not of the server's address, of the programs' own making, or was read at another hook.
pub const FOREIGN: u32 = 0;
/// It is of the plain port.
pub const PLAIN: u32 = 1;
/// It is of the accelerated port.
pub const ACCELERATED: u32 = 2;

/// Whose packet it is. Puts its addresses into the scratch's key, and beside it what the agent says of the server's.
#[inline(always)]
pub fn role<H: Handler, K: Stack<H>>(stack: &K, scratch: *mut Scratch<H::Scratch>, asked: Asked) -> u32 {
    role_of(stack, scratch, asked).unwrap_or(FOREIGN)
}

#[inline(always)]
fn role_of<H: Handler, K: Stack<H>>(
    stack: &K,
    scratch: *mut Scratch<H::Scratch>,
    Asked(asked): Asked,
) -> Option<u32> {
    let (v6, response) = (asked & 1 << 8 != 0, asked & 1 << 9 != 0);
    // SAFETY: maps' values stay while the program runs; the agent writes predicates before it sets their ports.
    let predicate = unsafe { &*stack.predicate(asked as u8)? };
    // SAFETY: likewise.
    let control = unsafe { &*stack.control()? };
    // SAFETY: this CPU's own while the program runs.
    let key = unsafe { &mut (*scratch).key };
    if response {
        packet::addresses(stack, v6, &mut key.server, &mut key.client)?;
    } else {
        packet::addresses(stack, v6, &mut key.client, &mut key.server)?;
    }
    let role = predicate.role(&key.server, (asked >> 16) as u16)?;
    if !response && stack.packet_mark() == control.internal_mark && control.internal_mark != 0 {
        return None;
    }
    let local = find(stack, scratch, v6, &key.server)?;
    // SAFETY: this CPU's own; and a map's value.
    unsafe { (*scratch).accelerated = (*local).accelerated };
    let direction = if response { Direction::Response } else { Direction::Request };
    if !first_look(stack, control, direction) {
        return None;
    }
    Some(if role == Role::Plain { PLAIN } else { ACCELERATED })
}

/// What the agent says of the server's address of a packet, which is the destination at ingress and the source at egress;
/// `None` if it is another host's at this interface.
#[inline(always)]
fn find<H: Handler, K: Stack<H>>(
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
fn first_look<H: Handler, K: Stack<H>>(stack: &K, control: &Control, direction: Direction) -> bool {
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
