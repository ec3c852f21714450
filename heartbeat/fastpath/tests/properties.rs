//! What holds for every message and for every string of bytes.

use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::wire::{
    Body, ClusterId, Health, Incarnation, MESSAGE_BYTES, Message, NodeId, SendTime, Sequence, Subject,
};
use proptest::prelude::*;
use proptest::sample::select;

fn node() -> impl Strategy<Value = NodeId> {
    any::<u32>().prop_filter_map("there is no node 0", NodeId::new)
}

fn body() -> impl Strategy<Value = Body> {
    let subject = (node(), any::<u32>())
        .prop_map(|(node, incarnation)| Subject { node, incarnation: Incarnation(incarnation) });
    let health = select(vec![Health::Alive, Health::Degraded, Health::Suspect, Health::Failed]);
    (0..5, subject, health, any::<bool>()).prop_map(|(kind, subject, health, degraded)| match kind {
        0 => Body::Probe,
        1 => Body::Reply { degraded },
        2 => Body::Ask { subject },
        3 => Body::Told { subject, health },
        _ => Body::Claim { subject, health },
    })
}

prop_compose! {
    fn message()(
        cluster: u64,
        sender in node(),
        incarnation: u32,
        receiver in node(),
        sequence: u64,
        sent: u64,
        body in body(),
    ) -> Message {
        Message {
            cluster: ClusterId(cluster),
            sender,
            incarnation: Incarnation(incarnation),
            receiver,
            sequence: Sequence(sequence),
            sent: SendTime(sent),
            body,
        }
    }
}

fn key() -> impl Strategy<Value = Key> {
    (1..=u8::MAX, any::<[u8; 16]>())
        .prop_filter_map("there is no key 0", |(number, secret)| Some(Key::new(KeyId::new(number)?, secret)))
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(message in message(), key in key()) {
        let bytes = message.encode(&key);
        prop_assert_eq!(Message::decode(&bytes, &Keys::new(message.cluster, key)), Ok(message));
    }

    #[test]
    fn no_bit_may_change(message in message(), key in key()) {
        let keys = Keys::new(message.cluster, key);
        let bytes = message.encode(&key);
        for bit in 0..MESSAGE_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Message::decode(&changed, &keys).is_err(), "bit {}", bit);
        }
    }
}
