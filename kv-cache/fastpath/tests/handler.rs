//! The handler over tables in memory: what hits, what passes and why, what is held and for how long.

use kv_fastpath::abi::{GLOBAL_BUCKET, KEY_BYTES_MAX, users};
use kv_fastpath::command::{Class, Info};
use kv_fastpath::connection::WRITE_SLOTS;
use kv_fastpath::handler::GETS_MAX;
use kv_fastpath::host::{Flow, Outcome, World, bulk, encode};
use xps_core::verdict::Reason;

const FOR_EVER: u64 = u64::MAX;

fn fill(world: &World, key: &[u8], database: u32, value: &[u8]) {
    let snapshot = world.snapshot(key).expect("nothing is pending");
    assert!(world.insert(key, database, &bulk(value), snapshot, FOR_EVER));
}

fn get(key: &[u8]) -> Vec<u8> {
    encode(&[b"GET", key])
}

/// Words, separated by blanks, as a request.
fn command(words: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    encode(&words)
}

fn pass(flow: &mut Flow<&World>, words: &str) -> Reason {
    match flow.request(&command(words), true) {
        Outcome::Pass(reason) => reason,
        other => panic!("{words}: {other:?}"),
    }
}

/// The request passes, and the server answers `reply`.
fn ask(flow: &mut Flow<&World>, words: &str, reply: &str) -> Reason {
    let reason = pass(flow, words);
    assert!(flow.response(reply.as_bytes()), "{words}: {reply:?}");
    reason
}

fn hits(flow: &mut Flow<&World>, key: &[u8]) -> bool {
    match flow.request(&get(key), true) {
        Outcome::Reply(_) => true,
        Outcome::Pass(_) => {
            assert!(flow.response(b"$-1\r\n"));
            false
        }
        Outcome::Ended => panic!("the connection has ended"),
    }
}

#[test]
fn a_cached_value_is_answered_and_the_state_stays() {
    let world = World::new();
    fill(&world, b"key", 0, b"value");
    let mut flow = Flow::new(&world);
    for request in [
        &b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"[..],
        b"*2\r\n$3\r\nget\r\n$3\r\nkey\r\n",
        b"*2\r\n$3\r\nGeT\r\n$3\r\nkey\r\n",
    ] {
        let before = flow.state;
        assert_eq!(flow.request(request, true), Outcome::Reply(b"$5\r\nvalue\r\n".to_vec()));
        assert_eq!(flow.state, before);
    }
    assert_eq!(flow.request(&get(b"key"), false), Outcome::Pass(Reason::NotIdle));
}

#[test]
fn keys_of_all_lengths_hit_in_windows_of_all_lengths() {
    let world = World::new();
    for window in [256, 100, 17, 8, 3, 1] {
        let mut flow = Flow::new(&world).with_windows_of(window);
        for len in 0..=KEY_BYTES_MAX {
            let key: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
            let value = vec![b'v'; len * 4];
            fill(&world, &key, 0, &value);
            assert_eq!(flow.request(&get(&key), true), Outcome::Reply(bulk(&value)), "{len} in {window}");
        }
        assert_eq!(flow.request(&get(&[b'k'; KEY_BYTES_MAX + 1]), true), Outcome::Pass(Reason::NotServed));
        assert!(flow.response(b"$-1\r\n"));
        assert_eq!(flow.request(&get(&[b'k'; 5000]), true), Outcome::Pass(Reason::NotServed));
    }
}

#[test]
fn a_miss_is_reported_and_outstanding() {
    let world = World::new();
    fill(&world, b"there", 0, b"1");
    let mut flow = Flow::new(&world);
    assert_eq!(flow.request(&get(b"absent"), true), Outcome::Pass(Reason::Miss));
    let misses = world.take_misses();
    assert_eq!(misses.len(), 1);
    assert_eq!((&misses[0].key[..], misses[0].database), (&b"absent"[..], 0));
    assert_eq!(flow.request(&get(b"there"), true), Outcome::Pass(Reason::NotIdle));
    assert!(flow.response(b"$-1\r\n$1"));
    assert_eq!(flow.request(&get(b"there"), true), Outcome::Pass(Reason::NotIdle));
    assert!(flow.response(b"\r\n1\r\n$1\r\n1\r\n"));
    assert!(hits(&mut flow, b"there"));
    // No request is outstanding: a reply now is not understood.
    assert!(!flow.response(b"+OK\r\n"));
    assert_eq!(flow.request(&get(b"there"), true), Outcome::Pass(Reason::Suspended));
}

