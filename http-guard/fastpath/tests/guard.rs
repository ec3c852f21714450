//! The whole handler over tables in memory: what passes, what is answered, what ends a connection.

#[path = "probes/mod.rs"]
#[expect(dead_code, reason = "it also says what passes to whom")]
mod table;

use http_fastpath::abi::{Limit, Rule, key, subject};
use http_fastpath::guard::{HttpGuard, State, Tables};
use http_fastpath::host::world::{Flow, Outcome, World};
use http_fastpath::limit::Rate;
use http_fastpath::rules::Action;
use table::Then;
use xps_core::flow::FlowKey;
use xps_core::handler::Handler;
use xps_core::packet::mapped;

const SECOND: u64 = 1_000_000_000;

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Rules for paths that begin with a word: condition and rule have the same number.
fn world(rules: &[(&str, Action)]) -> World {
    let world = World::new();
    for (number, (path, action)) in rules.iter().enumerate() {
        world.condition(subject::PATH, path.as_bytes(), true, number);
        let mut rule = Rule { action: *action as u32, ..Rule::default() };
        rule.need[number / 64] = 1 << (number % 64);
        world.add_rule(rule);
    }
    world
}

fn denying() -> World {
    world(&[("/no", Action::Deny), ("/reset", Action::Close), ("/hush", Action::Drop)])
}

/// How many answers there are, and whether the last one closes.
fn answers(text: &str) -> (usize, bool) {
    let heads = text.matches("HTTP/1.1 429 ").count();
    let closes = text.matches("Connection: close\r\n").count();
    assert!(closes <= 1, "{text}");
    (heads, closes == 1)
}

#[test]
fn every_probe_is_refused_or_passes_however_it_is_cut() {
    let world = World::new();
    for probe in table::all() {
        for cut in 0..probe.bytes.len() {
            let mut flow = Flow::new(&world, 1);
            let (first, rest) = probe.bytes.split_at(cut);
            let mut last = Outcome::Passed;
            let mut waiting = 0;
            for segment in [first, rest].into_iter().filter(|segment| !segment.is_empty()) {
                // The server answers what it has whole, before the client sends more.
                if flow.state.request.at_boundary() {
                    let asked = flow.asked();
                    flow.answered(asked);
                }
                waiting = flow.state.outstanding.waiting();
                last = flow.request(segment);
                waiting += flow.asked();
                if last != Outcome::Passed {
                    break;
                }
            }
            let at = format!("{} cut at {cut}: {last:?}", probe.name);
            // Of what waits, a request that is refused for its body is itself.
            let itself = u32::from(flow.state.request.refused_in_body());
            match (probe.then, &last) {
                (Then::Refused(status), Outcome::Closed(words)) => {
                    assert_eq!(waiting, itself, "{at}");
                    assert!(words.starts_with(&format!("HTTP/1.1 {status} ")), "{at}");
                    assert!(words.contains("\r\nConnection: close\r\n"), "{at}");
                }
                // Something before it has no answer yet.
                (Then::Refused(_), Outcome::Reset) => assert_ne!(waiting, itself, "{at}"),
                (Then::Nothing | Then::Incomplete, Outcome::Passed) => {}
                _ => panic!("{at}"),
            }
        }
    }
}

#[test]
fn what_a_rule_refuses_on_a_clean_connection_is_answered_and_the_connection_stays() {
    let world = denying();
    let mut flow = Flow::new(&world, 1);
    for _ in 0..3 {
        let Outcome::Replied(text) = flow.request(&get("/no")) else { panic!("no reply") };
        assert_eq!(answers(&text), (1, false));
        assert!(
            text.contains("\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n") && text.ends_with("\r\n\r\nno.\n")
        );
        assert_eq!(flow.request(&get("/yes")), Outcome::Passed);
        // While it waits for the server, nobody else may answer.
        flow.answered(1);
    }
    assert_eq!(flow.request(&get("/yes")), Outcome::Passed);
    assert_eq!(flow.request(&get("/no")), Outcome::Reset);
    assert_eq!(world.reports.borrow().len(), 4);
}

