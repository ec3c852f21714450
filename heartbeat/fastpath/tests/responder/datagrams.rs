//! A table of datagrams: what the responder makes of each, and that only those with the right tag leave a trace.

use crate::cluster::{CLUSTER, Host, NODE, PEER, key, probe, tagged};
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{Outcome, Verdict};
use heartbeat_fastpath::wire::{
    Body, ClusterId, Health, Incarnation, MESSAGE_BYTES, Message, NodeId, Subject,
};

/// A change to the bytes of a probe, and what is said of them then. The tag is made again over the change, so that it is the
/// change that is seen.
const FIELDS: &[(&str, usize, u8, Refusal)] = &[
    ("magic", 0, b'x', Refusal::WrongMagic),
    ("magic's last byte", 3, b'h', Refusal::WrongMagic),
    ("version 0", 4, 0, Refusal::WrongVersion),
    ("version 2", 4, 2, Refusal::WrongVersion),
    ("kind 0", 5, 0, Refusal::WrongKind),
    ("kind 6", 5, 6, Refusal::WrongKind),
    ("a reply that says nothing", 5, 2, Refusal::WrongHealth),
    ("a question about nobody", 5, 3, Refusal::WrongSubject),
    ("no key", 6, 0, Refusal::UnknownKey),
    ("another key", 6, 9, Refusal::UnknownKey),
    ("a probe that tells health", 7, 1, Refusal::WrongHealth),
    ("health that is none", 7, 0x80, Refusal::WrongHealth),
    ("another cluster", 8, 9, Refusal::WrongCluster),
    ("another cluster's last byte", 15, 9, Refusal::WrongCluster),
    ("an unknown sender", 16, 1, Refusal::UnknownSender),
    ("no sender", 19, 0, Refusal::WrongNode),
    ("an unknown receiver", 20, 1, Refusal::UnknownReceiver),
    ("no receiver", 23, 0, Refusal::WrongNode),
    ("a probe with a subject", 31, 1, Refusal::WrongSubject),
    ("a life of nobody", 35, 1, Refusal::WrongSubject),
    ("reserved, first", 36, 1, Refusal::ReservedNotZero),
    ("reserved, last", 39, 0x80, Refusal::ReservedNotZero),
];

#[test]
fn a_probe_is_answered_with_its_own_sequence_and_time() {
    let host = Host::new();
    let message = Message { incarnation: Incarnation(4), ..probe(7) };
    let Verdict::Reply(reply) = host.hear(&message.encode(&key(1))) else { panic!("not answered") };
    let expected = Message {
        sender: NODE,
        incarnation: Host::INCARNATION,
        receiver: PEER,
        body: Body::Reply { degraded: false },
        ..message
    };
    assert_eq!(Message::decode(&reply, &host.keys()), Ok(expected));
    assert_eq!(host.counts(), [(Outcome::Answered, 1)]);
}

#[test]
fn each_wrong_field_is_dropped_and_counted_by_its_name() {
    for &(name, at, byte, refusal) in FIELDS {
        let host = Host::new();
        let mut bytes = probe(7).encode(&key(1));
        assert_ne!(bytes[at], byte, "{name}: no change");
        bytes[at] = byte;
        let bytes = tagged(bytes, &key(1));
        assert_eq!(host.hear(&bytes), Verdict::Drop(refusal), "{name}");
        assert_eq!(host.counts(), [(Outcome::Dropped(refusal), 1)], "{name}");
        assert!(host.answers(7), "{name}: took the sequence");
    }
}

#[test]
fn checks_come_in_the_order_of_refusals() {
    for &(name, at, byte, refusal) in FIELDS {
        for &(other_name, other_at, other_byte, other_refusal) in FIELDS {
            // Two changes of one number, or of kind and what it asks for, may make each other right.
            let pair = (at.min(other_at), at.max(other_at));
            if at / 4 == other_at / 4 && at >= 16 || at == other_at || [(5, 7), (5, 31)].contains(&pair) {
                continue;
            }
            let mut bytes = probe(7).encode(&key(1));
            (bytes[at], bytes[other_at]) = (byte, other_byte);
            let bytes = tagged(bytes, &key(1));
            assert_eq!(
                Host::new().hear(&bytes),
                Verdict::Drop(refusal.min(other_refusal)),
                "{name} and {other_name}"
            );
        }
    }
}

