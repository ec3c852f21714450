//! Commands and replies by the fuzzer's choice on several connections: no hit while a write is pending, nothing held once
//! all is answered or forgotten.
#![no_main]

use std::sync::LazyLock;

use kv_fastpath::host::{Flow, Outcome, World, bulk, encode};
use libfuzzer_sys::fuzz_target;

static WORLD: LazyLock<World> = LazyLock::new(World::new);
const COMMANDS: [&[&[u8]]; 16] = [
    &[b"GET", b"a"],
    &[b"GET", b"b"],
    &[b"SET", b"a", b"1"],
    &[b"DEL", b"a", b"b"],
    &[b"MULTI"],
    &[b"EXEC"],
    &[b"DISCARD"],
    &[b"WATCH", b"a"],
    &[b"UNWATCH"],
    &[b"SELECT", b"1"],
    &[b"SELECT", b"0"],
    &[b"EVAL", b"x", b"0"],
    &[b"PING"],
    &[b"SUBSCRIBE", b"x"],
    &[b"HELLO", b"3"],
    &[b"CLIENT"],
];

fuzz_target!(|steps: Vec<(u8, u8)>| {
    let world = &*WORLD;
    let mut flows: Vec<(Flow<&World>, u32)> = (0..3).map(|_| (Flow::new(world), 0)).collect();
    for (step, choice) in steps {
        let (flow, outstanding) = &mut flows[usize::from(step) % 3];
        match step / 3 % 4 {
            0 => {
                if let Some(snapshot) = world.snapshot(b"a") {
                    world.insert(b"a", u32::from(choice & 1), &bulk(b"v"), snapshot, u64::MAX);
                }
            }
            1 if *outstanding > 0 => {
                flow.response(if choice & 1 == 0 { b"+OK\r\n" } else { b"-ERR\r\n" });
                *outstanding -= 1;
            }
            _ => {
                let segment = if choice < 240 { encode(COMMANDS[usize::from(choice) % 16]) } else { vec![choice, b'\n'] };
                match flow.request(&segment, true) {
                    Outcome::Reply(reply) => {
                        assert_eq!(reply, bulk(b"v"));
                        assert_eq!(*outstanding, 0);
                        assert!(world.snapshot(b"a").is_some());
                    }
                    Outcome::Pass(_) => *outstanding += flow.requests(),
                    Outcome::Ended => unreachable!("the server asks for no password"),
                }
            }
        }
    }
    for (flow, _) in flows {
        flow.forget();
    }
    assert_eq!(world.pending(), []);
    world.remove(b"a", 0);
    world.remove(b"a", 1);
});
