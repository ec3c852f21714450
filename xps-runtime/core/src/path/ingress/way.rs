//! Where replies go, how long they may be, and whether both ways are still known (T5, T9): see [`crate::outlet`].

use super::{Packet, copy_to_server, to_server};
use crate::abi::Control;
use crate::flow::Flow;
use crate::handler::Handler;
use crate::outlet::{CONFIRMED, ECN_MASK, units};
use crate::path::headers::PIECE_BYTES;
use crate::path::{Scratch, Stack};
use crate::splice::{Injection, Translated, tcp_flag};
use crate::verdict::Reason;

/// How long the server may take for a sign of life, in units: it is on this host.
const ANSWERS_WITHIN: u32 = 100;

/// Whether a reply goes back as its request came.
#[inline(always)]
pub(super) fn turns<H: Handler, K: Stack<H>>(stack: &K, flow: *mut Flow<H::State>) -> bool {
    // SAFETY: words that may be read while another CPU writes them; a change that is half seen costs no more than a detour.
    let outlet = unsafe { &(*flow).outlet };
    // The request's source is bytes 6 to 12 of its frame.
    stack.word(6) == Some(outlet.link_first)
        && stack.half(10) == Some(outlet.link_last)
        && outlet.ifindex == stack.ifindex()
}

/// By which interface the kernel must find the next hop of a reply; 0 if it goes back as its request came.
#[inline(always)]
pub(super) fn back<H: Handler, K: Stack<H>>(stack: &K, flow: *mut Flow<H::State>) -> u32 {
    if turns(stack, flow) {
        return 0;
    }
    stack.count(Reason::Asymmetric, 1);
    // SAFETY: as above.
    unsafe { (*flow).outlet.ifindex }
}

/// Whether the reply leaves in pieces: it is longer than the path takes, as far as that is known, or it was sent before (`again`)
/// and may have been lost for its length.
#[inline(never)]
pub(super) fn in_pieces<H: Handler, K: Stack<H>>(
    stack: &K,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
    flow: *mut Flow<H::State>,
    again: bool,
) -> bool {
    let packet = &Packet::of(control, scratch);
    // SAFETY: the flow's memory stays while the program runs; another CPU may count at the same time, and one loss be missed.
    let (len, outlet) = unsafe { ((*flow).reply.len, &mut (*flow).outlet) };
    if len <= PIECE_BYTES {
        return false;
    }
    if again {
        outlet.repeated();
        return true;
    }
    outlet.is_narrow() || len > segment_max(stack, packet, flow)
}

/// The class of the server's own packets: their TOS or traffic class without ECN's bits.
#[inline(always)]
pub(super) fn class<S>(flow: *mut Flow<S>) -> u8 {
    // SAFETY: a byte that may be read while another CPU writes it.
    unsafe { (*flow).outlet.service & !ECN_MASK }
}

/// Whether the server's last packet is too long ago to vouch for both ways.
#[inline(always)]
pub(super) fn is_unconfirmed<H: Handler, K: Stack<H>>(stack: &K, flow: *mut Flow<H::State>) -> bool {
    // SAFETY: a word that may be read while another CPU writes it.
    unsafe { (*flow).outlet.age(stack.now_ns()) >= CONFIRMED }
}

/// Asks the server for a sign of life where its last one is some time ago: a segment before the next one that it expects, which
/// it answers by an acknowledgement (RFC 9293 §3.10.7.4). Whether the reply in `scratch.told` may be sent: not while that is
/// overdue. A function of its own, since few packets need it.
#[inline(never)]
pub(super) fn confirm<H: Handler, K: Stack<H>>(
    stack: &K,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
    flow: *mut Flow<H::State>,
) -> bool {
    let packet = &Packet::of(control, scratch);
    let now_ns = stack.now_ns();
    // SAFETY: a copy of plain data, of which each word is whole.
    let outlet = unsafe { (*flow).outlet };
    let (age, asked_age) = (outlet.age(now_ns), outlet.asked_age(now_ns));
    if age < CONFIRMED / 2 {
        return true;
    }
    if age >= CONFIRMED && asked_age < age && (ANSWERS_WITHIN..CONFIRMED / 2).contains(&asked_age) {
        return false;
    }
    if asked_age < CONFIRMED / 2 {
        return true;
    }
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let Injection { expected, tsval, .. } = unsafe { &(*packet.scratch).told };
    let before = Translated { seq: expected.seq.wrapping_sub(1), ack: expected.ack };
    // SAFETY: a word that may be read while this CPU writes it.
    unsafe { (*flow).outlet.asked = units(now_ns) };
    copy_to_server(stack, packet, &to_server(packet, before, tcp_flag::ACK, *tsval));
    // One that was asked before and has not answered is not heard any more.
    !(age >= CONFIRMED && asked_age < age)
}

/// Most bytes of payload that a segment to the client may have: what the client takes, and the path as the server's socket knows
/// it.
#[inline(always)]
pub(super) fn segment_max<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
) -> u32 {
    // SAFETY: a word that may be read while another CPU writes it.
    let mut mss = unsafe { (*flow).outlet.mss };
    if mss == 0 {
        // SAFETY: the scratch value is this CPU's own while the program runs.
        mss = stack.socket_mss(unsafe { &(*packet.scratch).key }, packet.layout.v6);
        // SAFETY: as above.
        unsafe { (*flow).outlet.mss = mss };
    }
    // SAFETY: numbers that do not change once the flow is open.
    let client = unsafe { (*flow).splice.segment_max() };
    let path = u32::from(mss);
    if client < path { client } else { path }
}
