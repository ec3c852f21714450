//! SYN, SYN-ACK and the first ACK: which path a connection takes, and when it becomes a flow.

use super::ingress::role;
use super::{Action, Scratch, Socket, Stack, Stage, Step, listen, options};
use crate::abi::{Bypass, Control};
use crate::flow::{Flow, FlowKey};
use crate::handler::Handler;
use crate::handshake::{self, Mark};
use crate::outlet::{self, Outlet};
use crate::packet::{self, Layout, Tcp};
use crate::predicate::{Predicate, Role};
use crate::seq::{after, before, distance};
use crate::splice::accept::check;
use crate::splice::tcp_flag;
use crate::verdict::Reason;

/// A packet that may open a connection, and what is known of it.
struct Opening<'a, S> {
    layout: &'a Layout,
    tcp: &'a Tcp,
    predicate: &'a Predicate,
    control: &'a Control,
    scratch: *mut Scratch<S>,
}

/// What becomes of a client's segment without a flow.
enum First {
    /// It opens a connection, whose flow was made.
    Opens,
    /// It goes on as it is.
    Passes,
    /// It goes on, and is one of a connection that is not understood.
    Unread,
    /// It must not go on.
    Dropped(Reason),
}

/// The handshake table of a stack.
struct Table<'a, K, H>(&'a K, core::marker::PhantomData<H>);

impl<H: Handler, K: Stack<H>> listen::Marks for Table<'_, K, H> {
    #[inline(always)]
    fn mark(&self, slot: u32) -> Option<*mut Mark> {
        self.0.mark(slot)
    }
}

/// The stage: a client's segment without a flow, or a SYN, whose headers and key lie in the working memory.
#[inline(always)]
pub fn run<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Step {
    match begin(stack, handler) {
        Some(step) => step,
        None => Step::Done(Action::Next),
    }
}

#[inline(always)]
fn begin<H: Handler, K: Stack<H>>(stack: &K, handler: &H) -> Option<Step> {
    let scratch = stack.scratch()?;
    // SAFETY: the scratch value is this CPU's own while the program runs, and nothing writes the headers there.
    let (layout, tcp, key) = unsafe { (&(*scratch).layout, &(*scratch).tcp, &(*scratch).key) };
    // SAFETY: maps' values stay while the program runs; the agent writes predicates before it sets their ports.
    let predicate = unsafe { &*stack.predicate(stack.port(key.server_port))? };
    // SAFETY: likewise.
    let control = unsafe { &*stack.control()? };
    let opening = Opening { layout, tcp, predicate, control, scratch };
    if opens(tcp) {
        return Some(Step::Done(syn(stack, handler, &opening)));
    }
    Some(match first_ack(stack, handler, &opening) {
        First::Opens => {
            // The packet begins anew, as one that no hook has had.
            stack.set_seen(0);
            Step::Go(Stage::Ingress)
        }
        First::Dropped(reason) => {
            stack.count(reason, 1);
            Step::Done(Action::Drop)
        }
        First::Unread => {
            foreign(stack);
            Step::Done(Action::Next)
        }
        First::Passes => {
            // Payload of a connection that is not in the table. If the server has no such connection, its TCP refuses it (T10).
            let of_server = role(scratch) == Role::Plain || predicate.in_place();
            let bytes = tcp.segment.payload != 0;
            if H::OBSERVES && of_server && bytes && is_taken(stack, key, layout.v6, bytes) {
                foreign(stack);
            }
            Step::Done(Action::Next)
        }
    })
}

/// Counts a segment of a connection that is not in the table.
#[inline(always)]
pub(super) fn foreign<H: Handler, K: Stack<H>>(stack: &K) {
    stack.foreign();
    stack.count(Reason::Foreign, 1);
}

