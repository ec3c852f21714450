//! The bare reflectors of datagrams: at XDP and at tcx ingress, over IPv4 without options.
//!
//! Ends change places, which leaves all checksums as they are.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use xps_core::abi::{DEVICES_MAX, Redirect};
use xps_core::packet::IPV4;
use xps_core::path::Target;
use xps_core::word::{load_u32, store_u32};
use xps_ebpf::arrival;
use xps_ebpf::packet::redirect;

/// `TCX_NEXT` and `TCX_DROP` (include/uapi/linux/bpf.h).
const NEXT: i32 = -1;
const DROP: i32 = 2;
/// IP protocol number of UDP.
const UDP: u32 = 17;
/// Words of Ethernet, IPv4 and the ports of UDP, with two bytes behind.
const WORDS: usize = 10;
const BYTES: usize = WORDS * 4;

#[btf_map]
static PORT: Array<u32, 1> = Array::new();
#[btf_map]
static DEVICES: HashMap<u32, u32, { DEVICES_MAX as usize }> = HashMap::new();

#[xdp]
fn xps_echo_xdp(ctx: XdpContext) -> u32 {
    let packet = arrival::Packet::<(), ()>::new(&ctx);
    let Some(place) = packet.place(0, BYTES) else { return xdp_action::XDP_PASS };
    let mut words = [0; WORDS];
    let mut i = 0;
    while i < WORDS {
        // SAFETY: as many words are there.
        words[i] = u32::from_be(unsafe { load_u32(place.add(4 * i)) });
        i += 1;
    }
    if !is_ours(&words) {
        return xdp_action::XDP_PASS;
    }
    turn(&mut words);
    let mut i = 0;
    while i < WORDS {
        // SAFETY: as above.
        unsafe { store_u32(place.add(4 * i), words[i].to_be()) };
        i += 1;
    }
    xdp_action::XDP_TX
}

#[classifier]
fn xps_echo_tcx(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let mut words = [0u32; WORDS];
    // SAFETY: as many bytes as the words have; the helper checks the packet's length.
    if unsafe { helper::bpf_skb_load_bytes(skb.cast(), 0, (&raw mut words).cast(), BYTES as u32) } != 0 {
        return NEXT;
    }
    swap_bytes(&mut words);
    if !is_ours(&words) {
        return NEXT;
    }
    turn(&mut words);
    swap_bytes(&mut words);
    // SAFETY: as many bytes as the words have, which the helper only reads.
    if unsafe { helper::bpf_skb_store_bytes(skb, 0, (&raw mut words).cast(), BYTES as u32, 0) } != 0 {
        return DROP;
    }
    // SAFETY: a field of the program's own context.
    let ifindex = unsafe { core::ptr::read_volatile(&raw const (*skb).ifindex) };
    let way = match DEVICES.get_ptr(&ifindex) {
        // SAFETY: a map's value.
        Some(way) => unsafe { *way },
        None => Redirect::Egress as u32,
    };
    redirect(ifindex, Target::Client, way)
}

/// From network byte order, and back.
#[inline(always)]
fn swap_bytes(words: &mut [u32; WORDS]) {
    let mut i = 0;
    while i < WORDS {
        words[i] = words[i].swap_bytes();
        i += 1;
    }
}

/// Whether it is UDP over IPv4 without options, to the port.
#[inline(always)]
fn is_ours(words: &[u32; WORDS]) -> bool {
    let Some(port) = PORT.get_ptr(0) else { return false };
    // SAFETY: a word of the map, aligned.
    let port = unsafe { port.read_volatile() };
    words[3] >> 16 == u32::from(IPV4)
        && words[3] >> 8 & 0xff == 0x45
        && words[5] & 0xff == UDP
        && words[9] >> 16 == port
}

/// Exchanges both hardware addresses, both IP addresses (at 26 and 30) and both ports (at 34 and 36).
#[inline(always)]
fn turn(words: &mut [u32; WORDS]) {
    let [a, b, c] = [words[0], words[1], words[2]];
    [words[0], words[1], words[2]] = [b << 16 | c >> 16, c << 16 | a >> 16, a << 16 | b >> 16];
    let [a, b, c, d] = [words[6], words[7], words[8], words[9]];
    words[6] = a & 0xffff_0000 | b & 0xffff;
    words[7] = c & 0xffff_0000 | a & 0xffff;
    words[8] = b & 0xffff_0000 | d >> 16;
    words[9] = c << 16 | d & 0xffff;
}

/// No program can panic: what could is not verified.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
