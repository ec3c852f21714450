//! Errors that routers tell of the server's segments (T6): fragmentation needed, packet too big, unreachable, time exceeded.
//!
//! They quote a segment with the client's numbers. The server's socket believes an error only if the number that it quotes is
//! one of its own that is outstanding, or the next one (RFC 5927 §4), so that is put in its place. Errors that nobody of this
//! host has caused stay ones: a number that the client cannot have seen is not one of the server's either.

use super::{Action, Scratch, Stack, Step, connect};
use crate::handler::Handler;
use crate::packet::{self, ETHERNET, IPV4, IPV6, Skb, TCP};
use crate::splice::flag;
use crate::verdict::Reason;

/// IP protocol number of ICMP.
const ICMP: u8 = 1;
/// That of ICMPv6.
const ICMP_V6: u8 = 58;
/// Bytes of an ICMP error's own header (RFC 792, RFC 4443).
const HEADER: u32 = 8;

/// Whether a packet may be an error.
#[inline(always)]
pub fn may_be_error<K: Skb>(skb: &K) -> bool {
    let protocol = skb.protocol();
    protocol == IPV4 && skb.half(ETHERNET + 8).is_some_and(|half| half as u8 == ICMP)
        || protocol == IPV6 && skb.half(ETHERNET + 6).is_some_and(|half| (half >> 8) as u8 == ICMP_V6)
}

/// The stage: puts the server's number into an error about a connection that has answers of the stack.
#[inline(always)]
pub fn run<H: Handler, K: Stack<H>>(stack: &K) -> Step {
    if let Some(scratch) = stack.scratch() {
        // Whatever it is, it goes on.
        let _ = quoted(stack, scratch);
    }
    Step::Done(Action::Next)
}

#[inline(always)]
fn quoted<H: Handler, K: Stack<H>>(stack: &K, scratch: *mut Scratch<H::Scratch>) -> Option<()> {
    let v6 = stack.protocol() == IPV6;
    // Where the error stands, and how long an IP header is.
    let (icmp, header) = if v6 { (ETHERNET + 40, 40) } else { (ETHERNET + 20, 20) };
    let quoted = icmp + HEADER;
    stack.reach(quoted + header + 8);
    let kind = (stack.half(icmp)? >> 8) as u8;
    let too_big = if v6 { kind == 2 } else { stack.half(icmp)? == 3 << 8 | 4 };
    let is_error = if v6 { kind != 0 && kind <= 4 } else { kind == 3 || kind == 11 || kind == 12 };
    // Without options, as all packets of the server are; and no later fragment.
    let plain = v6 || stack.word(ETHERNET)? >> 24 == 0x45 && stack.half(ETHERNET + 6)? & 0x3fff == 0;
    let of_tcp = if v6 {
        stack.half(quoted)? >> 12 == 6 && (stack.half(quoted + 6)? >> 8) as u8 == TCP
    } else {
        stack.half(quoted)? >> 8 == 0x45 && stack.half(quoted + 8)? as u8 == TCP
    };
    if !is_error || !plain || !of_tcp {
        return None;
    }
    let tcp = quoted + header;
    let ports = stack.word(tcp)?;
    let (server_port, client_port) = ((ports >> 16) as u16, ports as u16);
    if stack.port(server_port) == 0 {
        return None;
    }
    // SAFETY: this CPU's own while the program runs.
    let key = unsafe { &mut (*scratch).key };
    packet::addresses_at(stack, v6, quoted, &mut key.server, &mut key.client)?;
    connect::write_key(key, client_port, server_port);
    let flow = stack.flow(key)?;
    let number = stack.word(tcp + 4)?;
    stack.lock(flow);
    // SAFETY: under the flow's lock.
    let (splice, outlet) = unsafe { (&(*flow).splice, &mut (*flow).outlet) };
    let translated = if splice.has(flag::COMPLETE) { splice.quoted(number) } else { number };
    if too_big {
        // The socket will be asked again, once it has heard of it.
        outlet.mss = 0;
    }
    stack.unlock(flow);
    if translated != number {
        stack.count(Reason::IcmpError, 1);
        // What could not be written is an error that the server does not believe.
        stack.replace_word(tcp + 4, icmp + 2, number.to_be(), translated.to_be());
    }
    Some(())
}
