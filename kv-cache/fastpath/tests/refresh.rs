//! Entries refreshed by SETs on their way: when the new value is served, and when nothing is.

use kv_fastpath::abi::GLOBAL_BUCKET;
use kv_fastpath::coherence::{REPLY_FAILS, WRITE_PASSES};
use kv_fastpath::handler::Tables;
use kv_fastpath::host::{Flow, Outcome, World, bulk, encode};

const FOR_EVER: u64 = u64::MAX;

/// Tables with `key` cached in database 0 as `value`, where every write is seen.
fn world() -> World {
    let world = World::new();
    world.set(|settings| settings.refresh_ns = FOR_EVER);
    fill(&world, 0);
    world
}

fn fill(world: &World, database: u32) {
    let snapshot = world.snapshot(b"key").expect("nothing is pending");
    assert!(world.insert(b"key", database, &bulk(b"value"), snapshot, FOR_EVER));
}

fn set(value: &[u8]) -> Vec<u8> {
    encode(&[b"SET", b"key", value])
}

fn passes(flow: &mut Flow<&World>, request: &[u8]) {
    let outcome = flow.request(request, true);
    assert!(matches!(outcome, Outcome::Pass(_)), "{outcome:?}");
}

fn write(flow: &mut Flow<&World>, request: &[u8], reply: &[u8]) {
    passes(flow, request);
    assert!(flow.response(reply));
}

/// What a new connection is answered for `key`.
fn answer(world: &World) -> Option<Vec<u8>> {
    match Flow::new(world).request(&encode(&[b"GET", b"key"]), true) {
        Outcome::Reply(reply) => Some(reply),
        Outcome::Pass(_) | Outcome::Ended => None,
    }
}

#[test]
fn the_new_value_is_served_once_the_reply_has_left() {
    let world = world();
    let mut flow = Flow::new(&world);
    passes(&mut flow, &set(b"other"));
    assert_eq!(answer(&world), None);
    assert!(flow.response(b"+O"));
    assert_eq!(answer(&world), None);
    assert!(flow.response(b"K\r\n"));
    assert_eq!(answer(&world), Some(bulk(b"other")));
    assert_eq!(world.pending(), []);
}

#[test]
fn values_of_all_lengths_that_have_room_are_refreshed() {
    for old in [1, 5, 8, 13, 64, 150] {
        for new in 1..200 {
            let world = World::new();
            world.set(|settings| settings.refresh_ns = FOR_EVER);
            let snapshot = world.snapshot(b"key").expect("nothing is pending");
            assert!(world.insert(b"key", 0, &bulk(&vec![b'o'; old]), snapshot, FOR_EVER));
            let mut flow = Flow::new(&world);
            write(&mut flow, &set(&vec![b'n'; new]), b"+OK\r\n");
            let value = bulk(&vec![b'n'; new]);
            let room = bulk(&vec![b'o'; old]).len().next_multiple_of(8);
            let expected = (value.len() <= room).then_some(value);
            assert_eq!(answer(&world), expected, "{new} in place of {old}");
        }
    }
}

#[test]
fn keys_of_all_lengths_are_refreshed_and_no_others() {
    for len in 1..=200 {
        let world = World::new();
        world.set(|settings| settings.refresh_ns = FOR_EVER);
        let key: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        let snapshot = world.snapshot(&key).expect("nothing is pending");
        assert!(world.insert(&key, 0, &bulk(b"12345"), snapshot, FOR_EVER));
        let mut flow = Flow::new(&world);
        write(&mut flow, &encode(&[b"SET", &key, b"67890"]), b"+OK\r\n");
        assert_eq!(flow.request(&encode(&[b"GET", &key]), true), Outcome::Reply(bulk(b"67890")), "{len}");
    }
}

#[test]
fn a_refusal_leaves_nothing_to_be_served() {
    for reply in ["-OOM command not allowed\r\n", "-READONLY x\r\n", "-MOVED 1 a:1\r\n", "!5\r\nERR x\r\n"] {
        let world = world();
        write(&mut Flow::new(&world), &set(b"other"), reply.as_bytes());
        assert_eq!(answer(&world), None, "{reply:?}");
        assert_eq!(world.pending(), []);
    }
}

#[test]
fn a_connection_that_is_gone_leaves_nothing_to_be_served() {
    let world = world();
    let mut flow = Flow::new(&world);
    passes(&mut flow, &set(b"other"));
    flow.forget();
    assert_eq!(world.pending(), []);
    assert_eq!(answer(&world), None);
}

#[test]
fn of_several_writes_none_is_served_before_the_last_is_known() {
    let world = world();
    let (mut first, mut second) = (Flow::new(&world), Flow::new(&world));
    passes(&mut first, &set(b"first"));
    passes(&mut second, &set(b"secon"));
    assert!(second.response(b"+OK\r\n"));
    assert_eq!(answer(&world), None);
    assert!(first.response(b"+OK\r\n"));
    // Which of them the server has carried out last is not known.
    assert_eq!(answer(&world), None);
    write(&mut first, &set(b"third"), b"+OK\r\n");
    assert_eq!(answer(&world), Some(bulk(b"third")));
}

