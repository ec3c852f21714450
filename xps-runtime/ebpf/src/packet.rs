//! A `__sk_buff` as [`Stack`].

use core::ffi::c_void;
use core::marker::PhantomData;

use aya_ebpf::bindings::{
    __sk_buff, BPF_CSUM_LEVEL_QUERY, BPF_F_CURRENT_NETNS, BPF_F_INGRESS, BPF_F_RECOMPUTE_CSUM, bpf_sock,
    bpf_sock_tuple, bpf_spin_lock as kernel_lock,
};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::TcContext;
use xps_core::abi::{Bypass, Control, Local, Redirect};
use xps_core::binding::PIECE_MAX;
use xps_core::bound::{masked, sized, unknown};
use xps_core::checksum;
use xps_core::flow::{Flow, FlowKey};
use xps_core::handler::{Handler, REPLY_MAX, Reply, Scan, WINDOW};
use xps_core::handshake::Mark;
use xps_core::packet::{Layout, OPTIONS_MAX, Options, Skb, Tcp};
use xps_core::path::headers::{PIECE_BYTES, PIECES_MAX, piece_of};
use xps_core::path::listen::ListenerKey;
use xps_core::path::{Action, Direction, Reading, Scratch, Socket, Stack, Target, headers, local};
use xps_core::predicate::Predicate;
use xps_core::verdict::Reason;
use xps_core::word::{load_u16, load_u32};

use crate::atomic;
use crate::linear;
use crate::maps::Maps;

/// Reads a field of the context as the one load of 32 bits that the kernel translates.
macro_rules! field {
    ($skb:expr, $name:ident) => {
        // SAFETY: a field of the program's own context.
        unsafe { core::ptr::read_volatile(&raw const (*$skb).$name) }
    };
}

/// The packet that a program was called with.
pub struct Packet<'a, M> {
    ctx: &'a TcContext,
    maps: PhantomData<M>,
}

/// Where the last piece of a reply begins.
const LAST_PIECE: u32 = (PIECES_MAX - 1) * PIECE_BYTES;

/// No socket: no state has this number.
pub const ABSENT: u32 = 0xff;

/// State numbers of the kernel's sockets (include/net/tcp_states.h).
const TCP_TIME_WAIT: u32 = 6;
const TCP_CLOSE: u32 = 7;
pub(crate) const TCP_LISTEN: u32 = 10;
const TCP_NEW_SYN_RECV: u32 = 12;

/// `PACKET_HOST` (include/uapi/linux/if_packet.h).
const PACKET_HOST: u32 = 0;

/// The identifier in a VLAN tag (`VLAN_VID_MASK`).
const VLAN_ID: u16 = 0x0fff;

/// Which word of a packet's control block is left to the hooks at other devices: the last one, which the IP layer does not use
/// (`struct inet_skb_parm`, `inet6_skb_parm`), where a packet passes it on its way from a device to the one below (ipvlan).
const SEEN: usize = 4;

/// Where the device gave the sum of the whole packet (`CHECKSUM_COMPLETE`), it follows what is written: an acknowledgement
/// that goes on to the server is checked against it.
const KEEP_SUM: u64 = BPF_F_RECOMPUTE_CSUM as u64;

impl<'a, M> Packet<'a, M> {
    /// The packet of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &'a TcContext) -> Self {
        Self { ctx, maps: PhantomData }
    }

    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.ctx.skb.skb
    }
}

impl<M> Packet<'_, M> {
    #[inline(always)]
    fn set_mark(&self, mark: u32) {
        // SAFETY: a writable field of the program's own context.
        unsafe { core::ptr::write_volatile(&raw mut (*self.skb()).mark, mark) }
    }

    /// The place of `N` bytes at `offset` in the packet's linear part.
    #[inline(always)]
    fn within<const N: usize>(&self, offset: u32) -> Option<*const u8> {
        // SAFETY: the program's own context.
        unsafe { linear::within::<N, _>(self.skb(), offset) }
    }
}