#[test]
fn a_write_invalidates_before_the_server_sees_it() {
    let world = World::new();
    let (mut reader, mut writer) = (Flow::new(&world), Flow::new(&world));
    for write in ["SET a 2", "set a 2 EX 10", "DEL b a", "MSET c 1 a 2", "RENAME z a", "EVAL x 0", "NOSUCH a"]
    {
        fill(&world, b"a", 0, b"1");
        fill(&world, b"other", 0, b"1");
        assert!(hits(&mut reader, b"a"), "{write}");
        let whole = command(write);
        for at in 0..whole.len() {
            assert!(matches!(writer.request(&whole[at..=at], true), Outcome::Pass(_)));
        }
        assert!(world.snapshot(b"a").is_none(), "{write}");
        assert!(!hits(&mut reader, b"a"), "{write}");
        assert_eq!(
            hits(&mut reader, b"other"),
            !write.starts_with("EVAL") && !write.starts_with("NOSUCH"),
            "{write}"
        );
        assert!(writer.response(b"+OK\r\n"));
        assert_eq!(world.pending(), []);
        assert!(!hits(&mut reader, b"a"), "{write}");
    }
}

/// Redis carries out whole requests only: who begins one and never ends it must stop nobody's hits.
#[test]
fn half_a_write_holds_nothing() {
    let many = (0..WRITE_SLOTS + 8).map(|i| format!(" key:{i} x")).collect::<String>();
    for words in
        ["SET key new", "FLUSHALL ASYNC", "EVAL script 1 key", "NOSUCH key", &format!("MSET{many} key x")]
    {
        let bytes = command(words);
        for cut in 1..bytes.len() {
            let world = World::new();
            fill(&world, b"key", 0, b"value");
            let (mut writer, mut reader) = (Flow::new(&world), Flow::new(&world));
            assert!(matches!(writer.request(&bytes[..cut], true), Outcome::Pass(_)));
            assert!(hits(&mut reader, b"key"), "{words}: something is held after {cut} bytes");
            assert!(writer.state.connection.holds_nothing());
            assert!(matches!(writer.request(&bytes[cut..], true), Outcome::Pass(_)));
            assert!(!hits(&mut reader, b"key"), "{words}: nothing is held at its end");
            assert!(writer.response(b"+OK\r\n"));
            assert!(writer.state.connection.holds_nothing());
            fill(&world, b"key", 0, b"again");
            assert!(hits(&mut reader, b"key"));
        }
    }
}

#[test]
fn what_changes_no_string_takes_nothing() {
    let world = World::new();
    let mut flow = Flow::new(&world);
    for words in ["PING", "LPUSH a 1 2 3", "MGET a b", "CLIENT ID", "GET", "GET a b", "SET", "DEL", "MSET"] {
        assert_eq!(ask(&mut flow, words, "-ERR\r\n"), Reason::NotServed, "{words}");
    }
    // A key that cannot be cached can be written without further ado; its neighbour cannot.
    let long = [b'k'; KEY_BYTES_MAX + 1];
    flow.request(&encode(&[b"DEL", &long, b"b"]), true);
    assert_eq!(world.pending(), [(world.bucket_of(b"b"), 1)]);
}

#[test]
fn large_values_are_skipped_in_one_step() {
    let world = World::new();
    let mut flow = Flow::new(&world);
    let set = encode(&[b"SET", b"a", &[b'*'; 100_000]]);
    for segment in set.chunks(1448) {
        assert!(matches!(flow.request(segment, true), Outcome::Pass(Reason::NotServed | Reason::Incomplete)));
    }
    assert_eq!(world.pending(), [(world.bucket_of(b"a"), 1)]);
    assert!(flow.response(b"+OK\r\n"));
    assert_eq!(world.pending(), []);
    let reply = bulk(&[b'$'; 100_000]);
    flow.request(&get(b"a"), true);
    for segment in reply.chunks(1448) {
        assert!(flow.response(segment));
    }
    fill(&world, b"a", 0, b"1");
    assert!(hits(&mut flow, b"a"));
}

