//! What a command chooses for its connection if the server agrees: the database of SELECT, the user of AUTH, the protocol
//! of HELLO.
//!
//! The request side writes what was asked for, the response side whether it was granted; each field has one writer, as in
//! [`crate::connection`].

use crate::connection::{load, store};

/// Not known: no hits.
pub const UNKNOWN: u32 = u32::MAX;

/// The last question was granted.
const GRANTED: u32 = 1;
/// Some question was.
const EVER: u32 = 2;

/// A choice; all zero at a connection's start, which means the value 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    // Written by the request side.
    /// Number of the last request that asked, plus one; 0: none did.
    asked: u32,
    /// What it asked for.
    value: u32,
    /// The value before it.
    before: u32,

    // Written by the response side.
    /// Number of the last such request that was answered, plus one.
    answered: u32,
    /// Whether that answer was no error: [`GRANTED`]; and whether one ever was: [`EVER`].
    granted: u32,
}

impl Choice {
    /// At a connection's start.
    pub const START: Self = Self { asked: 0, value: 0, before: 0, answered: 0, granted: 0 };

    /// The value, or [`UNKNOWN`].
    #[inline(always)]
    #[must_use]
    pub fn get(&self) -> u32 {
        if load(&self.answered) != self.asked {
            return UNKNOWN;
        }
        if load(&self.granted) & GRANTED != 0 { self.value } else { self.before }
    }

    /// Request `number` asks for `value`.
    #[inline(always)]
    pub fn ask(&mut self, number: u32, value: u32) {
        // Of several unanswered ones it is not known which was granted.
        self.before = self.get();
        self.value = value;
        store(&mut self.asked, number.wrapping_add(1));
    }

    /// What was asked for last is this: its argument stands behind what made it a question.
    #[inline(always)]
    pub fn refine(&mut self, value: u32) {
        self.value = value;
    }

    /// What was asked for last may have been granted though the answer is an error.
    #[inline(always)]
    pub fn doubt(&mut self) {
        self.before = UNKNOWN;
    }

    /// Whether anything that was asked for is known to be granted.
    #[inline(always)]
    #[must_use]
    pub fn ever_granted(&self) -> bool {
        load(&self.granted) & EVER != 0
    }

    /// It is not known from here on.
    #[inline(always)]
    pub fn lose(&mut self) {
        self.before = UNKNOWN;
        self.value = UNKNOWN;
    }

    /// Request `number` is answered.
    #[inline(always)]
    pub fn answered(&mut self, number: u32, granted: bool) {
        let answered = number.wrapping_add(1);
        if load(&self.asked) == answered {
            let ever = self.granted & EVER;
            store(&mut self.granted, (granted as u32 * (GRANTED | EVER)) | ever);
            store(&mut self.answered, answered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_once_it_is_answered() {
        let mut choice = Choice::START;
        assert_eq!(choice.get(), 0);
        choice.ask(5, 7);
        assert_eq!(choice.get(), UNKNOWN);
        choice.answered(4, true);
        assert_eq!(choice.get(), UNKNOWN);
        choice.answered(5, true);
        assert_eq!(choice.get(), 7);
        choice.ask(6, 8);
        choice.answered(6, false);
        assert_eq!(choice.get(), 7);
    }

    #[test]
    fn of_two_on_their_way_only_a_granted_second_one_is_known() {
        let mut choice = Choice::START;
        choice.ask(0, 1);
        choice.ask(1, 2);
        choice.answered(0, true);
        assert_eq!(choice.get(), UNKNOWN);
        choice.answered(1, true);
        assert_eq!(choice.get(), 2);

        let mut choice = Choice::START;
        choice.ask(0, 1);
        choice.ask(1, 2);
        choice.answered(0, true);
        choice.answered(1, false);
        assert_eq!(choice.get(), UNKNOWN);
    }

    #[test]
    fn what_was_granted_once_is_remembered() {
        let mut choice = Choice::START;
        choice.ask(0, UNKNOWN);
        choice.answered(0, false);
        assert!(!choice.ever_granted() && choice.get() == 0);
        choice.ask(1, UNKNOWN);
        choice.answered(1, true);
        assert!(choice.ever_granted() && choice.get() == UNKNOWN);
        choice.ask(2, 7);
        choice.doubt();
        choice.answered(2, false);
        assert!(choice.ever_granted() && choice.get() == UNKNOWN);
    }

    #[test]
    fn what_is_lost_is_found_by_the_next_one() {
        let mut choice = Choice::START;
        choice.lose();
        assert_eq!(choice.get(), UNKNOWN);
        choice.ask(3, 1);
        choice.answered(3, false);
        assert_eq!(choice.get(), UNKNOWN);
        choice.ask(4, 1);
        choice.answered(4, true);
        assert_eq!(choice.get(), 1);
    }
}
