//! The client's packets: predicate, flow, splice, handler, and then a reply or the way to the server.
//!
//! - `closing`: ends that the stack makes.
//! - [`pieces`]: replies in several segments.
//! - `way`: where replies go, and how long they may be.

mod closing;
pub mod pieces;
mod way;

use closing::{SILENT, close, closed, reset_open_server, tell_client};

use super::arrival::{SERVICE_VLAN, VLAN};
use super::connect::First;
use super::headers::{Outgoing, PIECE_BYTES};
use super::{
    Action, Direction, Reading, Scratch, Socket, Stack, Target, blank_sack, connect, describe, icmp, local,
    options, remember, remember_layout, translate, write,
};
use crate::abi::Control;
use crate::binding::{self, Comparison};
use crate::bound::keep_in_memory;
use crate::flow::{Flow, FlowKey};
use crate::handler::Handler;
use crate::outlet::{CE, ECN_MASK, ECT_0};
use crate::packet::{self, Layout, Tcp, Unusual};
use crate::predicate::Role;
use crate::seq::distance;
use crate::splice::accept::check;
use crate::splice::{ClientStep, Injection, Translated, flag, tcp_flag};
use crate::verdict::{Reason, Verdict};

/// What is known of a packet of a flow.
struct Packet<'a, S> {
    layout: &'a Layout,
    tcp: &'a Tcp,
    control: &'a Control,
    scratch: *mut Scratch<S>,
}

impl<'a, S> Packet<'a, S> {
    /// The packet whose headers lie in the working memory. A function of its own is given this much, not a packet: that would
    /// have to lie on the stack of its caller.
    #[inline(always)]
    fn of(control: &'a Control, scratch: *mut Scratch<S>) -> Self {
        // SAFETY: the scratch value is this CPU's own while the program runs, and nothing writes the headers there.
        unsafe { Self { layout: &(*scratch).layout, tcp: &(*scratch).tcp, control, scratch } }
    }

    /// The client's port. Read anew each time, since the program's stack has no room for it.
    #[inline(always)]
    fn client_port(&self) -> u16 {
        // SAFETY: the scratch value is this CPU's own while the program runs.
        unsafe { (&raw const (*self.scratch).key.client_port).read_volatile() }
    }

    /// The server's port, likewise.
    #[inline(always)]
    fn server_port(&self) -> u16 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.scratch).key.server_port).read_volatile() }
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
    let Some((layout, client_port, server_port)) = packet::locate(stack) else {
        if icmp::may_be_error(stack) {
            stack.translate_error(stack.scratch()?);
        }
        return None;
    };
    let index = stack.port(server_port);
    if index == 0
        || stack.vlan().is_some_and(|vlan| vlan != 0)
        || handler.checks() & check::LINK_ADDRESS != 0 && !stack.for_this_host()
    {
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
    unsafe {
        (*scratch).role = whose;
        (*scratch).key.server_port = (asked.0 >> 16) as u16;
        (*scratch).key.padding = 0;
    }
    if whose == local::PLAIN && !H::OBSERVES {
        // The server's alone, whatever it is.
        return None;
    }
    // SAFETY: maps' values stay while the program runs; the agent writes predicates before it sets their ports.
    let predicate = unsafe { &*stack.predicate(index)? };
    // SAFETY: likewise.
    let control = unsafe { &*stack.control()? };
    let (layout, tcp) = match headers(stack, handler, layout, scratch) {
        Ok(found) => found,
        Err(reason) => {
            stack.count(reason, 1);
            return Some(Action::Drop);
        }
    };
    let opening = connect::Opening { layout, tcp, predicate, control, scratch };
    if tcp.segment.flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == tcp_flag::SYN {
        return Some(connect::syn(stack, handler, &opening));
    }
    // SAFETY: as above.
    let key = unsafe { &(*scratch).key };
    let flow = match stack.flow(key) {
        Some(flow) => flow,
        None => match connect::first_ack(stack, handler, &opening) {
            First::Opens(flow) => flow,
            First::Dropped(reason) => {
                stack.count(reason, 1);
                return Some(Action::Drop);
            }
            First::Unread => {
                stack.foreign();
                stack.count(Reason::Foreign, 1);
                return None;
            }
            First::Passes => {
                if role(scratch) == Role::Plain && tcp.segment.payload != 0 {
                    unread(stack, key, layout.v6);
                }
                return None;
            }
        },
    };
    // SAFETY: one word, which is set before the flow's first packet goes on and whose low bits then stay.
    if unsafe { (*flow).splice.flags } == 0 {
        // Another CPU is just making it.
        stack.count(Reason::Contended, 1);
        return Some(Action::Drop);
    }
    let packet = Packet { layout, tcp, control, scratch };
    Some(known(stack, handler, &packet, flow))
}

