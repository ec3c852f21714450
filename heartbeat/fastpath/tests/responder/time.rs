//! What the responder does over time: leases, rates, keys that are changed.

use crate::cluster::{CLUSTER, Host, NODE, PEER, key, probe};
use heartbeat_fastpath::keys::Keys;
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{Outcome, Verdict, WhenLapsed, respond};
use heartbeat_fastpath::wire::{Body, Message};

const MS: u64 = 1_000_000;

/// What a reply says; `None` where there is none.
fn said(verdict: Verdict) -> Option<Body> {
    match verdict {
        Verdict::Reply(bytes) => {
            Some(Message::decode(&bytes, &Keys::new(CLUSTER, key(1))).expect("a reply that can be read").body)
        }
        _ => None,
    }
}

#[test]
fn a_node_is_alive_while_its_lease_stands() {
    for when_lapsed in [WhenLapsed::Silent, WhenLapsed::Degraded] {
        let host = Host::new();
        host.0.set_node(CLUSTER, NODE, Host::node(when_lapsed).alive_until(1000 * MS));
        let hear = |sequence, now_ms| respond(&host.0, &probe(sequence).encode(&key(1)), now_ms * MS);
        assert_eq!(said(hear(1, 999)), Some(Body::Reply { degraded: false }));
        let lapsed = hear(2, 1000);
        let counted = match when_lapsed {
            WhenLapsed::Silent => {
                assert_eq!(lapsed, Verdict::Drop(Refusal::Lapsed));
                Outcome::Dropped(Refusal::Lapsed)
            }
            WhenLapsed::Degraded => {
                assert_eq!(said(lapsed), Some(Body::Reply { degraded: true }));
                Outcome::AnsweredDegraded
            }
        };
        assert_eq!(host.counted(counted), 1, "{when_lapsed:?}");
        // What came while it was lapsed is not answered when the application is back.
        host.0.set_node(CLUSTER, NODE, Host::node(when_lapsed).alive_until(2000 * MS));
        assert_eq!(hear(2, 1500), Verdict::Drop(Refusal::Replayed));
        assert_eq!(said(hear(3, 1500)), Some(Body::Reply { degraded: false }));
    }
}

#[test]
fn a_node_that_never_had_a_lease_is_not_alive() {
    let host = Host::new();
    host.0.set_node(CLUSTER, NODE, Host::node(WhenLapsed::Silent));
    assert_eq!(respond(&host.0, &probe(1).encode(&key(1)), 0), Verdict::Drop(Refusal::Lapsed));
}

#[test]
fn a_peer_that_asks_too_fast_is_held_back_alone() {
    let host = Host::new();
    let answered = (1..=100).filter(|sequence| host.answers(*sequence)).count();
    assert_eq!(answered, 10, "a burst of ten, at one moment");
    assert_eq!(host.counted(Outcome::Dropped(Refusal::TooFast)), 90);
    let other = Message { sender: Host::OTHER_PEER, ..probe(1) };
    assert!(matches!(host.hear(&other.encode(&key(1))), Verdict::Reply(_)));
}

#[test]
fn strangers_do_not_use_up_a_peers_rate() {
    let host = Host::new();
    let old = probe(1).encode(&key(1));
    assert!(matches!(host.hear(&old), Verdict::Reply(_)));
    let mut wrong = probe(2).encode(&key(1));
    wrong[60] ^= 1;
    for _ in 0..1000 {
        assert_eq!(host.hear(&old), Verdict::Drop(Refusal::Replayed));
        assert_eq!(host.hear(&wrong), Verdict::Drop(Refusal::WrongTag));
    }
    assert_eq!((2..=20).filter(|sequence| host.answers(*sequence)).count(), 9);
}

#[test]
fn keys_are_changed_without_a_gap() {
    let host = Host::new();
    let hear = |sequence, number| host.hear(&probe(sequence).encode(&key(number)));
    let under = |verdict, number| match verdict {
        Verdict::Reply(bytes) => Message::decode(&bytes, &Keys::new(CLUSTER, key(number))).is_ok(),
        _ => false,
    };
    assert_eq!(hear(1, 2), Verdict::Drop(Refusal::UnknownKey));
    let both = Keys::new(CLUSTER, key(1)).and(key(2)).expect("two numbers");
    host.0.set_keys(both);
    assert!(under(hear(2, 1), 1) && under(hear(3, 2), 2), "each under its own key");
    host.0.set_keys(Keys::new(CLUSTER, key(2)));
    assert!(under(hear(4, 2), 2));
    assert_eq!(hear(5, 1), Verdict::Drop(Refusal::UnknownKey));
    // What was said under the old key is not new under the next one.
    assert_eq!(hear(2, 2), Verdict::Drop(Refusal::Replayed));
}

#[test]
fn who_is_removed_is_not_answered() {
    let host = Host::new();
    host.0.remove_peer(CLUSTER, NODE, PEER);
    assert_eq!(host.hear(&probe(1).encode(&key(1))), Verdict::Drop(Refusal::UnknownSender));
    host.0.add_peer(CLUSTER, NODE, PEER);
    assert!(host.answers(1));
    host.0.remove_node(CLUSTER, NODE);
    assert_eq!(host.hear(&probe(2).encode(&key(1))), Verdict::Drop(Refusal::UnknownReceiver));
    host.add_node(NODE);
    assert_eq!(host.hear(&probe(1).encode(&key(1))), Verdict::Drop(Refusal::Replayed), "its window stayed");
}
