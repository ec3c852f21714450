//! Packets for the responder's programs, and what must become of each: run on the host and in the kernel.
//!
//! In their order, since windows and rates remember.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use xps_core::packet::mapped;
use xps_core::path::arrival::{SERVICE_VLAN, VLAN};

use super::datagram::{Address, Text};
use crate::keys::{Key, KeyId, Keys};
use crate::peer::Rate;
use crate::refusal::Refusal;
use crate::respond::{Node, Outcome, WhenLapsed};
use crate::wire::{Body, ClusterId, Incarnation, Message, NodeId, SendTime, Sequence, Subject};

/// The port.
pub const PORT: u16 = 7946;
/// The cluster.
pub const CLUSTER: ClusterId = ClusterId(0x1122_3344_5566_7788);
/// The host's addresses, IPv4 as `::ffff:a.b.c.d`.
pub const ADDRESSES: [[u8; 16]; 2] = [mapped(HERE_V4), HERE_V6];

pub(super) const HERE_V4: [u8; 4] = [10, 79, 0, 1];
pub(super) const HERE_V6: [u8; 16] = [0xfd, 0, 0, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(super) const PEER_V4: [u8; 4] = [10, 79, 0, 2];
pub(super) const PEER_V6: [u8; 16] = [0xfd, 0, 0, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

const ALIVE: u32 = 20;
const SILENT: u32 = 21;
const DEGRADED: u32 = 22;
/// One that may be probed once in an hour.
const SLOW: u32 = 23;
const PROBER: u32 = 10;
const INCARNATION: Incarnation = Incarnation(5);
const HOUR_NS: u64 = 3_600_000_000_000;

/// The node with this number.
///
/// # Panics
/// If it is 0.
#[must_use]
pub fn node(number: u32) -> NodeId {
    NodeId::new(number).expect("not 0")
}

fn key(number: u8, byte: u8) -> Key {
    Key::new(KeyId::new(number).expect("not 0"), [byte; 16])
}

/// The cluster's keys.
///
/// # Panics
/// Never: their numbers differ.
#[must_use]
pub fn keys() -> Keys {
    Keys::new(CLUSTER, key(1, 0xa1)).and(key(2, 0xb2)).expect("another number")
}

/// The nodes of this host. Each has the peer that [`peer`] is.
///
/// # Panics
/// Never: the rates are some.
#[must_use]
pub fn nodes() -> [(NodeId, Node); 4] {
    // As much as a run with a time for each needs.
    let often = Rate::new(1, 1 << 30).expect("a rate");
    let seldom = Rate::new(HOUR_NS, 1).expect("a rate");
    let of = |when, rate| Node::new(INCARNATION, when, rate);
    [
        (node(ALIVE), of(WhenLapsed::Silent, often).alive_until(u64::MAX)),
        (node(SILENT), of(WhenLapsed::Silent, often).alive_until(1)),
        (node(DEGRADED), of(WhenLapsed::Degraded, often).alive_until(1)),
        (node(SLOW), of(WhenLapsed::Silent, seldom).alive_until(u64::MAX)),
    ]
}

/// The peer of all nodes.
#[must_use]
pub fn peer() -> NodeId {
    node(PROBER)
}

/// A probe of the node that is alive.
#[must_use]
pub fn probe(sequence: u64) -> Message {
    Message {
        cluster: CLUSTER,
        sender: peer(),
        incarnation: Incarnation(3),
        receiver: node(ALIVE),
        sequence: Sequence(sequence),
        sent: SendTime(1_000_000_000),
        body: Body::Probe,
    }
}

/// Its bytes.
#[must_use]
pub fn encoded(message: &Message) -> Vec<u8> {
    message.encode(&key(1, 0xa1)).to_vec()
}

/// The reply of a node that is alive to it, as its bytes.
#[must_use]
pub fn answer(probe: &Message) -> Vec<u8> {
    replied(probe, &key(1, 0xa1), false)
}

fn replied(probe: &Message, key: &Key, degraded: bool) -> Vec<u8> {
    let (sender, receiver) = (probe.receiver, probe.sender);
    let reply =
        Message { sender, receiver, incarnation: INCARNATION, body: Body::Reply { degraded }, ..*probe };
    reply.encode(key).to_vec()
}

/// What must become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on unchanged, and is not counted.
    Foreign,
    /// It goes on unchanged, and is counted.
    Passed,
    /// It goes no further.
    Dropped(Refusal),
    /// It becomes these bytes; the second: that the node says that it is degraded.
    Replied(Vec<u8>, bool),
}

impl Fate {
    /// As what it is counted.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Foreign => None,
            Self::Passed => Some(Outcome::Passed),
            Self::Dropped(refusal) => Some(Outcome::Dropped(*refusal)),
            Self::Replied(_, false) => Some(Outcome::Answered),
            Self::Replied(_, true) => Some(Outcome::AnsweredDegraded),
        }
    }
}

