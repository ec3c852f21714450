//! The reflector's kernel program: tcx ingress.
#![no_std]
#![no_main]

use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use xps_core::abi::{DEVICES_MAX, Redirect};
use xps_core::bound::unknown;
use xps_core::checksum::fold;
use xps_core::handler::REPLY_MAX;
use xps_core::packet::{self, ETHERNET, Layout, Skb, TCP, Tcp, Unusual};
use xps_core::path::headers;
use xps_core::splice::tcp_flag::{ACK, FIN, PSH, RST, SYN};
use xps_ebpf::packet::Packet;
use xps_reflector::{PREFIX, Settings};

/// `TCX_NEXT` and `TCX_DROP` (include/uapi/linux/bpf.h).
const NEXT: i32 = -1;
const DROP: i32 = 2;

/// Window field of all replies; what it means depends on the server's shift, and in any case it is large.
const WINDOW: u16 = 0x7fff;

/// Bytes of Ethernet, IPv4 and TCP with timestamps.
const HEADER_MAX: usize = 66;
/// Offset of TCP behind an IPv4 header without options.
const AT: u32 = ETHERNET + 20;

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static DEVICES: HashMap<u32, u32, { DEVICES_MAX as usize }> = HashMap::new();

#[classifier]
fn xps_reflect(ctx: TcContext) -> i32 {
    reflect(&ctx).unwrap_or(NEXT)
}

#[inline(always)]
fn reflect(ctx: &TcContext) -> Option<i32> {
    let packet = Packet::<()>::new(ctx);
    let (layout, client_port, port) = packet::locate(&packet)?;
    // SAFETY: a map's value stays while the program runs; the agent writes it before it attaches the program.
    let settings = unsafe { &*SETTINGS.get_ptr(0)? };
    if u32::from(port) != settings.port || layout.v6 || layout.unusual != Unusual::No {
        return None;
    }
    let tcp = packet::tcp(&packet, &layout)?;
    let segment = &tcp.segment;
    if segment.flags & (SYN | RST) != 0 || segment.flags & ACK == 0 {
        return None;
    }
    let ends = segment.flags & FIN != 0;
    if !ends && !asks(ctx, &tcp) {
        return None;
    }
    // To the server the client has sent nothing, so it would not take the client's end: it is a reset instead.
    let (flags, reply_len) = if ends { (RST | ACK, 0) } else { (ACK | PSH, settings.reply_len) };
    let mut header = Header { words: [0; HEADER_MAX / 2] };
    let sum = if ends { 0 } else { settings.reply_sum };
    let header_len =
        compose(&packet, &layout, &tcp, &mut header, (port, client_port), flags, (reply_len, sum))?;
    Some(if send(ctx, &header, header_len, settings, reply_len) { redirect(ctx) } else { DROP })
}

/// Whether it is a request that is answered.
#[inline(always)]
fn asks(ctx: &TcContext, tcp: &Tcp) -> bool {
    if tcp.segment.payload < PREFIX.len() as u32 {
        return false;
    }
    let mut first = [0u8; 4];
    // SAFETY: four bytes; the helper checks the packet's length.
    let loaded = unsafe {
        helper::bpf_skb_load_bytes(ctx.skb.skb.cast(), AT + tcp.header, first.as_mut_ptr().cast(), 4)
    };
    loaded == 0 && first == PREFIX
}

/// A header in network order.
struct Header {
    words: [u16; HEADER_MAX / 2],
}

impl Header {
    #[inline(always)]
    fn two(&mut self, at: usize, value: u16) -> u64 {
        self.words[at / 2] = value.to_be();
        u64::from(value)
    }

    #[inline(always)]
    fn four(&mut self, at: usize, value: u32) -> u64 {
        self.two(at, (value >> 16) as u16) + self.two(at + 2, value as u16)
    }
}

/// Writes the header of the way back; its length.
#[inline(always)]
fn compose(
    packet: &Packet<'_, ()>,
    layout: &Layout,
    tcp: &Tcp,
    to: &mut Header,
    (port, client_port): (u16, u16),
    flags: u8,
    (reply_len, reply_sum): (u32, u32),
) -> Option<u32> {
    let segment = &tcp.segment;
    let tcp_len = if segment.timestamps { 32 } else { 20 };
    to.four(0, packet.word(6)?);
    to.two(4, packet.half(10)?);
    to.four(6, packet.word(0)?);
    to.two(10, packet.half(4)?);
    to.two(12, packet::IPV4);
    let mut sum = to.two(14, 0x4500);
    sum += to.two(16, (20 + tcp_len + reply_len) as u16);
    sum += to.four(18, 0x4000); // Not to be fragmented.
    sum += to.two(22, 64 << 8 | u16::from(TCP));
    let addresses = to.four(26, packet.word(ETHERNET + 16)?) + to.four(30, packet.word(ETHERNET + 12)?);
    to.two(24, !fold(sum + addresses));
    let pseudo = addresses + u64::from(TCP) + u64::from(tcp_len + reply_len);
    let mut sum = pseudo + to.two(34, port) + to.two(36, client_port);
    sum += to.four(38, segment.ack);
    let fin = u32::from(segment.flags & FIN != 0);
    sum += to.four(42, segment.seq.wrapping_add(segment.payload).wrapping_add(fin));
    sum += to.two(46, (tcp_len as u16) << 10 | u16::from(flags));
    sum += to.two(48, WINDOW);
    if segment.timestamps {
        sum += to.four(54, 0x0101_080a);
        // The server's last value again, as the client echoes it.
        sum += to.four(58, packet.word(AT + 28)?);
        sum += to.four(62, segment.tsval);
    }
    let partial = headers::partial(packet, layout, tcp);
    to.two(50, if partial { fold(pseudo) } else { !fold(sum + u64::from(reply_sum)) });
    Some(ETHERNET + 20 + tcp_len)
}

/// Makes the packet the reply. Whether it could be written.
#[inline(always)]
fn send(ctx: &TcContext, header: &Header, header_len: u32, settings: &Settings, reply_len: u32) -> bool {
    let skb = ctx.skb.skb;
    // SAFETY: the helpers check offsets against the packet; lengths are those of the buffers at most.
    unsafe {
        if helper::bpf_skb_change_tail(skb, header_len + reply_len, 0) != 0 {
            return false;
        }
        let header_len = unknown(header_len);
        if header_len == 0 || header_len > HEADER_MAX as u32 {
            return false;
        }
        if helper::bpf_skb_store_bytes(skb, 0, header.words.as_ptr().cast(), header_len, 0) != 0 {
            return false;
        }
        let len = unknown(reply_len);
        if len == 0 || len > REPLY_MAX as u32 {
            return len == 0;
        }
        helper::bpf_skb_store_bytes(skb, header_len, settings.reply.as_ptr().cast(), len, 0) == 0
    }
}

/// Out by the way that the runtime takes through this device.
#[inline(always)]
fn redirect(ctx: &TcContext) -> i32 {
    // SAFETY: a field of the program's own context.
    let ifindex = unsafe { core::ptr::read_volatile(&raw const (*ctx.skb.skb).ifindex) };
    let Some(way) = DEVICES.get_ptr(&ifindex) else { return DROP };
    // SAFETY: a map's value; the helpers take any index.
    let code = unsafe {
        if *way == Redirect::Peer as u32 {
            helper::bpf_redirect_peer(ifindex, 0)
        } else {
            helper::bpf_redirect(ifindex, 0)
        }
    };
    code as i32
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
