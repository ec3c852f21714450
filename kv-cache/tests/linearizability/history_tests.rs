//! The checker against histories that are known to be right or wrong, and against a search of all orders.

use super::*;
use crate::model::Life;
use crate::support::Random;

const A: usize = 0;
const B: usize = 1;

fn text(value: u64) -> Value {
    Value::Text(value, 12)
}

fn one(action: Action, seen: Option<Answer>, from: u64, to: u64) -> Operation {
    let steps = Steps::One(Step { action, seen });
    Operation { from, to, certain: true, notice: Notice::AtOnce, cached: false, steps }
}

fn put(cell: usize, value: u64, from: u64, to: u64) -> Operation {
    let action = Action::Put { cell, value: text(value), only: None, life: Life::Set(0) };
    one(action, Some(Answer::Done), from, to)
}

fn get(cell: usize, value: u64, from: u64, to: u64) -> Operation {
    let value = if value == 0 { Value::Missing } else { text(value) };
    let read = one(Action::Get(cell), Some(Answer::Value(value)), from, to);
    Operation { cached: true, ..read }
}

fn flush(from: u64, to: u64) -> Operation {
    one(Action::Delete(15), None, from, to)
}

/// A write with a deadline.
fn short(value: u64, from: u64, to: u64) -> Operation {
    let action = Action::Put { cell: A, value: text(value), only: None, life: Life::Set(7) };
    one(action, Some(Answer::Done), from, to)
}

/// That deadline.
fn over(from: u64, to: u64) -> Operation {
    Operation { notice: Notice::Known, ..one(Action::Expire(7), None, from, to) }
}

fn unknown(operation: Operation) -> Operation {
    let Steps::One(step) = operation.steps else { panic!("one step") };
    Operation { certain: false, steps: Steps::One(Step { seen: None, ..step }), ..operation }
}

fn plain(operation: Operation) -> Operation {
    Operation { notice: Notice::Late, ..operation }
}

fn both(one: Operation, other: Operation) -> Operation {
    let steps = [one.steps.as_slice(), other.steps.as_slice()].concat();
    Operation { steps: Steps::Many(steps.into()), ..one }
}

#[test]
fn bad_histories_are_told() {
    let swap = |from, to| one(Action::Swap, Some(Answer::Done), from, to);
    let rename = |from, to| one(Action::Rename { from: A, to: B }, Some(Answer::Done), from, to);
    let increment =
        |sum, from, to| one(Action::Increment { cell: A, by: 1 }, Some(Answer::Count(sum)), from, to);
    let persist =
        |count, from, to| one(Action::SetLife { cell: A, life: 0 }, Some(Answer::Count(count)), from, to);
    let bad = [
        ("stale", vec![put(A, 1, 10, 20), put(A, 2, 30, 40), get(A, 1, 50, 60)]),
        ("back in time", vec![put(A, 1, 10, 20), put(A, 2, 30, 90), get(A, 2, 40, 50), get(A, 1, 60, 70)]),
        ("from nowhere", vec![put(A, 1, 10, 20), get(A, 7, 30, 40)]),
        ("from the future", vec![get(A, 1, 10, 20), put(A, 1, 30, 40)]),
        ("lost", vec![put(A, 1, 10, 20), get(A, 0, 30, 40)]),
        ("another key", vec![put(A, 1, 10, 20), get(B, 1, 30, 40)]),
        ("after a flush", vec![put(A, 1, 10, 20), flush(30, 40), get(A, 1, 50, 60)]),
        (
            "half a flush",
            vec![
                both(put(A, 1, 10, 20), put(B, 2, 10, 20)),
                flush(30, 90),
                get(A, 0, 40, 50),
                get(B, 2, 60, 70),
            ],
        ),
        (
            "half of two writes",
            vec![both(put(A, 1, 10, 90), put(B, 2, 10, 90)), get(A, 1, 20, 30), get(B, 0, 40, 50)],
        ),
        ("after a swap", vec![put(A, 1, 10, 20), swap(30, 40), get(A, 1, 50, 60)]),
        ("not swapped", vec![put(A, 1, 10, 20), swap(30, 40), get(A + 2, 0, 50, 60)]),
        ("swapped back", vec![put(A, 1, 10, 20), swap(30, 40), swap(50, 60), get(A, 0, 70, 80)]),
        ("after its time", vec![short(1, 10, 20), over(30, 40), get(A, 1, 50, 60)]),
        ("before its time", vec![short(1, 10, 20), get(A, 0, 22, 25), over(30, 40)]),
        ("persisted and gone", vec![short(1, 10, 20), persist(1, 22, 25), over(30, 40), get(A, 0, 50, 60)]),
        ("persisted too late", vec![short(1, 10, 20), over(30, 40), persist(1, 50, 60)]),
        ("renamed and still there", vec![put(A, 1, 10, 20), rename(30, 40), get(A, 1, 50, 60)]),
        ("renamed and not there", vec![put(A, 1, 10, 20), rename(30, 40), get(B, 0, 50, 60)]),
        ("renamed from nothing", vec![rename(30, 40)]),
        ("counted twice", vec![increment(1, 10, 20), increment(1, 30, 40)]),
        ("counted too far", vec![increment(1, 10, 20), increment(3, 30, 40)]),
        (
            "unknown, seen and gone",
            vec![unknown(put(A, 1, 10, u64::MAX)), get(A, 1, 30, 40), get(A, 0, 50, 60)],
        ),
        ("unknown, after its time", vec![unknown(put(A, 1, 10, 20)), get(A, 0, 30, 40), get(A, 1, 50, 60)]),
        (
            "unknown, twice",
            vec![unknown(put(A, 1, 10, u64::MAX)), get(A, 1, 30, 40), put(A, 2, 45, 48), get(A, 1, 50, 60)],
        ),
        (
            "unknown deletion, twice",
            vec![
                put(A, 1, 1, 2),
                unknown(flush(10, u64::MAX)),
                get(A, 0, 30, 40),
                put(A, 2, 45, 48),
                get(A, 0, 50, 60),
            ],
        ),
    ];
    for (what, history) in bad {
        assert!(check(&history, None).is_err(), "{what} was not noticed");
    }
}