/// Whether the server's TCP may take a segment that belongs to no flow: its `bytes`, or that it opens a connection.
#[inline(always)]
fn is_taken<H: Handler, K: Stack<H>>(stack: &K, key: &FlowKey, v6: bool, bytes: bool) -> bool {
    match stack.socket(key, v6) {
        Socket::Live => bytes,
        Socket::Opening => true,
        Socket::Free => stack.answers_cookie(v6),
        Socket::Absent => false,
    }
}

/// Whether a segment is a client's SYN.
#[inline(always)]
pub(super) const fn opens(tcp: &Tcp) -> bool {
    tcp.segment.flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == tcp_flag::SYN
}

/// A client's SYN: for the server, or left to the user path with a reason.
#[inline(always)]
fn syn<H: Handler, K: Stack<H>>(stack: &K, handler: &H, opening: &Opening<'_, H::Scratch>) -> Action {
    let Opening { layout, tcp, predicate, control, scratch } = *opening;
    let role = role(scratch);
    // SAFETY: the scratch value is this CPU's own while the program runs. Connections that were taken before the configuration
    // left the server's address to the user path go on.
    let (key, excluded) = unsafe { (&(*scratch).key, (*scratch).accelerated == 0) };
    let accepts = control.accept != 0 && control.version == crate::abi::VERSION && !excluded;
    let in_place = predicate.in_place();
    // In place there is no user path: what is not taken is refused by who guards the server, and looked at by who observes it.
    let guards = in_place && H::READS_ALL && !excluded;
    let accelerated = role == Role::Accelerated && (accepts || !in_place) && !(in_place && stack.is_own(key));
    if role == Role::Accelerated && !accepts {
        stack.count(if excluded { Reason::AddressExcluded } else { Reason::NotAccepting }, 1);
        if guards {
            return Action::Drop;
        }
    }
    let known = stack.flow(key);
    let mut socket = Socket::Free;
    if known.is_some() || accelerated {
        socket = stack.socket(key, layout.v6);
        if let Some(flow) = known {
            if socket == Socket::Live || socket == Socket::Opening {
                // The server repeats its SYN-ACK, or answers with a challenge (RFC 5961 §4.2).
                return Action::Next;
            }
            if !forget(stack, handler, key, flow) {
                // What the old connection holds must be settled first; the client's SYN comes again.
                stack.count(Reason::TupleInUse, 1);
                return Action::Drop;
            }
        } else if socket == Socket::Live {
            // The user path's, or none that the stack knows: whoever has it judges the SYN.
            stack.count(Reason::TupleInUse, 1);
            return Action::Next;
        }
    }
    if in_place && excluded && !H::OBSERVES {
        // At this address the server is its clients' alone.
        return Action::Next;
    }
    let options = options(stack, layout, tcp, scratch);
    let left = if !accelerated {
        None
    } else if !accepts {
        Some(None)
    } else if !in_place && !stack.listens(key, layout.v6, predicate.plain_port) {
        // The server does not listen on this address, or not at all: the sidecar may reach it elsewhere.
        Some(Some(Reason::NoListener))
    } else if stack.flows(0) >= u64::from(control.flows_max) {
        Some(Some(Reason::FlowTableFull))
    } else if options.foreign || tcp.segment.payload != 0 {
        // In place it depends on whether the server wants them, too: its SYN-ACK tells. But bytes would be the server's at once.
        if in_place && !(H::READS_ALL && tcp.segment.payload != 0) {
            None
        } else {
            Some(Some(Reason::NotSpliceable))
        }
    } else {
        None
    };
    if let Some(Some(reason)) = left {
        stack.count(reason, 1);
        if guards && control.stands(stack.now_ns()) {
            return Action::Drop;
        }
    }
    let tag = handshake::tag(control.secret, key);
    let born = (stack.now_ns() >> handshake::BORN_SHIFT) as u16;
    let Some(mark) = place(stack, tag, born) else { return Action::Next };
    let mut flags = if left.is_some() {
        handshake::RELAYED
    } else if accelerated {
        handshake::ACCELERATED
    } else {
        0
    };
    if options.timestamps {
        flags |= handshake::CLIENT_TIMESTAMPS;
    }
    if options.shifts {
        flags |= handshake::CLIENT_SHIFT;
    }
    const OFFER: u8 = tcp_flag::ECE | tcp_flag::CWR;
    if tcp.segment.flags & OFFER == OFFER {
        flags |= handshake::CLIENT_ECN;
    }
    if packet::may_be_cut(stack, layout) {
        flags |= handshake::CLIENT_FRAGMENTS;
    }
    // SAFETY: a mark is plain data that any CPU may overwrite; the first ACK is checked against all of it.
    let mark = unsafe { &mut *mark };
    // The same SYN again keeps what its SYN-ACK told: the first ACK may be closer than the next SYN-ACK.
    let again = mark.tag == tag
        && mark.client_isn == tcp.segment.seq
        && mark.mss == options.mss
        && mark.flags & handshake::OF_CLIENT == flags;
    if again {
        // There is no flow here: whatever this handshake has opened is over, and it may open another one.
        mark.flags &= !handshake::OPENED;
    } else {
        if mark.tag == tag
            && mark.flags & handshake::ANSWERED != 0
            && stack.socket(key, layout.v6) == Socket::Opening
        {
            // Another SYN does not change a half-open connection: the server answers it by an acknowledgement, or drops both.
            return Action::Next;
        }
        if H::READS_ALL && accelerated && socket == Socket::Opening && mark.tag != tag {
            // Whose the half-open connection is was forgotten: it must not come about.
            stack.count(Reason::HandshakeUnseen, 1);
            return Action::Drop;
        }
        if flags & handshake::ACCELERATED != 0 && !handler.admits(key) && control.stands(stack.now_ns()) {
            stack.count(Reason::NotAdmitted, 1);
            return Action::Drop;
        }
        *mark = Mark {
            tag,
            client_isn: tcp.segment.seq,
            mss: options.mss,
            client_shift: if options.shifts { options.shift } else { 0 },
            flags,
            client_tsval: options.tsval,
            born,
            ..Mark::NONE
        };
    }
    Action::Next
}

