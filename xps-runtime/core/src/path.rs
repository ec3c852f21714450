//! The programs of a service at tcx ingress and egress, written once over [`Stack`].
//!
//! The kernel's glue implements [`Stack`] with contexts, helpers and maps; tests implement it with a vector of bytes.
//!
//! Ingress is several programs, which go on in one another by tail calls: a [`Stage`] each. So none is large, and a packet
//! meets no more than concerns it.
//!
//! A service may have another program, at XDP, which stands before them.
//!
//! # Layout
//!
//! - [`arrival`]: packets before the stack has made anything of them.
//! - [`ingress`]: the client's packets: predicate, flow, splice, handler, reply or pass.
//! - [`egress`]: the server's packets on their way back.
//! - [`connect`]: SYN, SYN-ACK and the first ACK.
//! - [`listen`]: who gets a connection to the accelerated port.
//! - [`headers`]: headers that the stack writes itself.
//! - [`icmp`]: errors that routers tell of the server's segments.
//! - [`local`]: which packets are this host's.

pub mod arrival;
pub mod connect;
pub mod egress;
pub mod headers;
pub mod icmp;
pub mod ingress;
pub mod listen;
pub mod local;

use crate::abi::{Bypass, Control, Local, program};
use crate::binding::Shown;
use crate::bound::keep_in_memory;
use crate::flow::{Flow, FlowKey};
use crate::handler::{Handler, Reply, Scan, Window};
use crate::handshake::Mark;
use crate::packet::{Found, Layout, Options, Skb, Tcp};
use crate::predicate::Predicate;
use crate::splice::{Injection, Segment, Translated};
use crate::verdict::Reason;

/// What a program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The next program, or the stack.
    Next,
    /// The packet is gone.
    Drop,
    /// The packet was sent elsewhere; the return code of the helper that did it.
    Redirected(i32),
}

/// What the ingress programs end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An action.
    Done(Action),
    /// Another program goes on, with the same packet and the same working memory.
    Go(Stage),
}

/// The programs of tcx ingress, by their index in [`crate::abi::map::STAGES`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Every packet begins here: [`ingress::run`].
    Ingress = 0,
    /// A connection is opened: [`connect::run`].
    Open = 1,
    /// New bytes of an open connection: [`ingress::request::run`].
    Request = 2,
    /// The stack ends a connection, or has ended it: [`ingress::closing::run`].
    End = 3,
    /// An ICMP error: [`icmp::run`].
    Error = 4,
}

impl Stage {
    /// All of them; each by its index.
    pub const ALL: [Self; STAGES] = [Self::Ingress, Self::Open, Self::Request, Self::End, Self::Error];

    /// Name of its program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Ingress => program::INGRESS,
            Self::Open => program::OPEN,
            Self::Request => program::REQUEST,
            Self::End => program::END,
            Self::Error => program::ERROR,
        }
    }

    /// What becomes of a packet whose program is not in the table: somebody has removed the table's pin, and no agent lives.
    #[inline(always)]
    #[must_use]
    pub const fn without(self) -> Action {
        match self {
            Self::Error => Action::Next,
            _ => Action::Drop,
        }
    }
}

/// Stages that one packet goes through, at most: a first acknowledgement with bytes that end the connection goes from the
/// beginning to its opening, there again, to its request, and to the end.
pub const STAGES_MAX: u32 = 8;

/// How many there are.
pub const STAGES: usize = 5;

/// Where a packet is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Back to where it came from, in the way that suits the device.
    Client,
    /// Into the stack of the server, from the device.
    Server,
}

/// Direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    Request,
    /// Server to client.
    Response,
}

/// State of the server's socket for a tuple on the plain port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Neither a connection nor a listener.
    Absent,
    /// A listener, or a connection that a new one may replace.
    Free,
    /// Being opened.
    Opening,
    /// In use.
    Live,
}

/// Working memory of a program; per CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch<S> {
    /// What the handler reads.
    pub window: Window,
    /// Where the payload is and how far it was read.
    pub reading: Reading,
    /// Key of the packet's flow.
    pub key: FlowKey,
    /// Whether connections to the accelerated port are taken at the server's address (1).
    pub accelerated: u32,
    /// What [`local::role`] said.
    pub role: u32,
    /// Where the packet's headers are.
    pub layout: Layout,
    /// Its TCP header.
    pub tcp: Tcp,
    /// What is for the handler: for [`Stage::Request`].
    pub request: Request,
    /// How the connection ends: for [`Stage::End`].
    pub ending: u32,
    /// What the handler was shown of the payload.
    pub shown: Shown,
    /// Numbers that the client is told beside what becomes of the packet.
    pub told: Injection,
    /// What replaces them.
    pub outgoing: headers::Outgoing,
    /// Which piece of the reply that has behind it: [`headers::piece_of`].
    pub piece: u32,
    /// Whether the packet has turned back already (1): it is another piece.
    pub turned: u32,
    /// Header that is being written.
    pub header: [u8; headers::MAX],
    /// TCP options that are looked through.
    pub options: Options,
    /// The handler's own.
    pub handler: S,
}

