//! The table of packets for the program at XDP ([`crate::path::arrival`]): what goes in, and whether it goes further. Run on
//! the host by a test of this crate, and by others against the kernel's program.
//!
//! [`BLOCKED_V4`] and everybody in the /64 of [`BLOCKED_V6`] are blocked, nobody else.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::segment::{PLAIN_PORT, Text, client, server};
use crate::packet::mapped;
use crate::path::arrival::{SERVICE_VLAN, VLAN};
use crate::splice::tcp_flag::{ACK, FIN, PSH, RST, SYN};

/// A client that is blocked, as a map's key has it. The one in [`super::segment`]'s packets.
pub const BLOCKED_V4: [u8; 16] = mapped([10, 0, 0, 1]);
/// Another one, of whose address 64 bits count.
pub const BLOCKED_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A packet that has just come.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its name.
    pub name: String,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Whether it goes no further.
    pub dropped: bool,
}

/// Where the fields are that packets here differ in, without tags.
const TYPE: usize = 12;
const V4_LENGTHS: usize = 14;
const V4_PROTOCOL: usize = 23;
const V4_SOURCE: usize = 26;
const V6_NEXT: usize = 20;
const V6_SOURCE: usize = 22;
const V6_PAYLOAD: usize = 54;
/// From the TCP header's start up to the flags: what must be there of it.
const NEEDED: usize = 14;

fn of(name: &str, text: &Text, dropped: bool) -> Arrived {
    Arrived { name: name.into(), bytes: text.frame().bytes, dropped }
}

/// With these bytes in place of those at `at`.
fn with(name: &str, text: &Text, at: usize, bytes: &[u8], dropped: bool) -> Arrived {
    let mut one = of(name, text, dropped);
    one.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    one
}

/// With these tags behind the addresses.
fn tagged(name: &str, text: &Text, tags: &[u16], dropped: bool) -> Arrived {
    let mut one = of(name, text, dropped);
    for tag in tags.iter().rev() {
        let [high, low] = tag.to_be_bytes();
        // The number of the VLAN looks like a port of ours.
        one.bytes.splice(TYPE..TYPE, [high, low, 0x18, 0xec]);
    }
    one
}

/// With an extension header in front of TCP.
fn extended(name: &str, text: &Text, kind: u8) -> Arrived {
    let mut one = with(name, text, V6_NEXT, &[kind], false);
    one.bytes.splice(V6_PAYLOAD..V6_PAYLOAD, [6, 0, 0, 0, 0, 0, 0, 0]);
    one
}

/// A packet that is dropped, cut off behind each of its bytes. It is dropped as long as it is known to be one.
fn cut(all: &mut Vec<Arrived>, whole: &Arrived, tcp: usize) {
    for len in 0..whole.bytes.len() {
        all.push(Arrived {
            name: format!("{}, of which {len} bytes are there", whole.name),
            bytes: whole.bytes[..len].to_vec(),
            dropped: len >= tcp + NEEDED,
        });
    }
}