#[test]
fn good_histories_pass() {
    let good = [
        vec![],
        vec![get(A, 0, 10, 20), put(A, 1, 15, 30), get(A, 0, 16, 25), get(A, 1, 20, 40)],
        vec![put(A, 1, 10, 90), put(A, 2, 10, 90), get(A, 2, 20, 30), get(A, 1, 40, 50)],
        vec![put(A, 1, 10, 20), put(A, 2, 30, 90), get(A, 1, 40, 50), get(A, 2, 60, 70)],
        vec![put(A, 1, 10, 20), flush(30, 60), get(A, 1, 35, 40), get(A, 0, 45, 50), get(A, 0, 70, 80)],
        vec![unknown(put(A, 1, 10, u64::MAX)), get(A, 0, 30, 40), get(A, 1, 50, 60)],
        vec![unknown(put(A, 1, 10, 20)), get(A, 0, 30, 40), get(A, 0, 50, 60)],
        vec![unknown(put(A, 1, 10, 20)), get(A, 1, 30, 40), get(A, 1, 50, 60)],
        vec![put(A, 1, 1, 2), unknown(flush(10, u64::MAX)), get(A, 1, 30, 40), get(A, 0, 50, 60)],
    ];
    for history in good {
        assert_eq!(check(&history, None), Ok(()), "{history:?}");
    }
}

#[test]
fn stale_reads_are_bounded() {
    let before = || vec![put(A, 1, 10, 20), plain(put(A, 2, 30, 40))];
    let with = |more: &[Operation]| [before(), more.to_vec()].concat();
    let good = [
        with(&[get(A, 1, 90, 95)]),
        with(&[get(A, 2, 50, 55), get(A, 1, 56, 58)]),
        vec![plain(put(A, 1, 30, 40)), get(A, 0, 90, 95)],
        vec![plain(put(A, 1, 30, 40)), plain(put(A, 2, 50, 60)), get(A, 0, 90, 95), get(A, 1, 96, 99)],
        vec![put(A, 1, 10, 20), plain(flush(30, 40)), get(A, 1, 90, 95)],
        // What the deadline ended was never seen; what was there before may still be.
        vec![put(A, 1, 5, 8), plain(short(2, 10, 20)), over(30, 40), get(A, 1, 50, 60)],
        vec![short(1, 10, 20), plain(over(30, 40)), get(A, 1, 50, 60)],
    ];
    for history in good {
        assert_eq!(check(&history, Some(50)), Ok(()), "{history:?}");
        assert!(check(&history, None).is_err(), "not strict: {history:?}");
    }
    let direct = Operation { cached: false, ..get(A, 1, 50, 60) };
    let bad = [
        ("beyond the bound", with(&[get(A, 1, 91, 95)])),
        ("not from the cache", with(&[direct])),
        ("after a write that is seen", with(&[put(A, 3, 45, 48), get(A, 1, 50, 60)])),
        ("what such a write has overwritten", with(&[put(A, 3, 45, 48), get(A, 2, 50, 60)])),
        ("only such writes", vec![put(A, 1, 10, 20), put(A, 2, 30, 40), get(A, 1, 50, 60)]),
        ("never there", with(&[get(A, 0, 50, 60)])),
        ("another key", with(&[get(B, 1, 50, 60)])),
        ("after its time", vec![short(1, 10, 20), over(30, 40), get(A, 1, 50, 60)]),
    ];
    for (what, history) in bad {
        assert!(check(&history, Some(50)).is_err(), "{what} was not noticed");
    }
}