/// What of a segment is for the handler.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Request {
    /// Bytes of payload that it has seen before.
    pub skip: u32,
    /// Why it is not answered, whatever it says, if that is known already.
    pub refused: Option<Reason>,
    /// It has read all, and its reply is sent again.
    pub again: bool,
}

/// A payload that is being read.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Reading {
    /// Offset of the payload in the packet.
    pub payload: u32,
    /// Next byte of the payload to read.
    pub position: u32,
    /// Bytes of payload.
    pub end: u32,
    /// Set at the end: bytes behind the payload that need not be read.
    pub skip: u32,
}

impl Reading {
    /// Moves on after the handler has read from the window.
    #[inline(always)]
    pub fn advance(&mut self, window: &mut Window, scan: Scan) {
        match scan {
            // A window that was read to its end is not filled with the same bytes again, whatever the handler says.
            Scan::Again | Scan::Settle if window.at < window.len => return,
            Scan::Skip => self.position = window.base + window.at + window.skip,
            _ => self.position = window.base + window.len,
        }
        window.at = 0;
        window.len = 0;
    }
}

/// What the programs need of the world.
///
/// Pointers to maps' values stay valid while a program runs. Methods that write to the packet return false where the
/// packet could not be changed; it is then dropped, and TCP sends it again.
#[expect(clippy::len_without_is_empty, reason = "a packet has headers")]
pub trait Stack<H: Handler>: Skb {
    /// Packet's length.
    fn len(&self) -> u32;
    /// Port of the socket of this host that has sent the packet, at egress; 0 if there is none.
    fn sender_port(&self) -> u16;
    /// Identifier of the packet's VLAN tag, if it has one. 0 is a priority tag, which is no other device's (T8).
    fn vlan(&self) -> Option<u16>;
    /// [`local::priority_tags_off`], which the kernel verifies as a function of its own.
    fn priority_tags_off(&self) -> bool;
    /// Takes the tag off; one that lies behind it in the packet is the packet's tag then.
    fn pop_tag(&self) -> bool;
    /// Whether the device takes the packet for its own by its link address (`PACKET_HOST`).
    fn for_this_host(&self) -> bool;
    /// Index of the interface.
    fn ifindex(&self) -> u32;
    /// Index of the VRF that the interface is in, 0 for none; `None` if it is not among the hooked ones.
    fn vrf(&self) -> Option<u32>;
    /// What the agent says of an address of this host.
    fn local(&self, address: &[u8; 16]) -> Option<*const Local>;
    /// [`local::role`], which the kernel verifies as a function of its own.
    fn role(&self, scratch: *mut Scratch<H::Scratch>, asked: local::Asked) -> u32;
    /// What [`Stack::set_seen`] has left with the packet, at this or at another device; anything where it did not.
    fn seen(&self) -> u32;
    /// Leaves a word with the packet.
    fn set_seen(&self, word: u32);
    /// The packet's mark.
    fn packet_mark(&self) -> u32;
    /// Index of the predicate that looks at a port, 0 for none.
    fn port(&self, port: u16) -> u8;
    /// A predicate.
    fn predicate(&self, index: u8) -> Option<*const Predicate>;
    /// What the agent says.
    fn control(&self) -> Option<*const Control>;
    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn now_ns(&self) -> u64;
    /// Counts.
    fn count(&self, reason: Reason, n: u64);
    /// Number of flows in the table, after adding `n`.
    fn flows(&self, n: i64) -> u64;
    /// Counts a segment of a connection that is not in the table.
    fn foreign(&self);
    /// Likewise, of one that has come to the server by a way that the stack does not see, and remembers which (T3).
    fn unseen(&self, key: &FlowKey, by: Bypass);
    /// This CPU's working memory.
    fn scratch(&self) -> Option<*mut Scratch<H::Scratch>>;
    /// The flow of a key.
    fn flow(&self, key: &FlowKey) -> Option<*mut Flow<H::State>>;
    /// Puts an all-zero flow into the table. False if it is full, or the key is there.
    fn insert_flow(&self, key: &FlowKey) -> bool;
    /// Removes a flow. Whether it was there.
    fn remove_flow(&self, key: &FlowKey) -> bool;
    /// A mark of the handshake table.
    fn mark(&self, slot: u32) -> Option<*mut Mark>;
    /// State of the server's socket for the key.
    fn socket(&self, key: &FlowKey, v6: bool) -> Socket;
    /// Whether a listener of the server takes the segment whose headers lie in the working memory for the answer to a SYN
    /// cookie: then it opens a connection of which nothing is known.
    fn answers_cookie(&self, v6: bool) -> bool;
    /// Whether the agent itself is just opening this connection.
    fn is_own(&self, key: &FlowKey) -> bool;
    /// Whether the server listens at the key's address on this port; then it will be found there by [`listen`].
    fn listens(&self, key: &FlowKey, v6: bool, plain_port: u16) -> bool;
    /// Takes the flow's lock.
    fn lock(&self, flow: *mut Flow<H::State>);
    /// Gives the flow's lock back.
    fn unlock(&self, flow: *mut Flow<H::State>);
    /// Takes 1 from a claim, atomically and as a full barrier: all that was done under it is seen before.
    fn release(&self, claim: *mut u64);
    /// Shows the payload in `scratch.reading` to the handler. Whether all of it was understood.
    fn scan(
        &self,
        handler: &H,
        direction: Direction,
        flow: *mut Flow<H::State>,
        scratch: *mut Scratch<H::Scratch>,
    ) -> bool;
    /// Adds the window that was shown last to the digest of what was shown.
    fn settle_shown(&self, scratch: *mut Scratch<H::Scratch>);
    /// Digest of `len` bytes at `at` in the packet, as if they were a run that was shown.
    fn digest(&self, scratch: *mut Scratch<H::Scratch>, at: u32, len: u32) -> u64;
    /// Bytes of payload after each of which the packet is cut into segments; 0 if it is one.
    fn cut(&self) -> u32;
    /// Whether the TCP checksum is right, or is the device's to compute.
    fn verify(&self, layout: &Layout, tcp: &Tcp) -> bool;
    /// Copies `len` bytes (1 to 40) at `offset` to the scratch's options and walks over them: [`Options::walk`], which the
    /// kernel verifies as a function of its own.
    fn read_options(&self, offset: u32, len: u32, scratch: *mut Scratch<H::Scratch>) -> bool;
    /// Replaces sequence and acknowledgement number, given in network order, and keeps the checksum right.
    fn replace_numbers(&self, layout: &Layout, old: &[u32; 2], new: &[u32; 2]) -> bool;
    /// Replaces two bytes of the TCP header at an even `offset` from it, and keeps the checksum right.
    fn replace_half(&self, layout: &Layout, offset: u32, old: u16, new: u16) -> bool;
    /// Writes `scratch.outgoing` and the reply: [`headers::write`], which the kernel verifies as a function of its own.
    fn write(&self, scratch: *mut Scratch<H::Scratch>, reply: Option<*const Reply>) -> bool;
    /// Makes the packet `len` bytes long.
    fn set_len(&self, len: u32) -> bool;
    /// Overwrites the packet's first `len` bytes with the scratch's header.
    fn store_header(&self, scratch: *const Scratch<H::Scratch>, len: u32) -> bool;
    /// Overwrites the packet from `offset` with the reply, or a [piece](headers::piece_of) of it.
    fn store_reply(&self, offset: u32, reply: *const Reply, piece: u32) -> bool;
    /// Sum of these bytes as big-endian words.
    fn sum_reply(&self, reply: *const Reply, piece: u32) -> u64;
    /// Replaces four bytes at `offset` from the Ethernet header, given in network order, and keeps the checksum at `checksum`
    /// right.
    fn replace_word(&self, offset: u32, checksum: u32, old: u32, new: u32) -> bool;
    /// [`ingress::pieces::send`], which the kernel verifies as a function of its own.
    fn send_pieces(&self, scratch: *mut Scratch<H::Scratch>, flow: *mut Flow<H::State>) -> u32;
    /// Most bytes of payload that the server's socket for the key sends at once; 0 if there is none.
    fn socket_mss(&self, key: &FlowKey, v6: bool) -> u16;
    /// Sends the packet, marked as the programs' own where they will see it again. `via` is 0, or the interface by which the
    /// kernel finds the next hop.
    fn redirect(&self, target: Target, mark: u32, via: u32) -> Action;
    /// Sends a copy of the packet, marked as the programs' own.
    fn send_copy(&self, target: Target, mark: u32) -> bool;
    /// Takes the packet's mark away.
    fn clear_packet_mark(&self);
}

