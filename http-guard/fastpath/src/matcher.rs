//! One step of a DFA, and the conditions that hold for a request.
//!
//! A subject is read like this: [`Matcher::start`], then [`Matcher::step`] with each byte and [`Matcher::hit`] after it, then
//! [`Matcher::end`], or [`Matcher::named`] where the subject is a name. What is between two bytes is one state, so a head may
//! be cut anywhere. Of a path, whose end may be taken back by `..`, nothing holds before its end: [`Matcher::hit`] is not
//! needed there.

use xps_core::bound::masked;

use crate::abi::{CONDITION_WORDS, Conditions, Matcher, SETS_MAX, STATES_MAX, SUBJECTS_MAX, TRANSITIONS_MAX};

/// State of a subject that nothing can match any more.
pub const DEAD: u16 = 0;

/// The conditions that hold for a request, as far as it is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// One bit a condition.
    pub bits: Conditions,
}

impl Matched {
    /// None.
    pub const NONE: Self = Self { bits: [0; CONDITION_WORDS] };

    /// Adds conditions that hold.
    #[inline(always)]
    pub fn add(&mut self, conditions: &Conditions) {
        let mut i = 0;
        while i < CONDITION_WORDS {
            self.bits[i] |= conditions[i];
            i += 1;
        }
    }

    /// Whether all of `need` hold and none of `need_not`.
    #[inline(always)]
    #[must_use]
    pub fn meets(&self, need: &Conditions, need_not: &Conditions) -> bool {
        // Without a branch for each word, of which the verifier would follow all.
        let mut wrong = 0;
        let mut i = 0;
        while i < CONDITION_WORDS {
            wrong |= need[i] & !self.bits[i] | need_not[i] & self.bits[i];
            i += 1;
        }
        wrong == 0
    }
}

/// An element of an array of a power of two of elements; the index is masked.
macro_rules! element {
    ($array:expr, $len:expr, $index:expr) => {
        // SAFETY: masked to the length of the array. Without the mask the verifier would not know.
        unsafe { &*$array.as_ptr().add(masked::<{ $len as u32 - 1 }>($index)) }
    };
}

impl Matcher {
    /// The state in which `subject` starts.
    #[inline(always)]
    #[must_use]
    pub fn start(&self, subject: u32) -> u16 {
        *element!(self.starts, SUBJECTS_MAX, subject)
    }

    /// The state after `byte`.
    #[inline(always)]
    #[must_use]
    pub fn step(&self, state: u16, byte: u8) -> u16 {
        let class = *element!(self.classes, 256, u32::from(byte));
        let row = u32::from(state) << (self.stride_bits & 15);
        *element!(self.transitions, TRANSITIONS_MAX, row | u32::from(class))
    }

    /// Adds what holds since `state` was reached.
    #[inline(always)]
    pub fn hit(&self, state: u16, matched: &mut Matched) {
        if u32::from(state) >= self.hits_from {
            let set = *element!(self.hits, STATES_MAX, u32::from(state));
            matched.add(element!(self.sets, SETS_MAX, u32::from(set)));
        }
    }

    /// Adds what holds if the subject ends in `state`.
    #[inline(always)]
    pub fn end(&self, state: u16, matched: &mut Matched) {
        let set = *element!(self.ends, STATES_MAX, u32::from(state));
        if set != 0 {
            matched.add(element!(self.sets, SETS_MAX, u32::from(set)));
        }
    }

    /// The subject of the value whose name ends in `state`.
    #[inline(always)]
    #[must_use]
    pub fn named(&self, state: u16) -> u32 {
        u32::from(*element!(self.ends, STATES_MAX, u32::from(state)))
    }

    /// Which slot of limits' keys the value of `subject` goes into, plus one; 0: none.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self, subject: u32) -> u32 {
        u32::from(*element!(self.slots, SUBJECTS_MAX, subject))
    }
}

#[cfg(any(test, feature = "host"))]
impl Matcher {
    /// Tables in which everything is dead.
    #[must_use]
    pub fn empty() -> std::boxed::Box<Self> {
        // SAFETY: all fields are numbers. It would not fit the stack.
        unsafe { std::boxed::Box::new_zeroed().assume_init() }
    }

    /// Reads a whole value.
    pub fn read(&self, subject: u32, bytes: &[u8], matched: &mut Matched) {
        let mut state = self.start(subject);
        for &byte in bytes {
            state = self.step(state, byte);
            self.hit(state, matched);
        }
        self.end(state, matched);
    }

    /// Reads a whole name: the subject that its value is.
    #[must_use]
    pub fn read_name(&self, subject: u32, name: &[u8]) -> u32 {
        self.named(name.iter().fold(self.start(subject), |state, &byte| self.step(state, byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::subject;

    /// `/a*`, of which an end matches, and three of which match at once.
    fn matcher() -> std::boxed::Box<Matcher> {
        let mut matcher = Matcher::empty();
        matcher.stride_bits = 2;
        matcher.classes[usize::from(b'/')] = 1;
        matcher.classes[usize::from(b'a')] = 2;
        matcher.starts[subject::PATH as usize] = 1;
        let mut go = |from: usize, class: usize, to| matcher.transitions[from << 2 | class] = to;
        go(1, 1, 2);
        go(2, 2, 3);
        go(3, 2, 4);
        go(4, 2, 5);
        go(5, 2, 5);
        matcher.hits_from = 5;
        matcher.hits[5] = 2;
        matcher.ends[2..=5].fill(1);
        matcher.sets[1] = [1, 0, 0, 0];
        matcher.sets[2] = [0, 0, 0, 1 << 63];
        matcher
    }

    #[test]
    fn it_walks() {
        let matcher = matcher();
        for (text, expected) in [
            ("", [0; 4]),
            ("/", [1, 0, 0, 0]),
            ("/aa", [1, 0, 0, 0]),
            ("/aaa", [1, 0, 0, 1 << 63]),
            ("/aaab", [0, 0, 0, 1 << 63]),
            ("/b", [0; 4]),
            ("/b/a", [0; 4]),
        ] {
            let mut matched = Matched::NONE;
            matcher.read(subject::PATH, text.as_bytes(), &mut matched);
            assert_eq!(matched.bits, expected, "{text}");
            let mut matched = Matched::NONE;
            matcher.read(subject::METHOD, text.as_bytes(), &mut matched);
            assert_eq!(matched, Matched::NONE, "{text}");
        }
    }

    #[test]
    fn no_content_leads_out_of_the_tables() {
        let mut matcher = matcher();
        matcher.stride_bits = u32::MAX;
        matcher.classes.fill(255);
        matcher.starts.fill(u16::MAX);
        matcher.transitions.fill(u16::MAX);
        matcher.ends.fill(u16::MAX);
        matcher.hits.fill(u16::MAX);
        matcher.slots.fill(255);
        let mut matched = Matched::NONE;
        matcher.read(u32::MAX, b"x", &mut matched);
        assert_eq!(matcher.named(u16::MAX), u32::from(u16::MAX));
        assert_eq!(matcher.slot(u32::MAX), 255);
    }

    #[test]
    fn what_is_needed_and_what_must_not_be() {
        let matched = Matched { bits: [0b101, 0, 0, 1] };
        for (need, need_not, expected) in [
            ([0; 4], [0; 4], true),
            ([0b100, 0, 0, 1], [0b010, !0, !0, 2], true),
            ([0b111, 0, 0, 0], [0; 4], false),
            ([0b101, 0, 0, 1], [0, 0, 0, 1], false),
        ] {
            assert_eq!(matched.meets(&need, &need_not), expected);
        }
    }
}
