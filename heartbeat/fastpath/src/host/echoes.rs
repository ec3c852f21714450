//! Echo packets in a process's memory, for tests, and what must become of each: run on the host and in the kernel.

use std::collections::HashMap;
use std::format;
use std::string::String;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use xps_core::checksum::{fold, of_bytes};
use xps_core::packet::mapped;
use xps_core::path::arrival::{SERVICE_VLAN, VLAN};

use super::arrivals::{HERE_V4, HERE_V6, PEER_V4, PEER_V6};
use super::datagram::{Address, Text};
use crate::echo::{EchoKey, EchoOutcome, EchoPeer, Echoes, PORT_ECHO};
use crate::peer::Rate;

/// Those who may be sent their packets, and counters.
#[derive(Debug, Default)]
pub struct Reflector {
    peers: Mutex<HashMap<EchoKey, EchoPeer>>,
    counts: [AtomicU64; EchoOutcome::ALL.len()],
}

impl Reflector {
    /// One more.
    pub fn add(&self, key: EchoKey, peer: EchoPeer) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(key, peer);
    }

    /// How often what became of a packet.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

impl Echoes for Reflector {
    /// While there is anybody.
    fn reflects(&self) -> bool {
        !self.peers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn admit_echo(&self, key: &EchoKey, now_ns: u64) -> Option<bool> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get_mut(key).map(|peer| peer.admit(now_ns))
    }

    fn count_echo(&self, outcome: EchoOutcome) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

const SLOW_V4: [u8; 4] = [10, 79, 0, 5];
const ELSEWHERE_V4: [u8; 4] = [10, 79, 0, 6];
const NEAR_V4: [u8; 4] = [10, 79, 0, 7];
/// Interface that the table's packets come to: what the kernel's test runs say, loopback's.
pub const DEVICE: u32 = 1;

/// Who may, and how often.
///
/// # Panics
/// Never: the rates are some.
#[must_use]
pub fn echo_peers() -> Vec<(EchoKey, EchoPeer)> {
    let peer = |address, device, interval_ns, burst| {
        let rate = Rate::new(interval_ns, burst).expect("a rate");
        (EchoKey::new(address, device), EchoPeer::new(rate))
    };
    std::vec![
        peer(mapped(PEER_V4), 0, 1, 1 << 30),
        peer(PEER_V6, 0, 1, 1 << 30),
        peer(mapped(NEAR_V4), DEVICE, 1, 1 << 30),
        peer(mapped(SLOW_V4), 0, 3_600_000_000_000, 1),
        peer(mapped(ELSEWHERE_V4), DEVICE + 1, 1, 1 << 30),
    ]
}

/// An echo packet that has just come.
#[derive(Clone, Debug)]
pub struct Echo {
    /// Its name.
    pub name: String,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// As what it is counted; `None`: it passes uncounted.
    pub outcome: Option<EchoOutcome>,
    /// What it becomes, if it is sent back.
    pub becomes: Vec<u8>,
    /// Whether it has tags, which at tcx are the stack's.
    pub tagged: bool,
}

struct Table {
    all: Vec<Echo>,
    v6: bool,
}

impl Table {
    /// A packet by the standard: from the peer to itself.
    fn text(&self) -> Text {
        let peer = if self.v6 { Address::V6(PEER_V6) } else { Address::V4(PEER_V4) };
        Text {
            hardware: [[0x02, 0, 0, 0, 0, 1], [0x02, 0, 0, 0, 0, 2]],
            tags: Vec::new(),
            addresses: [peer, peer],
            ports: [PORT_ECHO, PORT_ECHO],
            hop_limit: 255,
            fragment: 0,
            options: Vec::new(),
            extension: None,
            payload: (1..=24).collect(),
            checksum: None,
        }
    }

    fn here(&self) -> Address {
        if self.v6 { Address::V6(HERE_V6) } else { Address::V4(HERE_V4) }
    }

    fn push(&mut self, name: &str, text: &Text, outcome: Option<EchoOutcome>) {
        let mut back = text.clone();
        back.hardware.reverse();
        back.hop_limit = text.hop_limit.wrapping_sub(1);
        back.addresses.reverse();
        back.ports.reverse();
        let name = format!("{name} over {}", if self.v6 { "IPv6" } else { "IPv4" });
        let tagged = !text.tags.is_empty();
        self.all.push(Echo { name, bytes: text.bytes(), outcome, becomes: back.bytes(), tagged });
    }

