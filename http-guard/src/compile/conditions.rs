//! Which tests there are, and by what numbers they go.

use std::collections::BTreeMap;

use http_fastpath::abi::CONDITIONS_MAX;
use xps_runtime::config::Mistake;

use crate::rules::prefix::Prefix;
use crate::rules::{Pattern, Rule, Subject, Test};

use super::mistake;

/// The tests of all rules, each once.
pub(super) struct Conditions<'r> {
    tests: Vec<&'r Test>,
    /// By rule and condition.
    pub(super) numbers: Vec<Vec<usize>>,
}

impl<'r> Conditions<'r> {
    pub(super) fn of(rules: &'r [Rule], mistakes: &mut Vec<Mistake>) -> Self {
        let mut known = BTreeMap::new();
        let mut tests = Vec::new();
        let mut numbers = Vec::new();
        let mut full = false;
        for rule in rules {
            let mut own = Vec::new();
            for condition in &rule.conditions {
                let number = *known.entry(&condition.test).or_insert_with(|| {
                    tests.push(&condition.test);
                    tests.len() - 1
                });
                if number == CONDITIONS_MAX && !full {
                    full = true;
                    let message = format!(
                        "rule \"{}\": {condition} is the condition {} that is different from all before it; at most \
                         {CONDITIONS_MAX} are possible",
                        rule.name,
                        number + 1
                    );
                    mistakes.push(mistake(&condition.place, message));
                }
                own.push(number);
            }
            numbers.push(own);
        }
        Self { tests, numbers }
    }

    /// The tests of a subject, with their numbers.
    pub(super) fn of_subject(&self, subject: &Subject) -> impl Iterator<Item = (usize, &'r [Pattern])> {
        self.tests.iter().enumerate().filter_map(move |(number, test)| match test {
            Test::Text(of, patterns) if of == subject => Some((number, &**patterns)),
            _ => None,
        })
    }

    /// The tests of addresses, with their numbers.
    pub(super) fn clients(&self) -> impl Iterator<Item = (usize, &'r [Prefix])> {
        self.tests.iter().enumerate().filter_map(|(number, test)| match test {
            Test::Client(prefixes) => Some((number, &**prefixes)),
            Test::Text(..) => None,
        })
    }
}