#[test]
fn pipelines_are_answered_in_order_or_end() {
    let world = denying();
    let mut flow = Flow::new(&world, 1);
    let Outcome::Replied(text) = flow.request(&[get("/no/1"), get("/no/2"), get("/no/3")].concat()) else {
        panic!("no reply")
    };
    assert_eq!(answers(&text), (3, false));
    for mixed in [[get("/no"), get("/yes")], [get("/yes"), get("/no")]] {
        assert_eq!(Flow::new(&world, 1).request(&mixed.concat()), Outcome::Reset);
    }
    let many: Vec<u8> = (0..9).flat_map(|_| get("/no")).collect();
    assert_eq!(Flow::new(&world, 1).request(&many), Outcome::Reset);
    // One that cannot be read behind others: all are answered, and the last one closes.
    let bad = [get("/no"), b"GET / HTTP/1.1\n".to_vec()].concat();
    let Outcome::Closed(text) = Flow::new(&world, 1).request(&bad) else { panic!("no words") };
    assert_eq!(answers(&text), (1, true));
    assert!(text.contains("HTTP/1.1 400 "));
}

#[test]
fn heads_are_refused_wherever_they_are_cut() {
    let world = denying();
    let request = get("/no");
    for cut in 1..request.len() {
        let mut flow = Flow::new(&world, 1);
        assert_eq!(flow.request(&request[..cut]), Outcome::Passed, "cut at {cut}");
        let Outcome::Closed(text) = flow.request(&request[cut..]) else { panic!("cut at {cut}") };
        assert_eq!(answers(&text), (1, true));
    }
}

#[test]
fn bodies_in_the_same_segment_are_taken_and_others_end_the_connection() {
    let world = denying();
    let whole = post("/no", "body");
    assert!(matches!(Flow::new(&world, 1).request(&whole), Outcome::Replied(_)));
    for missing in 1..=4 {
        let mut flow = Flow::new(&world, 1);
        let Outcome::Closed(text) = flow.request(&whole[..whole.len() - missing]) else {
            panic!("{missing}")
        };
        assert_eq!(answers(&text), (1, true));
    }
}

#[test]
fn who_wants_to_close_is_told_that_it_is_closed() {
    let world = denying();
    for request in ["GET /no HTTP/1.0\r\n\r\n", "GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"] {
        let Outcome::Closed(text) = Flow::new(&world, 1).request(request.as_bytes()) else {
            panic!("{request}")
        };
        assert_eq!(answers(&text), (1, true));
    }
}

#[test]
fn connections_are_reset_or_left_without_a_word() {
    let world = denying();
    for (path, expected) in [("/reset", Outcome::Reset), ("/hush", Outcome::Silenced)] {
        assert_eq!(Flow::new(&world, 1).request(&get(path)), expected);
        assert_eq!(Flow::new(&world, 1).request(&[get("/no"), get(path)].concat()), expected);
    }
}

#[test]
fn a_reply_keeps_to_its_room() {
    let world = denying();
    let mut flow = Flow::new(&world, 1);
    flow.room = 100;
    assert_eq!(flow.request(&get("/no")), Outcome::Reset);
}

#[test]
fn a_head_has_no_body() {
    let world = denying();
    let head = b"HEAD /no HTTP/1.1\r\nHost: a\r\n\r\n";
    let Outcome::Replied(text) = Flow::new(&world, 1).request(head) else { panic!("no reply") };
    assert!(text.contains("Content-Length: 4\r\n") && text.ends_with("\r\n\r\n"));
    let mut flow = Flow::new(&world, 1);
    assert_eq!(flow.request(&head[..20]), Outcome::Passed);
    let Outcome::Closed(text) = flow.request(&head[20..]) else { panic!("no words") };
    assert!(text.ends_with("\r\n\r\n"));
}