/// Where the mark of a connection that is opened at `born` goes: where it is, or else in the older one of its two places.
#[inline(always)]
fn place<H: Handler, K: Stack<H>>(stack: &K, tag: u64, born: u16) -> Option<*mut Mark> {
    let first = stack.mark(handshake::slot(tag))?;
    let second = stack.mark(handshake::other_slot(tag))?;
    // SAFETY: plain data that any CPU may overwrite: who reads more looks at the tag again.
    let (one, two) = unsafe { (&*first, &*second) };
    if one.tag == tag {
        return Some(first);
    }
    if two.tag == tag {
        return Some(second);
    }
    Some(if one.age(born) >= two.age(born) { first } else { second })
}

/// The server's SYN-ACK.
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
    let Some(mark) = listen::find(&Table(stack, core::marker::PhantomData), tag) else {
        if predicate.plain_port == key.server_port && H::OBSERVES {
            stack.unseen(key, Bypass::SynUnseen);
            stack.count(Reason::Unseen, 1);
        }
        return Action::Next;
    };
    // SAFETY: plain data; what is read is checked at the first ACK.
    let mark = unsafe { &mut *mark };
    if mark.flags & handshake::RELAYED != 0 {
        return Action::Next;
    }
    mark.flags &= !(handshake::TIMESTAMPS | handshake::ECN | handshake::ACCURATE_ECN);
    let found = options(stack, layout, tcp, scratch);
    if predicate.in_place() && (found.foreign || tcp.segment.ack != mark.client_isn.wrapping_add(1)) {
        // Both sides want what cannot be spliced: MPTCP, a signature, data on the SYN.
        stack.count(Reason::NotSpliceable, 1);
        mark.flags = handshake::RELAYED;
        return if H::READS_ALL { Action::Drop } else { Action::Next };
    }
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
    // The SYN-ACK of RFC 3168 has ECE alone; with accurate ECN its three bits tell what the SYN had met.
    if mark.flags & handshake::CLIENT_ECN != 0 {
        mark.flags |= match (tcp.accurate, tcp.segment.flags & (tcp_flag::ECE | tcp_flag::CWR)) {
            (false, 0) => 0,
            (false, tcp_flag::ECE) => handshake::ECN,
            _ => handshake::ACCURATE_ECN,
        };
    }
    let Some(first) = stack.word(0) else { return Action::Drop };
    let Some(last) = stack.half(4) else { return Action::Drop };
    let Some(service) = packet::service(stack, layout.v6) else { return Action::Drop };
    (mark.link_first, mark.link_last) = (first, last);
    mark.service = service;
    mark.ifindex = stack.ifindex();
    mark.server_window = tcp.segment.window;
    if mark.flags & handshake::ANSWERED == 0 || mark.server_isn != tcp.segment.seq {
        mark.flags &= !handshake::OPENED;
        mark.server_tsval_first = found.tsval;
    }
    mark.server_tsval = found.tsval;
    mark.server_isn = tcp.segment.seq;
    mark.flags |= handshake::ANSWERED;
    if mark.flags & handshake::CLIENT_FRAGMENTS != 0 && found.mss > UNCUT_MSS {
        // Where it does not stand first, as Linux has it, the client's packets may be cut, and fragments are dropped.
        let first = stack.word(layout.tcp + 20);
        if first == Some(2 << 24 | 4 << 16 | u32::from(found.mss))
            && !stack.replace_half(layout, 22, found.mss, UNCUT_MSS)
        {
            stack.count(Reason::WriteFailed, 1);
            return Action::Drop;
        }
    }
    Action::Next
}

