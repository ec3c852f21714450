//! Ends that the stack makes (S16): what the client is told, and the reset that the server gets.

use super::client::room;
use super::{Fate, Packet, act, copy_to_server, resumed, tell};
use crate::flow::Flow;
use crate::handler::Handler;
use crate::path::headers::Outgoing;
use crate::path::{Action, Socket, Stack, Step, Target, connect, write};
use crate::splice::{Injection, Translated, tcp_flag};
use crate::verdict::Reason;

/// The client is told nothing.
pub(super) const SILENT: u32 = 1 << 31;

/// The connection has ended before; beside it what the client is told: its [`tcp_flag`]s, 0 for nothing.
pub(super) const AFTER: u32 = 1 << 30;

/// All has been said, beside [`AFTER`].
pub(super) const OVER: u32 = 1 << 29;

/// The stage: a segment ends its connection, or comes after its end. What else is to be known lies in the working memory.
#[inline(always)]
pub fn run<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Step {
    let Some((packet, flow)) = resumed(stack) else { return Step::Done(Action::Drop) };
    let packet = &packet;
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let how = unsafe { (*packet.scratch).ending };
    let fate = if how & AFTER != 0 {
        after(stack, handler, packet, flow, how)
    } else {
        close(stack, handler, packet, flow, how)
    };
    act(stack, packet, flow, fate)
}

/// A segment comes after the end.
#[inline(always)]
fn after<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    how: u32,
) -> Fate {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let (key, to_server) = unsafe { (&(*packet.scratch).key, (*packet.scratch).told.owed) };
    // The flow is all that can tell a server whose reset was lost.
    if !reset_open_server(stack, packet, to_server) && how & OVER != 0 {
        connect::forget(stack, handler, key, flow);
    }
    if how as u8 == 0 { Fate::Done(Action::Drop) } else { Fate::Tell(how as u8) }
}

/// The connection ends on both sides: with the handler's last words, or with a reset, or silently. The server has the segment's
/// first bytes already: [`SILENT`] and how many.
#[inline(always)]
fn close<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    how: u32,
) -> Fate {
    let (skip, silent) = (how & !SILENT, how & SILENT != 0);
    let Packet { tcp, scratch, .. } = *packet;
    let segment = &tcp.segment;
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let may = !silent && unsafe { (*flow).splice.may_end(segment) };
    stack.unlock(flow);
    if may {
        let room = room(stack, packet, flow, true);
        // SAFETY: the claim; and no reply is outstanding: the client has acknowledged all.
        let (state, buffer) = unsafe { (&mut (*flow).handler, &mut (*flow).reply) };
        // SAFETY: the scratch value is this CPU's own while the program runs.
        let of_handler = unsafe { &mut (*scratch).handler };
        buffer.len = 0;
        if handler.last_words(state, of_handler, buffer, room) && buffer.len != 0 {
            buffer.seal();
            let len = buffer.len;
            stack.lock(flow);
            // SAFETY: under the flow's lock.
            match unsafe { (*flow).splice.end(segment, skip, len) } {
                Ok(injection) => {
                    stack.unlock(flow);
                    stack.count(Reason::Closed, 1);
                    stack.count(Reason::RequestsAnswered, u64::from(handler.requests(of_handler)));
                    tell(scratch, injection);
                    return Fate::Reply { again: false };
                }
                Err(raced) => {
                    stack.unlock(flow);
                    stack.count(raced, 1);
                }
            }
        }
    }
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let splice = unsafe { &mut (*flow).splice };
    let to_client = splice.abort(segment, skip, silent);
    let to_server = splice.server_reset();
    stack.unlock(flow);
    stack.count(if silent { Reason::Silenced } else { Reason::WasReset }, 1);
    if !write(stack, scratch, &server_reset(packet, to_server), None) {
        // The client's segment comes again, and meets a connection that has ended.
        stack.count(Reason::WriteFailed, 1);
        return Fate::Done(Action::Drop);
    }
    if silent {
        return Fate::Done(Action::Next);
    }
    if !stack.send_copy(Target::Server, packet.control.internal_mark) {
        stack.count(Reason::WriteFailed, 1);
    }
    let told = Injection {
        seq: to_client.seq,
        ack: to_client.ack,
        window: 0,
        tsval: 0,
        owes: false,
        owed: to_server,
        expected: to_server,
        last: false,
    };
    tell(scratch, told);
    Fate::Tell(tcp_flag::RST | tcp_flag::ACK)
}

/// The reset that the server is given when the stack ends a connection.
#[inline(always)]
fn server_reset<S>(packet: &Packet<'_, S>, to: Translated) -> Outgoing {
    Outgoing {
        back: false,
        service: 0,
        source_port: packet.client_port(),
        destination_port: packet.server_port(),
        seq: to.seq,
        ack: to.ack,
        flags: tcp_flag::RST | tcp_flag::ACK,
        window: 0,
        timestamps: false,
        tsval: 0,
        tsecr: 0,
    }
}

/// Resets the server's socket once more, if it is still there. Whether it was.
#[inline(always)]
fn reset_open_server<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    to: Translated,
) -> bool {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let socket = stack.socket(unsafe { &(*packet.scratch).key }, packet.layout.v6);
    if socket != Socket::Live && socket != Socket::Opening {
        return false;
    }
    copy_to_server(stack, packet, &server_reset(packet, to));
    true
}
