//! The handler steps aside: when looking up does not pay, and when the server must see that a connection is in use. What
//! it does for coherence it goes on doing.

use kv_fastpath::host::{Flow, Outcome, World, bulk, encode};
use xps_core::verdict::Reason;

fn fill(world: &World, key: &[u8], value: &[u8]) {
    let snapshot = world.snapshot(key).expect("nothing is pending");
    assert!(world.insert(key, 0, &bulk(value), snapshot, u64::MAX));
}

fn get(key: &[u8]) -> Vec<u8> {
    encode(&[b"GET", key])
}

fn reply(value: &[u8]) -> Outcome {
    Outcome::Reply(bulk(value))
}

/// One of 32 is looked up; `random` decides which.
const ONE_OF: u32 = 32;
const LOOKED_UP: u32 = ONE_OF * 5;

#[test]
fn gets_are_looked_up_only_now_and_then() {
    for window in [256, 17, 3, 1] {
        let world = World::new();
        fill(&world, b"key", b"value");
        let mut flow = Flow::new(&world).with_windows_of(window);
        world.set(|settings| settings.bypass = ONE_OF);
        for random in 1..ONE_OF {
            world.set_random(random);
            for request in [get(b"key"), get(b"none"), [get(b"key"), get(b"key")].concat()] {
                assert_eq!(flow.request(&request, true), Outcome::Pass(Reason::Bypassed), "{window}");
                while flow.state.connection.holds_nothing() && !flow.state.connection.idle() {
                    assert!(flow.response(&bulk(b"value")));
                }
            }
        }
        assert!(world.take_misses().is_empty(), "what is not looked up is no miss");
        world.set_random(LOOKED_UP);
        assert_eq!(flow.request(&get(b"key"), true), reply(b"value"));
        assert_eq!(flow.request(&get(b"none"), true), Outcome::Pass(Reason::Miss));
        assert_eq!(world.take_misses().len(), 1);
        assert!(flow.response(b"$-1\r\n"));
        // Other commands are what they were.
        world.set_random(1);
        assert_eq!(flow.request(&encode(&[b"PING"]), true), Outcome::Pass(Reason::NotServed));
        assert!(flow.response(b"+PONG\r\n"));
        world.set(|settings| settings.bypass = 0);
        assert_eq!(flow.request(&get(b"key"), true), reply(b"value"));
    }
}

#[test]
fn writes_take_their_buckets_while_the_handler_steps_aside() {
    for window in [256, 3] {
        let world = World::new();
        fill(&world, b"key", b"old");
        let mut flow = Flow::new(&world).with_windows_of(window);
        world.set(|settings| settings.bypass = ONE_OF);
        world.set_random(1);
        assert_eq!(flow.request(&encode(&[b"SET", b"key", b"new"]), true), Outcome::Pass(Reason::NotServed));
        assert_eq!(world.pending(), [(world.bucket_of(b"key"), 1)]);
        assert!(flow.response(b"+OK\r\n"));
        assert!(world.pending().is_empty());
        world.set(|settings| settings.bypass = 0);
        assert_eq!(flow.request(&get(b"key"), true), Outcome::Pass(Reason::Miss), "the old value");
    }
}

#[test]
fn a_get_cut_in_two_is_never_half_collected() {
    let world = World::new();
    fill(&world, b"key", b"value");
    for cut in 1..get(b"key").len() {
        for (first, second) in [(1, LOOKED_UP), (LOOKED_UP, 1)] {
            let mut flow = Flow::new(&world);
            world.set(|settings| settings.bypass = ONE_OF);
            let request = get(b"key");
            world.set_random(first);
            assert!(matches!(flow.request(&request[..cut], true), Outcome::Pass(_)));
            world.set_random(second);
            assert!(matches!(flow.request(&request[cut..], true), Outcome::Pass(_)), "cut at {cut}");
            assert!(flow.response(&bulk(b"value")));
            world.set_random(LOOKED_UP);
            assert_eq!(flow.request(&request, true), reply(b"value"), "cut at {cut}");
        }
    }
}

#[test]
fn each_connection_lets_one_request_pass_in_each_part_of_the_idle_timeout() {
    let world = World::new();
    fill(&world, b"key", b"value");
    let (mut one, mut other) = (Flow::new(&world), Flow::new(&world));
    assert_eq!(one.request(&get(b"key"), true), reply(b"value"), "without a timeout nothing must pass");
    // Also when the low bits that are kept start again.
    for epoch in [1, 2, 255, 257, 300, 0] {
        world.set(|settings| settings.epoch = epoch);
        for flow in [&mut one, &mut other] {
            assert_eq!(flow.request(&get(b"key"), true), Outcome::Pass(Reason::Presence), "{epoch}");
            assert!(flow.response(&bulk(b"value")));
            for _ in 0..3 {
                assert_eq!(flow.request(&get(b"key"), true), reply(b"value"), "{epoch}");
            }
        }
    }
}