impl<M> Skb for Packet<'_, M> {
    #[inline(always)]
    fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: any bytes are an array of bytes.
        self.within::<N>(offset).map(|at| unsafe { at.cast::<[u8; N]>().read() })
    }

    #[inline(always)]
    fn half(&self, offset: u32) -> Option<u16> {
        // SAFETY: two bytes are there.
        self.within::<2>(offset).map(|at| u16::from_be(unsafe { load_u16(at) }))
    }

    #[inline(always)]
    fn word(&self, offset: u32) -> Option<u32> {
        // SAFETY: four bytes are there.
        self.within::<4>(offset).map(|at| u32::from_be(unsafe { load_u32(at) }))
    }

    #[inline(always)]
    fn reach(&self, len: u32) {
        // SAFETY: the program's own context.
        let (start, end) = unsafe { linear::bounds(self.skb()) };
        if start.wrapping_add((len & 0x1ff) as usize) > end {
            let all = field!(self.skb(), len);
            // SAFETY: the helper checks the length; pointers into the packet are taken anew by each read.
            unsafe { helper::bpf_skb_pull_data(self.skb(), if all < len { all } else { len }) };
        }
    }

    #[inline(always)]
    fn protocol(&self) -> u16 {
        u16::from_be(field!(self.skb(), protocol) as u16)
    }

    #[inline(always)]
    fn uncut_len(&self) -> u32 {
        if field!(self.skb(), gso_size) == 0 { 0 } else { field!(self.skb(), len) }
    }

    #[inline(always)]
    fn completed_later(&self, offset: u32) -> bool {
        // The kernel tells no program, but it leaves such a checksum alone when a change outside of the pseudo-header is
        // announced (net/core/utils.c: inet_proto_csum_replace4): so one is announced, and taken back.
        let Some(before) = self.half(offset) else { return false };
        // SAFETY: the helper checks the offset; pointers into the packet are taken anew by each read.
        unsafe { helper::bpf_l4_csum_replace(self.skb(), offset, 0, 1, 2) };
        if self.half(offset) == Some(before) {
            return true;
        }
        // SAFETY: as above.
        unsafe { helper::bpf_l4_csum_replace(self.skb(), offset, 1, 0, 2) };
        false
    }
}

