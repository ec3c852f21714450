//! What the server is sent: the client's packet, or another one in its place.

use super::Packet;
use crate::handler::Handler;
use crate::path::headers::Outgoing;
use crate::path::{self, Action, Stack, Target, write};
use crate::splice::{Translated, tcp_flag};
use crate::verdict::Reason;

/// To the server, translated.
#[inline(always)]
pub(super) fn forward<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    to: Translated,
    offset: bool,
) -> Action {
    path::forward(stack, packet.layout, packet.tcp, packet.scratch, to, offset)
}

/// A window probe goes to the server without its byte.
#[inline(always)]
pub(super) fn probe<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    to: Translated,
    tsecr: u32,
) -> Action {
    if write(stack, packet.scratch, &to_server(packet, to, tcp_flag::ACK, tsecr), None) {
        return Action::Next;
    }
    stack.count(Reason::WriteFailed, 1);
    Action::Drop
}

/// A segment without payload for the server, with the window and the timestamp of the client's packet.
#[inline(always)]
pub(super) fn to_server<S>(packet: &Packet<'_, S>, to: Translated, flags: u8, tsecr: u32) -> Outgoing {
    let segment = &packet.tcp.segment;
    Outgoing {
        back: false,
        service: 0,
        source_port: packet.client_port(),
        destination_port: packet.server_port(),
        seq: to.seq,
        ack: to.ack,
        flags,
        window: segment.window,
        timestamps: segment.timestamps,
        tsval: segment.tsval,
        tsecr,
    }
}

/// Gives the server a copy of the packet that has become this. Whether it was sent; if not, that is counted.
#[inline(always)]
pub(super) fn copy_to_server<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    outgoing: &Outgoing,
) -> bool {
    let sent = write(stack, packet.scratch, outgoing, None)
        && stack.send_copy(Target::Server, packet.control.internal_mark);
    if !sent {
        stack.count(Reason::WriteFailed, 1);
    }
    sent
}
