//! Answers to SYN cookies: what opens a connection of which the server kept nothing.

use aya_ebpf::bindings::{__sk_buff, tcphdr};
use aya_ebpf::helpers::generated as helper;
use xps_core::bound::masked;
use xps_core::packet::ETHERNET;
use xps_core::path::Scratch;

use crate::packet::{TCP_LISTEN, lookup, release};

/// Bytes of the IP header that the helper reads: of IPv6 all, of IPv4 without options, which are none of ours.
const IP_BYTES: [u32; 2] = [20, 40];
/// Bytes of the TCP header that it reads.
const TCP_BYTES: u32 = 20;
/// Furthest place of a TCP header behind an IP header with options or extension headers.
const TCP_MASK: u32 = 1023;

/// Whether a listener of the server takes the packet, whose headers lie in the working memory, for the answer to a cookie that
/// it has sent of late.
#[inline(always)]
pub fn answers<S>(skb: *mut __sk_buff, scratch: *mut Scratch<S>, v6: bool) -> bool {
    // SAFETY: this CPU's working memory.
    let (key, at) = unsafe { (&(*scratch).key, (*scratch).layout.tcp) };
    // SAFETY: likewise; it has room for both headers, of which the first is 40 bytes at most.
    let (ip, tcp) = unsafe {
        let header = (&raw mut (*scratch).header).cast::<u8>();
        (header, header.add(IP_BYTES[1] as usize))
    };
    // SAFETY: the buffer has that many bytes.
    let read = unsafe {
        if v6 {
            helper::bpf_skb_load_bytes(skb.cast(), ETHERNET, ip.cast(), IP_BYTES[1])
        } else {
            helper::bpf_skb_load_bytes(skb.cast(), ETHERNET, ip.cast(), IP_BYTES[0])
        }
    };
    // SAFETY: likewise.
    if read != 0
        || unsafe {
            let at = masked::<TCP_MASK>(at) as u32;
            helper::bpf_skb_load_bytes(skb.cast(), at, tcp.cast(), TCP_BYTES) != 0
        }
    {
        return false;
    }
    let socket = lookup(skb, key, v6, key.client_port, key.server_port);
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is ours until released, and both headers were just written.
    let taken = unsafe {
        if v6 {
            check(socket.cast(), ip, IP_BYTES[1], tcp)
        } else {
            check(socket.cast(), ip, IP_BYTES[0], tcp)
        }
    };
    release(socket) == TCP_LISTEN && taken
}

/// Asks the kernel.
///
/// # Safety
/// `socket` must be a reference, `ip` readable for `ip_bytes` and `tcp` for [`TCP_BYTES`].
#[inline(always)]
unsafe fn check(socket: *mut core::ffi::c_void, ip: *mut u8, ip_bytes: u32, tcp: *mut u8) -> bool {
    // SAFETY: the caller vouches for it.
    unsafe {
        helper::bpf_tcp_check_syncookie(socket, ip.cast(), ip_bytes, tcp.cast::<tcphdr>(), TCP_BYTES) == 0
    }
}
