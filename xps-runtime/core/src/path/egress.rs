//! The server's packets on their way to the client: in the client's numbers.

use super::headers::Outgoing;
use super::ingress::request::mark_opaque;
use super::{
    Action, Direction, Reading, Scratch, Socket, Stack, Target, connect, forward, local, remember, write,
};
use crate::abi::{Bypass, Control};
use crate::flow::Flow;
use crate::handler::Handler;
use crate::packet::{self, Layout, Tcp};
use crate::splice::{ServerStep, flag, tcp_flag};
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
    if index == 0 {
        return around(stack, &layout, server_port, client_port);
    }
    if stack.vlan().is_some() {
        return None;
    }
    // SAFETY: maps' values stay while the program runs.
    let control = unsafe { &*stack.control()? };
    if stack.packet_mark() == control.internal_mark && control.internal_mark != 0 {
        // A reply of the stack's own, in the client's numbers already. This program then runs within the other one, whose
        // working memory is in use. Below a macvlan or ipvlan is another hook, which must leave it alone too.
        stack.clear_packet_mark();
        stack.set_seen(!control.internal_mark);
        return None;
    }
    let scratch = stack.scratch()?;
    let asked = local::Asked::new(index, layout.v6, Direction::Response, server_port);
    if stack.role(scratch, asked) == local::FOREIGN {
        return None;
    }
    // SAFETY: likewise; the agent writes predicates before it sets their ports.
    let predicate = unsafe { &*stack.predicate(index)? };
    // SAFETY: this CPU's own while the program runs.
    let key = unsafe { &mut (*scratch).key };
    connect::write_key(key, client_port, server_port);
    let tcp = packet::tcp(stack, &layout)?;
    if tcp.segment.flags & tcp_flag::SYN != 0 {
        return Some(connect::answered(stack, &layout, &tcp, predicate, control, scratch));
    }
    // SAFETY: as above.
    let Some(flow) = stack.flow(unsafe { &(*scratch).key }) else {
        // The server answers on a connection that the stack does not know (T3). On the accelerated port that is the relay's.
        if H::OBSERVES
            && predicate.plain_port == server_port
            && tcp.segment.payload != 0
            && stack.socket(key, layout.v6) == Socket::Live
        {
            connect::foreign(stack);
        }
        return None;
    };
    let segment = &tcp.segment;
    let first = stack.word(0)?;
    let last = stack.half(4)?;
    let service = packet::service(stack, layout.v6)?;
    let (ifindex, now_ns) = (stack.ifindex(), stack.now_ns());
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let splice = unsafe {
        (*flow).outlet.take((first, last), ifindex, service, now_ns);
        if segment.timestamps {
            (*flow).splice.take_echo(tcp.tsecr);
        }
        &mut (*flow).splice
    };
    // Each arm gives the lock back, as in `ingress`.
    Some(match splice.server(segment) {
        ServerStep::Pass(to) => {
            let offset = splice.has_offset();
            let finished = splice.finished_by_server();
            stack.unlock(flow);
            let action = forward(stack, &layout, &tcp, scratch, to, offset);
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
                service: 0,
                source_port: client_port,
                destination_port: server_port,
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
                service: 0,
                source_port: client_port,
                destination_port: server_port,
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
        ServerStep::Unread(to) => {
            let offset = splice.has_offset();
            let first = !splice.has(flag::UNREAD);
            splice.flags |= flag::UNREAD;
            stack.unlock(flow);
            if first {
                // SAFETY: as above.
                stack.unseen(unsafe { &(*scratch).key }, Bypass::Unread);
                stack.count(Reason::Unread, 1);
            }
            mark_opaque(stack, handler, flow);
            if H::READS_ALL {
                // What was not read may have been anything; so may be what it answers.
                return Some(Action::Drop);
            }
            forward(stack, &layout, &tcp, scratch, to, offset)
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
            forward(stack, &layout, &tcp, scratch, translated, offset)
        }
    })
}

/// A packet of the server's own port that has another one in its header: netfilter has changed it, and so the request's. What
/// comes that way is not read (T3). Where the port is guarded no connection comes about so.
#[inline(always)]
fn around<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: &Layout,
    server_port: u16,
    client_port: u16,
) -> Option<Action> {
    let port = stack.sender_port();
    if port == server_port {
        return None;
    }
    let index = stack.port(port);
    if index == 0 {
        return None;
    }
    // SAFETY: maps' values stay while the program runs.
    let (predicate, control) = unsafe { (&*stack.predicate(index)?, &*stack.control()?) };
    let guards = H::READS_ALL && predicate.in_place() && control.stands(stack.now_ns());
    if predicate.plain_port != port || !(H::OBSERVES || guards) {
        return None;
    }
    let scratch = stack.scratch()?;
    // SAFETY: this CPU's own while the program runs: no packet of the programs' own comes here.
    let key = unsafe { &mut (*scratch).key };
    packet::addresses(stack, layout.v6, &mut key.server, &mut key.client)?;
    connect::write_key(key, client_port, server_port);
    if guards {
        // SAFETY: a map's value, which stays.
        let alone = stack.local(&key.server).is_some_and(|local| unsafe { (*local).accelerated } == 0);
        if alone {
            return None;
        }
        stack.count(Reason::Unseen, 1);
        return Some(Action::Drop);
    }
    stack.unseen(key, Bypass::Redirected);
    stack.count(Reason::Unseen, 1);
    None
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
        stack.count(reason, 1);
        stack.redirect(Target::Server, control.internal_mark, 0)
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
