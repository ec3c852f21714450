//! Limits against their definition, and against another implementation.

use core::num::NonZeroU32;
use core::time::Duration;
use std::vec::Vec;

use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn pass(remaining: u64) -> Charge {
    Charge::Pass { remaining, wait_ns: 0 }
}

/// Charges, without a look at how long the request would have to wait.
fn charge(set: &mut Set, tag: u64, now_ns: u64, rate: Rate) -> Charge {
    match set.charge(tag, now_ns, rate) {
        Charge::Pass { remaining, .. } => pass(remaining),
        other => other,
    }
}

fn refused(retry_after_ns: u64) -> Charge {
    Charge::Refused { retry_after_ns }
}

#[test]
fn requests_of_a_burst_could_wait_for_their_time() {
    let rate = Rate::new(10, SECOND_NS, 3).unwrap();
    let mut set = Set::EMPTY;
    for (now_ms, expected_ms) in [(1000, 0), (1000, 100), (1050, 150), (1300, 0), (1310, 90)] {
        match set.charge(7, now_ms * MS, rate) {
            Charge::Pass { wait_ns, .. } => assert_eq!(wait_ns, expected_ms * MS, "{now_ms}"),
            other => panic!("{other:?} at {now_ms}"),
        }
    }
}

#[test]
fn a_bucket_empties_and_fills() {
    let rate = Rate::new(10, SECOND_NS, 3).unwrap();
    let mut set = Set::EMPTY;
    for (now_ms, expected) in [
        (1000, pass(2)),
        (1000, pass(1)),
        (1000, pass(0)),
        (1000, refused(100 * MS)),
        (1099, refused(MS)),
        (1100, pass(0)),
        (1100, refused(100 * MS)),
        (1350, pass(1)),
        (1350, pass(0)),
        (1350, refused(50 * MS)),
        (9000, pass(2)),
    ] {
        assert_eq!(charge(&mut set, 7, now_ms * MS, rate), expected, "at {now_ms} ms");
    }
}

#[test]
fn keys_do_not_share() {
    let rate = Rate::new(1, SECOND_NS, 1).unwrap();
    let mut set = Set::EMPTY;
    // Zero is a tag like any other, also in a set that is all zero.
    for tag in 0..WAYS as u64 {
        assert_eq!(charge(&mut set, tag, 5, rate), pass(0), "{tag}");
        assert_eq!(charge(&mut set, tag, 5, rate), refused(SECOND_NS), "{tag}");
    }
    assert_eq!(set.taken(5), WAYS);
}

#[test]
fn a_full_set_says_so_until_a_way_is_free() {
    let rate = Rate::new(1, SECOND_NS, 1).unwrap();
    let mut set = Set::EMPTY;
    for tag in 1..=WAYS as u64 {
        charge(&mut set, tag, tag * MS, rate);
    }
    assert_eq!(charge(&mut set, 100, 9 * MS, rate), Charge::Full);
    assert_eq!(charge(&mut set, 100, SECOND_NS + MS - 1, rate), Charge::Full);
    // The first one's bucket is full again: it is as good as never seen, and nobody else's is touched.
    assert_eq!(charge(&mut set, 100, SECOND_NS + MS, rate), pass(0));
    assert_eq!(charge(&mut set, 1, SECOND_NS + MS, rate), Charge::Full);
    assert!(matches!(charge(&mut set, 2, SECOND_NS + MS, rate), Charge::Refused { .. }));
}

#[test]
fn time_that_goes_back_gives_nothing() {
    let rate = Rate::new(1, SECOND_NS, 1).unwrap();
    let mut set = Set::EMPTY;
    assert_eq!(charge(&mut set, 1, 10 * SECOND_NS, rate), pass(0));
    assert_eq!(charge(&mut set, 1, 10 * SECOND_NS - MS, rate), refused(SECOND_NS));
    // Another CPU has seen that the bucket of 1 is full and has given it away.
    for tag in 2..=9 {
        assert_eq!(charge(&mut set, tag, 11 * SECOND_NS, rate), pass(0), "{tag}");
    }
    assert_eq!(charge(&mut set, 1, 11 * SECOND_NS - 1, rate), Charge::Full);
}

#[test]
fn a_table_that_was_never_written_refuses_nothing_and_fails_nowhere() {
    let mut set = Set::EMPTY;
    assert_eq!(charge(&mut set, 1, 1, Rate::default()), pass(0));
    assert_eq!(charge(&mut set, 1, u64::MAX, Rate { interval_ns: u64::MAX, tolerance_ns: 0 }), pass(0));
}

#[test]
fn rates_are_checked_and_rounded_in_the_servers_favour() {
    for (requests, period_ns, burst, expected) in [
        (10, SECOND_NS, 1, Ok((100 * MS, 100 * MS))),
        (600, 60 * SECOND_NS, 20, Ok((100 * MS, 2000 * MS))),
        (3, 10, 2, Ok((4, 8))),
        (1, TOLERANCE_NS_MAX, 1, Ok((TOLERANCE_NS_MAX, TOLERANCE_NS_MAX))),
        (0, 1, 1, Err(RateError::Nothing)),
        (1, 0, 1, Err(RateError::Nothing)),
        (1, 1, 0, Err(RateError::Nothing)),
        (2, 1, 1, Err(RateError::TooFast)),
        (1, TOLERANCE_NS_MAX, 2, Err(RateError::TooLong)),
        (1, u64::MAX, u64::MAX, Err(RateError::TooLong)),
    ] {
        let rate = Rate::new(requests, period_ns, burst);
        assert_eq!(rate.map(|rate| (rate.interval_ns, rate.tolerance_ns)), expected);
        if let Ok(rate) = rate {
            assert_eq!(rate.burst(), burst);
        }
    }
}

