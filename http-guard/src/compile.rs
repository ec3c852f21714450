//! Rules as the tables that the programs read: [`http_fastpath::abi`].
//!
//! Equal tests of several rules are one condition. All conditions on one subject become one DFA, and all DFAs one table.
//!
//! # Layout
//!
//! - `pattern`: patterns as expressions.
//! - `automaton`: the DFA of a subject.
//! - `tables`: all DFAs in one table.
//! - [`clients`]: conditions on addresses.
//! - `conditions`: which tests there are, and by what numbers they go.
//! - `keys`: what limits' keys are made of.
//! - `subjects`: the DFA of each subject, or which rule is to blame.

mod automaton;
pub mod clients;
mod conditions;
mod keys;
mod pattern;
mod subjects;
mod tables;

use http_fastpath::abi::{self, CONDITION_WORDS, Conditions as Bits, Matcher};
use http_fastpath::rules::Action as Act;
use xps_runtime::config::{Mistake, Mistakes};

use crate::rules::{Action, KeyPart, Rule, Subject};

use clients::Clients;
use conditions::Conditions;

/// Rules, compiled.
pub struct Compiled {
    /// The transition tables; their generation is 0.
    pub matcher: Box<Matcher>,
    /// The rules; their generation is 0.
    pub rules: Box<abi::Rules>,
    /// What holds for clients' addresses.
    pub clients: Clients,
    /// By rule and its condition, the number that the test goes by.
    pub numbers: Vec<Vec<usize>>,
    /// Headers and cookies whose values are in limits' keys, by slot.
    pub slots: Vec<KeyPart>,
    /// Headers whose values have a subject of their own, from [`abi::subject::FIRST_VALUE`] on; then cookies.
    pub values: Vec<KeyPart>,
}

/// Compiles rules.
///
/// # Errors
/// If they are too large for the tables; the rule that is to blame is named.
pub fn compile(rules: &[Rule]) -> Result<Compiled, Mistakes> {
    let mut mistakes = Vec::new();
    let conditions = Conditions::of(rules, &mut mistakes);
    let slots = keys::slots(rules, &mut mistakes);
    let values = keys::values(rules, &slots, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    let mut matcher = subjects::matcher(rules, &conditions, &values)?;
    for (i, value) in values.iter().enumerate() {
        let subject = abi::subject::FIRST_VALUE as usize + i;
        let slot = slots.iter().position(|slot| slot == value);
        matcher.slots[subject] = slot.map_or(0, |slot| slot as u8 + 1);
        if *value == KeyPart::Header("cookie".into()) {
            matcher.cookie = subject as u32;
        }
    }
    let mut table = Box::new(abi::Rules { count: rules.len() as u32, ..abi::Rules::EMPTY });
    for ((rule, numbers), entry) in rules.iter().zip(&conditions.numbers).zip(&mut table.rules) {
        *entry = entry_of(rule, numbers, &slots);
    }
    let clients = Clients::new(conditions.clients());
    Ok(Compiled { matcher, rules: table, clients, numbers: conditions.numbers, slots, values })
}

fn entry_of(rule: &Rule, numbers: &[usize], slots: &[KeyPart]) -> abi::Rule {
    let bits = |negated| {
        let mut bits: Bits = [0; CONDITION_WORDS];
        for (condition, number) in rule.conditions.iter().zip(numbers) {
            if condition.negated == negated {
                bits[number / 64] |= 1 << (number % 64);
            }
        }
        bits
    };
    let (action, status, limit) = match &rule.action {
        Action::Allow => (Act::Allow, 0, abi::Limit::default()),
        Action::Deny { status } => (Act::Deny, *status, abi::Limit::default()),
        Action::Limit(limit) => (Act::Limit, limit.status, keys::limit(&rule.name, limit, slots)),
        Action::Close => (Act::Close, 0, abi::Limit::default()),
        Action::Drop => (Act::Drop, 0, abi::Limit::default()),
        Action::Count => (Act::Count, 0, abi::Limit::default()),
    };
    abi::Rule {
        need: bits(false),
        need_not: bits(true),
        action: action as u32,
        status: u32::from(status),
        dry_run: u32::from(rule.dry_run),
        padding: 0,
        limit,
    }
}

fn mistake(place: &str, message: impl Into<String>) -> Mistake {
    Mistake { place: place.to_owned(), message: message.into() }
}

/// What messages call a subject.
fn called(subject: &Subject) -> String {
    match subject {
        Subject::Method => "method".into(),
        Subject::Host => "host".into(),
        Subject::Path => "path".into(),
        Subject::Header(name) => format!("header {name}"),
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
