//! The client's packets: predicate, flow, splice, handler, and then a reply or the way to the server.
//!
//! - `closing`: ends that the stack makes.

mod closing;

use closing::{close, reset_open_server, tell_client};

use super::arrival::{SERVICE_VLAN, VLAN};
use super::headers::Outgoing;
use super::{
    Action, Direction, Ports, Reading, Scratch, Socket, Stack, Target, blank_sack, connect, local, remember,
    remember_layout, translate, write,
};
use crate::abi::Control;
use crate::flow::Flow;
use crate::handler::Handler;
use crate::packet::{self, Layout, Tcp, Unusual};
use crate::predicate::{Predicate, Role};
use crate::splice::{ClientStep, Injection, Translated, flag, tcp_flag};
use crate::verdict::{Reason, Verdict};

/// What is known of a packet of a flow.
struct Packet<'a, S> {
    layout: &'a Layout,
    tcp: &'a Tcp,
    predicate: &'a Predicate,
    control: &'a Control,
    scratch: *mut Scratch<S>,
}

impl<S> Packet<'_, S> {
    /// The client's port. Not a field: there is no room for it on the program's stack.
    #[inline(always)]
    fn client_port(&self) -> u16 {
        // SAFETY: this CPU's own while the program runs.
        unsafe { (*self.scratch).key.client_port }
    }
}

/// The ingress program.
#[inline(always)]
pub fn run<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Action {
    match decide(stack, handler) {
        Some(action) => action,
        None => Action::Next,
    }
}

#[inline(always)]
fn decide<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Option<Action> {
    if nested(stack) && !stack.priority_tags_off() {
        stack.count(Reason::Tags, 1);
        return Some(Action::Drop);
    }
    let (layout, client_port, server_port) = packet::locate(stack)?;
    let index = stack.port(server_port);
    if index == 0 || stack.vlan().is_some_and(|vlan| vlan != 0) || !stack.for_this_host() {
        return None;
    }
    let scratch = stack.scratch()?;
    // In memory already: what lives across the call would take room on the program's stack.
    // SAFETY: this CPU's own while the program runs.
    unsafe { (*scratch).key.client_port = client_port };
    let asked = local::Asked::new(index, layout.v6, Direction::Request, server_port);
    let layout = remember_layout(scratch, layout);
    let whose = stack.role(scratch, asked);
    if whose == local::FOREIGN {
        return None;
    }
    // SAFETY: as above.
    unsafe { (*scratch).role = whose };
    if layout.unusual == Unusual::Fragment {
        stack.count(Reason::Fragment, 1);
        return Some(Action::Drop);
    }
    // SAFETY: maps' values stay while the program runs; the agent writes predicates before it sets their ports.
    let predicate = unsafe { &*stack.predicate(index)? };
    // SAFETY: likewise.
    let control = unsafe { &*stack.control()? };
    // SAFETY: as above.
    let key = unsafe { &mut (*scratch).key };
    connect::write_key(key, key.client_port, predicate.plain_port);
    let tcp = packet::tcp(stack, layout)?;
    let (layout, tcp) = remember(scratch, *layout, tcp);
    if tcp.segment.flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == tcp_flag::SYN {
        // SAFETY: as above. Connections that were taken before the configuration said otherwise go on.
        if role(scratch) == Role::Accelerated && unsafe { (*scratch).accelerated } == 0 {
            stack.count(Reason::AddressExcluded, 1);
            return None;
        }
        return Some(connect::syn(stack, handler, layout, tcp, predicate, role(scratch), control, scratch));
    }
    // SAFETY: as above.
    let key = unsafe { &(*scratch).key };
    let flow = match stack.flow(key) {
        Some(flow) => flow,
        None if role(scratch) == Role::Plain && !H::OBSERVES => return None,
        None if H::READS_ALL
            && role(scratch) == Role::Accelerated
            && connect::early(stack, tcp, control, scratch) =>
        {
            stack.count(Reason::OutOfOrder, 1);
            return Some(Action::Drop);
        }
        None => match connect::first_ack(stack, handler, tcp, layout.v6, role(scratch), control, scratch) {
            Some(flow) => flow,
            None => {
                if role(scratch) == Role::Accelerated
                    && (connect::refused(stack, tcp, control, scratch)
                        || connect::late(stack, tcp, control, scratch))
                {
                    return Some(connect::rewrite(stack, layout, tcp, predicate));
                }
                if role(scratch) == Role::Plain && tcp.segment.payload != 0 {
                    stack.foreign();
                    stack.count(Reason::Foreign, 1);
                }
                return None;
            }
        },
    };
    // SAFETY: one word, which is set before the flow's first packet goes on and whose low bits then stay.
    let flags = unsafe { (*flow).splice.flags };
    if flags == 0 {
        // Another CPU is just making it.
        stack.count(Reason::Contended, 1);
        return Some(Action::Drop);
    }
    match (role(scratch), flags & flag::ACCELERATED != 0) {
        (Role::Plain, true) => {
            stack.count(Reason::PortClash, 1);
            return Some(Action::Drop);
        }
        // The sidecar's own listener has this tuple.
        (Role::Accelerated, false) => return None,
        _ => {}
    }
    let packet = Packet { layout, tcp, predicate, control, scratch };
    Some(known(stack, handler, &packet, flow))
}

