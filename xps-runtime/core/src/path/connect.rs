//! SYN, SYN-ACK and the first ACK: which path a connection takes, and when it becomes a flow.

use super::{Action, Ports, Scratch, Socket, Stack, options, translate};
use crate::abi::Control;
use crate::flow::{Flow, FlowKey};
use crate::handler::Handler;
use crate::handshake::{self, Mark};
use crate::packet::{Layout, Tcp};
use crate::predicate::{Predicate, Role};
use crate::seq::after;
use crate::splice::{Translated, flag, tcp_flag};
use crate::verdict::Reason;

/// A client's SYN: to the server, or left to the user path with a reason.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a struct of them would take room on the program's stack")]
pub(crate) fn syn<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    layout: &Layout,
    tcp: &Tcp,
    predicate: &Predicate,
    role: Role,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
) -> Action {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let key = unsafe { &(*scratch).key };
    let accelerated = role == Role::Accelerated;
    let left = |reason| {
        stack.count(reason, 1);
        Action::Next
    };
    if accelerated && (control.accept == 0 || control.version != crate::abi::VERSION) {
        return left(Reason::NotAccepting);
    }
    let known = stack.flow(key);
    if known.is_some() || accelerated {
        let socket = stack.socket(key, layout.v6);
        if accelerated && socket == Socket::Absent {
            // The server does not listen on this address, or not at all: the sidecar may reach it elsewhere.
            return left(Reason::NoListener);
        }
        let live = socket == Socket::Live;
        if let Some(flow) = known {
            // SAFETY: a flow's memory stays while the program runs; flags are read as one word.
            let same = unsafe { (*flow).splice.has(flag::ACCELERATED) } == accelerated;
            // In the handshake too: the flow was made by the acknowledgement that ends it, this SYN is older or a stranger.
            if live || socket == Socket::Opening {
                if same {
                    // The server repeats its SYN-ACK, or answers with a challenge (RFC 5961 §4.2).
                    return if accelerated { rewrite(stack, layout, tcp, predicate) } else { Action::Next };
                }
                if accelerated {
                    return left(Reason::TupleInUse);
                }
                stack.count(Reason::PortClash, 1);
                return Action::Drop;
            }
            if !forget(stack, handler, key, flow) {
                // What the old connection holds must be settled first; the client's SYN comes again.
                stack.count(Reason::TupleInUse, 1);
                return Action::Drop;
            }
        } else if live {
            return left(Reason::TupleInUse);
        }
    }
    if accelerated && stack.flows(0) >= u64::from(control.flows_max) {
        return left(Reason::FlowTableFull);
    }
    let options = options(stack, layout, tcp, scratch);
    if accelerated && (options.foreign || tcp.segment.payload != 0) {
        return left(Reason::NotSpliceable);
    }
    let tag = handshake::tag(control.secret, key);
    let born = (stack.now_ns() >> handshake::BORN_SHIFT) as u16;
    if let Some(mark) = place(stack, tag, born) {
        let mut flags = if accelerated { handshake::ACCELERATED } else { 0 };
        if options.timestamps {
            flags |= handshake::CLIENT_TIMESTAMPS;
        }
        if options.shifts {
            flags |= handshake::CLIENT_SHIFT;
        }
        // SAFETY: a mark is plain data that any CPU may overwrite; the first ACK is checked against all of it.
        let mark = unsafe { &mut *mark };
        // The same SYN again keeps what its SYN-ACK told: the first ACK may be closer than the next SYN-ACK.
        let again = mark.tag == tag
            && mark.client_isn == tcp.segment.seq
            && mark.mss == options.mss
            && mark.flags & handshake::OF_CLIENT == flags;
        if !again {
            if accelerated && !handler.admits(key) && control.stands(stack.now_ns()) {
                stack.count(Reason::NotAdmitted, 1);
                return Action::Drop;
            }
            *mark = Mark {
                tag,
                client_isn: tcp.segment.seq,
                server_isn: 0,
                mss: options.mss,
                client_shift: if options.shifts { options.shift } else { 0 },
                server_shift: 0,
                flags,
                server_tsval: 0,
                client_tsval: options.tsval,
                server_window: 0,
                born,
                padding: 0,
            };
        }
    }
    if accelerated { rewrite(stack, layout, tcp, predicate) } else { Action::Next }
}

/// The mark of a connection.
#[inline(always)]
fn find<H: Handler, K: Stack<H>>(stack: &K, tag: u64) -> Option<*mut Mark> {
    let first = stack.mark(handshake::slot(tag))?;
    // SAFETY: plain data that any CPU may overwrite: who reads more looks at the tag again.
    if unsafe { (*first).tag } == tag {
        return Some(first);
    }
    let second = stack.mark(handshake::other_slot(tag))?;
    // SAFETY: likewise.
    if unsafe { (*second).tag } == tag { Some(second) } else { None }
}