#[test]
fn a_pipeline_is_answered_whole_or_not_at_all() {
    let world = World::new();
    let mut flow = Flow::new(&world);
    let keys: Vec<String> = (0..GETS_MAX + 1).map(|i| format!("key:{i:012}")).collect();
    for key in &keys {
        fill(&world, key.as_bytes(), 0, key.as_bytes());
    }
    let pipeline = |n: usize| keys[..n].iter().flat_map(|key| get(key.as_bytes())).collect::<Vec<u8>>();
    let replies = |n: usize| keys[..n].iter().flat_map(|key| bulk(key.as_bytes())).collect::<Vec<u8>>();
    for n in 1..=GETS_MAX {
        assert_eq!(flow.request(&pipeline(n), true), Outcome::Reply(replies(n)), "{n}");
        assert_eq!(flow.requests(), n as u32);
    }
    assert_eq!(flow.request(&pipeline(GETS_MAX + 1), true), Outcome::Pass(Reason::TooLarge));
    assert!(flow.response(&replies(GETS_MAX + 1)));
    for extra in ["*1\r\n$4\r\nPING\r\n", "\r\n", "*0\r\n", "PING\r\n", "GET a\r\n"] {
        let mut mixed = pipeline(3);
        mixed.extend(extra.bytes());
        assert_eq!(flow.request(&mixed, true), Outcome::Pass(Reason::NotServed), "{extra:?}");
        assert!(flow.response(&replies(3)));
        if flow.requests() == 4 {
            assert!(flow.response(b"+PONG\r\n"));
        }
        assert_eq!(flow.request(&pipeline(2), true), Outcome::Reply(replies(2)), "{extra:?}");
    }
    let mut cut = pipeline(3);
    let rest = cut.split_off(60);
    assert_eq!(flow.request(&cut, true), Outcome::Pass(Reason::Incomplete));
    assert_eq!(flow.request(&rest, true), Outcome::Pass(Reason::Incomplete));
    assert!(flow.response(&replies(3)));
    // One of them is gone: all pass.
    world.remove(keys[1].as_bytes(), 0);
    assert_eq!(flow.request(&pipeline(3), true), Outcome::Pass(Reason::Miss));
    assert!(flow.response(&replies(3)));
    // Too much for one segment.
    fill(&world, b"big", 0, &[b'x'; 1000]);
    let twice = [get(b"big"), get(b"big")].concat();
    assert_eq!(flow.request(&twice, true), Outcome::Pass(Reason::TooLarge));
}

#[test]
fn an_entry_must_be_of_this_key_now() {
    let mut world = World::new();
    world.set_command("expire", Info { class: Class::Keys as u8, first: 1, last: 1, step: 1 });
    let world = world;
    let mut flow = Flow::new(&world);
    let snapshot = world.snapshot(b"a").unwrap();
    world.insert(b"a", 0, &bulk(b"1"), snapshot, 1_000);
    world.set_now_ns(999);
    assert!(hits(&mut flow, b"a"));
    world.set_now_ns(1_000);
    assert!(!hits(&mut flow, b"a"), "expired");
    fill(&world, b"a", 0, b"1");
    assert!(hits(&mut flow, b"a"));
    world.set_foreign(3);
    assert!(!hits(&mut flow, b"a"), "a connection is not understood");
    world.set(|settings| settings.foreign_seen = 3);
    assert!(hits(&mut flow, b"a"));
    world.set(|settings| settings.coherent = 0);
    assert!(!hits(&mut flow, b"a"), "the agent does not vouch");
    world.set(|settings| settings.coherent = 1);
    ask(&mut flow, "EXPIRE a 10", ":1\r\n");
    assert!(!hits(&mut flow, b"a"), "written");
}

#[test]
fn no_hits_in_transactions() {
    let world = World::new();
    fill(&world, b"a", 0, b"1");
    let mut flow = Flow::new(&world);
    ask(&mut flow, "MULTI", "+OK\r\n");
    assert_eq!(ask(&mut flow, "GET a", "+QUEUED\r\n"), Reason::Suspended);
    ask(&mut flow, "EXEC", "*1\r\n$1\r\n1\r\n");
    assert!(hits(&mut flow, b"a"), "a transaction without writes changes nothing");

    ask(&mut flow, "MULTI", "+OK\r\n");
    ask(&mut flow, "SET b 1", "+QUEUED\r\n");
    ask(&mut flow, "MULTI", "-ERR MULTI calls can not be nested\r\n");
    assert_eq!(pass(&mut flow, "EXEC"), Reason::NotServed);
    assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)], "what is written is not known any more");
    assert!(flow.response(b"*1\r\n+OK\r\n"));
    assert!(!hits(&mut flow, b"a"));
    fill(&world, b"a", 0, b"1");
    assert!(hits(&mut flow, b"a"));

    ask(&mut flow, "MULTI", "+OK\r\n");
    ask(&mut flow, "EVAL x 0", "+QUEUED\r\n");
    fill(&world, b"a", 0, b"1");
    ask(&mut flow, "DISCARD x", "-ERR wrong number of arguments\r\n");
    assert!(!hits(&mut flow, b"a"), "still in it");
    ask(&mut flow, "DISCARD", "+OK\r\n");
    assert!(hits(&mut flow, b"a"));

    ask(&mut flow, "WATCH a", "+OK\r\n");
    assert!(!hits(&mut flow, b"a"));
    ask(&mut flow, "UNWATCH", "+OK\r\n");
    assert!(hits(&mut flow, b"a"));
    ask(&mut flow, "WATCH a", "+OK\r\n");
    ask(&mut flow, "MULTI", "+OK\r\n");
    ask(&mut flow, "UNWATCH", "+QUEUED\r\n");
    ask(&mut flow, "EXEC", "*1\r\n+OK\r\n");
    assert!(hits(&mut flow, b"a"));
    ask(&mut flow, "EXEC", "-ERR EXEC without MULTI\r\n");
    assert!(!hits(&mut flow, b"a"), "an EXEC that is not understood may write");
    assert_eq!(world.pending(), []);
}

