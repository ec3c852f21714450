//! The DFAs of all subjects in one table.

use std::collections::HashMap;

use http_fastpath::abi::{
    CONDITION_WORDS, Conditions, Matcher, SETS_MAX, STATES_MAX, SUBJECTS_MAX, TRANSITIONS_MAX, VERSION,
};

use super::automaton::Automaton;

/// What the expressions of a subject's DFA stand for, by their numbers.
#[derive(Debug)]
pub(super) enum Meaning {
    /// Conditions.
    Conditions(Vec<usize>),
    /// Subjects of the values whose names are read.
    Subjects(Vec<u32>),
}

/// A subject with its DFA.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) subject: u32,
    pub(super) automaton: Automaton,
    pub(super) meaning: Meaning,
}

/// Why the DFAs do not fit the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// So many states.
    States(usize),
    /// So many transitions.
    Transitions(usize),
    /// More than [`SETS_MAX`] sets of conditions.
    Sets,
}

/// Puts DFAs into one table.
pub(super) fn matcher(parts: &[Part]) -> Result<Box<Matcher>, Overflow> {
    let mut matcher = Matcher::empty();
    matcher.version = VERSION;
    let (classes, bytes) = classes(parts);
    matcher.classes.copy_from_slice(&classes);
    matcher.stride_bits = bytes.len().next_power_of_two().trailing_zeros();
    let stride = 1 << matcher.stride_bits;
    let states = 1 + parts.iter().map(|part| part.automaton.states.len() - 1).sum::<usize>();
    if states > STATES_MAX {
        return Err(Overflow::States(states));
    }
    if states * stride > TRANSITIONS_MAX {
        return Err(Overflow::Transitions(states * stride));
    }
    let numbers = numbers(parts);
    let hits = parts.iter().flat_map(|part| &part.automaton.states).filter(|state| !state.hit.is_empty());
    matcher.hits_from = (states - hits.count()) as u32;
    let mut sets = Sets::default();
    for (part, numbers) in parts.iter().zip(&numbers) {
        let own = &part.automaton;
        matcher.starts[part.subject as usize % SUBJECTS_MAX] = numbers[own.start];
        for (state, &number) in own.states.iter().zip(numbers).skip(1) {
            let row = usize::from(number) * stride;
            for (class, &byte) in bytes.iter().enumerate() {
                let next = state.next[usize::from(own.classes[usize::from(byte)])];
                matcher.transitions[row + class] = numbers[next];
            }
            let number = usize::from(number);
            match &part.meaning {
                Meaning::Conditions(conditions) => {
                    matcher.hits[number] = sets.number(&state.hit, conditions)?;
                    matcher.ends[number] = sets.number(&state.end, conditions)?;
                }
                Meaning::Subjects(subjects) => {
                    let subject = state.end.first().map_or(0, |&name| subjects[name]);
                    matcher.ends[number] = subject as u16;
                }
            }
        }
    }
    for (set, number) in sets.numbers {
        matcher.sets[usize::from(number)] = set;
    }
    Ok(matcher)
}

/// The class of each byte, and one byte of each class: bytes are of one class if they are for every DFA.
fn classes(parts: &[Part]) -> (Vec<u8>, Vec<u8>) {
    let mut numbers: HashMap<Vec<u8>, u8> = HashMap::new();
    let mut bytes = Vec::new();
    let classes = (0..=255u8).map(|byte| {
        let key = parts.iter().map(|part| part.automaton.classes[usize::from(byte)]).collect();
        // There are at most as many classes as bytes.
        *numbers.entry(key).or_insert_with(|| {
            bytes.push(byte);
            (bytes.len() - 1) as u8
        })
    });
    (classes.collect(), bytes)
}

/// The numbers of all states; those in which something is found come last.
fn numbers(parts: &[Part]) -> Vec<Vec<u16>> {
    let mut numbers: Vec<Vec<u16>> = parts.iter().map(|part| vec![0; part.automaton.states.len()]).collect();
    let mut number = 0u16;
    for hits in [false, true] {
        for (part, numbers) in parts.iter().zip(&mut numbers) {
            for (state, place) in part.automaton.states.iter().zip(numbers).skip(1) {
                if state.hit.is_empty() != hits {
                    number += 1;
                    *place = number;
                }
            }
        }
    }
    numbers
}

/// The different sets of conditions, numbered; the empty one is 0.
struct Sets {
    numbers: HashMap<Conditions, u16>,
}

impl Default for Sets {
    fn default() -> Self {
        Self { numbers: HashMap::from([([0; CONDITION_WORDS], 0)]) }
    }
}

impl Sets {
    fn number(&mut self, found: &[usize], conditions: &[usize]) -> Result<u16, Overflow> {
        let mut set = [0; CONDITION_WORDS];
        for &expression in found {
            let condition = conditions[expression];
            set[condition / 64] |= 1 << (condition % 64);
        }
        let fresh = self.numbers.len();
        let number = *self.numbers.entry(set).or_insert(fresh as u16);
        if self.numbers.len() > SETS_MAX { Err(Overflow::Sets) } else { Ok(number) }
    }
}