/// A packet that has just come.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its name.
    pub name: String,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// What must become of it.
    pub fate: Fate,
    /// Whether it has tags, which at tcx are the stack's.
    pub tagged: bool,
}

/// The table under construction, whose probes have rising sequences.
struct Table {
    all: Vec<Arrived>,
    v6: bool,
    sequence: u64,
}

impl Table {
    fn probe(&mut self) -> Message {
        self.sequence += 1;
        probe(self.sequence)
    }

    fn text(&self, payload: Vec<u8>) -> Text {
        Text {
            hardware: [[0x02, 0, 0, 0, 0, 1], [0x02, 0, 0, 0, 0, 2]],
            tags: Vec::new(),
            addresses: if self.v6 {
                [Address::V6(PEER_V6), Address::V6(HERE_V6)]
            } else {
                [Address::V4(PEER_V4), Address::V4(HERE_V4)]
            },
            ports: [40_000, PORT],
            hop_limit: 3,
            fragment: 0x4000,
            options: Vec::new(),
            extension: None,
            payload,
            checksum: None,
        }
    }

    /// A datagram with a valid probe in it.
    fn valid(&mut self) -> Text {
        let probe = self.probe();
        self.text(encoded(&probe))
    }

    fn push(&mut self, name: &str, text: &Text, fate: Fate) {
        let name = format!("{name} over {}", if self.v6 { "IPv6" } else { "IPv4" });
        self.all.push(Arrived { name, bytes: text.bytes(), fate, tagged: !text.tags.is_empty() });
    }

    /// A datagram with a message that is refused.
    fn refused(&mut self, message: &Message, refusal: Refusal) {
        let text = self.text(encoded(message));
        self.push(refusal.label(), &text, Fate::Dropped(refusal));
    }

    /// A datagram that must be answered after `change`.
    fn answered(&mut self, name: &str, change: impl FnOnce(&mut Text)) {
        let probe = self.probe();
        let mut text = self.text(encoded(&probe));
        change(&mut text);
        let reply = text.reply(&replied(&probe, &key(1, 0xa1), false)).bytes();
        self.push(name, &text, Fate::Replied(reply, false));
    }

    /// A datagram with a valid probe that after `change` is none of ours.
    fn foreign(&mut self, name: &str, change: impl FnOnce(&mut Text)) {
        let mut text = self.valid();
        change(&mut text);
        self.push(name, &text, Fate::Foreign);
    }
}

/// All packets.
///
/// # Panics
/// If one is not what it is called.
#[must_use]
pub fn arrivals() -> Vec<Arrived> {
    let mut table = Table { all: Vec::new(), v6: false, sequence: 0 };
    for v6 in [false, true] {
        table.v6 = v6;
        answers(&mut table);
        refusals(&mut table);
        lengths(&mut table);
        strangers(&mut table);
        if v6 { only_v6(&mut table) } else { only_v4(&mut table) }
    }
    table.all
}

fn answers(table: &mut Table) {
    table.answered("a probe", |_| ());
    table.answered("a probe from the port itself", |text| text.ports[0] = PORT);
    table.answered("a probe with one hop left", |text| text.hop_limit = 1);
    no_checksum_is_zero(table);
    for tags in [&[VLAN][..], &[SERVICE_VLAN], &[SERVICE_VLAN, VLAN], &[VLAN, VLAN]] {
        table.answered(&format!("a probe with the tags {tags:x?}"), |text| text.tags = tags.to_vec());
    }
    let probe = table.probe();
    let text = table.text(probe.encode(&key(2, 0xb2)).to_vec());
    let reply = text.reply(&replied(&probe, &key(2, 0xb2), false)).bytes();
    table.push("a probe under the second key", &text, Fate::Replied(reply, false));
    let probe = Message { receiver: node(DEGRADED), ..table.probe() };
    let text = table.text(encoded(&probe));
    let reply = text.reply(&replied(&probe, &key(1, 0xa1), true)).bytes();
    table.push("a probe of one that is degraded", &text, Fate::Replied(reply, true));
    let subject = Subject { node: node(30), incarnation: Incarnation(1) };
    for body in [Body::Reply { degraded: false }, Body::Ask { subject }] {
        let text = table.text(encoded(&Message { body, ..probe }));
        table.push(&format!("{:?}", body.kind()), &text, Fate::Passed);
    }
}

