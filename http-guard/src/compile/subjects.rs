//! The DFA of each subject, or which rule is to blame.

use http_fastpath::abi::{Matcher, SETS_MAX, STATES_MAX, TRANSITIONS_MAX, subject};
use regex_syntax::hir::Hir;
use xps_runtime::config::{Mistake, Mistakes};

use crate::rules::{Condition, KeyPart, Rule, Subject, Test};

use super::automaton::{self, BuildError};
use super::conditions::Conditions;
use super::tables::{self, Meaning, Overflow, Part};
use super::{called, mistake, pattern};

/// The transition tables of all subjects.
pub(super) fn matcher(
    rules: &[Rule],
    conditions: &Conditions<'_>,
    values: &[KeyPart],
) -> Result<Box<Matcher>, Mistakes> {
    let mut subjects = vec![
        (subject::METHOD, Subject::Method),
        (subject::PATH, Subject::Path),
        (subject::HOST, Subject::Host),
    ];
    for (number, value) in (subject::FIRST_VALUE..).zip(values) {
        if let KeyPart::Header(name) = value {
            subjects.push((number, Subject::Header(name.clone())));
        }
    }
    let mut parts = Vec::new();
    let mut mistakes = Vec::new();
    for (number, subject) in &subjects {
        match part(rules, conditions, *number, subject) {
            Ok(part) => parts.extend(part),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    parts.extend(names(values));
    tables::matcher(&parts).map_err(|overflow| Mistakes(vec![too_much(rules, &parts, &subjects, overflow)]))
}

fn part(
    rules: &[Rule],
    conditions: &Conditions<'_>,
    number: u32,
    subject: &Subject,
) -> Result<Option<Part>, Mistake> {
    let mut numbers = Vec::new();
    let mut hirs = Vec::new();
    for (number, patterns) in conditions.of_subject(subject) {
        match pattern::hir(subject, patterns) {
            Ok(hir) => hirs.push(hir),
            Err(error) => return Err(blame(rules, conditions, number, &error)),
        }
        numbers.push(number);
    }
    if hirs.is_empty() {
        return Ok(None);
    }
    match automaton::build(&hirs) {
        Ok(automaton) => Ok(Some(Part { subject: number, automaton, meaning: Meaning::Conditions(numbers) })),
        Err(error) => Err(first_too_many(rules, conditions, subject, &numbers, &hirs, &error)),
    }
}

/// Names a condition whose expressions alone cannot be built, or else the first one that is too much with those before it.
fn first_too_many(
    rules: &[Rule],
    conditions: &Conditions<'_>,
    subject: &Subject,
    numbers: &[usize],
    hirs: &[Hir],
    error: &BuildError,
) -> Mistake {
    for (number, hir) in numbers.iter().zip(hirs) {
        match automaton::check(std::slice::from_ref(hir)) {
            Err(BuildError::TooLarge) => {
                let message = "needs too many states; shorter repetitions, or an anchor, make it smaller";
                return blame(rules, conditions, *number, message);
            }
            Err(BuildError::Unsupported) => {
                let message = "asks for what cannot be matched byte by byte, such as (?u:\\b)";
                return blame(rules, conditions, *number, message);
            }
            Ok(()) => {}
        }
    }
    debug_assert_eq!(*error, BuildError::TooLarge);
    // What is too much stays so with more, so the first one can be found by halving.
    let (mut fits, mut too_many) = (1, hirs.len());
    while fits + 1 < too_many {
        let middle = fits.midpoint(too_many);
        if automaton::check(&hirs[..middle]).is_ok() { fits = middle } else { too_many = middle }
    }
    let message = format!(
        "needs too many states together with what rules before it ask of the {}; anchors make expressions smaller",
        called(subject)
    );
    blame(rules, conditions, numbers[too_many - 1], &message)
}

/// A mistake of the first rule that has a condition.
fn blame(rules: &[Rule], conditions: &Conditions<'_>, number: usize, message: &str) -> Mistake {
    let mut all = rules.iter().zip(&conditions.numbers).flat_map(|(rule, numbers)| {
        rule.conditions.iter().zip(numbers).map(move |(condition, number)| (rule, condition, *number))
    });
    let found = all.find(|(_, _, own)| *own == number);
    found.map_or_else(
        || mistake("rules", message),
        |(rule, condition, _): (&Rule, &Condition, usize)| {
            mistake(&condition.place, format!("rule \"{}\": {condition} {message}", rule.name))
        },
    )
}

/// What leads from the names of headers and cookies to the subjects that their values are.
fn names(values: &[KeyPart]) -> Vec<Part> {
    let (mut headers, mut cookies) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for (number, value) in (subject::FIRST_VALUE..).zip(values) {
        match value {
            KeyPart::Header(name) => {
                headers.0.push(pattern::name_in_any_case(name));
                headers.1.push(number);
            }
            KeyPart::Cookie(name) => {
                cookies.0.push(pattern::name(name));
                cookies.1.push(number);
            }
            KeyPart::Address | KeyPart::Host | KeyPart::Path => {}
        }
    }
    let parts = [(subject::HEADER_NAME, headers), (subject::COOKIE_NAME, cookies)];
    let parts = parts.into_iter().filter(|(_, (hirs, _))| !hirs.is_empty());
    // Plain words always have a DFA; if they are too long, the table says so.
    let parts = parts.filter_map(|(subject, (hirs, numbers))| {
        let automaton = automaton::build(&hirs).ok()?;
        Some(Part { subject, automaton, meaning: Meaning::Subjects(numbers) })
    });
    parts.collect()
}

/// All DFAs fit, but not together: the largest one is named.
fn too_much(rules: &[Rule], parts: &[Part], subjects: &[(u32, Subject)], overflow: Overflow) -> Mistake {
    let what = match overflow {
        Overflow::States(states) => format!("{states} states; {STATES_MAX} are possible"),
        Overflow::Transitions(transitions) => {
            format!("{transitions} transitions; {TRANSITIONS_MAX} are possible")
        }
        Overflow::Sets => format!("more than the {SETS_MAX} combinations of conditions that are possible"),
    };
    let largest = parts.iter().max_by_key(|part| part.automaton.states.len());
    let largest = largest.and_then(|part| {
        let (_, subject) = subjects.iter().find(|(number, _)| *number == part.subject)?;
        Some((subject, part.automaton.states.len()))
    });
    let Some((subject, states)) = largest else {
        return mistake("rules", format!("all rules together need {what}"));
    };
    let mut conditions = rules.iter().flat_map(|rule| &rule.conditions);
    let first = conditions.find(|condition| matches!(&condition.test, Test::Text(of, _) if of == subject));
    let message = format!(
        "all rules together need {what}; what they ask of the {} needs most, {states} states",
        called(subject)
    );
    mistake(first.map_or("rules", |condition| &condition.place), message)
}
