//! New bytes of a client: the handler reads them, and they are answered or passed.

use super::client::room;
use super::closing::SILENT;
use super::{Fate, Packet, act, forward, resumed, tell, way};
use crate::binding;
use crate::flow::Flow;
use crate::handler::Handler;
use crate::outlet::{CE, ECN_MASK};
use crate::packet::{self, Unusual};
use crate::path::{Action, Direction, Reading, Request, Socket, Stack, Step};
use crate::splice::flag;
use crate::verdict::{Reason, Verdict};

/// The stage: the handler reads a segment, or a reply of its goes again. What is to be known lies in the working memory.
#[inline(always)]
pub fn run<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Step {
    let Some((packet, flow)) = resumed(stack) else { return Step::Done(Action::Drop) };
    let packet = &packet;
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let request = unsafe { (*packet.scratch).request };
    let fate =
        if request.again { Fate::Reply { again: true } } else { read(stack, handler, packet, flow, request) };
    act(stack, packet, flow, fate)
}

/// New bytes: the handler reads them, and they are answered or passed.
#[inline(always)]
fn read<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    Request { skip, refused, .. }: Request,
) -> Fate {
    let segment = &packet.tcp.segment;
    let scratch = packet.scratch;
    // SAFETY: the scratch value is this CPU's own; the claim makes the request side of the handler's state ours.
    let (of_handler, reading) = unsafe { (&mut (*scratch).handler, &mut (*scratch).reading) };
    // SAFETY: as above.
    handler.begin(unsafe { &(*scratch).key }, of_handler);
    // SAFETY: one word; that flag is never taken back.
    let opaque = unsafe { (*flow).splice.flags } & flag::CLIENT_OPAQUE != 0;
    let mut reason = refused;
    let mut unread = opaque;
    let standing = packet.control.stands(stack.now_ns());
    let mut ends = false;
    if !opaque {
        // SAFETY: `client_skip` belongs to the claim.
        let skipped = unsafe { (*flow).splice.client_skip };
        // SAFETY: the scratch value is this CPU's own while the program runs.
        unsafe { (*scratch).shown.begin(stack.cut()) };
        *reading = Reading {
            payload: packet.layout.tcp + packet.tcp.header,
            position: skip.wrapping_add(skipped),
            end: segment.payload,
            skip: 0,
        };
        if stack.scan(handler, Direction::Request, flow, scratch) {
            // SAFETY: as above.
            unsafe { (*flow).splice.client_skip = reading.skip };
            stack.count(Reason::Requests, u64::from(handler.requests(of_handler)));
        } else {
            unread = true;
            // What the server does not get needs nothing else of the handler.
            ends = !H::READS_ALL && standing && handler.holds(of_handler);
            if !ends {
                mark_opaque(stack, handler, flow);
            }
        }
    }
    if unread {
        reason = Some(Reason::Opaque);
    }
    if reason.is_none() && packet.layout.unusual != Unusual::No {
        reason = Some(Reason::Unusual);
    }
    if reason.is_none() && !standing {
        reason = Some(Reason::NoLease);
    }
    if reason.is_none() && !established(stack, packet, flow) {
        reason = Some(Reason::NotIdle);
    }
    if reason.is_none() && !H::READS_ALL && way::is_unconfirmed(stack, flow) {
        reason = Some(Reason::Unconfirmed);
    }
    // SAFETY: one word, as in `decide`.
    let flags = unsafe { (*flow).splice.flags };
    if flags & flag::ECN != 0 {
        take_congestion(stack, packet, flow);
    }
    let accelerated = flags & flag::ACCELERATED != 0;
    // Its bytes were read, so what must not pass cannot be left to a retransmission: the connection ends.
    ends |= standing && accelerated && (H::READS_ALL && unread || handler.holds(of_handler));
    let mut silent = ends && handler.silences(of_handler);
    if reason.is_none() {
        let room = room(stack, packet, flow, false);
        // SAFETY: the claim; and no reply is outstanding (S1), so the kept one is not needed any more.
        let (state, buffer) = unsafe { (&mut (*flow).handler, &mut (*flow).reply) };
        buffer.len = 0;
        match handler.answer(state, of_handler, buffer, room) {
            Verdict::Reply => {
                buffer.seal();
                let len = buffer.len;
                stack.lock(flow);
                // SAFETY: under the flow's lock.
                match unsafe { (*flow).splice.inject(segment, len) } {
                    Ok(injection) => {
                        // SAFETY: as above. The server has acknowledged all that it was given.
                        unsafe {
                            (*flow).bound = 0;
                            (*flow).splice.flags &= !flag::UNBOUND;
                        }
                        stack.unlock(flow);
                        stack.count(Reason::Replied, 1);
                        stack.count(Reason::RequestsAnswered, u64::from(handler.requests(of_handler)));
                        tell(scratch, injection);
                        return Fate::Reply { again: false };
                    }
                    Err(raced) => {
                        stack.unlock(flow);
                        reason = Some(raced);
                    }
                }
            }
            Verdict::Pass(why) => reason = Some(why),
            Verdict::Close(why) => {
                reason = Some(why);
                ends = true;
            }
            Verdict::Drop(why) => {
                reason = Some(why);
                ends = true;
                silent = true;
            }
        }
    }
    if ends {
        let how = skip | if silent { SILENT } else { 0 };
        return Fate::End(how);
    }
    if let Some(reason) = reason {
        stack.count(reason, 1);
    }
    // SAFETY: the claim.
    let state = unsafe { &mut (*flow).handler };
    handler.passed(state, of_handler);
    if !unread {
        stack.settle_shown(scratch);
    }
    stack.lock(flow);
    // SAFETY: under the flow's lock, and with the claim.
    let splice = unsafe {
        let splice = &mut (*flow).splice;
        if !unread {
            if splice.unsettled_before(segment.seq.wrapping_add(skip)) == 0 {
                (*flow).bound = 0;
                splice.flags &= !flag::UNBOUND;
            }
            let kept = if splice.outstanding() { (*flow).reply.len } else { 0 };
            let bound = binding::bind(flow, segment.seq, &mut (*scratch).shown, kept);
            splice.flags |= if bound { 0 } else { flag::UNBOUND };
        }
        splice
    };
    let to = splice.pass_claimed(segment);
    let offset = splice.has_offset();
    stack.unlock(flow);
    Fate::Done(forward(stack, packet, to, offset))
}

