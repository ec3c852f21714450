//! What the client is sent in place of its packet, or beside it.

use super::{Packet, copy_to_server, pieces, to_server, way};
use crate::abi::Control;
use crate::flow::Flow;
use crate::handler::Handler;
use crate::outlet::ECT_0;
use crate::packet::Unusual;
use crate::path::headers::{Outgoing, PIECE_BYTES};
use crate::path::{Action, Scratch, Stack, Target, describe, write};
use crate::splice::{Injection, flag, tcp_flag};
use crate::verdict::Reason;

/// Puts down what the client is told.
#[inline(always)]
pub(super) fn tell<S>(scratch: *mut Scratch<S>, told: Injection) {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    unsafe { (*scratch).told = told };
}

/// The packet becomes the reply that `scratch.told` describes. `again`: it was sent before.
#[inline(always)]
pub(super) fn reply<H: Handler, K: Stack<H>>(
    stack: &K,
    control: &Control,
    flow: *mut Flow<H::State>,
    again: bool,
) -> Action {
    let Some(scratch) = stack.scratch() else { return Action::Drop };
    let packet = &Packet::of(control, scratch);
    let tcp = packet.tcp;
    let segment = &tcp.segment;
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let injection = unsafe { &(*scratch).told };
    if injection.owes {
        // The server takes from an acknowledgement, too, that the client has reduced its window (Linux, tcp_ack).
        let flags =
            if injection.last { tcp_flag::RST } else { segment.flags & tcp_flag::CWR } | tcp_flag::ACK;
        let bare = to_server(packet, injection.owed, flags, injection.tsval);
        if copy_to_server(stack, packet, &bare) && !injection.last {
            stack.count(Reason::ServerAcknowledged, 1);
        }
    }
    if H::READS_ALL && !injection.last && !way::confirm(stack, control, scratch, flow) {
        stack.count(Reason::Unconfirmed, 1);
        return Action::Drop;
    }
    // SAFETY: one word, of which only flags are read that this CPU's claim has set.
    let flags = unsafe { (*flow).splice.flags };
    // A repetition is not sent as ECN-capable (RFC 3168 §6.1.5).
    let ecn = if flags & flag::ECN != 0 && !again { ECT_0 } else { 0 };
    let echo = echo(flags);
    let outgoing = Outgoing {
        back: true,
        service: way::class(flow) | ecn,
        source_port: packet.server_port(),
        destination_port: packet.client_port(),
        seq: injection.seq,
        ack: injection.ack,
        flags: tcp_flag::ACK | tcp_flag::PSH | echo | if injection.last { tcp_flag::FIN } else { 0 },
        window: injection.window,
        timestamps: segment.timestamps,
        tsval: injection.tsval,
        tsecr: segment.tsval,
    };
    let via = way::back(stack, flow);
    describe(scratch, &outgoing);
    let whole = via != 0 || !way::in_pieces(stack, control, scratch, flow, again);
    let ready = if whole {
        pieces::write(stack, scratch, flow)
    } else {
        stack.count(Reason::InPieces, 1);
        stack.send_pieces(scratch, flow)
    };
    if ready != pieces::READY {
        stack.count(if ready == pieces::RACED { Reason::Raced } else { Reason::WriteFailed }, 1);
        return Action::Drop;
    }
    if whole { stack.redirect(Target::Client, control.internal_mark, via) } else { Action::Drop }
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

/// Gives the client the acknowledgement that was held back (S15), then makes the packet what it was. Whether it is.
#[inline(always)]
pub(super) fn acknowledge_client<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
) -> bool {
    let Packet { layout, tcp, scratch, .. } = *packet;
    // SAFETY: as above.
    let ack = unsafe { &(*scratch).told };
    let segment = &tcp.segment;
    // By another way than that of its request it would have to be sent alone; the next segment of the server brings it.
    if tcp.more_options || layout.unusual != Unusual::No || way::back(stack, flow) != 0 {
        return true;
    }
    let back = Outgoing {
        back: true,
        service: way::class(flow),
        source_port: packet.server_port(),
        destination_port: packet.client_port(),
        seq: ack.seq,
        ack: ack.ack,
        // SAFETY: one word, of which one flag is read that another CPU may change at any time.
        flags: tcp_flag::ACK | echo(unsafe { (*flow).splice.flags }),
        window: ack.window,
        timestamps: segment.timestamps,
        tsval: ack.tsval,
        tsecr: segment.tsval,
    };
    let tsecr = if segment.timestamps { stack.word(layout.tcp + 28) } else { Some(0) };
    let Some(tsecr) = tsecr else { return true };
    if !write(stack, scratch, &back, None) {
        return false;
    }
    if stack.send_copy(Target::Client, packet.control.internal_mark) {
        stack.count(Reason::ClientAcknowledged, 1);
    }
    let again = Outgoing {
        back: true,
        service: 0,
        source_port: packet.client_port(),
        destination_port: packet.server_port(),
        seq: segment.seq,
        ack: segment.ack,
        flags: segment.flags,
        window: segment.window,
        timestamps: segment.timestamps,
        tsval: segment.tsval,
        tsecr,
    };
    write(stack, scratch, &again, None)
}

/// Most bytes that a reply may have.
#[inline(always)]
pub(super) fn room<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    last: bool,
) -> u32 {
    // SAFETY: read-only numbers that only this CPU's claim changes.
    let mut room = unsafe { (*flow).splice.room(&packet.tcp.segment, last) };
    let whole = way::segment_max(stack, packet, flow);
    if room > whole && (whole < PIECE_BYTES || !way::turns(stack, flow)) {
        room = whole;
    }
    if room > packet.control.reply_bytes_max { packet.control.reply_bytes_max } else { room }
}

/// The flag that tells the client of congestion, by those of the splice.
#[inline(always)]
const fn echo(flags: u32) -> u8 {
    if flags & flag::ECHO_DUE != 0 { tcp_flag::ECE } else { 0 }
}