#[test]
fn only_a_message_of_the_right_length_is_read() {
    let host = Host::new();
    let bytes = probe(7).encode(&key(1));
    for length in 0..MESSAGE_BYTES {
        assert_eq!(host.hear(&bytes[..length]), Verdict::Drop(Refusal::WrongLength), "{length} bytes");
    }
    for more in [1, 8, 64, 1400, 65_000] {
        let long = [&bytes[..], &vec![0; more]].concat();
        assert_eq!(host.hear(&long), Verdict::Drop(Refusal::WrongLength), "{more} bytes more");
    }
    assert_eq!(host.counts(), [(Outcome::Dropped(Refusal::WrongLength), MESSAGE_BYTES as u64 + 5)]);
    assert!(host.answers(7));
}

#[test]
fn a_wrong_tag_leaves_no_trace() {
    let host = Host::new();
    let bytes = probe(7).encode(&key(1));
    for at in 56..MESSAGE_BYTES {
        let mut wrong = bytes;
        wrong[at] ^= 1;
        assert_eq!(host.hear(&wrong), Verdict::Drop(Refusal::WrongTag), "byte {at}");
    }
    // Far ahead: were it taken, the window would leave all true probes behind.
    let stranger = heartbeat_fastpath::keys::Key::new(key(1).id, [0x55; 16]);
    assert_eq!(host.hear(&probe(u64::MAX).encode(&stranger)), Verdict::Drop(Refusal::WrongTag));
    assert!(host.answers(7));
}

#[test]
fn a_replayed_probe_is_not_answered_again() {
    let host = Host::new();
    let bytes = probe(1000).encode(&key(1));
    assert!(matches!(host.hear(&bytes), Verdict::Reply(_)));
    assert_eq!(host.hear(&bytes), Verdict::Drop(Refusal::Replayed));
    assert_eq!(host.hear(&probe(1000 - 64).encode(&key(1))), Verdict::Drop(Refusal::Replayed));
    assert!(host.answers(1000 - 63));
    // The same sequence of another peer is another one.
    let other = Message { sender: Host::OTHER_PEER, ..probe(1000) };
    assert!(matches!(host.hear(&other.encode(&key(1))), Verdict::Reply(_)));
    assert_eq!(host.counted(Outcome::Dropped(Refusal::Replayed)), 2);
}

#[test]
fn a_reply_is_no_probe() {
    let host = Host::new();
    let Verdict::Reply(reply) = host.hear(&probe(7).encode(&key(1))) else { panic!("not answered") };
    // Sent back to where it came from, and to the node that it names: neither is answered.
    assert_eq!(host.hear(&reply), Verdict::Drop(Refusal::UnknownReceiver));
    host.add_node(PEER);
    assert_eq!(host.hear(&reply), Verdict::Pass);
}

#[test]
fn what_is_no_probe_goes_up_if_its_tag_is_right() {
    let subject = Subject { node: PEER, incarnation: Incarnation(3) };
    for body in [
        Body::Reply { degraded: true },
        Body::Ask { subject },
        Body::Told { subject, health: Health::Suspect },
        Body::Claim { subject, health: Health::Failed },
    ] {
        let host = Host::new();
        let bytes = Message { body, ..probe(7) }.encode(&key(1));
        assert_eq!(host.hear(&bytes), Verdict::Pass, "{body:?}");
        let mut wrong = bytes;
        wrong[63] ^= 1;
        assert_eq!(host.hear(&wrong), Verdict::Drop(Refusal::WrongTag), "{body:?}");
        assert_eq!(
            host.counts(),
            [(Outcome::Dropped(Refusal::WrongTag), 1), (Outcome::Passed, 1)],
            "{body:?}"
        );
        // The window of probes is not theirs.
        assert!(host.answers(7), "{body:?}");
    }
}

#[test]
fn a_message_of_one_cluster_is_none_of_another() {
    let host = Host::new();
    let other = ClusterId(CLUSTER.0 + 1);
    let bytes = Message { cluster: other, ..probe(7) }.encode(&key(1));
    assert_eq!(host.hear(&bytes), Verdict::Drop(Refusal::WrongCluster));
    assert_eq!(Message::decode(&bytes, &host.keys()), Err(Refusal::WrongCluster));
    // With keys, but without nodes there: it is known, and nobody is at home.
    host.add_cluster(other);
    assert_eq!(host.hear(&bytes), Verdict::Drop(Refusal::UnknownReceiver));
}

#[test]
fn many_nodes_share_a_host() {
    let host = Host::new();
    for number in 100..400 {
        let node = NodeId::new(number).expect("not 0");
        host.add_node(node);
        let bytes = Message { receiver: node, ..probe(7) }.encode(&key(1));
        let Verdict::Reply(reply) = host.hear(&bytes) else { panic!("{number} is silent") };
        let reply = Message::decode(&reply, &host.keys()).expect("a reply");
        assert_eq!(reply.sender, node);
    }
}
