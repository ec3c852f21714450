//! Heads that are remembered: what they lead to is what reading them again would have led to.

#[path = "probes/mod.rs"]
#[expect(dead_code, reason = "it also says what passes to whom")]
mod table;

use http_fastpath::abi::{Limit, Rule, key, subject};
use http_fastpath::host::world::{Flow, Outcome, World};
use http_fastpath::limit::Rate;
use http_fastpath::rules::Action;
use proptest::collection::vec;
use proptest::prelude::*;

/// Paths that begin with `/no` are refused, a header's value is limited, all others pass.
fn world() -> World {
    let world = World::new();
    world.condition(subject::PATH, b"/no", true, 0);
    let mut rule = Rule { action: Action::Deny as u32, ..Rule::default() };
    rule.need[0] = 1;
    world.add_rule(rule);
    world.value(subject::HEADER_NAME, b"x-key", subject::FIRST_VALUE, 1);
    let rate = Rate::new(1, 1 << 40, 3).expect("a rate");
    let limit = Limit { rate, key: key::FIRST_SLOT | key::HOST, id: 1, ..Limit::default() };
    world.add_rule(Rule { action: Action::Limit as u32, limit, ..Rule::default() });
    world
}

fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n").into_bytes()
}

#[test]
fn a_head_is_known_the_third_time() {
    let world = world();
    let mut flow = Flow::new(&world, 1);
    for turn in 0..5 {
        assert!(matches!(flow.request(&get("/no", "")), Outcome::Replied(_)), "{turn}");
        assert_eq!(world.recalled.get(), if turn < 2 { 0 } else { turn - 1 });
    }
    // On another connection, too; and it is judged each time: the third request was the last one that the limit lets pass.
    for (turn, expected) in [true, true, true, false, false].into_iter().enumerate() {
        let mut flow = Flow::new(&world, 2);
        let passed = flow.request(&get("/yes", "X-Key: 7\r\n")) == Outcome::Passed;
        assert_eq!(passed, expected, "{turn}");
    }
    assert_eq!(world.recalled.get(), 3 + 3);
}

