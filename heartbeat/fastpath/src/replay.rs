//! The replay window of RFC 4303 (section 3.4.3, appendix A2) over sequences of 64 bits.
//!
//! A sequence passes once. What is older than the window cannot be told from what came before, and does not pass.

/// How far behind the newest sequence one may lie.
pub const WINDOW: u64 = 64;

/// The sequences that have been seen of one sender. Zero at first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    newest: u64,
    /// Bit `n`: `newest - n` has been seen. None is set while nothing has.
    seen: u64,
}

impl Window {
    /// A window that has seen nothing.
    pub const EMPTY: Self = Self { newest: 0, seen: 0 };

    /// Takes a sequence, if it has not been seen and is not too old to tell. To be asked only when the message's tag is right.
    #[inline(always)]
    #[must_use]
    pub fn take(&mut self, sequence: u64) -> bool {
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
            self.newest = sequence;
            return true;
        }
        let behind = self.newest - sequence;
        if behind >= WINDOW || self.seen >> behind & 1 != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The same from its definition.
    fn takes(seen: &mut BTreeSet<u64>, sequence: u64) -> bool {
        let too_old = seen.last().is_some_and(|newest| newest.saturating_sub(WINDOW - 1) > sequence);
        !too_old && seen.insert(sequence)
    }

    fn agree(sequences: &[u64]) -> Result<(), TestCaseError> {
        let (mut window, mut seen) = (Window::EMPTY, BTreeSet::new());
        for &sequence in sequences {
            prop_assert_eq!(window.take(sequence), takes(&mut seen, sequence), "{}", sequence);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_nearby(start: u64, steps in vec(0..200u64, 1..300)) {
            let sequences: std::vec::Vec<u64> = steps.iter().map(|step| start.saturating_add(*step)).collect();
            agree(&sequences)?;
        }

        #[test]
        fn agrees_with_a_set_anywhere(sequences in vec(any::<u64>(), 1..50)) {
            agree(&sequences)?;
        }

        #[test]
        fn agrees_with_a_set_while_it_moves_on(steps in vec((0..100u64, 0..100u64), 1..300)) {
            let mut base = 0;
            let sequences: std::vec::Vec<u64> = steps.iter().map(|(on, back)| {
                base += on;
                u64::saturating_sub(base, *back)
            }).collect();
            agree(&sequences)?;
        }
    }

    #[test]
    fn the_ends_of_the_window() {
        let mut window = Window::EMPTY;
        for (sequence, taken) in [
            (0, true),
            (0, false),
            (100, true),
            (100 - 63, true),
            (100 - 63, false),
            (100 - 64, false),
            (99, true),
            (163, true),
            (100, false),
            (101, true),
            (99, false),
            (u64::MAX, true),
            (u64::MAX, false),
            (163, false),
            (u64::MAX - 63, true),
            (0, false),
        ] {
            assert_eq!(window.take(sequence), taken, "{sequence}");
        }
    }
}