/// Puts what was read of a packet's headers into the working memory, where [`write`] needs it, and gives it from there.
///
/// The ingress program does so at once: to the verifier all packets look alike from here on, however long their headers
/// are. The egress program only if it writes: it also runs within the other one, on what that sends out of the device.
#[inline(always)]
pub(crate) fn remember<'a, S>(scratch: *mut Scratch<S>, layout: Layout, tcp: Tcp) -> (&'a Layout, &'a Tcp) {
    // SAFETY: the scratch value is this CPU's own while the program runs, and nothing else writes these fields.
    unsafe {
        (*scratch).layout = layout;
        (*scratch).tcp = tcp;
        keep_in_memory();
        (&(*scratch).layout, &(*scratch).tcp)
    }
}

/// The first part of [`remember`].
#[inline(always)]
pub(crate) fn remember_layout<'a, S>(scratch: *mut Scratch<S>, layout: Layout) -> &'a Layout {
    // SAFETY: as in `remember`.
    unsafe {
        (*scratch).layout = layout;
        keep_in_memory();
        &(*scratch).layout
    }
}

/// Replaces the packet, whose headers were [remembered](remember), by `outgoing` with `reply` as payload. Whether it could be
/// written.
#[inline(always)]
pub(crate) fn write<H: Handler, K: Stack<H>>(
    stack: &K,
    scratch: *mut Scratch<H::Scratch>,
    outgoing: &headers::Outgoing,
    reply: Option<*const Reply>,
) -> bool {
    describe(scratch, outgoing);
    stack.write(scratch, reply)
}