#[test]
fn only_what_is_a_head_by_itself_is_remembered() {
    let world = world();
    let head = get("/no", "");
    let long = format!("X: {}\r\n", "x".repeat(256));
    for (what, segment) in [
        ("two heads", [head.clone(), head.clone()].concat()),
        ("a head with a body", b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n".to_vec()),
        ("a head that is too long", get("/no", &long)),
    ] {
        for _ in 0..4 {
            assert!(matches!(Flow::new(&world, 1).request(&segment), Outcome::Replied(_)), "{what}");
        }
        assert_eq!(world.recalled.get(), 0, "{what}");
    }
    // An empty line may stand before a head only behind a body.
    let late = [b"\r\n".as_slice(), &head].concat();
    for _ in 0..3 {
        let mut flow = Flow::new(&world, 1);
        flow.request(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx");
        flow.answered(1);
        assert!(matches!(flow.request(&late), Outcome::Replied(_)));
        assert!(matches!(Flow::new(&world, 1).request(&late), Outcome::Closed(_)));
    }
    assert_eq!(world.recalled.get(), 0);
}

#[test]
fn half_a_head_is_none() {
    let world = world();
    let head = get("/no", "");
    (0..3).for_each(|_| drop(Flow::new(&world, 1).request(&head)));
    let known = world.recalled.get();
    // What comes behind a part of another one is a part of it, whatever it looks like.
    let mut flow = Flow::new(&world, 1);
    assert_eq!(flow.request(b"POST /yes HTTP/1.1\r\nX: "), Outcome::Passed);
    assert!(matches!(flow.request(&head), Outcome::Passed));
    flow = Flow::new(&world, 1);
    assert_eq!(flow.request(b"POST /yes HTTP/1.1\r\nHost: c\r\nContent-Length: 99\r\n\r\n"), Outcome::Passed);
    assert_eq!(flow.request(&head), Outcome::Passed);
    assert_eq!(world.recalled.get(), known);
}

#[test]
fn other_tables_know_nothing_of_it() {
    let world = world();
    let head = get("/maybe", "");
    for _ in 0..3 {
        assert_eq!(Flow::new(&world, 1).request(&head), Outcome::Passed);
    }
    assert_eq!(world.recalled.get(), 1);
    world.condition(subject::PATH, b"/maybe", false, 0);
    world.change_matcher(0, |matcher| matcher.generation += 1);
    assert!(matches!(Flow::new(&world, 1).request(&head), Outcome::Replied(_)));
    assert_eq!(world.recalled.get(), 1);
}

#[test]
fn a_blocked_client_is_blocked_with_a_head_that_is_known() {
    use http_fastpath::guard::Tables;
    let world = world();
    let head = get("/no", "");
    (0..3).for_each(|_| drop(Flow::new(&world, 1).request(&head)));
    assert!((&world).block([0, 0xffff_0a00_0001], 1 << 40));
    assert_eq!(Flow::new(&world, 1).request(&head), Outcome::Reset);
    assert!(matches!(Flow::new(&world, 2).request(&head), Outcome::Replied(_)));
}

#[test]
fn every_probe_leads_to_the_same_again_and_again() {
    let (with, without) = (World::new(), World::new());
    without.remembers.set(false);
    for probe in table::all() {
        for turn in 0..4 {
            let (mut one, mut other) = (Flow::new(&with, 1), Flow::new(&without, 1));
            assert_eq!(one.request(probe.bytes), other.request(probe.bytes), "{}, {turn}", probe.name);
            assert_eq!(one.state.request, other.state.request, "{}, {turn}", probe.name);
            assert_eq!(one.state.outstanding, other.state.outstanding, "{}, {turn}", probe.name);
        }
    }
    assert!(with.recalled.get() > 100 && without.recalled.get() == 0);
}

/// Heads, parts of heads and more, of which many look alike.
fn segment() -> impl Strategy<Value = Vec<u8>> {
    let path = prop_oneof![Just("/no"), Just("/yes"), Just("/%6eo"), Just("/yes/../no"), Just("/")];
    let field = prop_oneof![
        Just(""),
        Just("X-Key: 1\r\n"),
        Just("X-Key: 2\r\n"),
        Just("Connection: close\r\n"),
        Just("Content-Length: 2\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Host: b\r\n"),
    ];
    prop_oneof![
        8 => (path, field).prop_map(|(path, field)| get(path, field)),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"ab".to_vec()),
        1 => Just(b"0\r\n\r\n".to_vec()),
        1 => Just(b"GET /no HTTP/1.1\r\n".to_vec()),
        1 => Just(b"Host: a\r\n\r\n".to_vec()),
    ]
}

thread_local! {
    static WORLDS: (World, World) = {
        let without = world();
        without.remembers.set(false);
        (world(), without)
    };
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn connections_go_the_same_way_with_and_without(flows in vec(vec((any::<bool>(), segment()), 1..6), 1..12)) {
        WORLDS.with(|(with, without)| {
            for segments in &flows {
                let (mut one, mut other) = (Flow::new(with, 1), Flow::new(without, 1));
                for (answered, bytes) in segments {
                    let outcome = one.request(bytes);
                    prop_assert_eq!(&outcome, &other.request(bytes));
                    prop_assert_eq!(one.state.request, other.state.request);
                    prop_assert_eq!(one.state.outstanding, other.state.outstanding);
                    if !matches!(outcome, Outcome::Passed | Outcome::Replied(_)) {
                        break;
                    }
                    if *answered {
                        let waiting = one.state.outstanding.waiting();
                        one.answered(waiting);
                        other.answered(waiting);
                    }
                }
            }
            prop_assert_eq!(&*with.reports.borrow(), &*without.reports.borrow());
            with.forget();
            without.forget();
            Ok(())
        })?;
    }
}