#[test]
fn nothing_is_read_once_the_server_speaks_another_protocol() {
    let world = denying();
    let mut flow = Flow::new(&world, 1);
    assert_eq!(flow.request(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"), Outcome::Passed);
    flow.response(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    for bytes in [get("/no"), b"\x81\x05hello\n\n".to_vec()] {
        assert_eq!(flow.request(&bytes), Outcome::Passed);
    }
    // Any other answer to an offer is HTTP.
    let mut flow = Flow::new(&world, 1);
    assert_eq!(flow.request(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"), Outcome::Passed);
    flow.answered(1);
    assert!(matches!(flow.request(&get("/no")), Outcome::Replied(_)));
}

#[test]
fn a_head_between_two_generations_ends_the_connection() {
    let world = denying();
    let mut flow = Flow::new(&world, 1);
    assert_eq!(flow.request(&get("/yes")[..10]), Outcome::Passed);
    // The other set comes into use: what has begun is read by the old one.
    world.set(|settings| settings.tables = 1);
    assert_eq!(flow.request(&get("/yes")[10..]), Outcome::Passed);
    world.set(|settings| settings.tables = 0);
    let mut flow = Flow::new(&world, 1);
    assert_eq!(flow.request(&get("/yes")[..10]), Outcome::Passed);
    world.change_matcher(0, |matcher| matcher.generation += 1);
    assert_eq!(flow.request(&get("/yes")[10..]), Outcome::Reset);
}

/// One request a second of each key, two at once.
fn limiting(parts: u32) -> World {
    let world = World::new();
    let rate = Rate::new(1, SECOND, 2).expect("a rate");
    world.add_rule(Rule {
        action: Action::Limit as u32,
        limit: Limit { rate, key: parts, ipv6_prefix: 64, id: 7, ..Limit::default() },
        ..Rule::default()
    });
    world.value(subject::HEADER_NAME, b"x-key", subject::FIRST_VALUE, 1);
    world.value(subject::HEADER_NAME, b"cookie", subject::FIRST_VALUE + 1, 0);
    world.value(subject::COOKIE_NAME, b"b", subject::FIRST_VALUE + 2, 2);
    world
}

/// Whether a request of a client passes; the server answers at once.
fn passes(world: &World, client: u8, lines: &str) -> bool {
    let mut flow = Flow::new(world, client);
    match flow.request(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes()) {
        Outcome::Passed => true,
        Outcome::Replied(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn limits_tell_when_to_come_again() {
    let world = limiting(key::ADDRESS);
    let mut flow = Flow::new(&world, 1);
    for _ in 0..2 {
        assert_eq!(flow.request(&get("/")), Outcome::Passed);
        flow.answered(1);
    }
    let Outcome::Replied(text) = flow.request(&get("/")) else { panic!("no reply") };
    assert!(text.starts_with("HTTP/1.1 429 ") && text.contains("\r\nRetry-After: 1         \r\n"), "{text}");
    assert!(passes(&world, 2, ""), "another client has another bucket");
    world.now_ns.set(world.now_ns.get() + SECOND);
    assert_eq!(flow.request(&get("/")), Outcome::Passed);
}

#[test]
fn equal_values_share_a_bucket() {
    let world = limiting(key::FIRST_SLOT);
    for (first, same, other) in [
        ("X-Key: a\r\n", "x-key:  a \t\r\n", "X-Key: b\r\n"),
        ("X-Key: a b\r\n", "X-KEY: a b\r\n", "X-Key: ab\r\n"),
    ] {
        world.now_ns.set(world.now_ns.get() + 10 * SECOND);
        assert!(passes(&world, 1, first) && passes(&world, 2, same));
        assert!(!passes(&world, 3, first) && !passes(&world, 4, same));
        assert!(passes(&world, 1, other));
    }
    let world = limiting(key::FIRST_SLOT << 1);
    assert!(passes(&world, 1, "Cookie: a=1; b=2\r\n") && passes(&world, 2, "Cookie: b=2; a=1\r\n"));
    for lines in ["Cookie: b=2\r\n", "Cookie: a=b=3; b=2\r\n", "Cookie: x; b=2; c\r\n"] {
        assert!(!passes(&world, 3, lines), "{lines}");
    }
    for lines in ["Cookie: b=3\r\n", "Cookie: a=2\r\n", "Cookie: b=\r\n", "Cookie: bb=2\r\n"] {
        assert!(passes(&world, 3, lines), "{lines}");
    }
}

#[test]
fn a_client_has_no_more_connections_than_it_may() {
    let world = World::new();
    world.set(|settings| settings.connections_max = 2);
    let guard = HttpGuard { tables: &world };
    let key = |port| FlowKey { client: mapped([192, 0, 2, 1]), client_port: port, ..FlowKey::default() };
    let mut states = [State::default(); 2];
    for (port, state) in (1..).zip(&mut states) {
        assert!(guard.admits(&key(port)), "{port}");
        guard.opened(&key(port), state);
    }
    assert!(!guard.admits(&key(3)), "a third one");
    let other = FlowKey { client: mapped([192, 0, 2, 2]), ..FlowKey::default() };
    assert!(guard.admits(&other), "another client");
    assert!(guard.ended(&key(1), &mut states[0]));
    assert!(guard.admits(&key(3)), "one has ended");
    assert!(guard.ended(&key(1), &mut states[0]), "once more");
    assert!(guard.ended(&key(2), &mut states[1]));
    assert_eq!(
        guard.tables.connections(http_fastpath::judge::prefix(&mapped([192, 0, 2, 1]), 64)),
        0,
        "each once"
    );
}