#[test]
fn the_database_is_followed() {
    let world = World::new();
    fill(&world, b"a", 0, b"zero");
    fill(&world, b"a", 3, b"three");
    let mut flow = Flow::new(&world);
    let value = |flow: &mut Flow<&World>| match flow.request(&get(b"a"), true) {
        Outcome::Reply(reply) => String::from_utf8(reply).unwrap(),
        Outcome::Pass(reason) => {
            assert!(flow.response(b"$-1\r\n"));
            reason.label().to_string()
        }
        Outcome::Ended => panic!("the connection has ended"),
    };
    assert_eq!(value(&mut flow), "$4\r\nzero\r\n");
    ask(&mut flow, "SELECT 3", "+OK\r\n");
    assert_eq!(value(&mut flow), "$5\r\nthree\r\n");
    ask(&mut flow, "SELECT 99", "-ERR DB index is out of range\r\n");
    assert_eq!(value(&mut flow), "$5\r\nthree\r\n");
    ask(&mut flow, "select 0", "+OK\r\n");
    assert_eq!(value(&mut flow), "$4\r\nzero\r\n");
    // Two at once: if the second fails, what holds?
    let both = [command("SELECT 3"), command("SELECT 99")].concat();
    flow.request(&both, true);
    assert!(flow.response(b"+OK\r\n-ERR DB index is out of range\r\n"));
    assert_eq!(value(&mut flow), "suspended");
    flow.request(&[command("SELECT 9"), command("SELECT 3")].concat(), true);
    assert!(flow.response(b"+OK\r\n+OK\r\n"));
    assert_eq!(value(&mut flow), "$5\r\nthree\r\n");
    for odd in ["SELECT 00", "SELECT x", "SELECT -0", "SELECT 99999999999999"] {
        ask(&mut flow, odd, "+OK\r\n");
        assert_eq!(value(&mut flow), "suspended", "{odd}");
        ask(&mut flow, "SELECT 0", "+OK\r\n");
        assert_eq!(value(&mut flow), "$4\r\nzero\r\n");
    }
    ask(&mut flow, "MULTI", "+OK\r\n");
    ask(&mut flow, "SELECT 3", "+QUEUED\r\n");
    ask(&mut flow, "EXEC", "*1\r\n+OK\r\n");
    assert_eq!(value(&mut flow), "suspended");
    ask(&mut flow, "SELECT 3", "+OK\r\n");
    assert_eq!(value(&mut flow), "$5\r\nthree\r\n");
    flow.request(b"SELECT 0\r\n", true);
    assert!(flow.response(b"+OK\r\n"));
    assert_eq!(value(&mut flow), "suspended");
}

#[test]
fn subscribers_never_hit_and_hold_what_they_write() {
    for words in ["SUBSCRIBE x", "MONITOR", "CLIENT REPLY OFF", "client reply skip"] {
        let world = World::new();
        fill(&world, b"a", 0, b"1");
        let mut flow = Flow::new(&world);
        // A write before it is given back by its own reply.
        let both = [command("SET b 1"), command(words)].concat();
        flow.request(&both, true);
        assert_eq!(world.pending(), [(world.bucket_of(b"b"), 1)]);
        assert!(flow.response(b"+OK\r\n*3\r\n$9\r\nsubscribe\r\nanything, since it is not read"));
        assert_eq!(world.pending(), [], "{words}");
        assert_eq!(pass(&mut flow, "GET a"), Reason::Suspended);
        pass(&mut flow, "SET a 2");
        pass(&mut flow, "SET c 2");
        assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)], "{words}");
        assert!(flow.response(b"+OK\r\n+OK\r\n"));
        assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)], "{words}");
        flow.forget();
        assert_eq!(world.pending(), []);
    }
}