/// The deadline that it sets, if it does.
fn sets(operation: &Operation) -> Option<u32> {
    let (Action::Put { life: Life::Set(deadline), .. } | Action::SetLife { life: deadline, .. }) =
        operation.steps.as_slice()[0].action
    else {
        return None;
    };
    (deadline != 0).then_some(deadline)
}

/// Tries all orders.
fn explained(left: &mut Vec<Operation>, state: State) -> bool {
    let Some(first_end) = left.iter().map(|operation| operation.to).min() else { return true };
    for i in 0..left.len() {
        if left[i].from > first_end {
            continue;
        }
        if let Action::Expire(deadline) = left[i].steps.as_slice()[0].action
            && left.iter().any(|other| sets(other) == Some(deadline))
        {
            // Not before the command that sets it.
            continue;
        }
        let operation = left.swap_remove(i);
        let mut after = state;
        let fits = operation.steps.as_slice().iter().all(|step| {
            let got = after.apply(step.action);
            step.seen.is_none_or(|seen| seen == got)
        });
        let explained = fits && explained(left, after) || !operation.certain && explained(left, state);
        left.push(operation);
        let last = left.len() - 1;
        left.swap(i, last);
        if explained {
            return true;
        }
    }
    false
}

fn action(random: &mut Random, value: u64) -> Action {
    let cell = random.below(2) + 2 * random.below(2);
    let other = cell ^ 1;
    let only = [None, Some(true), Some(false)][random.below(3)];
    let deadline = value as u32 * random.below(2) as u32;
    match random.below(17) {
        0..5 => Action::Get(cell),
        5..8 => Action::Put { cell, value: text(value), only, life: Life::Set(deadline) },
        8 => Action::Put { cell, value: text(value), only, life: Life::Keep },
        9 => Action::Exchange { cell, value: text(value) },
        10 => Action::Append { cell, text: [value as u8; 12] },
        11 => Action::Delete(1 << cell | 1 << other),
        12 => Action::Take(cell),
        13 => Action::SetLife { cell, life: deadline },
        14 => Action::Rename { from: cell, to: other },
        15 => Action::Copy { from: cell, to: other, replace: value.is_multiple_of(2) },
        _ => Action::Swap,
    }
}

/// Operations with random times, and the answers of a server that does each at a random moment within its own.
fn random_history(random: &mut Random) -> Vec<Operation> {
    let mut times: Vec<u64> = (1..40).collect();
    let count = 2 + random.below(6);
    let mut placed: Vec<(u64, Operation)> = (0..count)
        .map(|i| {
            // Distinct times, so that it does not matter which of two at the same time comes first.
            let mut three = [(); 3].map(|()| times.swap_remove(random.below(times.len())));
            three.sort_unstable();
            let [from, at, to] = three.map(|time| time * 100);
            (at, one(action(random, i as u64 + 1), None, from, to))
        })
        .collect();
    for i in 0..placed.len() {
        let (at, setter) = &placed[i];
        let Some(deadline) = sets(setter) else { continue };
        let at = at + random.below(10) as u64 * 100 + i as u64 + 1;
        let over = one(Action::Expire(deadline), None, at - random.below(90) as u64, at.max(setter.to) + 50);
        placed.push((at, over));
    }
    placed.sort_unstable_by_key(|(at, _)| *at);
    let mut state = State::default();
    for (_, operation) in &mut placed {
        let Steps::One(step) = &mut operation.steps else { continue };
        if random.below(5) == 0 {
            operation.certain = false;
            if random.below(2) == 0 {
                state.apply(step.action);
            }
            if random.below(2) == 0 {
                operation.to = u64::MAX;
            }
        } else {
            step.seen = Some(state.apply(step.action));
        }
    }
    placed.into_iter().map(|(_, operation)| operation).collect()
}