/// The segment size that a client is told whose packets routers may cut, in bytes: what fits any path (RFC 9293 §3.7.1). A
/// fragment cannot be read.
const UNCUT_MSS: u16 = 536;

/// A client's segment without a flow: the first after the handshake makes one.
#[inline(always)]
fn first_ack<H: Handler, K: Stack<H>>(stack: &K, handler: &H, opening: &Opening<'_, H::Scratch>) -> First {
    let Opening { layout, tcp, predicate, control, scratch } = *opening;
    let role = role(scratch);
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let key = unsafe { &(*scratch).key };
    let segment = &tcp.segment;
    if segment.flags & (tcp_flag::ACK | tcp_flag::RST) != tcp_flag::ACK {
        return First::Passes;
    }
    let tag = handshake::tag(control.secret, key);
    let found = listen::find(&Table(stack, core::marker::PhantomData), tag);
    let mark = match found {
        // SAFETY: copied once, then only the copy is used.
        Some(mark) => unsafe { *mark },
        None => Mark::NONE,
    };
    // A handshake opens one connection: when that is over, what has its numbers is nobody's.
    const STATE: u32 = handshake::ANSWERED | handshake::OPENED;
    let known = mark.tag == tag && mark.flags & STATE == handshake::ANSWERED;
    if known && segment.ack == mark.server_isn.wrapping_add(1) {
        let first = mark.client_isn.wrapping_add(1);
        if segment.seq == first {
            // What opens a connection must be what opens the server's.
            if handler.checks() & check::TCP_CHECKSUM != 0 && !stack.verify(layout, tcp) {
                return First::Dropped(Reason::BadChecksum);
            }
            if let Err(reason) = lets_in(&mark, tcp) {
                return First::Dropped(reason);
            }
            let opened = open(stack, handler, key, &mark);
            if matches!(opened, First::Opens)
                && let Some(mark) = found
            {
                // SAFETY: plain data that any CPU may overwrite.
                unsafe { (*mark).flags |= handshake::OPENED };
            }
            return opened;
        }
        // The bare acknowledgement that ends a handshake is not sent again, and what follows it may overtake it, or be lost
        // (S2): then this will come again behind it. What begins with the SYN's number would be taken without it, and unread.
        let bytes = segment.payload != 0 || segment.flags & tcp_flag::FIN != 0;
        if (bytes || after(segment.seq, first)) && stack.socket(key, layout.v6) == Socket::Opening {
            return First::Dropped(Reason::OutOfOrder);
        }
    }
    if mark.tag == tag && mark.flags & (handshake::ANSWERED | handshake::RELAYED) == 0 && !H::READS_ALL {
        // Its SYN-ACK has left by another way.
        return First::Unread;
    }
    if predicate.in_place() {
        // Whose connection it is was forgotten, or it is older than the programs: nobody reads it. While its agent is there, a guard
        // lets through only what ends such a connection; an observer counts what passes.
        let guards = H::READS_ALL && control.stands(stack.now_ns());
        return if guards && is_taken(stack, key, layout.v6, segment.payload != 0) {
            First::Dropped(Reason::HandshakeUnseen)
        } else {
            First::Passes
        };
    }
    if role == Role::Plain || mark.tag == tag && mark.flags & handshake::RELAYED != 0 {
        return First::Passes;
    }
    // Whose connection it is was forgotten; or it is the server's and its flow was.
    let of_server = mark.tag == tag && mark.flags & handshake::ACCELERATED != 0 && segment.payload != 0;
    match stack.socket(key, layout.v6) {
        Socket::Opening => First::Dropped(Reason::HandshakeUnseen),
        Socket::Live if of_server && H::READS_ALL => First::Dropped(Reason::HandshakeUnseen),
        Socket::Live if of_server => First::Unread,
        _ => First::Passes,
    }
}