#[test]
fn retries_are_told_in_whole_seconds() {
    for (ns, s) in [(0, 0), (1, 1), (SECOND_NS, 1), (SECOND_NS + 1, 2), (u64::MAX, 18_446_744_074)] {
        assert_eq!(retry_after_s(ns), s);
    }
}

/// Steps of time that often hit an interval's border.
fn steps(interval_ns: u64) -> impl Strategy<Value = Vec<u64>> {
    let step = prop_oneof![
        3 => Just(0),
        3 => 0..interval_ns * 2,
        2 => (0..4u64).prop_map(move |intervals| intervals * interval_ns),
        1 => (0..4u64).prop_map(move |intervals| (intervals * interval_ns).saturating_sub(1)),
        1 => 0..interval_ns * 40,
    ];
    proptest::collection::vec(step, 1..200)
}

fn cases() -> impl Strategy<Value = (u64, u32, Vec<u64>)> {
    (1..10_000_000_000u64, 1..20u32)
        .prop_flat_map(|(interval_ns, burst)| (Just(interval_ns), Just(burst), steps(interval_ns)))
}

proptest! {
    #[test]
    fn decides_as_governor_does((interval_ns, burst, steps) in cases(), start_ns in 0..1u64 << 50) {
        let quota = Quota::with_period(Duration::from_nanos(interval_ns)).unwrap();
        let clock = FakeRelativeClock::default();
        let quota = quota.allow_burst(NonZeroU32::new(burst).unwrap());
        let oracle = RateLimiter::direct_with_clock(quota, clock.clone());
        let rate = Rate::new(1, interval_ns, u64::from(burst)).unwrap();
        let mut set = Set::EMPTY;
        let mut now_ns = start_ns;
        for step_ns in steps {
            now_ns += step_ns;
            clock.advance(Duration::from_nanos(step_ns));
            let ours = charge(&mut set, 9, now_ns, rate);
            match oracle.check() {
                Ok(()) => prop_assert!(matches!(ours, Charge::Pass { .. }), "{:?}", ours),
                Err(until) => {
                    let wait = until.wait_time_from(governor::clock::Clock::now(&clock));
                    prop_assert_eq!(ours, refused(wait.as_nanos() as u64));
                }
            }
        }
    }

    #[test]
    fn what_is_told_is_true((interval_ns, burst, steps) in cases()) {
        let rate = Rate::new(1, interval_ns, u64::from(burst)).unwrap();
        let mut set = Set::EMPTY;
        let mut now_ns = 0;
        for step_ns in steps {
            now_ns += step_ns;
            match charge(&mut set, 9, now_ns, rate) {
                Charge::Pass { remaining, .. } => {
                    let mut copy = set;
                    for left in (0..remaining).rev() {
                        prop_assert_eq!(charge(&mut copy, 9, now_ns, rate), pass(left));
                    }
                    let more = charge(&mut copy, 9, now_ns, rate);
                    prop_assert!(matches!(more, Charge::Refused { .. }), "{:?}", more);
                }
                Charge::Refused { retry_after_ns } => {
                    let (mut early, mut then) = (set, set);
                    prop_assert_eq!(charge(&mut early, 9, now_ns + retry_after_ns - 1, rate), refused(1));
                    prop_assert_eq!(charge(&mut then, 9, now_ns + retry_after_ns, rate), pass(0));
                }
                Charge::Full => prop_assert!(false, "one key cannot fill a set"),
            }
        }
    }

    /// Many keys in one set, and clocks that lie a little apart: from any pass to any other, no key has more than its due by
    /// the set's time.
    #[test]
    fn never_more_than_rate_and_burst(
        (interval_ns, burst, steps) in cases(),
        arrivals in proptest::collection::vec((0..12u64, 0..3u64), 200),
    ) {
        let rate = Rate::new(1, interval_ns, u64::from(burst)).unwrap();
        let mut set = Set::EMPTY;
        let mut now_ns = 0;
        let mut passes: Vec<Vec<u64>> = (0..12).map(|_| Vec::new()).collect();
        for (step_ns, (tag, behind)) in steps.into_iter().zip(arrivals) {
            now_ns += step_ns;
            let seen_ns = now_ns.saturating_sub(behind * interval_ns / 2);
            let before = set;
            match charge(&mut set, tag, seen_ns, rate) {
                Charge::Pass { .. } => passes[tag as usize].push(set.latest_ns),
                Charge::Refused { .. } => prop_assert_eq!(set.ways, before.ways),
                Charge::Full => prop_assert_eq!(set.taken(set.latest_ns), WAYS),
            }
        }
        for passes in passes {
            for (first, start_ns) in passes.iter().enumerate() {
                for (end_ns, passed) in passes[first..].iter().zip(1..) {
                    let due = (end_ns - start_ns) / interval_ns + u64::from(burst);
                    prop_assert!(passed <= due, "{} in {} ns", passed, end_ns - start_ns);
                }
            }
        }
    }
}