/// Payload of a connection that is not in the table passes. If the server has no such connection, its TCP refuses it (T10).
#[inline(always)]
fn unread<H: Handler, K: Stack<H>>(stack: &K, key: &FlowKey, v6: bool) {
    let socket = stack.socket(key, v6);
    if socket == Socket::Live || socket == Socket::Opening {
        stack.foreign();
        stack.count(Reason::Foreign, 1);
    }
}

/// The packet's headers, if the server's IP and TCP would take them (T1); else why not. They are read from the working memory
/// from then on.
#[inline(always)]
fn headers<'a, H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    layout: &'a Layout,
    scratch: *mut Scratch<H::Scratch>,
) -> Result<(&'a Layout, &'a Tcp), Reason> {
    if layout.unusual == Unusual::Fragment {
        return Err(Reason::Fragment);
    }
    if handler.checks() & check::IP_OPTIONS != 0 && layout.unusual == Unusual::Options {
        return Err(Reason::IpOptions);
    }
    if layout.end > stack.len() {
        return Err(Reason::Malformed);
    }
    if handler.checks() & check::IP_CHECKSUM != 0 && packet::ip_checksum(stack, layout.v6) != Some(true) {
        return Err(Reason::BadIpChecksum);
    }
    let Some(tcp) = packet::tcp(stack, layout) else { return Err(Reason::Malformed) };
    let (layout, tcp) = remember(scratch, *layout, tcp);
    // Rare: beside timestamps, as everyone lays them out, options come with a SYN and with acknowledgements of what arrived
    // out of order.
    let bytes = tcp.segment.payload != 0 || tcp.segment.flags & tcp_flag::FIN != 0;
    if tcp.more_options
        && (bytes || !tcp.segment.timestamps)
        && tcp.segment.flags & (tcp_flag::SYN | tcp_flag::RST) == 0
    {
        let found = options(stack, layout, tcp, scratch);
        if handler.checks() & check::TCP_OPTIONS != 0 && found.refused {
            return Err(Reason::BadTcpOption);
        }
        // SAFETY: the scratch value is this CPU's own while the program runs; of the header that lies there nothing else is
        // changed, and it is read through the same pointer below.
        unsafe {
            (*scratch).tcp.segment.timestamps = found.timestamps;
            (*scratch).tcp.segment.tsval = found.tsval;
            (*scratch).tcp.tsecr = found.tsecr;
        }
        keep_in_memory();
    }
    // SAFETY: as above.
    Ok(unsafe { (&(*scratch).layout, &(*scratch).tcp) })
}

/// What the packet's port is. Read anew each time: it would take room on the program's stack.
#[inline(always)]
pub(super) fn role<S>(scratch: *mut Scratch<S>) -> Role {
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
    match judge(stack, handler, packet, flow) {
        Fate::Done(action) => action,
        Fate::Reply { again } => reply(stack, packet.control, flow, again),
        Fate::Tell(flags) => tell_client(stack, packet, flow, flags),
    }
}

/// What becomes of a packet, once that is decided.
#[derive(Clone, Copy)]
enum Fate {
    /// It is done.
    Done(Action),
    /// It turns back as the reply that `scratch.told` describes; `again`: that was sent before.
    Reply { again: bool },
    /// It turns back without payload, with the numbers of `scratch.told` and these [`tcp_flag`]s.
    Tell(u8),
}