/// All packets.
#[must_use]
pub fn arrivals() -> Vec<Arrived> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        let over = if v6 { "IPv6" } else { "IPv4" };
        let syn = client(1, 0, b"").over(v6).opening();
        let named = |what: &str| format!("{what} over {over}");
        all.push(of(&named("a SYN"), &syn, true));
        all.push(of(&named("a SYN with data"), &Text { payload: b"GET /".to_vec(), ..syn.clone() }, true));
        // Congestion notification (RFC 3168): two more flags.
        all.push(of(&named("a SYN that offers ECN"), &syn.clone().flags(SYN | 0xc0), true));
        for (what, flags) in [
            ("an acknowledgement", ACK),
            ("a request", ACK | PSH),
            ("an end", ACK | FIN),
            ("a reset", RST),
            ("a SYN-ACK", SYN | ACK),
            ("a SYN with a reset", SYN | RST),
            ("no flags", 0),
        ] {
            all.push(of(&named(what), &syn.clone().flags(flags), false));
        }
        all.push(of(&named("a SYN to the plain port"), &syn.clone().port(PLAIN_PORT), false));
        all.push(of(&named("a SYN to another port"), &syn.clone().port(22), false));
        all.push(of(&named("a SYN of the server"), &server(1, 0, b"").over(v6).flags(SYN), false));
        let tags: [(&str, &[u16], bool); 5] = [
            ("a SYN with a tag", &[VLAN], true),
            ("a SYN with a service's tag", &[SERVICE_VLAN], true),
            ("a SYN with two tags", &[SERVICE_VLAN, VLAN], true),
            ("a SYN with two tags of one kind", &[VLAN, VLAN], true),
            ("a SYN with three tags", &[SERVICE_VLAN, VLAN, VLAN], false),
        ];
        for (what, tags, dropped) in tags {
            all.push(tagged(&named(what), &syn, tags, dropped));
        }
        all.push(tagged(&named("a tagged request"), &syn.clone().flags(ACK | PSH), &[VLAN], false));
        all.push(with(&named("another protocol"), &syn, TYPE, &[0x08, 0x06], false));
        // What the frame says is not what the packet says.
        let other_type = if v6 { [0x08, 0x00] } else { [0x86, 0xdd] };
        all.push(with(&named("the other type"), &syn, TYPE, &other_type, false));
        let tcp = if v6 { 54 } else { 34 };
        cut(&mut all, &of(&named("a SYN"), &syn, true), tcp);
        cut(&mut all, &tagged(&named("a tagged SYN"), &syn, &[VLAN], true), tcp + 4);
        cut(&mut all, &tagged(&named("a SYN with two tags"), &syn, &[SERVICE_VLAN, VLAN], true), tcp + 8);
    }
    only_v4(&mut all);
    only_v6(&mut all);
    all
}

fn only_v4(all: &mut Vec<Arrived>) {
    let syn = client(1, 0, b"").opening();
    all.push(with("a SYN of another client", &syn, V4_SOURCE, &[10, 0, 0, 3], false));
    all.push(with("UDP", &syn, V4_PROTOCOL, &[17], false));
    all.push(with("version 5", &syn, V4_LENGTHS, &[0x55], false));
    all.push(with("a header of 16 bytes", &syn, V4_LENGTHS, &[0x44], false));
    let options = Text { ip_options: std::vec![1, 1, 1, 0], ..syn.clone() };
    all.push(of("a SYN behind IP options", &options, true));
    cut(all, &of("a SYN behind IP options", &options, true), 38);
    let most = Text { ip_options: std::vec![1; 40], ..syn.clone() };
    all.push(of("a SYN behind as many options as there can be", &most, true));
    for (what, fragment) in
        [("the first fragment", 0x2000), ("a later fragment", 0x2001), ("the last one", 1)]
    {
        all.push(of(what, &Text { fragment, ..syn.clone() }, false));
    }
}

fn only_v6(all: &mut Vec<Arrived>) {
    let syn = client(1, 0, b"").over(true).opening();
    let of_prefix = |fourth: u8, last: u8| {
        let mut address = BLOCKED_V6;
        (address[7], address[15]) = (fourth, last);
        address
    };
    all.push(with("a SYN of another address of the /64", &syn, V6_SOURCE, &of_prefix(0, 9), true));
    all.push(with("a SYN of another /64", &syn, V6_SOURCE, &of_prefix(1, 1), false));
    all.push(with("a SYN of an IPv4 address that is written as IPv6", &syn, V6_SOURCE, &BLOCKED_V4, true));
    all.push(with("UDP over IPv6", &syn, V6_NEXT, &[17], false));
    for (what, kind) in [
        ("behind a hop-by-hop header", 0),
        ("behind a routing header", 43),
        ("a fragment", 44),
        ("behind destination options", 60),
        ("behind an authentication header", 51),
    ] {
        all.push(extended(&format!("a SYN {what}"), &syn, kind));
    }
}