    fn with(&mut self, name: &str, outcome: Option<EchoOutcome>, change: impl FnOnce(&mut Text)) {
        let mut text = self.text();
        change(&mut text);
        self.push(name, &text, outcome);
    }
}

/// All packets, in their order, since rates remember.
#[must_use]
pub fn echoes() -> Vec<Echo> {
    let mut table = Table { all: Vec::new(), v6: false };
    for v6 in [false, true] {
        table.v6 = v6;
        both(&mut table);
    }
    table.v6 = false;
    only_v4(&mut table);
    table.all
}

fn both(table: &mut Table) {
    use EchoOutcome::{Reflected, Returned, Stranger};
    let here = table.here();
    table.with("to its sender", Some(Reflected), |_| ());
    table.with("to this host", Some(Reflected), |text| text.addresses[1] = here);
    table.with("to this host from another port", Some(Reflected), |text| {
        text.addresses[1] = here;
        text.ports[0] = 50_000;
    });
    for tags in [&[VLAN][..], &[SERVICE_VLAN, VLAN]] {
        table.with(&format!("with the tags {tags:x?}"), Some(Reflected), |text| text.tags = tags.to_vec());
    }
    for len in [0, 1, 23, 25, 64, 500, 1400] {
        table.with(&format!("{len} bytes"), Some(Reflected), |text| text.payload = std::vec![7; len]);
    }
    for hop_limit in [0, 1, 64, 254] {
        let name = format!("with {hop_limit} hops left");
        table.with(&name, Some(Stranger), |text| text.hop_limit = hop_limit);
    }
    table.with("from this host", Some(Returned), |text| text.addresses = [here, here]);
    table.with("from nobody that is known", Some(Stranger), |text| {
        text.addresses = match here {
            Address::V4(_) => [Address::V4([10, 79, 0, 99]); 2],
            Address::V6(mut address) => {
                address[15] = 99;
                [Address::V6(address); 2]
            }
        };
    });
    table.with("to another host", None, |text| match &mut text.addresses[1] {
        Address::V4(address) => address[3] = 98,
        Address::V6(address) => address[15] = 98,
    });
    // Its sender will find that it is wrong.
    table.with("a wrong checksum", Some(Reflected), |text| text.checksum = Some(0x1234));
    // The sum of the pseudo-header, as it is sent to a device that is to complete it.
    let unfinished = |text: &Text| {
        let bytes = text.bytes();
        let (addresses, udp) = if here == Address::V4(HERE_V4) { (26..34, 34) } else { (22..54, 54) };
        let len = bytes.len() as u64 - udp;
        fold(of_bytes(&bytes[addresses]) + 17 + len)
    };
    table.with("a checksum that is to be completed", None, |text| text.checksum = Some(unfinished(text)));
    table.with("a frame to all", None, |text| text.hardware[0] = [0xff; 6]);
    table.with("source port 0", None, |text| text.ports[0] = 0);
    table.with("the port as the source", None, |text| text.ports[1] = 50_000);
    let whole = table.text().bytes();
    for len in 0..whole.len() {
        let name = format!("of which {len} bytes are there, IPv6: {}", table.v6);
        let bytes = whole[..len].to_vec();
        table.all.push(Echo { name, bytes, outcome: None, becomes: Vec::new(), tagged: false });
    }
}

fn only_v4(table: &mut Table) {
    use EchoOutcome::{Reflected, Stranger, TooFast};
    let from = |address: [u8; 4]| move |text: &mut Text| text.addresses = [Address::V4(address); 2];
    table.with("without a checksum", Some(Reflected), |text| text.checksum = Some(0));
    table.with("by the interface that its sender is at", Some(Reflected), from(NEAR_V4));
    table.with("by another interface than its sender is at", Some(Stranger), from(ELSEWHERE_V4));
    table.with("the first of an hour", Some(Reflected), from(SLOW_V4));
    table.with("the second of an hour", Some(TooFast), from(SLOW_V4));
    table.with("a fragment", None, |text| text.fragment = 0x2000);
    table.with("options", None, |text| text.options = std::vec![1, 1, 1, 0]);
}