/// What the packet's port is. Read anew each time: it would take room on the program's stack.
#[inline(always)]
fn role<S>(scratch: *mut Scratch<S>) -> Role {
    // SAFETY: this CPU's own while the program runs.
    match unsafe { (*scratch).role } {
        local::PLAIN => Role::Plain,
        _ => Role::Accelerated,
    }
}

/// Whether a tag stands behind the one that the device has taken off, or it is no packet of IP at all.
#[inline(always)]
fn nested<H: Handler, K: Stack<H>>(stack: &K) -> bool {
    let protocol = stack.protocol();
    protocol == VLAN || protocol == SERVICE_VLAN
}

#[inline(always)]
fn known<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
) -> Action {
    let segment = &packet.tcp.segment;
    if segment.payload != 0 && !stack.verify(packet.layout, packet.tcp) {
        stack.count(Reason::BadChecksum, 1);
        return Action::Next;
    }
    stack.lock(flow);
    // SAFETY: under the flow's lock, which each arm gives back: so no arm's values live on another's way, which the
    // verifier would take for uninitialised.
    let splice = unsafe { &mut (*flow).splice };
    match splice.client(segment) {
        ClientStep::Pass(to) => {
            let finished = splice.finished();
            let offset = splice.has_offset();
            let held = segment.payload == 0 && splice.take_held_ack();
            let complete = splice.has(flag::COMPLETE);
            let acknowledgement = splice.acknowledgement();
            stack.unlock(flow);
            if held && !acknowledge_client(stack, packet, &acknowledgement) {
                stack.count(Reason::WriteFailed, 1);
                return Action::Drop;
            }
            let reason = match (segment.payload, complete) {
                (0, _) => Reason::NoPayload,
                (_, true) => Reason::Retransmission,
                (_, false) => Reason::HandshakeUnseen,
            };
            stack.count(reason, 1);
            let action = forward(stack, packet, flow, to, offset);
            // A last acknowledgement that could not be written comes again, and must still be translated.
            if finished && action == Action::Next {
                // SAFETY: the scratch value is this CPU's own while the program runs.
                connect::forget(stack, handler, unsafe { &(*packet.scratch).key }, flow);
            }
            action
        }
        ClientStep::Drop(reason) => {
            stack.unlock(flow);
            stack.count(reason, 1);
            Action::Drop
        }
        ClientStep::AfterClose { flags, told } => {
            let over = splice.over();
            let reset = splice.server_reset();
            stack.unlock(flow);
            stack.count(Reason::AfterClose, 1);
            // The flow is all that can tell a server whose reset was lost.
            if !reset_open_server(stack, packet, reset) && over {
                // SAFETY: the scratch value is this CPU's own while the program runs.
                connect::forget(stack, handler, unsafe { &(*packet.scratch).key }, flow);
            }
            if flags == 0 { Action::Drop } else { tell_client(stack, packet, &told, flags) }
        }
        ClientStep::Resend(injection) => {
            stack.unlock(flow);
            stack.count(Reason::Resent, 1);
            reply(stack, packet, flow, &injection)
        }
        ClientStep::Read { skip, refused } => {
            let opaque = splice.has(flag::CLIENT_OPAQUE);
            stack.unlock(flow);
            read(stack, handler, packet, flow, skip, refused, opaque)
        }
    }
}

