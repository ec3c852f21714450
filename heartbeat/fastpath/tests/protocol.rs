//! `PROTOCOL.md` against the code: its example, and its names.

use heartbeat_fastpath::bfd;
use heartbeat_fastpath::host::Memory;
use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::peer::Rate;
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{Node, Verdict, WhenLapsed, respond};
use heartbeat_fastpath::wire::{
    Body, ClusterId, Incarnation, MESSAGE_BYTES, Message, NodeId, SendTime, Sequence,
};

const TEXT: &str = include_str!("../../PROTOCOL.md");

/// The bytes of the example with this name.
fn example(name: &str) -> [u8; MESSAGE_BYTES] {
    let start = format!("```{name}\n");
    let (_, rest) = TEXT.split_once(&start).expect("the example");
    let (block, _) = rest.split_once("```").expect("its end");
    let bytes = block.lines().flat_map(|line| line.split_whitespace().take(8));
    let bytes: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
    bytes.try_into().expect("64 bytes")
}

fn node(number: u32) -> NodeId {
    NodeId::new(number).expect("there is no node 0")
}

#[test]
fn the_example_is_what_is_sent_and_answered() {
    let key = Key::new(KeyId::new(1).expect("there is no key 0"), std::array::from_fn(|index| index as u8));
    let probe = Message {
        cluster: ClusterId(0x1122_3344_5566_7788),
        sender: node(10),
        incarnation: Incarnation(3),
        receiver: node(20),
        sequence: Sequence(3 << 32 | 7),
        sent: SendTime(1_000_000_000),
        body: Body::Probe,
    };
    assert_eq!(probe.encode(&key), example("probe"));

    let host = Memory::default();
    host.set_keys(Keys::new(probe.cluster, key));
    let rate = Rate::new(1, 1).expect("a rate");
    let alive = Node::new(Incarnation(5), WhenLapsed::Silent, rate).alive_until(1);
    host.set_node(probe.cluster, node(20), alive);
    host.add_peer(probe.cluster, node(20), node(10));
    assert_eq!(respond(&host, &example("probe"), 0), Verdict::Reply(example("reply")));
}

#[test]
fn every_refusal_is_told_of_in_its_order() {
    for (number, refusal) in Refusal::ALL.iter().enumerate() {
        let row = format!("| {} | `{}` |", number + 1, refusal.label());
        assert!(TEXT.contains(&row), "no row {row}");
    }
    let (_, bfd) = TEXT.split_once("The checks, in their order").expect("those of BFD");
    let places: Vec<_> =
        bfd::Refusal::ALL.iter().map(|refusal| bfd.find(&format!("`{}`", refusal.label()))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}
