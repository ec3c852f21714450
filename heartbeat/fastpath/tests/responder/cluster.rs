//! A host with a node that a few peers probe.

use heartbeat_fastpath::host::Memory;
use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::peer::Rate;
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{Node, Outcome, Verdict, WhenLapsed, respond};
use heartbeat_fastpath::wire::{
    Body, ClusterId, Incarnation, MESSAGE_BYTES, Message, NodeId, SendTime, Sequence,
};
use xps_core::siphash::SipHash24;

/// The cluster of all tests.
pub(crate) const CLUSTER: ClusterId = ClusterId(0x0102_0304_0506_0708);
/// The node on the host.
pub(crate) const NODE: NodeId = id(20);
/// Who probes it.
pub(crate) const PEER: NodeId = id(10);

const fn id(number: u32) -> NodeId {
    match NodeId::new(number) {
        Some(id) => id,
        None => panic!("there is no node 0"),
    }
}

/// The key with this number; each has another secret.
pub(crate) fn key(number: u8) -> Key {
    let id = KeyId::new(number).expect("there is no key 0");
    Key::new(id, std::array::from_fn(|index| number.wrapping_mul(16).wrapping_add(index as u8)))
}

/// The probe of [`PEER`] to [`NODE`] with this sequence.
pub(crate) fn probe(sequence: u64) -> Message {
    Message {
        cluster: CLUSTER,
        sender: PEER,
        incarnation: Incarnation(3),
        receiver: NODE,
        sequence: Sequence(sequence),
        sent: SendTime(1_700_000_000),
        body: Body::Probe,
    }
}

/// The same bytes with the tag that they should have, made here as the protocol's text says and not as the code does.
pub(crate) fn tagged(mut bytes: [u8; MESSAGE_BYTES], key: &Key) -> [u8; MESSAGE_BYTES] {
    let secret: [u8; 16] =
        std::array::from_fn(|index| key.id.number().wrapping_mul(16).wrapping_add(index as u8));
    let (halves, _) = secret.as_chunks::<8>();
    let mut hash = SipHash24::new([u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]);
    let (words, _) = bytes[..56].as_chunks::<8>();
    for word in words {
        hash.aligned(u64::from_le_bytes(*word));
    }
    let tag = hash.finish_with(0, 0).to_le_bytes();
    bytes[56..].copy_from_slice(&tag);
    bytes
}

/// A host, and what its responder has counted.
pub(crate) struct Host(pub(crate) Memory);

impl Host {
    /// Of its nodes.
    pub(crate) const INCARNATION: Incarnation = Incarnation(5);
    /// Also may probe [`NODE`].
    pub(crate) const OTHER_PEER: NodeId = id(11);
    /// At which all tests that do not speak of time hear what they hear.
    pub(crate) const NOW_NS: u64 = 1_000_000_000_000;

    /// With [`NODE`], alive, and one key.
    pub(crate) fn new() -> Self {
        let host = Self(Memory::default());
        host.add_cluster(CLUSTER);
        host.add_node(NODE);
        host
    }

    /// A node that is alive, and that both peers may probe.
    pub(crate) fn add_node(&self, node: NodeId) {
        self.0.set_node(CLUSTER, node, Self::node(WhenLapsed::Silent).alive_until(Self::NOW_NS + 1));
        for peer in [PEER, Self::OTHER_PEER] {
            self.0.add_peer(CLUSTER, node, peer);
        }
    }

    /// A node whose lease has lapsed.
    pub(crate) fn node(when_lapsed: WhenLapsed) -> Node {
        Node::new(Self::INCARNATION, when_lapsed, Rate::new(1_000_000, 10).expect("a rate"))
    }

    /// A cluster with key 1.
    pub(crate) fn add_cluster(&self, cluster: ClusterId) {
        self.0.set_keys(Keys::new(cluster, key(1)));
    }

    /// The keys at first.
    pub(crate) fn keys(&self) -> Keys {
        Keys::new(CLUSTER, key(1))
    }

    /// What it makes of a datagram.
    pub(crate) fn hear(&self, payload: &[u8]) -> Verdict {
        respond(&self.0, payload, Self::NOW_NS)
    }

    /// Whether a probe with this sequence is answered.
    pub(crate) fn answers(&self, sequence: u64) -> bool {
        matches!(self.hear(&probe(sequence).encode(&key(1))), Verdict::Reply(_))
    }

    /// How often that became of a datagram.
    pub(crate) fn counted(&self, outcome: Outcome) -> u64 {
        self.0.counted(outcome)
    }

    /// All that is not zero.
    pub(crate) fn counts(&self) -> Vec<(Outcome, u64)> {
        let dropped = Refusal::ALL.iter().map(|refusal| Outcome::Dropped(*refusal));
        let others = [Outcome::Answered, Outcome::AnsweredDegraded, Outcome::Passed];
        let counted = dropped.chain(others).map(|outcome| (outcome, self.counted(outcome)));
        counted.filter(|(_, count)| *count != 0).collect()
    }
}
