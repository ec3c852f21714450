//! The server's packets on their way to the client: back to the accelerated port and to the client's numbers.

use super::headers::Outgoing;
use super::ingress::mark_opaque;
use super::{
    Action, Direction, Ports, Reading, Scratch, Stack, Target, blank_sack, connect, local, remember,
    translate, write,
};
use crate::abi::Control;
use crate::flow::Flow;
use crate::handler::Handler;
use crate::packet::{self, Layout, Tcp};
use crate::predicate::Predicate;
use crate::splice::{ServerStep, Translated, flag, tcp_flag};
use crate::verdict::Reason;

/// The egress program.
#[inline(always)]
pub fn run<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Action {
    match decide(stack, handler) {
        Some(action) => action,
        None => Action::Next,
    }
}

#[inline(always)]
fn decide<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Option<Action> {
    let (layout, server_port, client_port) = packet::locate(stack)?;
    let index = stack.port(server_port);
    if index == 0 || stack.vlan().is_some() {
        return None;
    }
    let scratch = stack.scratch()?;
    let asked = local::Asked::new(index, layout.v6, Direction::Response, server_port);
    if stack.role(scratch, asked) != local::PLAIN {
        return None;
    }
    // SAFETY: maps' values stay while the program runs; the agent writes predicates before it sets their ports.
    let predicate = unsafe { &*stack.predicate(index)? };
    // SAFETY: likewise.
    let control = unsafe { &*stack.control()? };
    // SAFETY: this CPU's own while the program runs.
    let key = unsafe { &mut (*scratch).key };
    connect::write_key(key, client_port, predicate.plain_port);
    let tcp = packet::tcp(stack, &layout)?;
    let opening = tcp.segment.flags & tcp_flag::SYN != 0;
    // SAFETY: as above.
    let key = unsafe { &(*scratch).key };
    let flow = if opening { None } else { stack.flow(key) };
    let Some(flow) = flow else {
        return Some(connect::answered(stack, &layout, &tcp, predicate, control, scratch));
    };
    let segment = &tcp.segment;
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let splice = unsafe { &mut (*flow).splice };
    // Each arm gives the lock back, as in `ingress`.
    Some(match splice.server(segment) {
        ServerStep::Pass(to) => {
            let offset = splice.has_offset();
            let finished = splice.finished_by_server();
            stack.unlock(flow);
            let action = forward(stack, &layout, &tcp, predicate, client_port, scratch, flow, to, offset);
            if finished && action == Action::Next {
                // SAFETY: as above.
                connect::forget(stack, handler, unsafe { &(*scratch).key }, flow);
            }
            action
        }
        ServerStep::Drop(reason) => {
            stack.unlock(flow);
            stack.count(reason, 1);
            Action::Drop
        }
        ServerStep::Acknowledge(to) => {
            let (client_tsval, client_window) = (splice.client_tsval, splice.client_window);
            stack.unlock(flow);
            stack.count(Reason::StaleServerSegment, 1);
            let bare = Outgoing {
                back: true,
                source_port: client_port,
                destination_port: predicate.plain_port,
                seq: to.seq,
                ack: to.ack,
                flags: tcp_flag::ACK,
                window: client_window,
                timestamps: segment.timestamps,
                tsval: client_tsval,
                tsecr: segment.tsval,
            };
            tell_server(stack, layout, tcp, control, scratch, &bare, Reason::ServerAcknowledged)
        }
        ServerStep::Reset(to) => {
            stack.unlock(flow);
            let reset = Outgoing {
                back: true,
                source_port: client_port,
                destination_port: predicate.plain_port,
                seq: to.seq,
                ack: to.ack,
                flags: tcp_flag::RST | tcp_flag::ACK,
                window: 0,
                timestamps: false,
                tsval: 0,
                tsecr: 0,
            };
            tell_server(stack, layout, tcp, control, scratch, &reset, Reason::AfterClose)
        }
        ServerStep::Read { translated, skip } => {
            let opaque = splice.has(flag::SERVER_OPAQUE);
            let offset = splice.has_offset();
            stack.unlock(flow);
            if !opaque {
                read(stack, handler, &layout, &tcp, scratch, flow, skip);
            }
            // SAFETY: the address of a field of a flow.
            stack.release(unsafe { &raw mut (*flow).splice.server_claim });
            forward(stack, &layout, &tcp, predicate, client_port, scratch, flow, translated, offset)
        }
    })
}

/// The packet turns back to the server as one of the programs' own.
#[inline(always)]
fn tell_server<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: Layout,
    tcp: Tcp,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
    outgoing: &Outgoing,
    reason: Reason,
) -> Action {
    remember(scratch, layout, tcp);
    if write(stack, scratch, outgoing, None) {
        stack.set_packet_mark(control.internal_mark);
        stack.count(reason, 1);
        stack.redirect(Target::Server)
    } else {
        Action::Drop
    }
}

#[inline(always)]
fn read<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    layout: &Layout,
    tcp: &Tcp,
    scratch: *mut Scratch<H::Scratch>,
    flow: *mut Flow<H::State>,
    skip: u32,
) {
    // SAFETY: the scratch value is this CPU's own; the claim makes the response side of the handler's state ours.
    let (reading, unread) = unsafe { (&mut (*scratch).reading, (*flow).splice.server_skip) };
    let start = skip.wrapping_add(unread);
    if start >= tcp.segment.payload {
        // All of it is what the handler does not want to see, as most segments of long bodies are.
        // SAFETY: `server_skip` belongs to the claim.
        unsafe { (*flow).splice.server_skip = start - tcp.segment.payload };
        return;
    }
    *reading =
        Reading { payload: layout.tcp + tcp.header, position: start, end: tcp.segment.payload, skip: 0 };
    if stack.scan(handler, Direction::Response, flow, scratch) {
        // SAFETY: `server_skip` belongs to the claim.
        unsafe { (*flow).splice.server_skip = reading.skip };
    } else {
        mark_opaque(stack, handler, flow);
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a struct of them would take room on the program's stack")]
fn forward<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: &Layout,
    tcp: &Tcp,
    predicate: &Predicate,
    client_port: u16,
    scratch: *mut Scratch<H::Scratch>,
    flow: *mut Flow<H::State>,
    to: Translated,
    offset: bool,
) -> Action {
    // SAFETY: one word whose low bits stay from the flow's first packet on.
    if unsafe { (*flow).splice.flags } & flag::ACCELERATED == 0 {
        return Action::Next;
    }
    let ports = Ports { source: predicate.accelerated_port, destination: client_port };
    let written = (!offset || !tcp.more_options || blank_sack(stack, layout, tcp, scratch))
        && translate(stack, layout, ports, to);
    if written {
        Action::Next
    } else {
        stack.count(Reason::WriteFailed, 1);
        Action::Drop
    }
}
