//! Ends that the stack makes (S16): what the client is told, and the reset that the server gets.

use super::{Fate, Packet, copy_to_server, room, tell, way};
use crate::abi::Control;
use crate::flow::Flow;
use crate::handler::Handler;
use crate::path::headers::Outgoing;
use crate::path::{Action, Socket, Stack, Target, write};
use crate::splice::{Injection, Translated, tcp_flag};
use crate::verdict::Reason;

/// The client is told nothing.
pub(super) const SILENT: u32 = 1 << 31;

/// It is dropped.
const DROP: u32 = 0;
/// It goes on, as the server's reset.
const NEXT: u32 = 1;
/// It becomes the last words.
const LAST_WORDS: u32 = 2;
/// It becomes a reset for the client.
const RESET: u32 = 3;

/// What [`close`] has said.
#[inline(always)]
pub(super) fn closed(how: u32) -> Fate {
    match how {
        NEXT => Fate::Done(Action::Next),
        LAST_WORDS => Fate::Reply { again: false },
        RESET => Fate::Tell(tcp_flag::RST | tcp_flag::ACK),
        _ => Fate::Done(Action::Drop),
    }
}

/// The connection ends on both sides: with the handler's last words, or with a reset, or silently. The server has the segment's
/// first bytes already: [`SILENT`] and how many. What becomes of the packet, for [`closed`]. A function of its own: few packets
/// need it, and its room on the stack is not the others'.
#[inline(never)]
pub(super) fn close<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    control: &Control,
    flow: *mut Flow<H::State>,
    how: u32,
) -> u32 {
    let (skip, silent) = (how & !SILENT, how & SILENT != 0);
    let Some(scratch) = stack.scratch() else { return DROP };
    let packet = &Packet::of(control, scratch);
    let tcp = packet.tcp;
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
                    return LAST_WORDS;
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
        return DROP;
    }
    if silent {
        return NEXT;
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
    RESET
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
pub(super) fn reset_open_server<H: Handler, K: Stack<H>>(
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

/// The packet turns back to the client, without payload, with the numbers of `scratch.told`.
#[inline(always)]
pub(super) fn tell_client<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    flags: u8,
) -> Action {
    let Packet { tcp, scratch, .. } = *packet;
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let told = unsafe { &(*scratch).told };
    let via = way::back(stack, flow);
    let outgoing = Outgoing {
        back: true,
        service: way::class(flow),
        source_port: packet.server_port(),
        destination_port: packet.client_port(),
        seq: told.seq,
        ack: told.ack,
        flags,
        window: told.window,
        timestamps: tcp.segment.timestamps && flags & tcp_flag::RST == 0,
        tsval: told.tsval,
        tsecr: tcp.segment.tsval,
    };
    if write(stack, scratch, &outgoing, None) {
        return stack.redirect(Target::Client, packet.control.internal_mark, via);
    }
    stack.count(Reason::WriteFailed, 1);
    Action::Drop
}