#[test]
fn only_users_that_may_read_every_key_get_hits() {
    const OK: &str = "+OK\r\n";
    const ERROR: &str = "-WRONGPASS\r\n";
    let world = World::new();
    fill(&world, b"a", 0, b"1");
    world.set_reader(b"alice", true);
    let both = users::INITIAL | users::DEFAULT;
    // What is asked and answered in turn, which default users may read, and whether there are hits then.
    type Case = (&'static [(&'static str, &'static str)], u32, bool);
    let cases: [Case; 22] = [
        (&[], users::INITIAL, true),
        (&[], users::DEFAULT, false),
        (&[("AUTH secret", OK)], users::DEFAULT, true),
        (&[("AUTH secret", OK)], users::INITIAL, false),
        (&[("AUTH secret", ERROR)], users::INITIAL, true),
        (&[("AUTH alice secret", OK)], 0, true),
        (&[("AUTH alice secret", ERROR)], 0, false),
        (&[("AUTH alice secret", ERROR)], both, true),
        (&[("AUTH bob secret", OK)], both, false),
        (&[("AUTH bob secret", OK), ("AUTH alice secret", ERROR)], both, false),
        (&[("AUTH alice secret", OK), ("AUTH bob secret", ERROR)], 0, true),
        (&[("HELLO 3 AUTH alice secret", "%1\r\n+a\r\n:1\r\n")], 0, true),
        (&[("HELLO 2 SETNAME x AUTH alice secret", "*2\r\n+a\r\n:1\r\n")], 0, true),
        (&[("hello 3 auth alice secret setname x", "%1\r\n+a\r\n:1\r\n")], 0, true),
        (&[("HELLO 3 AUTH bob secret SETNAME alice", "%1\r\n+a\r\n:1\r\n")], both, false),
        (&[("HELLO 3 AUTH alice secret", ERROR)], 0, false),
        (&[("HELLO 3", "%1\r\n+a\r\n:1\r\n")], users::INITIAL, true),
        (&[("HELLO", "*2\r\n+a\r\n:1\r\n")], users::INITIAL, true),
        (&[("HELLO 3 AUTH", "-ERR Syntax error in HELLO\r\n")], users::INITIAL, true),
        (&[("AUTH bob secret", OK), ("RESET", "+RESET\r\n")], both, false),
        (&[("MULTI", OK), ("AUTH alice secret", "+QUEUED\r\n"), ("EXEC", "*1\r\n+OK\r\n")], both, false),
        (&[("AUTH", "-ERR wrong number of arguments\r\n")], users::INITIAL, true),
    ];
    for (exchange, allowed, expected) in cases {
        world.set(|settings| settings.users = allowed);
        for window in [256, 1] {
            let mut flow = Flow::new(&world).with_windows_of(window);
            for (request, answer) in exchange {
                ask(&mut flow, request, answer);
            }
            assert_eq!(hits(&mut flow, b"a"), expected, "{exchange:?} with {allowed} in {window}");
        }
    }
    assert_eq!(world.pending(), []);
    world.set(|settings| settings.users = both);
    let mut flow = Flow::new(&world);
    ask(&mut flow, "AUTH bob secret", OK);
    assert_eq!(pass(&mut flow, "GET a"), Reason::NotPermitted);
    assert!(flow.response(b"$1\r\n1\r\n"));
    world.set_reader(b"bob", true);
    assert!(hits(&mut flow, b"a"), "the agent has looked again");
    // An answer that is still to come, a name that is too long, an inline command.
    let long = format!("AUTH {} secret", "u".repeat(KEY_BYTES_MAX + 1));
    ask(&mut flow, &long, OK);
    assert!(!hits(&mut flow, b"a"));
    ask(&mut flow, "AUTH alice secret", OK);
    assert!(hits(&mut flow, b"a"));
    flow.request(b"AUTH bob secret\r\n", true);
    assert!(flow.response(b"+OK\r\n"));
    assert!(!hits(&mut flow, b"a"));
    let pipeline = [command("AUTH alice secret"), command("GET a")].concat();
    assert_eq!(flow.request(&pipeline, true), Outcome::Pass(Reason::NotServed));
    assert!(flow.response(b"-WRONGPASS\r\n$1\r\n1\r\n"));
    assert!(!hits(&mut flow, b"a"));
}

#[test]
fn a_key_that_does_not_exist_is_told_in_the_connections_protocol() {
    let world = World::new();
    let snapshot = world.snapshot(b"none").expect("nothing is pending");
    assert!(world.insert(b"none", 0, b"", snapshot, FOR_EVER));
    fill(&world, b"a", 0, b"1");
    let mut flow = Flow::new(&world);
    let both = [get(b"none"), get(b"a"), get(b"none")].concat();
    assert_eq!(flow.request(&get(b"none"), true), Outcome::Reply(b"$-1\r\n".to_vec()));
    ask(&mut flow, "HELLO 3", "%1\r\n+proto\r\n:3\r\n");
    assert_eq!(flow.request(&both, true), Outcome::Reply(b"_\r\n$1\r\n1\r\n_\r\n".to_vec()));
    ask(&mut flow, "HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    assert_eq!(flow.request(&get(b"none"), true), Outcome::Reply(b"_\r\n".to_vec()));
    ask(&mut flow, "HELLO 2", "*2\r\n+proto\r\n:2\r\n");
    assert_eq!(flow.request(&both, true), Outcome::Reply(b"$-1\r\n$1\r\n1\r\n$-1\r\n".to_vec()));
    pass(&mut flow, "SET none 1");
    assert!(flow.response(b"+OK\r\n"));
    assert_eq!(pass(&mut flow, "GET none"), Reason::Miss);
}

#[test]
fn changes_of_users_stop_hits() {
    let world = World::new();
    fill(&world, b"a", 0, b"1");
    let mut flow = Flow::new(&world);
    assert!(hits(&mut flow, b"a"));
    pass(&mut flow, "ACL SETUSER x");
    assert_eq!(world.settings_now().rechecks, 1);
    assert!(flow.response(b"+OK\r\n"));
    assert_eq!(world.settings_now().rechecks, 2, "also once it is done");
    fill(&world, b"a", 0, b"1");
    assert_eq!(pass(&mut flow, "GET a"), Reason::Suspended);
    assert!(flow.response(b"$1\r\n1\r\n"));
    world.set(|settings| settings.rechecks_seen = 2);
    assert!(hits(&mut flow, b"a"));
    // What cannot be looked up may be anything.
    for words in ["ACL", "ACL NOSUCH", "CLIENT", "VERYLONGCOMMANDNAMETHATNOBODYHASEVERSEEN"] {
        pass(&mut flow, words);
        assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)], "{words}");
        assert!(flow.response(b"+OK\r\n"));
        assert_eq!(world.pending(), []);
    }
}