/// New bytes: the handler reads them, and they are answered or passed.
#[inline(always)]
fn read<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    skip: u32,
    refused: Option<Reason>,
    opaque: bool,
) -> Action {
    let segment = &packet.tcp.segment;
    let scratch = packet.scratch;
    // SAFETY: the scratch value is this CPU's own; the claim makes the request side of the handler's state ours.
    let (of_handler, reading) = unsafe { (&mut (*scratch).handler, &mut (*scratch).reading) };
    // SAFETY: as above.
    handler.begin(unsafe { &(*scratch).key }, of_handler);
    let mut reason = refused;
    let mut unread = opaque;
    if !opaque {
        // SAFETY: `client_skip` belongs to the claim.
        let skipped = unsafe { (*flow).splice.client_skip };
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
            mark_opaque(stack, handler, flow);
            unread = true;
        }
    }
    if unread {
        reason = Some(Reason::Opaque);
    }
    if reason.is_none() && packet.layout.unusual != Unusual::No {
        reason = Some(Reason::Unusual);
    }
    let control = packet.control;
    let standing = control.stands(stack.now_ns());
    if reason.is_none() && !standing {
        reason = Some(Reason::NoLease);
    }
    if reason.is_none() && !established(stack, packet, flow) {
        reason = Some(Reason::NotIdle);
    }
    // SAFETY: one word, as in `decide`.
    let accelerated = unsafe { (*flow).splice.flags } & flag::ACCELERATED != 0;
    // Its bytes were read, so what must not pass cannot be left to a retransmission: the connection ends.
    let mut ends = standing && accelerated && (H::READS_ALL && unread || handler.holds(of_handler));
    let mut silent = ends && handler.silences(of_handler);
    if reason.is_none() {
        let room = room(packet, flow, false);
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
                        stack.unlock(flow);
                        stack.count(Reason::Replied, 1);
                        stack.count(Reason::RequestsAnswered, u64::from(handler.requests(of_handler)));
                        return reply(stack, packet, flow, &injection);
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
        return close(stack, handler, packet, flow, skip, silent);
    }
    if let Some(reason) = reason {
        stack.count(reason, 1);
    }
    // SAFETY: the claim.
    let state = unsafe { &mut (*flow).handler };
    handler.passed(state, of_handler);
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let splice = unsafe { &mut (*flow).splice };
    let to = splice.pass_claimed(segment);
    let offset = splice.has_offset();
    stack.unlock(flow);
    forward(stack, packet, flow, to, offset)
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
pub(super) fn mark_opaque<H: Handler, K: Stack<H>>(stack: &K, handler: &H, flow: *mut Flow<H::State>) {
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

/// To the server, translated.
#[inline(always)]
fn forward<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    to: Translated,
    offset: bool,
) -> Action {
    // SAFETY: one word, as in `decide`.
    if unsafe { (*flow).splice.flags } & flag::ACCELERATED == 0 {
        return Action::Next;
    }
    let ports = Ports { source: packet.client_port(), destination: packet.predicate.plain_port };
    let written =
        (!offset || !packet.tcp.more_options || blank_sack(stack, packet.layout, packet.tcp, packet.scratch))
            && translate(stack, packet.layout, ports, to);
    if written {
        Action::Next
    } else {
        stack.count(Reason::WriteFailed, 1);
        Action::Drop
    }
}