/// A probe from the port to which the reply's checksum comes out as 0, and must be written as its complement.
fn no_checksum_is_zero(table: &mut Table) {
    let probe = table.probe();
    let mut text = table.text(encoded(&probe));
    text.ports[0] = 1;
    let reply = text.reply(&answer(&probe));
    let bytes = reply.bytes();
    let at = bytes.len() - 64 - 2;
    // Each port further makes the sum larger by one, and its complement smaller.
    text.ports[0] = u16::from_be_bytes([bytes[at], bytes[at + 1]]).saturating_add(1);
    let bytes = text.reply(&answer(&probe)).bytes();
    assert_eq!(bytes[at..at + 2], [0xff; 2], "the checksum is not 0");
    table.push("a probe whose reply's checksum is 0", &text, Fate::Replied(bytes, false));
}

fn refusals(table: &mut Table) {
    // Which byte is changed to what, without a right tag.
    for (at, byte, refusal) in [
        (0, b'Y', Refusal::WrongMagic),
        (4, 2, Refusal::WrongVersion),
        (5, 9, Refusal::WrongKind),
        (7, 1, Refusal::WrongHealth),
        (39, 1, Refusal::ReservedNotZero),
        (31, 1, Refusal::WrongSubject),
        (8, 0, Refusal::WrongCluster),
        (6, 3, Refusal::UnknownKey),
        (6, 0, Refusal::UnknownKey),
        (47, 0xff, Refusal::WrongTag),
        (5, 2, Refusal::WrongHealth),
    ] {
        let mut text = table.valid();
        text.payload[at] = byte;
        table.push(&format!("{} at byte {at}", refusal.label()), &text, Fate::Dropped(refusal));
    }
    let mut text = table.valid();
    text.payload[16..20].fill(0);
    table.push("no sender", &text, Fate::Dropped(Refusal::WrongNode));
    for bit in 0..64 {
        let mut text = table.valid();
        text.payload[56 + bit / 8] ^= 1 << (bit % 8);
        table.push(&format!("bit {bit} of the tag"), &text, Fate::Dropped(Refusal::WrongTag));
    }
    let probe = table.probe();
    table.refused(&Message { receiver: node(99), ..probe }, Refusal::UnknownReceiver);
    table.refused(&Message { sender: node(99), ..probe }, Refusal::UnknownSender);
    table.refused(&Message { receiver: node(SILENT), ..probe }, Refusal::Lapsed);
    table.refused(&Message { receiver: node(SILENT), ..probe }, Refusal::Replayed);
    table.answered("the probe after refusals", |_| ());
    let sequence = Sequence(table.sequence);
    table.refused(&Message { sequence, ..probe }, Refusal::Replayed);
    table.refused(&Message { sequence: Sequence(0), ..probe }, Refusal::Replayed);
    let slow = Message { receiver: node(SLOW), ..table.probe() };
    if !table.v6 {
        let text = table.text(encoded(&slow));
        let reply = text.reply(&replied(&slow, &key(1, 0xa1), false)).bytes();
        table.push("the first of an hour", &text, Fate::Replied(reply, false));
    }
    let slow = Message { receiver: node(SLOW), ..table.probe() };
    table.refused(&slow, Refusal::TooFast);
    table.refused(&slow, Refusal::Replayed);
}