impl<H: Handler, M: Maps<H>> Stack<H> for Packet<'_, M> {
    #[inline(always)]
    fn len(&self) -> u32 {
        field!(self.skb(), len)
    }

    #[inline(always)]
    fn vlan(&self) -> Option<u16> {
        if field!(self.skb(), vlan_present) == 0 {
            return None;
        }
        Some(field!(self.skb(), vlan_tci) as u16 & VLAN_ID)
    }

    #[inline(always)]
    fn priority_tags_off(&self) -> bool {
        M::priority_tags_off(self.skb())
    }

    #[inline(always)]
    fn pop_tag(&self) -> bool {
        // SAFETY: the program's own context; pointers into the packet are taken anew by each read.
        unsafe { helper::bpf_skb_vlan_pop(self.skb()) == 0 }
    }

    #[inline(always)]
    fn for_this_host(&self) -> bool {
        field!(self.skb(), pkt_type) == PACKET_HOST
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        field!(self.skb(), ifindex)
    }

    #[inline(always)]
    fn vrf(&self) -> Option<u32> {
        // SAFETY: a map's value.
        M::device(field!(self.skb(), ifindex)).map(|device| unsafe { (*device).vrf })
    }

    #[inline(always)]
    fn local(&self, address: &[u8; 16]) -> Option<*const Local> {
        M::local(address)
    }

    #[inline(always)]
    fn role(&self, _: *mut Scratch<H::Scratch>, asked: local::Asked) -> u32 {
        M::role(self.skb(), asked)
    }

    #[inline(always)]
    fn seen(&self) -> u32 {
        // SAFETY: a field of the program's own context.
        unsafe { core::ptr::read_volatile(&raw const (*self.skb()).cb[SEEN]) }
    }

    #[inline(always)]
    fn set_seen(&self, word: u32) {
        // SAFETY: a writable field of the program's own context.
        unsafe { core::ptr::write_volatile(&raw mut (*self.skb()).cb[SEEN], word) }
    }

    #[inline(always)]
    fn sender_port(&self) -> u16 {
        // SAFETY: a field of the program's own context, and of a socket that stays while the packet does.
        unsafe {
            let socket = core::ptr::read_volatile(&raw const (*self.skb()).__bindgen_anon_2.sk);
            if socket.is_null() { 0 } else { core::ptr::read_volatile(&raw const (*socket).src_port) as u16 }
        }
    }

    #[inline(always)]
    fn packet_mark(&self) -> u32 {
        field!(self.skb(), mark)
    }

    #[inline(always)]
    fn clear_packet_mark(&self) {
        self.set_mark(0);
    }

    #[inline(always)]
    fn port(&self, port: u16) -> u8 {
        let Some(ports) = M::ports() else { return 0 };
        // SAFETY: the table has a byte for each value of `port`.
        unsafe { *ports.cast::<u8>().add(masked::<0xffff>(u32::from(port))) }
    }

    #[inline(always)]
    fn predicate(&self, index: u8) -> Option<*const Predicate> {
        M::predicate(u32::from(index))
    }

    #[inline(always)]
    fn control(&self) -> Option<*const Control> {
        M::control()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { helper::bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn count(&self, reason: Reason, n: u64) {
        if let Some(counter) = M::counter(reason as u32) {
            // SAFETY: this CPU's counter; programs of this kind do not interrupt each other there.
            unsafe { *counter += n };
        }
    }

    #[inline(always)]
    fn flows(&self, n: i64) -> u64 {
        let Some(state) = M::state() else { return u64::MAX };
        // SAFETY: a word of the map's value, aligned.
        unsafe {
            let flows = &raw mut (*state).flows;
            if n == 0 {
                core::ptr::read_volatile(flows)
            } else {
                atomic::fetch_add(flows, n as u64).wrapping_add(n as u64)
            }
        }
    }

    #[inline(always)]
    fn foreign(&self) {
        if let Some(state) = M::state() {
            // SAFETY: a word of the map's value, aligned.
            unsafe { atomic::add(&raw mut (*state).foreign, 1) };
        }
    }

    #[inline(always)]
    fn unseen(&self, key: &FlowKey, by: Bypass) {
        if let Some(state) = M::state() {
            // SAFETY: words of the map's value, aligned; the key is for people to read.
            unsafe {
                (*state).unseen_key = *key;
                (*state).unseen_by = by as u64;
                atomic::add(&raw mut (*state).unseen, 1);
                atomic::add(&raw mut (*state).foreign, 1);
            }
        }
    }

    #[inline(always)]
    fn scratch(&self) -> Option<*mut Scratch<H::Scratch>> {
        M::scratch()
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<*mut Flow<H::State>> {
        M::flow(key)
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey) -> bool {
        M::insert_flow(key)
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) -> bool {
        M::remove_flow(key)
    }

    #[inline(always)]
    fn mark(&self, slot: u32) -> Option<*mut Mark> {
        M::mark(slot)
    }

    #[inline(always)]
    fn socket(&self, _: &FlowKey, v6: bool) -> Socket {
        match M::socket_state(self.skb(), u32::from(v6)) & 0xff {
            ABSENT => Socket::Absent,
            TCP_LISTEN | TCP_TIME_WAIT | TCP_CLOSE => Socket::Free,
            TCP_NEW_SYN_RECV => Socket::Opening,
            _ => Socket::Live,
        }
    }

    #[inline(always)]
    fn socket_mss(&self, _: &FlowKey, v6: bool) -> u16 {
        (M::socket_state(self.skb(), u32::from(v6)) >> 16) as u16
    }

    #[inline(always)]
    fn answers_cookie(&self, v6: bool) -> bool {
        M::answers_cookie(self.skb(), u32::from(v6)) != 0
    }

    #[inline(always)]
    fn is_own(&self, key: &FlowKey) -> bool {
        M::is_own(key)
    }

    #[inline(always)]
    fn listens(&self, _: &FlowKey, v6: bool, plain_port: u16) -> bool {
        M::listens(self.skb(), u32::from(v6), u32::from(plain_port)) != 0
    }

    #[inline(always)]
    fn lock(&self, flow: *mut Flow<H::State>) {
        // SAFETY: the value's lock, which the map's BTF names.
        unsafe { helper::bpf_spin_lock((&raw mut (*flow).lock).cast::<kernel_lock>()) };
    }

    #[inline(always)]
    fn unlock(&self, flow: *mut Flow<H::State>) {
        // SAFETY: as in `lock`.
        unsafe { helper::bpf_spin_unlock((&raw mut (*flow).lock).cast::<kernel_lock>()) };
    }

    #[inline(always)]
    fn release(&self, claim: *mut u64) {
        // SAFETY: a word of the map's value, aligned.
        unsafe { atomic::fetch_add(claim, u64::MAX) };
    }

    #[inline(always)]
    fn scan(
        &self,
        _: &H,
        direction: Direction,
        flow: *mut Flow<H::State>,
        scratch: *mut Scratch<H::Scratch>,
    ) -> bool {
        // SAFETY: the address of a field of a map's value.
        let state = unsafe { &raw mut (*flow).handler };
        match direction {
            Direction::Request => M::scan_request(self.skb(), state, scratch),
            Direction::Response => M::scan_response(self.skb(), state, scratch),
        }
    }

    #[inline(always)]
    fn settle_shown(&self, _: *mut Scratch<H::Scratch>) {
        M::settle_shown();
    }

    #[inline(always)]
    fn digest(&self, _: *mut Scratch<H::Scratch>, at: u32, len: u32) -> u64 {
        M::digest(self.skb(), at, len)
    }

    #[inline(always)]
    fn cut(&self) -> u32 {
        field!(self.skb(), gso_size)
    }

    #[inline(always)]
    fn verify(&self, _: &Layout, _: &Tcp) -> bool {
        M::verify(self.skb()) != 0
    }

    #[inline(always)]
    fn read_options(&self, offset: u32, len: u32, scratch: *mut Scratch<H::Scratch>) -> bool {
        if len == 0 || len > OPTIONS_MAX {
            return false;
        }
        M::walk_options(self.skb(), scratch, offset, len)
    }

    #[inline(always)]
    fn replace_numbers(&self, layout: &Layout, old: &[u32; 2], new: &[u32; 2]) -> bool {
        // What `bpf_csum_diff` computes, without a call.
        let mut difference = 0;
        for i in 0..2 {
            difference += u64::from(!old[i]) + u64::from(new[i]);
        }
        difference = (difference & 0xffff_ffff) + (difference >> 32);
        difference = (difference & 0xffff_ffff) + (difference >> 32);
        // SAFETY: eight bytes, which the helper only reads.
        unsafe {
            helper::bpf_l4_csum_replace(self.skb(), layout.tcp + 16, 0, difference, 0) == 0
                && helper::bpf_skb_store_bytes(self.skb(), layout.tcp + 4, new.as_ptr().cast(), 8, 0) == 0
        }
    }

    #[inline(always)]
    fn replace_half(&self, layout: &Layout, offset: u32, old: u16, new: u16) -> bool {
        let (old, new) = (old.to_be(), new.to_be());
        // SAFETY: two bytes.
        unsafe {
            helper::bpf_l4_csum_replace(self.skb(), layout.tcp + 16, u64::from(old), u64::from(new), 2) == 0
                && helper::bpf_skb_store_bytes(self.skb(), layout.tcp + offset, (&raw const new).cast(), 2, 0)
                    == 0
        }
    }

    #[inline(always)]
    fn replace_word(&self, offset: u32, checksum: u32, old: u32, new: u32) -> bool {
        // SAFETY: four bytes.
        unsafe {
            helper::bpf_l4_csum_replace(self.skb(), checksum, u64::from(old), u64::from(new), 4) == 0
                && helper::bpf_skb_store_bytes(self.skb(), offset, (&raw const new).cast(), 4, 0) == 0
        }
    }

    #[inline(always)]
    fn send_pieces(&self, _: *mut Scratch<H::Scratch>, _: *mut Flow<H::State>) -> u32 {
        M::send_pieces(self.skb())
    }

    #[inline(always)]
    fn write(&self, scratch: *mut Scratch<H::Scratch>, reply: Option<*const Reply>) -> bool {
        M::write(self.skb(), scratch, reply.unwrap_or(core::ptr::null()))
    }

    #[inline(always)]
    fn set_len(&self, len: u32) -> bool {
        // SAFETY: the helper checks the length.
        unsafe { helper::bpf_skb_change_tail(self.skb(), len, 0) == 0 }
    }

    #[inline(always)]
    fn store_header(&self, scratch: *const Scratch<H::Scratch>, len: u32) -> bool {
        let Some(len) = sized(len, headers::MAX as u32) else { return false };
        // SAFETY: at most the header's length.
        unsafe {
            let header = (&raw const (*scratch).header).cast();
            helper::bpf_skb_store_bytes(self.skb(), 0, header, len, KEEP_SUM) == 0
        }
    }

    #[inline(always)]
    fn store_reply(&self, offset: u32, reply: *const Reply, piece: u32) -> bool {
        // SAFETY: a reply in a flow.
        let (from, len) = piece_of(unsafe { (*reply).len }, piece);
        let from = unknown(from);
        let longest = if from == 0 { REPLY_MAX as u32 } else { PIECE_BYTES };
        if from > LAST_PIECE {
            return false;
        }
        let Some(len) = sized(len, longest) else { return false };
        // SAFETY: a reply in a flow; within its buffer.
        unsafe {
            let bytes = (&raw const (*reply).bytes).cast::<u8>().add(from as usize);
            helper::bpf_skb_store_bytes(self.skb(), offset, bytes.cast(), len, KEEP_SUM) == 0
        }
    }

    #[inline(always)]
    fn sum_reply(&self, reply: *const Reply, piece: u32) -> u64 {
        M::sum_reply(reply, piece)
    }

    #[inline(always)]
    fn redirect(&self, target: Target, mark: u32, via: u32) -> Action {
        if via != 0 {
            self.set_mark(mark);
            // SAFETY: no parameters: the kernel looks the next hop up.
            return Action::Redirected(
                unsafe { helper::bpf_redirect_neigh(via, core::ptr::null_mut(), 0, 0) } as i32,
            );
        }
        let ifindex = field!(self.skb(), ifindex);
        let way = way::<H, M>(ifindex);
        if target == Target::Server || way != Redirect::Peer as u32 {
            self.set_mark(mark);
        }
        Action::Redirected(redirect(ifindex, target, way))
    }

    #[inline(always)]
    fn send_copy(&self, target: Target, mark: u32) -> bool {
        let ifindex = field!(self.skb(), ifindex);
        let flags = direction(target, way::<H, M>(ifindex));
        let before = field!(self.skb(), mark);
        self.set_mark(mark);
        // SAFETY: the helper copies the packet.
        let sent = unsafe { helper::bpf_clone_redirect(self.skb(), ifindex, flags) == 0 };
        self.set_mark(before);
        sent
    }
}

/// Sum of the bytes of a reply, or of a piece of it, as big-endian words.
#[inline(always)]
pub fn sum_reply(reply: *const Reply, piece: u32) -> u64 {
    // SAFETY: a reply in a flow; its tail up to a whole word is zero.
    unsafe {
        let (from, len) = piece_of((*reply).len, piece);
        let end = from + len;
        let mut sum = 0;
        let mut at = from;
        for _ in 0..PIECES_MAX {
            if at >= end {
                break;
            }
            let mut part = (end - at + 3) & !3;
            // Up to kernel 6.12 at most 512 bytes are summed at once.
            if part > PIECE_BYTES {
                part = PIECE_BYTES;
            }
            let (part, from) = (unknown(part), unknown(at));
            if part > PIECE_BYTES || from > LAST_PIECE {
                break;
            }
            let bytes = (&raw const (*reply).bytes).cast::<u8>().add(from as usize);
            sum += checksum::from_native(helper::bpf_csum_diff(
                core::ptr::null_mut(),
                0,
                bytes.cast_mut().cast(),
                part,
                0,
            ) as u32);
            at += PIECE_BYTES;
        }
        sum
    }
}

/// State of the server's socket for the key in the working memory, [`ABSENT`] if there is none; and from bit 16 on how many bytes
/// it sends at once, if it is a connection.
#[inline(always)]
pub fn socket_state<S>(skb: *mut __sk_buff, scratch: *const Scratch<S>, v6: bool) -> u32 {
    // SAFETY: this CPU's working memory.
    let key = unsafe { &(*scratch).key };
    let socket = lookup(skb, key, v6, key.client_port, key.server_port);
    if socket.is_null() {
        return ABSENT;
    }
    // SAFETY: the socket is ours until released; null unless it is a whole TCP socket.
    let mss = unsafe {
        let tcp = helper::bpf_tcp_sock(socket);
        if tcp.is_null() { 0 } else { core::ptr::read_volatile(&raw const (*tcp).mss_cache) }
    };
    let mss = if mss > 0xffff { 0xffff } else { mss };
    release(socket) | mss << 16
}

/// Whether the server listens on this port at the address of the key in the working memory; then it is in `listeners`.
#[inline(always)]
pub fn listens<S>(
    skb: *mut __sk_buff,
    scratch: *const Scratch<S>,
    listeners: *mut c_void,
    v6: bool,
    plain_port: u16,
) -> bool {
    // SAFETY: this CPU's working memory.
    let key = unsafe { &(*scratch).key };
    let listener = ListenerKey { address: key.server, port: plain_port, padding: [0; 3] };
    let listener = (&raw const listener).cast();
    // SAFETY: the key is initialised; a socket that is found is released. The map forgets sockets that are closed.
    let known = unsafe { helper::bpf_map_lookup_elem(listeners, listener) };
    if !known.is_null() {
        release(known.cast());
        return true;
    }
    // No client has the port 0, so only a listener is found.
    let socket = lookup(skb, key, v6, 0, plain_port);
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is ours until released.
    let kept = unsafe { helper::bpf_map_update_elem(listeners, listener, socket.cast(), 0) };
    release(socket) == TCP_LISTEN && kept == 0
}

/// The server's socket for a client's port and one of its own: a reference to be [released](release), or null.
#[inline(always)]
pub(crate) fn lookup(
    skb: *mut __sk_buff,
    key: &FlowKey,
    v6: bool,
    client_port: u16,
    server_port: u16,
) -> *mut bpf_sock {
    // SAFETY: plain data, all zero is valid.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = {
        let tuple = &mut tuple.__bindgen_anon_1;
        if v6 {
            tuple.ipv6.saddr = words(&key.client);
            tuple.ipv6.daddr = words(&key.server);
            tuple.ipv6.sport = client_port.to_be();
            tuple.ipv6.dport = server_port.to_be();
            36
        } else {
            tuple.ipv4.saddr = words(&key.client)[3];
            tuple.ipv4.daddr = words(&key.server)[3];
            tuple.ipv4.sport = client_port.to_be();
            tuple.ipv4.dport = server_port.to_be();
            12
        }
    };
    // SAFETY: the tuple is initialised.
    unsafe { helper::bpf_skc_lookup_tcp(skb.cast(), &raw mut tuple, size, BPF_F_CURRENT_NETNS as u64, 0) }
}

/// Gives a socket back that is not null. The state that it was in.
#[inline(always)]
pub(crate) fn release(socket: *mut bpf_sock) -> u32 {
    // SAFETY: the caller has a reference, and does not use it afterwards.
    unsafe {
        let state = core::ptr::read_volatile(&raw const (*socket).state);
        helper::bpf_sk_release(socket.cast());
        state
    }
}

/// Sends the packet back out of the device that it is at, whose [`Redirect`] is `way`. What the program then returns.
#[inline(always)]
pub fn redirect(ifindex: u32, target: Target, way: u32) -> i32 {
    // SAFETY: the helpers take any index.
    let code = unsafe {
        if target == Target::Client && way == Redirect::Peer as u32 {
            helper::bpf_redirect_peer(ifindex, 0)
        } else {
            helper::bpf_redirect(ifindex, direction(target, way))
        }
    };
    code as i32
}

/// How packets leave a device: a [`Redirect`].
#[inline(always)]
fn way<H: Handler, M: Maps<H>>(ifindex: u32) -> u32 {
    match M::device(ifindex) {
        // SAFETY: a map's value.
        Some(device) => unsafe { (*device).redirect },
        None => Redirect::Egress as u32,
    }
}

/// Flags of a redirection. What is sent out of loopback comes in again, with the route that it has; what is put into its
/// ingress has lost it, and the stack finds none for 127.0.0.0/8 but what a socket remembers, if it does.
#[inline(always)]
const fn direction(target: Target, way: u32) -> u64 {
    match target {
        Target::Server if way != Redirect::Loopback as u32 => BPF_F_INGRESS as u64,
        _ => 0,
    }
}

#[inline(always)]
fn words(bytes: &[u8; 16]) -> [u32; 4] {
    // SAFETY: sixteen bytes either way.
    unsafe {
        [
            load_u32(bytes.as_ptr()),
            load_u32(bytes.as_ptr().add(4)),
            load_u32(bytes.as_ptr().add(8)),
            load_u32(bytes.as_ptr().add(12)),
        ]
    }
}

/// Copies TCP options to the scratch value and walks over them. Whether they could be read.
#[inline(always)]
pub fn walk_options<S>(
    ctx: *mut __sk_buff,
    scratch: *mut Scratch<S>,
    offset: u32,
    len: u32,
    step: impl Fn() -> bool,
) -> bool {
    // Arguments of a verified function are 64 bits wide, of which only the lower ones count.
    let Some(len) = sized(masked::<63>(len) as u32, OPTIONS_MAX) else { return false };
    // SAFETY: this CPU's own; the buffer has 64 bytes.
    unsafe {
        let options = &mut (*scratch).options;
        if helper::bpf_skb_load_bytes(ctx.cast(), offset, options.bytes.as_mut_ptr().cast(), len) != 0 {
            return false;
        }
        options.len = len;
        options.begin();
    }
    Options::each(step);
    true
}

/// Sum of the packet's bytes from `from` to `end` as big-endian words, `u64::MAX` if they cannot be read. `part` is [`sum_part`].
#[inline(always)]
pub fn sum(from: u32, end: u32, part: impl Fn(u32, u32) -> u64) -> u64 {
    let mut sum = 0;
    let mut at = from;
    for _ in 0..(65536 / WINDOW + 1) {
        if at >= end {
            break;
        }
        let part = part(at, end);
        if part == u64::MAX {
            return part;
        }
        sum += part;
        at += WINDOW as u32;
    }
    sum
}

/// Sum of the packet's next [`WINDOW`] bytes from `at` on, or of those before `end`.
#[inline(always)]
pub fn sum_part<S>(ctx: *mut __sk_buff, scratch: *mut Scratch<S>, at: u32, end: u32) -> u64 {
    // SAFETY: this CPU's own; the window is not in use before the payload is read.
    let window = unsafe { (*scratch).window.bytes.as_mut_ptr() };
    let (at, end) = (masked::<0x1ffff>(at) as u32, masked::<0x1ffff>(end) as u32);
    let mut len = end.saturating_sub(at);
    if len > WINDOW as u32 {
        len = WINDOW as u32;
    }
    let Some(len) = sized(len, WINDOW as u32) else { return 0 };
    // A short end is padded with zeros, which add nothing.
    // SAFETY: the window has WINDOW bytes; `len` is at most that.
    let part = unsafe {
        if len < WINDOW as u32 {
            for word in 0..WINDOW / 8 {
                window.cast::<u64>().add(word).write_volatile(0);
            }
        }
        if helper::bpf_skb_load_bytes(ctx.cast(), at, window.cast(), len) != 0 {
            return u64::MAX;
        }
        helper::bpf_csum_diff(core::ptr::null_mut(), 0, window.cast(), WINDOW as u32, 0)
    };
    checksum::from_native(part as u32)
}

/// Whether the TCP checksum of the packet, whose headers are in the working memory, is right or the device's to compute.
#[inline(always)]
pub fn verify<H: Handler, M: Maps<H>>(packet: &Packet<'_, M>, scratch: *const Scratch<H::Scratch>) -> bool {
    // SAFETY: this CPU's working memory.
    let (layout, tcp) = unsafe { (&(*scratch).layout, &(*scratch).tcp) };
    if headers::partial(packet, layout, tcp) {
        return true;
    }
    // SAFETY: asks for the level only.
    if unsafe { helper::bpf_csum_level(packet.skb(), u64::from(BPF_CSUM_LEVEL_QUERY)) } >= 0 {
        return true; // The device has checked it.
    }
    let Some(pseudo) = headers::pseudo_sum(packet, layout, layout.end - layout.tcp) else { return false };
    let sum = M::sum(packet.skb(), layout.tcp, layout.end);
    sum != u64::MAX && checksum::fold(pseudo + sum) == 0xffff
}

/// Digest of `len` bytes at `at` in the packet, as if they were a run that was shown; `digest` is that of the window. 0 if they cannot
/// be read.
#[inline(always)]
pub fn digest_of<S>(
    ctx: *mut __sk_buff,
    scratch: *mut Scratch<S>,
    at: u32,
    len: u32,
    digest: impl Fn(u32, u32) -> u64,
) -> u64 {
    // Where it stands is kept in memory: to the verifier all steps look alike then.
    // SAFETY: this CPU's own; neither is in use before the payload is read.
    let (reading, window) = unsafe { (&raw mut (*scratch).reading, (*scratch).window.bytes.as_mut_ptr()) };
    // SAFETY: as above.
    unsafe { *reading = Reading { payload: at, position: 0, end: len, skip: 0 } };
    let mut sum = 0u64;
    for _ in 0..(PIECE_MAX as usize / WINDOW) {
        // SAFETY: as above.
        let Reading { payload: at, position: offset, end, .. } = unsafe { reading.read_volatile() };
        let left = end.wrapping_sub(offset);
        if left == 0 {
            break;
        }
        let len = if left > WINDOW as u32 { WINDOW as u32 } else { left };
        let Some(len) = sized(len, WINDOW as u32) else { return 0 };
        // SAFETY: the window has WINDOW bytes; `len` is at most that.
        if unsafe { helper::bpf_skb_load_bytes(ctx.cast(), at & 0x1ffff, window.cast(), len) } != 0 {
            return 0;
        }
        sum = sum.wrapping_add(digest(offset, len));
        // SAFETY: as above.
        unsafe {
            (*reading).payload = at.wrapping_add(len);
            (*reading).position = offset.wrapping_add(len);
        }
    }
    sum
}

/// Puts the next part of the payload into the window; `settle` is called before the one that is there is overwritten. Whether there
/// was one; `Err` if it cannot be read.
#[inline(always)]
pub fn refill<S>(ctx: *mut __sk_buff, scratch: *mut Scratch<S>, settle: impl Fn()) -> Result<bool, ()> {
    // SAFETY: this CPU's working memory, of which the caller has the pointer.
    unsafe {
        let reading = &mut (*scratch).reading;
        let window = &mut (*scratch).window;
        if reading.position >= reading.end {
            reading.skip = reading.position - reading.end;
            return Ok(false);
        }
        let mut len = reading.end - reading.position;
        if len > WINDOW as u32 {
            len = WINDOW as u32;
        }
        let to_cut = (*scratch).shown.to_cut(reading.position);
        if len > to_cut {
            len = to_cut;
        }
        let Some(len) = sized(len, WINDOW as u32) else { return Ok(false) };
        settle();
        let from = reading.payload + reading.position;
        if helper::bpf_skb_load_bytes(ctx.cast(), from, window.bytes.as_mut_ptr().cast(), len) != 0 {
            return Err(());
        }
        window.at = 0;
        window.len = len;
        window.base = reading.position;
        (*scratch).shown.take(reading.position, len);
        Ok(true)
    }
}

/// Moves on after the handler has read.
#[inline(always)]
pub fn advance<S>(scratch: *mut Scratch<S>, scan: Scan) {
    // SAFETY: as above.
    unsafe { (*scratch).reading.advance(&mut (*scratch).window, scan) }
}