/// A copy of the mark of the packet's connection, of which only the copy is used.
#[inline(always)]
fn seen<H: Handler, K: Stack<H>>(
    stack: &K,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
) -> Option<Mark> {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let tag = handshake::tag(control.secret, unsafe { &(*scratch).key });
    // SAFETY: plain data that any CPU may overwrite, hence the tag once more.
    let mark = unsafe { *find(stack, tag)? };
    if mark.tag == tag { Some(mark) } else { None }
}

/// Where the mark of a connection that is opened at `born` goes: where it is, or else in the older one of its two places.
#[inline(always)]
fn place<H: Handler, K: Stack<H>>(stack: &K, tag: u64, born: u16) -> Option<*mut Mark> {
    let first = stack.mark(handshake::slot(tag))?;
    let second = stack.mark(handshake::other_slot(tag))?;
    // SAFETY: as in `find`.
    let (one, two) = unsafe { (&*first, &*second) };
    if one.tag == tag {
        return Some(first);
    }
    if two.tag == tag {
        return Some(second);
    }
    Some(if one.age(born) >= two.age(born) { first } else { second })
}

/// To the plain port, with the numbers as they are.
#[inline(always)]
pub(crate) fn rewrite<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: &Layout,
    tcp: &Tcp,
    predicate: &Predicate,
) -> Action {
    let to = Translated { seq: tcp.segment.seq, ack: tcp.segment.ack };
    let Some(source) = stack.half(layout.tcp) else { return Action::Drop };
    let ports = Ports { source, destination: predicate.plain_port };
    if translate(stack, layout, ports, to) { Action::Next } else { Action::Drop }
}

/// The server's SYN-ACK, or anything else that it sends before the connection is a flow.
#[inline(always)]
pub(crate) fn answered<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: &Layout,
    tcp: &Tcp,
    predicate: &Predicate,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
) -> Action {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let key = unsafe { &(*scratch).key };
    let tag = handshake::tag(control.secret, key);
    let Some(mark) = find(stack, tag) else { return Action::Next };
    // SAFETY: plain data; what is read is checked at the first ACK.
    let mark = unsafe { &mut *mark };
    if tcp.segment.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN | tcp_flag::ACK {
        mark.flags &= !handshake::TIMESTAMPS;
        let found = options(stack, layout, tcp, scratch);
        if found.timestamps && mark.flags & handshake::CLIENT_TIMESTAMPS != 0 {
            mark.flags |= handshake::TIMESTAMPS;
        }
        // Both sides scale, or none does (RFC 7323 §2.2).
        if found.shifts && mark.flags & handshake::CLIENT_SHIFT != 0 {
            mark.server_shift = found.shift;
        } else {
            mark.client_shift = 0;
            mark.server_shift = 0;
        }
        mark.server_window = tcp.segment.window;
        mark.server_tsval = found.tsval;
        mark.server_isn = tcp.segment.seq;
        mark.flags |= handshake::ANSWERED;
    } else if mark.flags & handshake::ANSWERED == 0 {
        // A socket that an older connection has left behind does not let the new one in. The client answers with a reset.
        mark.server_isn = tcp.segment.ack;
    }
    if mark.flags & handshake::ACCELERATED == 0 {
        return Action::Next;
    }
    let to = Translated { seq: tcp.segment.seq, ack: tcp.segment.ack };
    let ports = Ports { source: predicate.accelerated_port, destination: key.client_port };
    if translate(stack, layout, ports, to) { Action::Next } else { Action::Drop }
}