#[test]
fn more_writes_than_slots_hold_the_global_bucket() {
    let world = World::new();
    let mut flow = Flow::new(&world);
    let n = WRITE_SLOTS * 3;
    for i in 0..n {
        pass(&mut flow, &format!("SET {i} 1"));
    }
    assert_eq!(world.pending().last(), Some(&(GLOBAL_BUCKET, 1)));
    for i in 0..n {
        assert_eq!(world.pending().last().map(|last| last.0), Some(GLOBAL_BUCKET), "{i}");
        assert!(flow.response(b"+OK\r\n"));
    }
    assert_eq!(world.pending(), []);
    // One command with many keys.
    let keys: Vec<String> = (0..200).map(|i| format!("k{i}")).collect();
    pass(&mut flow, &format!("DEL {}", keys.join(" ")));
    assert!(world.pending().len() >= WRITE_SLOTS - 2);
    assert!(flow.response(b":200\r\n"));
    assert_eq!(world.pending(), []);
    // So many requests outstanding that their numbers are ambiguous.
    for _ in 0..(1 << 14) + 5 {
        pass(&mut flow, "PING");
    }
    pass(&mut flow, "SET a 1");
    assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)]);
    for _ in 0..(1 << 14) + 5 {
        assert!(flow.response(b"+PONG\r\n"));
    }
    assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)]);
    assert!(flow.response(b"+OK\r\n"));
    assert_eq!(world.pending(), []);
}

#[test]
fn what_is_not_understood_is_assumed_to_write() {
    for request in ["*x", "*1\r\n+", "*1\r\n$-1\r\n", "GET\0 a\r\n", "\"GET\" a\r\n", "*1\r\n$4\r\nPI\0G\r\n"]
    {
        let world = World::new();
        let mut flow = Flow::new(&world);
        pass(&mut flow, "SET a 1");
        assert_eq!(flow.request(request.as_bytes(), true), Outcome::Pass(Reason::Opaque), "{request:?}");
        assert_eq!(world.pending().last(), Some(&(GLOBAL_BUCKET, 1)));
        flow.forget();
        assert_eq!(world.pending(), []);
    }
}