/// Whether the server's half-open connection takes the segment that ends its handshake, as Linux has it (`tcp_check_req`): its
/// timestamp not older than that of the SYN, without the tolerance that there is later, and its echo one that was sent.
#[inline(always)]
fn lets_in(mark: &Mark, tcp: &Tcp) -> Result<(), Reason> {
    if mark.flags & handshake::TIMESTAMPS == 0 || !tcp.segment.timestamps {
        return Ok(());
    }
    if distance(mark.client_tsval, tcp.segment.tsval) > 0 {
        return Err(Reason::OldTimestamp);
    }
    let sent = !before(tcp.tsecr, mark.server_tsval_first) && !after(tcp.tsecr, mark.server_tsval);
    if tcp.tsecr != 0 && !sent { Err(Reason::BadEcho) } else { Ok(()) }
}

#[inline(always)]
fn open<H: Handler, K: Stack<H>>(stack: &K, handler: &H, key: &FlowKey, mark: &Mark) -> First {
    if !stack.insert_flow(key) {
        return match stack.flow(key) {
            Some(_) => First::Opens,
            None if H::READS_ALL => First::Dropped(Reason::FlowTableFull),
            None => First::Passes,
        };
    }
    stack.flows(1);
    let accelerated = mark.flags & handshake::ACCELERATED != 0;
    stack.count(if accelerated { Reason::FlowOpened } else { Reason::FlowObserved }, 1);
    let Some(flow) = stack.flow(key) else { return First::Passes };
    // SAFETY: as long as its flags are zero, nobody else looks at a flow.
    handler.opened(key, unsafe { &mut (*flow).handler });
    let now = outlet::units(stack.now_ns());
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    unsafe {
        (*flow).outlet = Outlet {
            link_first: mark.link_first,
            link_last: mark.link_last,
            ifindex: mark.ifindex,
            service: mark.service,
            heard: now,
            ..Outlet::default()
        };
        (*flow).splice.open(mark);
    }
    stack.unlock(flow);
    First::Opens
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
pub(crate) fn write_key(key: &mut FlowKey, client_port: u16, server_port: u16) {
    key.client_port = client_port;
    key.server_port = server_port;
    key.padding = 0;
}