/// The packet becomes the reply.
#[inline(always)]
fn reply<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    injection: &Injection,
) -> Action {
    let Packet { tcp, scratch, .. } = *packet;
    let segment = &tcp.segment;
    if injection.owes {
        let bare = Outgoing {
            back: false,
            source_port: packet.client_port(),
            destination_port: packet.predicate.plain_port,
            seq: injection.owed.seq,
            ack: injection.owed.ack,
            flags: if injection.last { tcp_flag::RST | tcp_flag::ACK } else { tcp_flag::ACK },
            window: segment.window,
            timestamps: segment.timestamps,
            tsval: segment.tsval,
            tsecr: injection.tsval,
        };
        if write(stack, scratch, &bare, None)
            && stack.send_copy(Target::Server, packet.control.internal_mark)
            && !injection.last
        {
            stack.count(Reason::ServerAcknowledged, 1);
        }
    }
    let outgoing = Outgoing {
        back: true,
        source_port: packet.predicate.accelerated_port,
        destination_port: packet.client_port(),
        seq: injection.seq,
        ack: injection.ack,
        flags: tcp_flag::ACK | tcp_flag::PSH | if injection.last { tcp_flag::FIN } else { 0 },
        window: injection.window,
        timestamps: segment.timestamps,
        tsval: injection.tsval,
        tsecr: segment.tsval,
    };
    // SAFETY: the flow's memory stays while the program runs.
    let kept = unsafe { &raw const (*flow).reply };
    if write(stack, scratch, &outgoing, Some(kept)) {
        // Another CPU may have had the client's acknowledgement of these bytes meanwhile, and be writing the next reply to
        // the same place (S14). Then the client has them, and what was written here may be a mixture.
        stack.lock(flow);
        // SAFETY: under the flow's lock.
        let current = unsafe { (*flow).splice.still_outstanding(injection.seq) };
        stack.unlock(flow);
        if current {
            return stack.redirect(Target::Client);
        }
        stack.count(Reason::Raced, 1);
        Action::Drop
    } else {
        stack.count(Reason::WriteFailed, 1);
        Action::Drop
    }
}

/// Gives the client the acknowledgement that was held back (S15), then makes the packet what it was. Whether it is.
#[inline(always)]
fn acknowledge_client<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    ack: &Injection,
) -> bool {
    let Packet { layout, tcp, scratch, .. } = *packet;
    let segment = &tcp.segment;
    if tcp.more_options || layout.unusual != Unusual::No {
        return true;
    }
    let back = Outgoing {
        back: true,
        source_port: packet.predicate.accelerated_port,
        destination_port: packet.client_port(),
        seq: ack.seq,
        ack: ack.ack,
        flags: tcp_flag::ACK,
        window: ack.window,
        timestamps: segment.timestamps,
        tsval: ack.tsval,
        tsecr: segment.tsval,
    };
    let echo = if segment.timestamps { stack.word(layout.tcp + 28) } else { Some(0) };
    let Some(echo) = echo else { return true };
    if !write(stack, scratch, &back, None) {
        return false;
    }
    if stack.send_copy(Target::Client, 0) {
        stack.count(Reason::ClientAcknowledged, 1);
    }
    let again = Outgoing {
        back: true,
        source_port: packet.client_port(),
        destination_port: packet.predicate.accelerated_port,
        seq: segment.seq,
        ack: segment.ack,
        flags: segment.flags,
        window: segment.window,
        timestamps: segment.timestamps,
        tsval: segment.tsval,
        tsecr: echo,
    };
    write(stack, scratch, &again, None)
}

/// Most bytes that a reply may have.
#[inline(always)]
fn room<S, T>(packet: &Packet<'_, S>, flow: *mut Flow<T>, last: bool) -> u32 {
    // SAFETY: read-only numbers that only this CPU's claim changes.
    let room = unsafe { (*flow).splice.room(&packet.tcp.segment, last) };
    if room > packet.control.reply_bytes_max { packet.control.reply_bytes_max } else { room }
}
