//! Histories of one key, and whether a register could have had them.
//!
//! Every written value is unique, so each read names its write. Then the question is decided in O(n log n) (Gibbons and
//! Korach, *Testing Shared Memories*, 1997): a value's zone lies between the earliest end and the latest beginning of its
//! write and reads. If that end comes before that beginning (a forward zone), the register holds the value all that time;
//! otherwise (a backward zone) some moment in it suffices. A register could have had the history if and only if no read
//! ends before its write begins, no two forward zones overlap, and no backward zone lies within a forward one.

use std::collections::BTreeMap;

/// What a write wrote or a read returned. 0 is what was there before all writes.
pub(crate) type Value = u64;

/// An operation, with the times at which it began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) write: bool,
    pub(crate) value: Value,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// A value's life, as its operations tell.
#[derive(Clone, Copy, Debug)]
struct Zone {
    value: Value,
    earliest_end: u64,
    latest_begin: u64,
    write_begin: Option<u64>,
    first_read_end: u64,
}

impl Zone {
    fn forward(&self) -> bool {
        self.earliest_end < self.latest_begin
    }
}

/// Whether there is an order of the operations, each at a moment within its time, that explains all reads. The first
/// thing found that cannot be is the error.
pub(crate) fn check(operations: &[Operation]) -> Result<(), String> {
    let mut zones = BTreeMap::from([(
        0,
        Zone { value: 0, earliest_end: 0, latest_begin: 0, write_begin: Some(0), first_read_end: u64::MAX },
    )]);
    for operation in operations {
        let zone = zones.entry(operation.value).or_insert(Zone {
            value: operation.value,
            earliest_end: u64::MAX,
            latest_begin: 0,
            write_begin: None,
            first_read_end: u64::MAX,
        });
        zone.earliest_end = zone.earliest_end.min(operation.to);
        zone.latest_begin = zone.latest_begin.max(operation.from);
        if !operation.write {
            zone.first_read_end = zone.first_read_end.min(operation.to);
        } else if zone.write_begin.replace(operation.from).is_some() {
            return Err(format!("{} was written twice", operation.value));
        }
    }
    for zone in zones.values() {
        match zone.write_begin {
            None => return Err(format!("{} was read and never written", zone.value)),
            Some(begin) if zone.first_read_end < begin => {
                return Err(format!("{} was read before it was written", zone.value));
            }
            Some(_) => {}
        }
    }
    let (mut forward, backward): (Vec<Zone>, Vec<Zone>) = zones.into_values().partition(Zone::forward);
    forward.sort_unstable_by_key(|zone| zone.earliest_end);
    for pair in forward.windows(2) {
        if pair[0].latest_begin > pair[1].earliest_end {
            return Err(format!("values that hold at the same time: {:?} and {:?}", pair[0], pair[1]));
        }
    }
    for zone in backward {
        // The last forward zone that begins before this one.
        let next = forward.partition_point(|other| other.earliest_end < zone.latest_begin);
        if let Some(other) = next.checked_sub(1).map(|i| forward[i])
            && zone.earliest_end < other.latest_begin
        {
            return Err(format!("a value within another's time: {zone:?} in {other:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(value: Value, from: u64, to: u64) -> Operation {
        Operation { write: true, value, from, to }
    }

    fn read(value: Value, from: u64, to: u64) -> Operation {
        Operation { write: false, value, from, to }
    }

    #[test]
    fn bad_histories_are_told() {
        let bad = [
            ("stale", vec![write(1, 10, 20), write(2, 30, 40), read(1, 50, 60)]),
            ("back in time", vec![write(1, 10, 20), write(2, 30, 90), read(2, 40, 50), read(1, 60, 70)]),
            ("from nowhere", vec![write(1, 10, 20), read(7, 30, 40)]),
            ("from the future", vec![read(1, 10, 20), write(1, 30, 40)]),
            ("lost", vec![write(1, 10, 20), read(0, 30, 40)]),
            ("between", vec![write(1, 10, 20), write(2, 30, 40), read(1, 45, 50)]),
            ("twice", vec![write(1, 10, 20), write(1, 30, 40)]),
        ];
        for (what, history) in bad {
            assert!(check(&history).is_err(), "{what} was not noticed");
        }
    }

    #[test]
    fn good_histories_pass() {
        let good = [
            vec![],
            vec![read(0, 10, 20), write(1, 15, 30), read(0, 16, 25), read(1, 20, 40)],
            vec![write(1, 10, 90), write(2, 10, 90), read(2, 20, 30), read(1, 40, 50)],
            vec![write(1, 10, 20), write(2, 30, 90), read(1, 40, 50), read(2, 60, 70)],
        ];
        for history in good {
            assert_eq!(check(&history), Ok(()), "{history:?}");
        }
    }

    /// Tries all orders.
    fn explained(left: &mut Vec<Operation>, value: Value) -> bool {
        let Some(first_end) = left.iter().map(|operation| operation.to).min() else { return true };
        for i in 0..left.len() {
            let operation = left[i];
            if operation.from > first_end || !operation.write && operation.value != value {
                continue;
            }
            left.swap_remove(i);
            let explained = explained(left, operation.value);
            left.push(operation);
            let last = left.len() - 1;
            left.swap(i, last);
            if explained {
                return true;
            }
        }
        false
    }

    #[test]
    fn it_agrees_with_a_search_of_all_orders() {
        let mut seed = 1u64;
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let (mut good, mut bad) = (0, 0);
        for _ in 0..30_000 {
            let writes = below(4);
            let mut times: Vec<u64> = (1..40).collect();
            let mut operations = Vec::new();
            for i in 0..writes + below(4) {
                // Distinct times, so that it does not matter which of two at the same time comes first.
                let a = times.swap_remove(below(times.len() as u64) as usize);
                let b = times.swap_remove(below(times.len() as u64) as usize);
                let (from, to) = (a.min(b), a.max(b));
                operations.push(if i < writes {
                    write(i + 1, from, to)
                } else {
                    read(below(writes + 1), from, to)
                });
            }
            let expected = explained(&mut operations.clone(), 0);
            assert_eq!(check(&operations).is_ok(), expected, "{operations:?}");
            if expected {
                good += 1
            } else {
                bad += 1
            };
        }
        assert!(good > 1000 && bad > 1000, "{good} good and {bad} bad histories");
    }
}
