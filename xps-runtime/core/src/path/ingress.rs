//! The client's packets: predicate, flow and splice. What has new bytes goes on in [`request`].
//!
//! - [`request`]: new bytes, the handler, and then a reply or the way to the server.
//! - [`closing`]: ends that the stack makes.
//! - `client`, `server`: what either is sent.
//! - [`pieces`]: replies in several segments.
//! - `way`: where replies go, and how long they may be.

mod client;
pub mod closing;
pub mod pieces;
pub mod request;
mod server;
mod way;

use client::{acknowledge_client, reply, tell, tell_client};
use closing::{AFTER, OVER};
use server::{copy_to_server, forward, probe, to_server};

use super::arrival::{SERVICE_VLAN, VLAN};
use super::{
    Action, Direction, Request, Scratch, Stack, Stage, Step, connect, icmp, local, options, remember,
    remember_layout,
};
use crate::abi::Control;
use crate::binding::{self, Comparison};
use crate::bound::keep_in_memory;
use crate::flow::Flow;
use crate::handler::Handler;
use crate::packet::{self, Layout, Tcp, Unusual};
use crate::predicate::Role;
use crate::seq::distance;
use crate::splice::accept::check;
use crate::splice::{ClientStep, Injection, flag, tcp_flag};
use crate::verdict::Reason;

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
pub fn run<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Step {
    match decide(stack, handler) {
        Some(step) => step,
        None => Step::Done(Action::Next),
    }
}

#[inline(always)]
fn decide<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Option<Step> {
    if nested(stack) && !stack.priority_tags_off() {
        stack.count(Reason::Tags, 1);
        return Some(Step::Done(Action::Drop));
    }
    let Some((layout, client_port, server_port)) = packet::locate(stack) else {
        return if icmp::may_be_error(stack) { Some(Step::Go(Stage::Error)) } else { None };
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
    if !H::OBSERVES && is_left_alone(stack, index, scratch) {
        return None;
    }
    // SAFETY: maps' values stay while the program runs.
    let control = unsafe { &*stack.control()? };
    let (layout, tcp) = match headers(stack, handler, layout, scratch) {
        Ok(found) => found,
        Err(reason) => {
            stack.count(reason, 1);
            return Some(Step::Done(Action::Drop));
        }
    };
    if connect::opens(tcp) {
        return Some(Step::Go(Stage::Open));
    }
    // SAFETY: as above.
    let Some(flow) = stack.flow(unsafe { &(*scratch).key }) else { return Some(Step::Go(Stage::Open)) };
    // SAFETY: one word, which is set before the flow's first packet goes on and whose low bits then stay.
    if unsafe { (*flow).splice.flags } == 0 {
        // Another CPU is just making it.
        stack.count(Reason::Contended, 1);
        return Some(Step::Done(Action::Drop));
    }
    let packet = Packet { layout, tcp, control, scratch };
    let fate = judge(stack, handler, &packet, flow);
    Some(act(stack, &packet, flow, fate))
}

/// Whether the server is its clients' alone at the packet's address, and the connection is none that was taken before that was
/// so.
#[inline(always)]
fn is_left_alone<H: Handler, K: Stack<H>>(stack: &K, index: u8, scratch: *mut Scratch<H::Scratch>) -> bool {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let (key, accelerated) = unsafe { (&(*scratch).key, (*scratch).accelerated) };
    // SAFETY: a map's value, which stays.
    accelerated == 0
        && stack.predicate(index).is_some_and(|predicate| unsafe { (*predicate).in_place() })
        && stack.flow(key).is_none()
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

/// What a stage behind the first goes on with.
type Resumed<'a, H> = (Packet<'a, <H as Handler>::Scratch>, *mut Flow<<H as Handler>::State>);

/// The packet and the flow that lie in the working memory. The flow stays while the client's direction is claimed.
#[inline(always)]
fn resumed<'a, H: Handler, K: Stack<H>>(stack: &K) -> Option<Resumed<'a, H>> {
    let (scratch, control) = (stack.scratch()?, stack.control()?);
    // SAFETY: a map's value, which stays; and the scratch value is this CPU's own while the program runs.
    let (control, key) = unsafe { (&*control, &(*scratch).key) };
    let flow = stack.flow(key)?;
    Some((Packet::of(control, scratch), flow))
}

/// Does what was decided.
#[inline(always)]
fn act<H: Handler, K: Stack<H>>(
    stack: &K,
    packet: &Packet<'_, H::Scratch>,
    flow: *mut Flow<H::State>,
    fate: Fate,
) -> Step {
    Step::Done(match fate {
        Fate::Done(action) => action,
        Fate::Reply { again } => reply(stack, packet.control, flow, again),
        Fate::Tell(flags) => tell_client(stack, packet, flow, flags),
        Fate::Read(request) => {
            // SAFETY: the scratch value is this CPU's own while the program runs.
            unsafe { (*packet.scratch).request = request };
            return Step::Go(Stage::Request);
        }
        Fate::End(how) => {
            // SAFETY: as above.
            unsafe { (*packet.scratch).ending = how };
            return Step::Go(Stage::End);
        }
    })
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
    /// The handler reads, or its reply goes again: for [`request::run`], which has the claim on the client's direction from here.
    Read(Request),
    /// The connection ends: for [`closing::run`], likewise.
    End(u32),
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
            return Fate::End(skip);
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
            let over = if splice.over() { OVER } else { 0 };
            let to_server = splice.server_reset();
            stack.unlock(flow);
            stack.count(Reason::AfterClose, 1);
            tell(packet.scratch, Injection { owed: to_server, ..told });
            return Fate::End(AFTER | over | flags as u32);
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
            return Fate::Read(Request { skip: 0, refused: None, again: true });
        }
        ClientStep::Read { skip, refused } => {
            stack.unlock(flow);
            return Fate::Read(Request { skip, refused, again: false });
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