fn lengths(table: &mut Table) {
    for len in [0, 1, 63, 65, 66, 128, 500] {
        let mut text = table.valid();
        text.payload.resize(len, 0);
        table.push(&format!("{len} bytes"), &text, Fate::Dropped(Refusal::WrongLength));
    }
    let mut longer = table.valid();
    longer.payload.push(0);
    let mut bytes = longer.bytes();
    bytes.pop();
    let name = format!("65 bytes of which 64 are there, IPv6: {}", table.v6);
    table.all.push(Arrived { name, bytes, fate: Fate::Foreign, tagged: false });
    // Whatever is missing at its end, the headers say otherwise.
    let text = table.valid();
    let whole = text.bytes();
    for len in 0..whole.len() {
        let name = format!("a probe of which {len} bytes are there, IPv6: {}", table.v6);
        table.all.push(Arrived { name, bytes: whole[..len].to_vec(), fate: Fate::Foreign, tagged: false });
    }
    let mut tagged = text;
    tagged.tags = std::vec![SERVICE_VLAN, VLAN];
    let whole = tagged.bytes();
    for len in 0..whole.len() {
        let name = format!("a tagged probe of which {len} bytes are there, IPv6: {}", table.v6);
        table.all.push(Arrived { name, bytes: whole[..len].to_vec(), fate: Fate::Foreign, tagged: true });
    }
}

fn strangers(table: &mut Table) {
    table.foreign("another port", |text| text.ports[1] = PORT + 1);
    table.foreign("the port as the source", |text| text.ports.reverse());
    table.foreign("source port 0", |text| text.ports[0] = 0);
    table.foreign("a wrong checksum", |text| text.checksum = Some(0x1234));
    table.foreign("three tags", |text| text.tags = std::vec![SERVICE_VLAN, VLAN, VLAN]);
    table.foreign("a frame to all", |text| text.hardware[0] = [0xff; 6]);
    table.foreign("a frame to many", |text| text.hardware[0] = [0x01, 0, 0x5e, 0, 0, 1]);
    table.foreign("a frame from many", |text| text.hardware[1] = [0x03, 0, 0, 0, 0, 2]);
    let frame = table.valid().bytes();
    let udp = frame.len() - 64 - 8;
    for (what, at, byte) in [
        ("another protocol", if table.v6 { 20 } else { 23 }, 6),
        ("a UDP length of 73", udp + 5, 73),
        ("ARP", 13, 6),
    ] {
        let mut bytes = frame.clone();
        bytes[at] = byte;
        let name = format!("{what}, IPv6: {}", table.v6);
        table.all.push(Arrived { name: name.to_string(), bytes, fate: Fate::Foreign, tagged: false });
    }
}

fn only_v4(table: &mut Table) {
    table.answered("a probe without a checksum", |text| text.checksum = Some(0));
    table.answered("a probe that may be cut", |text| text.fragment = 0);
    table.foreign("a first fragment", |text| text.fragment = 0x2000);
    table.foreign("a later fragment", |text| text.fragment = 0x0001);
    table.foreign("options", |text| text.options = std::vec![1, 1, 1, 0]);
    // As long as all that follows, and with a sum that leaves the header's as it is.
    let len = 8 + 8 + 64;
    let looks = [1, PORT, len, u16::MAX - 1 - PORT - len];
    table.foreign("options that look like a UDP header", |text| {
        text.options = looks.iter().flat_map(|half| half.to_be_bytes()).collect();
    });
    for (what, address) in [
        ("another host", [10, 79, 0, 9]),
        ("many", [224, 0, 0, 1]),
        ("all", [255; 4]),
        ("all of the network", [10, 79, 0, 3]),
    ] {
        table.foreign(&format!("to {what}"), |text| text.addresses[1] = Address::V4(address));
    }
    for (what, address) in [("nobody", [0; 4]), ("many", [224, 0, 0, 1]), ("all", [255; 4])] {
        table.foreign(&format!("from {what}"), |text| text.addresses[0] = Address::V4(address));
    }
    let mut bytes = table.valid().bytes();
    bytes[24] ^= 1;
    let name = "a wrong checksum of the IPv4 header".to_string();
    table.all.push(Arrived { name, bytes, fate: Fate::Foreign, tagged: false });
}

fn only_v6(table: &mut Table) {
    table.foreign("no checksum", |text| text.checksum = Some(0));
    for extension in [0, 43, 44, 51, 60] {
        table.foreign(&format!("behind the header {extension}"), |text| text.extension = Some(extension));
    }
    let mut many = [0; 16];
    (many[0], many[1], many[15]) = (0xff, 0x02, 1);
    table.foreign("to many", |text| text.addresses[1] = Address::V6(many));
    table.foreign("from many", |text| text.addresses[0] = Address::V6(many));
    table.foreign("from nobody", |text| text.addresses[0] = Address::V6([0; 16]));
}