/// A client's segment without a flow: the first after the handshake makes one.
#[inline(always)]
pub(crate) fn first_ack<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    tcp: &Tcp,
    v6: bool,
    role: Role,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
) -> Option<*mut Flow<H::State>> {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let key = unsafe { &(*scratch).key };
    let segment = &tcp.segment;
    if segment.flags & (tcp_flag::ACK | tcp_flag::RST) != tcp_flag::ACK {
        return None;
    }
    let accelerated = role == Role::Accelerated;
    let tag = handshake::tag(control.secret, key);
    let mark = match find(stack, tag) {
        // SAFETY: copied once, then only the copy is used.
        Some(mark) => unsafe { *mark },
        None => Mark::NONE,
    };
    let seen = mark.tag == tag
        && mark.flags & handshake::ANSWERED != 0
        && (mark.flags & handshake::ACCELERATED != 0) == accelerated
        && segment.seq == mark.client_isn.wrapping_add(1)
        && segment.ack == mark.server_isn.wrapping_add(1);
    if !seen {
        let socket = if accelerated { stack.socket(key, v6) } else { Socket::Absent };
        if socket != Socket::Opening && socket != Socket::Live {
            return None;
        }
        if H::READS_ALL {
            // It would pass unread. The client is told by a reset: the accelerated port has no socket for it.
            stack.count(Reason::HandshakeUnseen, 1);
            return None;
        }
    }
    if !stack.insert_flow(key) {
        return stack.flow(key);
    }
    stack.flows(1);
    stack.count(if accelerated { Reason::FlowOpened } else { Reason::FlowObserved }, 1);
    let flow = stack.flow(key)?;
    // SAFETY: as long as its flags are zero, nobody else looks at a flow.
    handler.opened(key, unsafe { &mut (*flow).handler });
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let splice = unsafe { &mut (*flow).splice };
    if seen {
        splice.open(&mark);
    } else {
        splice.open_unseen();
    }
    stack.unlock(flow);
    if !seen {
        // SAFETY: the flow is opaque from its first moment, so this CPU, which made it, is the only one that calls.
        handler.opaque(unsafe { &mut (*flow).handler });
    }
    Some(flow)
}

/// Whether a client's segment without a flow stands behind one that has not come yet and will make the flow: the bare
/// acknowledgement that ends a handshake is not sent again, and what follows it may overtake it, or be lost (S2).
#[inline(always)]
pub(crate) fn early<H: Handler, K: Stack<H>>(
    stack: &K,
    tcp: &Tcp,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
) -> bool {
    let segment = &tcp.segment;
    let Some(mark) = seen(stack, control, scratch) else { return false };
    let answered = handshake::ACCELERATED | handshake::ANSWERED;
    mark.flags & answered == answered
        && segment.flags & (tcp_flag::ACK | tcp_flag::RST) == tcp_flag::ACK
        && segment.ack == mark.server_isn.wrapping_add(1)
        && after(segment.seq, mark.client_isn.wrapping_add(1))
}

/// Whether a client's reset without a flow is for the server: it answers what [`answered`] has let through, and stands where
/// that said. Without it a socket in TIME_WAIT would keep its tuple from the client for a minute.
#[inline(always)]
pub(crate) fn refused<H: Handler, K: Stack<H>>(
    stack: &K,
    tcp: &Tcp,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
) -> bool {
    if tcp.segment.flags & (tcp_flag::ACK | tcp_flag::RST) != tcp_flag::RST {
        return false;
    }
    let Some(mark) = seen(stack, control, scratch) else { return false };
    let expected =
        if mark.flags & handshake::ANSWERED != 0 { mark.client_isn.wrapping_add(1) } else { mark.server_isn };
    mark.flags & handshake::ACCELERATED != 0 && tcp.segment.seq == expected
}

/// Whether a client's FIN without a flow is one that has come before: the server closed first, and the acknowledgement with
/// which its flow went was lost. The server's socket in TIME_WAIT has it again.
#[inline(always)]
pub(crate) fn late<H: Handler, K: Stack<H>>(
    stack: &K,
    tcp: &Tcp,
    control: &Control,
    scratch: *mut Scratch<H::Scratch>,
) -> bool {
    let expected = tcp_flag::FIN | tcp_flag::ACK;
    if tcp.segment.flags & (expected | tcp_flag::RST) != expected {
        return false;
    }
    let Some(mark) = seen(stack, control, scratch) else { return false };
    mark.flags & handshake::ACCELERATED != 0
}

/// Forgets a flow whose connection has ended. Whether it is gone: not while another CPU reads it or the handler holds
/// something.
#[inline(always)]
pub(crate) fn forget<H: Handler, K: Stack<H>>(
    stack: &K,
    handler: &H,
    key: &FlowKey,
    flow: *mut Flow<H::State>,
) -> bool {
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let claimed = unsafe { (*flow).splice.claim_all() };
    stack.unlock(flow);
    if !claimed {
        return false;
    }
    // SAFETY: both claims are ours.
    if handler.ended(key, unsafe { &mut (*flow).handler }) {
        // The claims stay: who has found the flow before and comes now must not read.
        if stack.remove_flow(key) {
            stack.flows(-1);
            stack.count(Reason::FlowClosed, 1);
        }
        return true;
    }
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    unsafe { (*flow).splice.release_all() };
    stack.unlock(flow);
    false
}

/// The key of a packet, from the client's or from the server's side.
#[inline(always)]
pub(crate) fn write_key(key: &mut FlowKey, client_port: u16, plain_port: u16) {
    key.client_port = client_port;
    key.plain_port = plain_port;
    key.padding = 0;
}