#[test]
fn inline_commands_count_and_write() {
    let world = World::new();
    let mut flow = Flow::new(&world);
    for (line, pending) in [
        ("PING\r\n", false),
        ("  ping  \n", false),
        ("GET a\r\n", false),
        ("client id\r\n", false),
        ("client\r\n", true),
        ("client  nosuch 5\n", true),
        ("SET a \"x y\"\r\n", true),
        ("SET \"a b\" 'x y'\r\n", true),
        ("PING \"a b\"\r\n", false),
        ("PING a\"b c\r\n", false),
        ("set a b\r\n", true),
        ("EXEC\r\n", true),
        ("nosuch\r\n", true),
    ] {
        for cut in 0..line.len() {
            flow.request(&line.as_bytes()[..cut], true);
            let first = flow.requests();
            flow.request(&line.as_bytes()[cut..], true);
            assert_eq!(first + flow.requests(), 1, "{line:?}");
            assert_eq!(world.pending() == [(GLOBAL_BUCKET, 1)], pending, "{line:?}");
            assert!(flow.response(b"+OK\r\n"));
            assert_eq!(world.pending(), []);
        }
    }
    for line in ["\r\n", "\n", "   \t\r\n", "*0\r\n", "*-1\r\n", "*-25\r\n"] {
        flow.request(line.as_bytes(), true);
        assert_eq!(flow.requests(), 0, "{line:?}");
    }
}

#[test]
fn what_follows_asking_passes() {
    let world = World::new();
    fill(&world, b"key", 0, b"value");
    for window in [256, 3, 1] {
        let mut flow = Flow::new(&world).with_windows_of(window);
        assert!(hits(&mut flow, b"key"));
        ask(&mut flow, "ASKING", "+OK\r\n");
        assert_eq!(ask(&mut flow, "GET key", "$5\r\nvalue\r\n"), Reason::Suspended);
        assert!(hits(&mut flow, b"key"));
        // In one segment with what it is for.
        let both = [command("ASKING"), get(b"key")].concat();
        assert_eq!(flow.request(&both, true), Outcome::Pass(Reason::NotServed));
        assert!(flow.response(b"+OK\r\n$5\r\nvalue\r\n"));
        assert!(!hits(&mut flow, b"key"), "one too many");
        assert!(hits(&mut flow, b"key"));
        // Cut: no request is complete with the first part.
        let asking = command("ASKING");
        for cut in 1..asking.len() {
            flow.request(&asking[..cut], true);
            flow.request(&asking[cut..], true);
            assert!(flow.response(b"+OK\r\n"));
            assert!(!hits(&mut flow, b"key"), "cut at {cut}");
            assert!(hits(&mut flow, b"key"));
        }
    }
}

/// What a client sends that is not understood.
const NO_SENSE: [&[u8]; 9] = [
    b"*x",
    b"*1\r\n+",
    b"*1\r\n$-1\r\n",
    b"GET\0 a\r\n",
    b"\"AUTH\" secret\r\nSET key other\r\n",
    b"*1\r\n$4\r\nPI\0G\r\nAUTH secret\r\nSET key other\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"*1\r\n$4\r\nPINGxyAUTH secret\r\n",
    b"PING\r\nAUTH secret\r\nSET key other\r\n\0",
];

/// A world whose server asks for a password, and a connection with these exchanges behind it.
fn behind<'a>(world: &'a World, exchanges: &[(&str, &str)]) -> Flow<&'a World> {
    world.set(|settings| settings.users = users::DEFAULT | users::LOGIN);
    let mut flow = Flow::new(world);
    for (words, reply) in exchanges {
        if words.ends_with('\n') {
            assert!(matches!(flow.request(words.as_bytes(), true), Outcome::Pass(_)));
            assert!(flow.response(reply.as_bytes()), "{words}");
        } else {
            ask(&mut flow, words, reply);
        }
    }
    flow
}

#[test]
fn who_has_not_logged_in_and_is_not_understood_is_refused_and_holds_nothing() {
    let refused: [&[(&str, &str)]; 8] = [
        &[],
        &[("PING", "-NOAUTH Authentication required.\r\n")],
        &[("AUTH wrong", "-WRONGPASS\r\n")],
        &[("AUTH alice wrong", "-WRONGPASS\r\n")],
        &[("AUTH wrong\r\n", "-WRONGPASS\r\n")],
        &[("AUTH \"wrong one\"\r\n", "-WRONGPASS\r\n")],
        &[("HELLO 3", "-NOAUTH\r\n"), ("HELLO 3\r\n", "-NOAUTH\r\n")],
        &[("HELLO 3 AUTH alice wrong", "-WRONGPASS\r\n")],
    ];
    for exchanges in refused {
        for bytes in NO_SENSE {
            for window in [256, 1] {
                let world = World::new();
                let mut flow = behind(&world, exchanges).with_windows_of(window);
                let what = format!("{} behind {exchanges:?}", bytes.escape_ascii());
                assert_eq!(flow.request(bytes, true), Outcome::Ended, "{what}");
                assert!(!flow.is_opaque(), "{what}");
                assert!(!flow.state.connection.holds_all(), "{what}");
            }
        }
    }
    // One whose login is not answered yet is refused as well: an attacker could say as much.
    let world = World::new();
    let mut flow = behind(&world, &[]);
    pass(&mut flow, "AUTH secret");
    assert_eq!(flow.request(b"\0", true), Outcome::Ended);
}