/// Remembers that a request has met congestion, until the client says that it has slowed down (T7). One that goes on to the
/// server tells it as well.
#[inline(always)]
fn take_congestion<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
) {
    if packet::service(stack, packet.layout.v6).is_some_and(|service| service & ECN_MASK == CE) {
        stack.lock(flow);
        // SAFETY: under the flow's lock.
        unsafe { (*flow).splice.flags |= flag::ECHO_DUE };
        stack.unlock(flow);
    }
}

/// Whether the server's socket has left the handshake. Asked of the socket once, if the server has not spoken before.
#[inline(always)]
fn established<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
) -> bool {
    // SAFETY: one word; the flag is never taken back.
    if unsafe { (*flow).splice.flags } & flag::ESTABLISHED != 0 {
        return true;
    }
    // SAFETY: the scratch value is this CPU's own while the program runs.
    if stack.socket(unsafe { &(*packet.scratch).key }, packet.layout.v6) != Socket::Live {
        return false;
    }
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    unsafe { (*flow).splice.flags |= flag::ESTABLISHED };
    stack.unlock(flow);
    true
}

/// Tells the handler, once, that it will not see the rest.
#[inline(always)]
pub(in crate::path) fn mark_opaque<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    flow: *mut Flow<H::State>,
) {
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let splice = unsafe { &mut (*flow).splice };
    let first = splice.flags & (flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE) == 0;
    splice.flags |= flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE;
    stack.unlock(flow);
    if first {
        // SAFETY: once a flow; the handler's own rules say which fields this may touch.
        handler.opaque(unsafe { &mut (*flow).handler });
    }
}