#[test]
fn a_pipeline_serves_its_last_value_at_most() {
    let world = world();
    let mut flow = Flow::new(&world);
    write(&mut flow, &[set(b"first"), set(b"secon")].concat(), b"+OK\r\n+OK\r\n");
    assert_eq!(answer(&world), None);
    write(&mut flow, &[set(b"third"), encode(&[b"DEL", b"key"])].concat(), b"+OK\r\n:1\r\n");
    assert_eq!(answer(&world), None);
}

#[test]
fn writes_of_the_bucket_and_of_everything_end_it() {
    for bucket in [None, Some(GLOBAL_BUCKET)] {
        let world = world();
        let bucket = bucket.unwrap_or_else(|| world.bucket_of(b"key"));
        let mut flow = Flow::new(&world);
        // Under way before it: it may be carried out after it.
        (&world).add(bucket, WRITE_PASSES);
        write(&mut flow, &set(b"first"), b"+OK\r\n");
        (&world).add(bucket, REPLY_FAILS);
        assert_eq!(answer(&world), None);
        // Passed after it, answered before it.
        passes(&mut flow, &set(b"secon"));
        (&world).add(bucket, WRITE_PASSES);
        (&world).add(bucket, REPLY_FAILS);
        assert!(flow.response(b"+OK\r\n"));
        assert_eq!(answer(&world), None);
        write(&mut flow, &set(b"third"), b"+OK\r\n");
        assert_eq!(answer(&world), Some(bulk(b"third")));
    }
}

#[test]
fn what_is_no_plain_set_of_this_connection_refreshes_nothing() {
    let requests: [&[&[u8]]; 4] = [
        &[b"SET", b"key", b"other", b"NX"],
        &[b"SET", b"key", b"other", b"GET"],
        &[b"GETSET", b"key", b"other"],
        &[b"APPEND", b"key", b"other"],
    ];
    for words in requests {
        let world = world();
        write(&mut Flow::new(&world), &encode(words), b"+OK\r\n");
        assert_eq!(answer(&world), None, "{words:?}");
    }
    // Queued, and carried out by EXEC or never.
    let world = world();
    let mut flow = Flow::new(&world);
    write(&mut flow, &encode(&[b"MULTI"]), b"+OK\r\n");
    write(&mut flow, &set(b"other"), b"+QUEUED\r\n");
    write(&mut flow, &encode(&[b"DISCARD"]), b"+OK\r\n");
    assert_eq!(answer(&world), None);
}

#[test]
fn the_database_must_be_known_and_the_same() {
    let world = world();
    let mut flow = Flow::new(&world);
    write(&mut flow, &encode(&[b"SELECT", b"1"]), b"+OK\r\n");
    write(&mut flow, &set(b"other"), b"+OK\r\n");
    // The bucket is that of the key in all databases.
    assert_eq!(answer(&world), None);
    fill(&world, 0);
    passes(&mut flow, &[encode(&[b"SELECT", b"0"]), set(b"other")].concat());
    assert!(flow.response(b"-ERR no\r\n+OK\r\n"));
    assert_eq!(answer(&world), None);
}

#[test]
fn it_can_be_forbidden_and_have_an_end() {
    let forbidden: [fn(&World); 3] = [
        |world| world.set(|settings| settings.refresh_ns = 0),
        |world| world.set(|settings| settings.coherent = 0),
        |world| assert!(world.remove(b"key", 0)),
    ];
    for forbid in forbidden {
        let world = world();
        forbid(&world);
        write(&mut Flow::new(&world), &set(b"other"), b"+OK\r\n");
        world.set(|settings| settings.coherent = 1);
        assert_eq!(answer(&world), None);
    }
    let world = world();
    world.set(|settings| settings.refresh_ns = 10);
    world.set_now_ns(100);
    write(&mut Flow::new(&world), &set(b"other"), b"+OK\r\n");
    world.set_now_ns(109);
    assert_eq!(answer(&world), Some(bulk(b"other")));
    world.set_now_ns(110);
    assert_eq!(answer(&world), None);
}

#[test]
fn a_set_is_read_alike_at_every_cut() {
    let requests = [set(b"other"), encode(&[b"set", b"key", b"value"])].concat();
    for cut in 0..requests.len() {
        let world = world();
        let mut flow = Flow::new(&world);
        passes(&mut flow, &requests[..cut]);
        passes(&mut flow, &requests[cut..]);
        assert!(flow.response(b"+OK\r\n+OK\r\n"), "{cut}");
        assert_eq!(world.pending(), [], "{cut}");
        assert_eq!(answer(&world), None, "{cut}: two writes were under way");
        write(&mut flow, &set(b"after"), b"+OK\r\n");
        assert_eq!(answer(&world), Some(bulk(b"after")), "{cut}");
    }
}
