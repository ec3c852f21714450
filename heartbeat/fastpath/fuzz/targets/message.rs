//! Any datagram, as it came and with the tag that it should have: what is read is written the same, and what is answered is
//! answered once, to a probe, with no more bytes.
#![no_main]

use heartbeat_fastpath::host::Memory;
use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::peer::Rate;
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{Node, Verdict, WhenLapsed, respond};
use heartbeat_fastpath::wire::{
    Body, ClusterId, Incarnation, MESSAGE_BYTES, Message, SendTime, Sequence, Unverified,
};
use libfuzzer_sys::fuzz_target;
use xps_core::siphash::SipHash24;

const SECRET: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

/// The same with the right tag, if it has the right length.
fn tagged(payload: &[u8]) -> Option<[u8; MESSAGE_BYTES]> {
    let mut bytes: [u8; MESSAGE_BYTES] = payload.try_into().ok()?;
    let mut hash = SipHash24::new(SECRET);
    let (words, _) = bytes[..56].as_chunks::<8>();
    for word in words {
        hash.aligned(u64::from_le_bytes(*word));
    }
    bytes[56..].copy_from_slice(&hash.finish_with(0, 0).to_le_bytes());
    Some(bytes)
}

/// A host on which the receiver lives, if there is one, and knows the sender.
fn host(cluster: ClusterId, keys: Keys, message: Option<&Message>) -> Memory {
    let host = Memory::default();
    host.set_keys(keys);
    if let Some(message) = message
        && let Some(rate) = Rate::new(1, 10)
    {
        let node = Node::new(Incarnation(1), WhenLapsed::Silent, rate).alive_until(1);
        host.set_node(cluster, message.receiver, node);
        host.add_peer(cluster, message.receiver, message.sender);
    }
    host
}

fn check(payload: &[u8], number: u8) {
    let Some(id) = KeyId::new(number) else { return };
    let key = Key::new(id, core::array::from_fn(|index| index as u8));
    let cluster = Unverified::read(payload).map_or(ClusterId(0), |unverified| unverified.cluster());
    let keys = Keys::new(cluster, key);
    let message = Message::decode(payload, &keys);
    let host = host(cluster, keys, message.as_ref().ok());
    let verdict = respond(&host, payload, 0);
    match message {
        Ok(probe) => {
            assert_eq!(probe.encode(&key), payload, "a message has one form");
            if probe.body != Body::Probe {
                assert_eq!(verdict, Verdict::Pass);
                return;
            }
            let Verdict::Reply(reply) = verdict else { panic!("{verdict:?} of a probe") };
            let reply = Message::decode(&reply, &keys).expect("a reply that can be read");
            assert_eq!((reply.sender, reply.receiver), (probe.receiver, probe.sender));
            let echoed: (Sequence, SendTime) = (reply.sequence, reply.sent);
            assert_eq!(echoed, (probe.sequence, probe.sent));
            assert_eq!(respond(&host, payload, 0), Verdict::Drop(Refusal::Replayed));
        }
        Err(refusal) => {
            assert!(refusal <= Refusal::WrongTag);
            assert_eq!(verdict, Verdict::Drop(refusal));
        }
    }
}

fuzz_target!(|payload: &[u8]| {
    check(payload, 1);
    if let Some(bytes) = tagged(payload) {
        check(&bytes, bytes[6]);
    }
});
