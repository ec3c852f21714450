//! Replies in several segments that any path takes (T6).
//!
//! None of the pieces acknowledges the request: the client has nothing else to repeat, and nothing but its repetition brings
//! a piece again that was lost (S15). When it has all of them it is given the acknowledgement.
//!
//! All pieces are copies, and the request's own packet is dropped. Where the client is on this host (a veth) that is the very
//! buffer in which its socket has sent the request: as a piece that came out of order it would wait in the same socket's
//! queue, and the socket repeats nothing of which it takes the first transmission to be still on this host.

use crate::flow::Flow;
use crate::handler::Handler;
use crate::path::headers::{PIECE_BYTES, PIECES_MAX, piece_of};
use crate::path::{Scratch, Stack, Target};
use crate::splice::tcp_flag;

/// May be sent, or was.
pub const READY: u32 = 0;
/// Could not be written.
pub const WRITE_FAILED: u32 = 1;
/// Is not wanted any more.
pub const RACED: u32 = 2;

/// The packet becomes the reply, or the piece of it, that the scratch value describes. [`READY`], or why not.
#[inline(always)]
pub(super) fn write<H: Handler, K: Stack<H>>(
    stack: &K,
    scratch: *mut Scratch<H::Scratch>,
    flow: *mut Flow<H::State>,
) -> u32 {
    // SAFETY: the flow's memory stays while the program runs.
    if !stack.write(scratch, Some(unsafe { &raw const (*flow).reply })) {
        return WRITE_FAILED;
    }
    // Another CPU may have had the client's acknowledgement of these bytes meanwhile, and be writing the next reply to
    // the same place (S14). Then the client has them, and what was written here may be a mixture.
    stack.lock(flow);
    // SAFETY: under the flow's lock; the scratch value is this CPU's own while the program runs.
    let current = unsafe { (*flow).splice.still_outstanding((*scratch).told.seq) };
    stack.unlock(flow);
    if current { READY } else { RACED }
}

/// Sends the pieces of the reply that the scratch value describes; those that the client has are left out. [`READY`], or why not.
///
/// The kernel verifies it as a function of its own, and it keeps little on the stack: it is rare.
#[inline(always)]
#[expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the working memory and the flow are valid while the program runs"
)]
pub fn send<H: Handler, K: Stack<H>>(
    stack: &K,
    scratch: *mut Scratch<H::Scratch>,
    flow: *mut Flow<H::State>,
) -> u32 {
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let (request, has) = unsafe { (*flow).splice.hold_request() };
    stack.unlock(flow);
    // SAFETY: the flow's memory stays while the program runs; the scratch value is this CPU's own.
    unsafe {
        (*scratch).outgoing.ack = request;
        (*scratch).outgoing.flags &= !(tcp_flag::FIN | tcp_flag::PSH);
        // If it has all, only the FIN is missing.
        let all = has >= (*flow).reply.len;
        (*scratch).piece = if all { PIECES_MAX + 1 } else { has / PIECE_BYTES + 1 };
    }
    for _ in 0..PIECES_MAX {
        let last;
        // SAFETY: as above.
        unsafe {
            let (piece, len) = ((&raw const (*scratch).piece).read_volatile(), (*flow).reply.len);
            (*scratch).outgoing.seq = (*scratch).told.seq.wrapping_add(piece_of(len, piece).0);
            last = piece * PIECE_BYTES >= len;
            if last {
                let fin = if (*scratch).told.last { tcp_flag::FIN } else { 0 };
                (*scratch).outgoing.flags |= tcp_flag::PSH | fin;
            }
        }
        // SAFETY: a map's value stays while the program runs.
        let mark = stack.control().map_or(0, |control| unsafe { (*control).internal_mark });
        let written = write(stack, scratch, flow);
        if written != READY {
            return written;
        }
        if !stack.send_copy(Target::Client, mark) {
            return WRITE_FAILED;
        }
        if last {
            return READY;
        }
        // SAFETY: as above.
        unsafe {
            (*scratch).turned = 1;
            (*scratch).piece += 1;
        }
    }
    WRITE_FAILED
}