/// Decides.
#[inline(always)]
fn judge<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
) -> Fate {
    let segment = &packet.tcp.segment;
    if handler.checks() & check::TCP_CHECKSUM != 0 && !stack.verify(packet.layout, packet.tcp) {
        stack.count(Reason::BadChecksum, 1);
        return Fate::Done(Action::Drop);
    }
    // Asked for before, since nothing may be called under the lock.
    let checks = handler.checks();
    stack.lock(flow);
    // SAFETY: under the flow's lock, which each arm gives back: so no arm's values live on another's way, which the
    // verifier would take for uninitialised.
    let splice = unsafe { &mut (*flow).splice };
    let mut step = splice.client(segment, checks);
    if matches!(step, ClientStep::Compare) {
        let (from, len) = splice.unsettled(segment);
        stack.unlock(flow);
        // SAFETY: one word; the flag is only set and taken back under the claim.
        let known = unsafe { (*flow).splice.flags } & flag::UNBOUND == 0;
        let comparison = if known { compare(stack, flow, from, len) } else { Comparison::Unknown };
        if comparison != Comparison::Same {
            let other = comparison == Comparison::Other;
            stack.count(if other { Reason::OtherBytes } else { Reason::OtherCuts }, 1);
            let behind = distance(from, segment.seq);
            let skip = if behind > 0 { behind.unsigned_abs() } else { 0 };
            return closed(close(stack, handler, packet.control, flow, skip));
        }
        stack.lock(flow);
        // SAFETY: under the flow's lock.
        step = unsafe { (*flow).splice.repeated(segment) };
    }
    // SAFETY: as above.
    let splice = unsafe { &mut (*flow).splice };
    Fate::Done(match step {
        ClientStep::Pass(to) => {
            let finished = splice.finished();
            let offset = splice.has_offset();
            let held = segment.payload == 0 && splice.take_held_ack();
            let complete = splice.has(flag::COMPLETE);
            if held {
                // SAFETY: the scratch value is this CPU's own while the program runs.
                unsafe { (*packet.scratch).told = splice.acknowledgement() };
            }
            stack.unlock(flow);
            if held && !acknowledge_client(stack, packet, flow) {
                stack.count(Reason::WriteFailed, 1);
                return Fate::Done(Action::Drop);
            }
            let reason = match (segment.payload, complete) {
                (0, _) => Reason::NoPayload,
                (_, true) => Reason::Retransmission,
                (_, false) => Reason::HandshakeUnseen,
            };
            stack.count(reason, 1);
            let action = forward(stack, packet, to, offset);
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
        ClientStep::Acknowledge(told) => {
            stack.unlock(flow);
            stack.count(Reason::StaleOverlap, 1);
            tell(packet.scratch, told);
            return Fate::Tell(tcp_flag::ACK);
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
            if flags != 0 {
                tell(packet.scratch, told);
                return Fate::Tell(flags);
            }
            Action::Drop
        }
        ClientStep::Compare => {
            // What was compared is passed or read.
            stack.unlock(flow);
            Action::Drop
        }
        ClientStep::Probe(to) => {
            let tsecr = splice.server_tsval;
            stack.unlock(flow);
            stack.count(Reason::BeyondWindow, 1);
            probe(stack, packet, to, tsecr)
        }
        ClientStep::Resend(injection) => {
            stack.unlock(flow);
            stack.count(Reason::Resent, 1);
            tell(packet.scratch, injection);
            return Fate::Reply { again: true };
        }
        ClientStep::Read { skip, refused } => {
            let opaque = splice.has(flag::CLIENT_OPAQUE);
            stack.unlock(flow);
            return read(stack, handler, packet, flow, skip, refused, opaque);
        }
    })
}

/// How a repetition compares with what was read, as far as the server has not acknowledged that: `len` bytes from `from` on. The
/// caller has the claim on the client's direction.
#[inline(never)]
fn compare<H: Handler, K: Stack<H>>(stack: &K, flow: *mut Flow<H::State>, from: u32, len: u32) -> Comparison {
    let Some(scratch) = stack.scratch() else { return Comparison::Unknown };
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let (layout, tcp) = unsafe { (&(*scratch).layout, &(*scratch).tcp) };
    let first = tcp.segment.seq;
    let behind = first.wrapping_add(tcp.segment.payload);
    let payload = layout.tcp + tcp.header;
    binding::compare(flow, (first, behind), (from, from.wrapping_add(len)), |start, len| {
        stack.digest(scratch, payload + start.wrapping_sub(first), len)
    })
}

/// A window probe goes to the server without its byte.
#[inline(always)]
fn probe<H: Handler, K: Stack<H>>(
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
fn to_server<S>(packet: &Packet<'_, S>, to: Translated, flags: u8, tsecr: u32) -> Outgoing {
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
fn copy_to_server<H: Handler, K: Stack<H>>(
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

/// New bytes: the handler reads them, and they are answered or passed. What becomes of the packet, as [`judge`] says it.
#[inline(always)]
fn read<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    skip: u32,
    refused: Option<Reason>,
    opaque: bool,
) -> Fate {
    let segment = &packet.tcp.segment;
    let scratch = packet.scratch;
    // SAFETY: the scratch value is this CPU's own; the claim makes the request side of the handler's state ours.
    let (of_handler, reading) = unsafe { (&mut (*scratch).handler, &mut (*scratch).reading) };
    // SAFETY: as above.
    handler.begin(unsafe { &(*scratch).key }, of_handler);
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
    let control = packet.control;
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
        return closed(close(stack, handler, control, flow, how));
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

/// The flag that tells the client of congestion, by those of the splice.
#[inline(always)]
const fn echo(flags: u32) -> u8 {
    if flags & flag::ECHO_DUE != 0 { tcp_flag::ECE } else { 0 }
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
    to: Translated,
    offset: bool,
) -> Action {
    let Packet { layout, tcp, scratch, .. } = *packet;
    if !offset
        || (!tcp.more_options || blank_sack(stack, layout, tcp, scratch))
            && translate(stack, layout, &tcp.segment, to)
    {
        return Action::Next;
    }
    stack.count(Reason::WriteFailed, 1);
    Action::Drop
}

/// Puts down what the client is told.
#[inline(always)]
fn tell<S>(scratch: *mut Scratch<S>, told: Injection) {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    unsafe { (*scratch).told = told };
}

/// The packet becomes the reply that `scratch.told` describes. `again`: it was sent before.
#[inline(always)]
fn reply<H: Handler, K: Stack<H>>(
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

/// Gives the client the acknowledgement that was held back (S15), then makes the packet what it was. Whether it is.
#[inline(always)]
fn acknowledge_client<H: Handler, K: Stack<H>>(
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
fn room<H: Handler, K: Stack<H>>(
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