#[test]
fn who_has_logged_in_or_needs_not_is_assumed_to_write() {
    const OK: &str = "+OK\r\n";
    let served: [&[(&str, &str)]; 7] = [
        &[("AUTH secret", OK)],
        &[("AUTH alice secret", OK)],
        &[("AUTH secret", OK), ("AUTH wrong", "-WRONGPASS\r\n")],
        &[("AUTH secret\r\n", OK)],
        &[("AUTH \"secret\"\r\n", OK)],
        &[("HELLO 3 AUTH alice secret", "%1\r\n+a\r\n:1\r\n")],
        &[("HELLO 3 AUTH alice secret\r\n", "%1\r\n+a\r\n:1\r\n")],
    ];
    for (exchanges, asked) in served.into_iter().map(|one| (one, true)).chain([(&[][..], false)]) {
        for bytes in NO_SENSE {
            let world = World::new();
            let mut flow = behind(&world, exchanges);
            if !asked {
                world.set(|settings| settings.users = users::INITIAL | users::DEFAULT);
            }
            let what = format!("{} behind {exchanges:?}", bytes.escape_ascii());
            assert_eq!(flow.request(bytes, true), Outcome::Pass(Reason::Opaque), "{what}");
            assert!(world.snapshot(b"key").is_none(), "{what}");
            flow.forget();
            assert_eq!(world.pending(), [], "{what}");
        }
    }
}

/// A server says that it has no room for a client, or that it reads no further, though no request is complete; then it
/// closes the connection.
#[test]
fn an_error_that_nobody_asked_for_holds_nothing_until_more_is_heard() {
    for (before, login) in [(&b""[..], false), (b"*11\r\n", false), (b"", true), (b"*11\r\n", true)] {
        let world = World::new();
        fill(&world, b"key", 0, b"value");
        let mut flow = behind(&world, &[]);
        if !login {
            world.set(|settings| settings.users = users::INITIAL);
        }
        if !before.is_empty() {
            flow.request(before, true);
        }
        for part in [&b"-ERR Protocol err"[..], b"or: no\r\n", b"whatever"] {
            assert!(flow.response(part), "its client is told no more");
        }
        assert!(flow.state.connection.holds_nothing());
        let outcome = flow.request(&get(b"key"), true);
        if login {
            assert_eq!(outcome, Outcome::Ended);
            assert_eq!(world.pending(), []);
        } else {
            assert_eq!(outcome, Outcome::Pass(Reason::Opaque));
            assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)]);
        }
    }
    // Anything else may be the answer to what was not seen.
    for other in ["+OK\r\n", ":1\r\n", "!5\r\n-ERR \r\n"] {
        let world = World::new();
        let mut flow = behind(&world, &[]);
        assert!(!flow.response(other.as_bytes()));
        assert_eq!(world.pending(), [(GLOBAL_BUCKET, 1)]);
    }
}

/// Servers before 7.2 have logged in before they find fault with an option of HELLO.
#[test]
fn an_error_behind_the_login_of_a_hello_may_be_that_of_another_user() {
    let world = World::new();
    fill(&world, b"key", 0, b"value");
    world.set_reader(b"alice", true);
    let mut flow = Flow::new(&world);
    ask(&mut flow, "AUTH alice a", "+OK\r\n");
    assert!(hits(&mut flow, b"key"));
    ask(&mut flow, "HELLO 3 SETNAME x", "-ERR\r\n");
    assert!(hits(&mut flow, b"key"));
    ask(&mut flow, "HELLO 3 AUTH bob b SETNAME x", "-ERR\r\n");
    assert!(!hits(&mut flow, b"key"));
    ask(&mut flow, "HELLO 3 AUTH alice a SETNAME x", "%1\r\n+a\r\n:1\r\n");
    assert!(hits(&mut flow, b"key"));
}
