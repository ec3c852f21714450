//! Histories of one key, and whether a register could have had them (Wing and Gong 1993, with the states remembered).

use std::collections::HashSet;

/// What was done to a key. Values are unique; none is a missing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Written; `None` deletes.
    Write(Option<u32>),
    /// Read, with this result.
    Read(Option<u32>),
    /// Asked for and refused: nothing was written.
    Refused,
    /// The value's time is over: deletes it if it is still there.
    Expire(u32),
}

/// An operation with the steps at which it began and ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) action: Action,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Whether there is an order of the operations, each at a moment within its time, that explains all reads.
pub(crate) fn linearizable(operations: &[Operation]) -> bool {
    assert!(operations.len() <= 128, "histories are kept short");
    let all = if operations.len() == 128 { u128::MAX } else { (1 << operations.len()) - 1 };
    let mut seen = HashSet::new();
    let mut open = vec![(0u128, None)];
    while let Some((done, value)) = open.pop() {
        if done == all {
            return true;
        }
        if !seen.insert((done, value)) {
            continue;
        }
        let left = || operations.iter().enumerate().filter(|(i, _)| done >> i & 1 == 0);
        let first_end = left().map(|(_, o)| o.to).min().unwrap_or(u64::MAX);
        for (i, operation) in left().filter(|(_, o)| o.from <= first_end) {
            let next = match operation.action {
                Action::Write(written) => written,
                Action::Read(read) if read == value => value,
                Action::Read(_) => continue,
                Action::Refused => value,
                Action::Expire(expired) if value == Some(expired) => None,
                Action::Expire(_) => value,
            };
            open.push((done | 1 << i, next));
        }
    }
    false
}

#[test]
fn the_checker_knows_right_from_wrong() {
    let operation = |action, from, to| Operation { action, from, to };
    let write = |v, from, to| operation(Action::Write(Some(v)), from, to);
    let read = |v, from, to| operation(Action::Read(Some(v)), from, to);
    assert!(linearizable(&[write(1, 0, 10), read(1, 2, 3), read(1, 4, 5)]));
    assert!(!linearizable(&[write(1, 0, 1), write(2, 2, 10), read(2, 3, 4), read(1, 5, 6)]), "back in time");
    assert!(!linearizable(&[write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)]), "stale");
    assert!(linearizable(&[write(1, 0, 1), write(2, 2, 9), read(1, 4, 5)]), "not yet done");
    assert!(!linearizable(&[write(1, 0, 1), operation(Action::Expire(1), 5, 5), read(1, 6, 7)]), "expired");
    assert!(linearizable(&[
        write(1, 0, 1),
        write(2, 2, 3),
        operation(Action::Expire(1), 5, 5),
        read(2, 6, 7)
    ]));
}
