//! Which rule decides: the first one whose conditions hold.
//!
//! Rules that only count, and limits that are not reached in a dry run, do not decide; the search then goes on behind
//! them. So it is a place in the list, kept in memory, and moved on a few rules at a time.

use xps_core::bound::{keep_in_memory, masked};

use crate::abi::{RULES_MAX, Rule, Rules};
use crate::matcher::Matched;

/// Rules that one call looks at.
pub const STEP: u32 = 32;

/// What a rule does with a request.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It passes.
    Allow = 0,
    /// It is refused with an answer.
    Deny = 1,
    /// It is refused with an answer if its key is over the limit, and passes otherwise.
    Limit = 2,
    /// The connection is closed.
    Close = 3,
    /// The connection is left without an answer.
    Drop = 4,
    /// It is counted, and the next rules decide.
    Count = 5,
}

impl Action {
    /// The value that stands in a table as a number. What is no action refuses nothing.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Self {
        match value {
            1 => Self::Deny,
            2 => Self::Limit,
            3 => Self::Close,
            4 => Self::Drop,
            5 => Self::Count,
            _ => Self::Allow,
        }
    }
}

/// How far the rules were looked at; all zero at the start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The next rule to look at.
    pub at: u32,
}

/// What a call led to. A number, since it crosses a verified function's border.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no further rule that holds.
    None = 0,
    /// None yet; call again.
    Again = 1,
    /// [`Search::rule`] holds. The next call looks behind it.
    Rule = 2,
}

impl Found {
    /// The value that crossed a function's border as a number.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Self {
        match value {
            0 => Self::None,
            1 => Self::Again,
            _ => Self::Rule,
        }
    }
}

impl Search {
    /// At the first rule.
    pub const START: Self = Self { at: 0 };

    /// Looks at the next [`STEP`] rules.
    #[inline(always)]
    pub fn step(&mut self, rules: &Rules, matched: &Matched) -> Found {
        let mut i = 0;
        while i < STEP {
            keep_in_memory();
            let at = self.at;
            if at >= rules.count || at as usize >= RULES_MAX {
                return Found::None;
            }
            self.at = at + 1;
            let rule = rules.rule(at);
            if matched.meets(&rule.need, &rule.need_not) {
                return Found::Rule;
            }
            i += 1;
        }
        Found::Again
    }

    /// Index of the rule that was found last.
    #[inline(always)]
    #[must_use]
    pub const fn rule(&self) -> u32 {
        self.at.wrapping_sub(1)
    }
}

impl Rules {
    /// A rule.
    #[inline(always)]
    #[must_use]
    pub fn rule(&self, index: u32) -> &Rule {
        // SAFETY: masked to the length of the array.
        unsafe { &*self.rules.as_ptr().add(masked::<{ RULES_MAX as u32 - 1 }>(index)) }
    }
}

#[cfg(any(test, feature = "host"))]
impl Rules {
    /// The first rule from `from` on that holds.
    #[must_use]
    pub fn first(&self, matched: &Matched, from: u32) -> Option<u32> {
        let mut search = Search { at: from };
        loop {
            match search.step(self, matched) {
                Found::None => return None,
                Found::Again => {}
                Found::Rule => return Some(search.rule()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule `i` needs condition `i`, and that condition 255 does not hold.
    fn rules(count: u32) -> Rules {
        let mut rules = Rules { count, ..Rules::EMPTY };
        for i in 0..RULES_MAX {
            rules.rules[i].need[i / 64] = 1 << (i % 64);
            rules.rules[i].need_not[3] = 1 << 63;
        }
        rules
    }

    #[test]
    fn the_first_one_that_holds_is_found_and_then_the_next() {
        let rules = rules(RULES_MAX as u32);
        let mut matched = Matched { bits: [1 << 3 | 1 << 63, 1 << 63, 0, 0] };
        let mut found = std::vec::Vec::new();
        let mut from = 0;
        while let Some(rule) = rules.first(&matched, from) {
            found.push(rule);
            from = rule + 1;
        }
        assert_eq!(found, [3, 63, 127]);
        matched.bits[3] = 1 << 63;
        assert_eq!(rules.first(&matched, 0), None);
        assert_eq!(rules.first(&Matched::NONE, 0), None);
    }

    #[test]
    fn rules_behind_the_count_are_none() {
        let matched = Matched { bits: [0, 1, 0, 0] };
        assert_eq!(rules(65).first(&matched, 0), Some(64));
        assert_eq!(rules(64).first(&matched, 0), None);
        assert_eq!(rules(u32::MAX).first(&Matched { bits: [0; 4] }, 0), None);
        assert_eq!(rules(u32::MAX).first(&matched, u32::MAX), None);
    }

    #[test]
    fn a_call_looks_at_a_few() {
        let rules = rules(RULES_MAX as u32);
        let mut search = Search::START;
        for step in 1..=4 {
            assert_eq!(search.step(&rules, &Matched::NONE), Found::Again);
            assert_eq!(search.at, step * STEP);
        }
        assert_eq!(search.step(&rules, &Matched::NONE), Found::None);
    }

    #[test]
    fn actions_are_numbers() {
        for action in [Action::Allow, Action::Deny, Action::Limit, Action::Close, Action::Drop, Action::Count]
        {
            assert_eq!(Action::from_u32(action as u32), action);
        }
        assert_eq!(Action::from_u32(77), Action::Allow);
    }
}
