//! What is believed of an application's shared word.
//!
//! A word is believed once: when it changes, and for the configured lease at most from when that was seen. One that stays
//! the same promises nothing more, however far ahead it lies.

use super::settings::LEASE_MAX;

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing new.
    Same,
    /// The application is alive until then; 0 says that it is not.
    Until(u64),
    /// It promised more than it may; this is what counts.
    Clamped(u64),
    /// No promise of this clock.
    Absurd(Absurd),
}

/// How a word contradicts the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Absurd {
    /// Further ahead than any lease.
    #[error(
        "the application promised further ahead than any lease may be; is its CLOCK_MONOTONIC another one (time namespace)?"
    )]
    Ahead,
    /// It was written now and speaks of a time that is long over.
    #[error(
        "the application promised until a time that is long over; is its CLOCK_MONOTONIC another one (time namespace)?"
    )]
    Behind,
    /// It was there before, and can only be of another boot or of a longer lease.
    #[error(
        "the lease file speaks of a time further ahead than the lease; it is not believed until it is touched"
    )]
    Old,
}

/// What was heard of one application.
#[derive(Debug)]
pub(super) struct Promise {
    lease_ns: u64,
    last: Option<u64>,
}

impl Promise {
    /// Nothing was heard; promises count up to `lease_ns`.
    pub(super) const fn new(lease_ns: u64) -> Self {
        Self { lease_ns, last: None }
    }

    /// The word as it is at `now_ns`.
    pub(super) fn hear(&mut self, word: u64, now_ns: u64) -> Heard {
        let first = self.last.is_none();
        if self.last.replace(word) == Some(word) {
            return Heard::Same;
        }
        let any_ns = LEASE_MAX.as_nanos() as u64;
        let longest_ns = now_ns.saturating_add(self.lease_ns);
        if word == 0 {
            Heard::Until(0)
        } else if word > now_ns.saturating_add(any_ns) {
            Heard::Absurd(Absurd::Ahead)
        } else if word > longest_ns {
            if first { Heard::Absurd(Absurd::Old) } else { Heard::Clamped(longest_ns) }
        } else if !first && word.saturating_add(any_ns) < now_ns {
            Heard::Absurd(Absurd::Behind)
        } else {
            Heard::Until(word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * LEASE;
    /// A host that has been up for a day.
    const NOW: u64 = 24 * HOUR;

    #[test]
    fn a_word_is_believed_once_and_for_a_lease_at_most() {
        let mut promise = Promise::new(LEASE);
        assert_eq!(promise.hear(0, NOW), Heard::Until(0));
        assert_eq!(promise.hear(NOW + LEASE, NOW), Heard::Until(NOW + LEASE));
        assert_eq!(promise.hear(NOW + LEASE, NOW + 5), Heard::Same);
        let far = NOW + 60 * LEASE;
        assert_eq!(promise.hear(far, NOW + 6), Heard::Clamped(NOW + 6 + LEASE));
        for later in 1..100 {
            assert_eq!(promise.hear(far, NOW + later * LEASE), Heard::Same);
        }
        assert_eq!(promise.hear(0, NOW), Heard::Until(0));
    }

    #[test]
    fn words_of_another_clock_are_not_believed() {
        let mut promise = Promise::new(LEASE);
        assert_eq!(promise.hear(NOW + LEASE, NOW), Heard::Until(NOW + LEASE));
        for word in [u64::MAX, NOW + HOUR + 1] {
            assert_eq!(promise.hear(word, NOW), Heard::Absurd(Absurd::Ahead));
        }
        for word in [1, NOW - HOUR - 1] {
            assert_eq!(promise.hear(word, NOW), Heard::Absurd(Absurd::Behind));
        }
        // A host that was just started has no past that is long enough to tell.
        assert_eq!(promise.hear(2, LEASE), Heard::Until(2));
        // Somewhat late is only lapsed.
        assert_eq!(promise.hear(NOW - LEASE, NOW), Heard::Until(NOW - LEASE));
    }

    #[test]
    fn what_a_file_said_before_is_believed_if_it_can_be_true() {
        assert_eq!(Promise::new(LEASE).hear(NOW + 1, NOW), Heard::Until(NOW + 1));
        assert_eq!(Promise::new(LEASE).hear(1, NOW), Heard::Until(1), "long lapsed, and no news");
        let mut promise = Promise::new(LEASE);
        assert_eq!(promise.hear(NOW + 2 * LEASE, NOW), Heard::Absurd(Absurd::Old));
        assert_eq!(promise.hear(NOW + LEASE, NOW), Heard::Until(NOW + LEASE));
        assert_eq!(Promise::new(LEASE).hear(u64::MAX, u64::MAX - 1), Heard::Until(u64::MAX));
    }
}