/// Puts down the header of a packet that is to be written, with all of its payload.
#[inline(always)]
pub(crate) fn describe<S>(scratch: *mut Scratch<S>, outgoing: &headers::Outgoing) {
    // SAFETY: the scratch value is this CPU's own while the program runs.
    unsafe {
        (*scratch).outgoing = *outgoing;
        (*scratch).piece = 0;
        (*scratch).turned = 0;
    }
}

/// To the other side, translated.
#[inline(always)]
pub(crate) fn forward<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: &Layout,
    tcp: &Tcp,
    scratch: *mut Scratch<H::Scratch>,
    to: Translated,
    offset: bool,
) -> Action {
    if !offset
        || (!tcp.more_options || blank_sack(stack, layout, tcp, scratch))
            && translate(stack, layout, &tcp.segment, to)
    {
        return Action::Next;
    }
    stack.count(Reason::WriteFailed, 1);
    Action::Drop
}

/// Puts translated numbers into the TCP header.
#[inline(always)]
fn translate<H: Handler, K: Stack<H>>(stack: &K, layout: &Layout, segment: &Segment, to: Translated) -> bool {
    let old = [segment.seq.to_be(), segment.ack.to_be()];
    let new = [to.seq.to_be(), to.ack.to_be()];
    old == new || stack.replace_numbers(layout, &old, &new)
}

/// Replaces SACK blocks by padding (S7): their numbers are of the other numbering, and a sender without them only
/// repeats more.
#[inline(always)]
fn blank_sack<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: &Layout,
    tcp: &Tcp,
    scratch: *mut Scratch<H::Scratch>,
) -> bool {
    let found = options(stack, layout, tcp, scratch);
    if !found.sacks {
        return true;
    }
    let at = found.sack;
    // The kind becomes that of an experiment nobody knows (RFC 6994: 254), the length stays: one byte to change. A
    // receiver skips options that it does not know by their length (RFC 9293 §3.1).
    let offset = 20 + (at & !1);
    let Some(old) = stack.half(layout.tcp + offset) else { return false };
    let new = if at & 1 == 0 { 254 << 8 | old & 0xff } else { old & 0xff00 | 254 };
    stack.replace_half(layout, offset, old, new)
}

/// The options of the packet's TCP header; options that cannot be read count as foreign.
#[inline(always)]
pub(crate) fn options<H: Handler, K: Stack<H>>(
    stack: &K,
    layout: &Layout,
    tcp: &Tcp,
    scratch: *mut Scratch<H::Scratch>,
) -> Found {
    let len = tcp.header - 20;
    let read = len == 0 || stack.read_options(layout.tcp + 20, len, scratch);
    // SAFETY: the scratch value is this CPU's own while the program runs.
    let mut found = unsafe { (*scratch).options.found() };
    if len == 0 {
        found = Found {
            mss: 536,
            shifts: false,
            shift: 0,
            timestamps: false,
            tsval: 0,
            tsecr: 0,
            foreign: false,
            refused: false,
            sacks: false,
            sack: 0,
        };
    }
    found.foreign |= !read;
    found
}