#[test]
fn it_agrees_with_a_search_of_all_orders() {
    let mut random = Random(1);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..40_000 {
        let mut history = random_history(&mut random);
        assert_eq!(check(&history, None), Ok(()), "a real history: {history:?}");
        // One answer becomes that of another operation.
        let (i, j) = (random.below(history.len()), random.below(history.len()));
        let other = history[j].steps.as_slice()[0].seen;
        let Steps::One(step) = &mut history[i].steps else { continue };
        if other.is_some() && step.seen.is_some() {
            step.seen = other;
        }
        let expected = explained(&mut history.clone(), State::default());
        assert_eq!(check(&history, None).is_ok(), expected, "{history:?}");
        if expected {
            good += 1
        } else {
            bad += 1
        };
    }
    assert!(good > 1000 && bad > 1000, "{good} good and {bad} bad histories");
}

/// One operation after the other, so that it is plain what a read may return.
#[test]
fn it_agrees_about_staleness_where_that_is_plain() {
    const BOUND: u64 = 30;
    let mut random = Random(2);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let mut history = vec![put(A, 1, 1, 2)];
        let (mut now, mut current, mut overwritten) = (2, 1, Vec::<(u64, u64)>::new());
        let mut expected = true;
        for value in 2..8 {
            let from = now + 1 + random.below(20) as u64;
            now = from + 1 + random.below(5) as u64;
            if random.below(2) == 0 {
                let seen = 1 + random.below(value as usize - 1) as u64;
                expected &=
                    seen == current || overwritten.iter().any(|(old, at)| *old == seen && at + BOUND >= from);
                history.push(get(A, seen, from, now));
            } else if random.below(3) == 0 {
                overwritten.clear();
                history.push(put(A, value, from, now));
                current = value;
            } else {
                overwritten.push((current, now));
                history.push(plain(put(A, value, from, now)));
                current = value;
            }
        }
        assert_eq!(check(&history, Some(BOUND)).is_ok(), expected, "{history:?}");
        if expected {
            good += 1
        } else {
            bad += 1
        };
    }
    assert!(good > 1000 && bad > 1000, "{good} good and {bad} bad histories");
}

/// A cache in front of a server whose plain port it learns about late: every history of it must pass.
#[test]
fn a_late_cache_passes() {
    const BOUND: u64 = 30;
    let mut random = Random(3);
    let mut stale_reads = 0;
    for _ in 0..20_000 {
        let mut state = State::default();
        let mut overwritten: Vec<(Value, u64)> = Vec::new();
        let mut history = Vec::new();
        let mut now = 0;
        for value in 1..8 {
            // Operations overlap: each takes place at `now`, somewhere within its time.
            now += 1 + random.below(8) as u64;
            let (from, to) = (now - random.below(now.min(9) as usize) as u64, now + random.below(9) as u64);
            let (from, to) = (from * 2, to * 2 + 1);
            let at = now * 2;
            let before = state.value(A);
            if random.below(2) == 0 {
                let mut choice = vec![before];
                let usable = overwritten.iter().filter(|(_, when)| when + BOUND >= at);
                choice.extend(usable.map(|(value, _)| *value));
                let seen = choice[random.below(choice.len())];
                stale_reads += u64::from(seen != before);
                let read = one(Action::Get(A), Some(Answer::Value(seen)), from, to);
                history.push(Operation { cached: true, ..read });
            } else {
                let write = put(A, value, from, to);
                let unseen = random.below(3) != 0;
                state.apply(write.steps.as_slice()[0].action);
                if unseen {
                    overwritten.push((before, at))
                } else {
                    overwritten.clear()
                }
                history.push(if unseen { plain(write) } else { write });
            }
        }
        assert_eq!(check(&history, Some(BOUND)), Ok(()), "{history:?}");
    }
    assert!(stale_reads > 1000, "{stale_reads} stale reads");
}
