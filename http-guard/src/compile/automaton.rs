//! The DFA of one subject: all its expressions at once.

use std::collections::HashMap;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use http_fastpath::abi::STATES_MAX;

/// Memory for an NFA, in bytes.
const NFA_BYTES_MAX: usize = 8 << 20;
/// Memory for a DFA as it is built, in bytes, and as much again for finding its states.
const DFA_BYTES_MAX: usize = 16 << 20;

/// A DFA. State 0 is dead.
#[derive(Debug)]
pub(super) struct Automaton {
    /// The class of each byte.
    pub(super) classes: Vec<u8>,
    /// The states.
    pub(super) states: Vec<State>,
    /// Where it starts.
    pub(super) start: usize,
}

/// A state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The next one, by class.
    pub(super) next: Vec<usize>,
    /// Expressions that are found here.
    pub(super) hit: Vec<usize>,
    /// Expressions that match if the text ends here.
    pub(super) end: Vec<usize>,
}

/// Why there is no DFA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BuildError {
    /// It would be too large.
    TooLarge,
    /// An expression asks for what a DFA cannot do.
    Unsupported,
}

/// Builds the DFA of some expressions, which begin where the text begins.
pub(super) fn build(hirs: &[Hir]) -> Result<Automaton, BuildError> {
    determined(hirs).map(smallest)
}

/// Why [`build`] would fail.
pub(super) fn check(hirs: &[Hir]) -> Result<(), BuildError> {
    determined(hirs).map(|_| ())
}

fn determined(hirs: &[Hir]) -> Result<Automaton, BuildError> {
    let config = thompson::Config::new()
        .utf8(false)
        .which_captures(thompson::WhichCaptures::None)
        .nfa_size_limit(Some(NFA_BYTES_MAX));
    let nfa = thompson::Compiler::new().configure(config).build_many_from_hir(hirs).map_err(|error| {
        if error.size_limit().is_some() { BuildError::TooLarge } else { BuildError::Unsupported }
    })?;
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .match_kind(MatchKind::All)
        .accelerate(false)
        .dfa_size_limit(Some(DFA_BYTES_MAX))
        .determinize_size_limit(Some(DFA_BYTES_MAX));
    let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa).map_err(|error| {
        if error.is_size_limit_exceeded() { BuildError::TooLarge } else { BuildError::Unsupported }
    })?;
    walk(&dfa)
}

/// All states that can be reached.
fn walk(dfa: &dense::DFA<Vec<u32>>) -> Result<Automaton, BuildError> {
    let input = Input::new("").anchored(Anchored::Yes);
    let start = dfa.start_state_forward(&input).map_err(|_| BuildError::Unsupported)?;
    let classes: Vec<u8> = (0..=255).map(|byte| dfa.byte_classes().get(byte)).collect();
    // One byte of each class, in the order of classes.
    let mut bytes: Vec<u8> = Vec::new();
    for byte in 0..=255u8 {
        if usize::from(classes[usize::from(byte)]) == bytes.len() {
            bytes.push(byte);
        }
    }
    let mut numbers: HashMap<StateID, usize> = HashMap::new();
    let mut ids = Vec::new();
    let mut number = |id: StateID, ids: &mut Vec<StateID>| {
        if dfa.is_dead_state(id) {
            return 0;
        }
        *numbers.entry(id).or_insert_with(|| {
            ids.push(id);
            ids.len()
        })
    };
    let mut states = vec![State { next: vec![0; bytes.len()], ..State::default() }];
    let start = number(start, &mut ids);
    while let Some(&id) = ids.get(states.len() - 1) {
        if dfa.is_quit_state(id) {
            return Err(BuildError::Unsupported);
        }
        if states.len() >= STATES_MAX {
            return Err(BuildError::TooLarge);
        }
        let next = bytes.iter().map(|&byte| number(dfa.next_state(id, byte), &mut ids)).collect();
        states.push(State { next, hit: found(dfa, id), end: found(dfa, dfa.next_eoi_state(id)) });
    }
    Ok(Automaton { classes, states, start })
}

fn found(dfa: &dense::DFA<Vec<u32>>, id: StateID) -> Vec<usize> {
    if !dfa.is_match_state(id) {
        return Vec::new();
    }
    let mut found: Vec<_> = (0..dfa.match_len(id)).map(|i| dfa.match_pattern(id, i).as_usize()).collect();
    found.sort_unstable();
    found
}

/// The smallest automaton that does the same: states are told apart by what they find, then by what their next ones are,
/// until nothing changes. Those that find nothing any more fall together with the dead one.
fn smallest(automaton: Automaton) -> Automaton {
    let Automaton { classes, states, start } = automaton;
    let mut numbers = HashMap::new();
    let mut blocks: Vec<usize> = states
        .iter()
        .map(|state| {
            let fresh = numbers.len();
            *numbers.entry((&state.hit, &state.end)).or_insert(fresh)
        })
        .collect();
    let mut count = numbers.len();
    loop {
        let mut numbers: HashMap<Vec<usize>, usize> = HashMap::new();
        let finer: Vec<usize> = states
            .iter()
            .zip(&blocks)
            .map(|(state, &block)| {
                let fresh = numbers.len();
                let key = std::iter::once(block).chain(state.next.iter().map(|&next| blocks[next])).collect();
                *numbers.entry(key).or_insert(fresh)
            })
            .collect();
        let finer_count = numbers.len();
        blocks = finer;
        if finer_count == count {
            break;
        }
        count = finer_count;
    }
    let mut merged: Vec<Option<State>> = vec![None; count];
    for (state, &block) in states.iter().zip(&blocks) {
        merged[block].get_or_insert_with(|| State {
            next: state.next.iter().map(|&next| blocks[next]).collect(),
            ..state.clone()
        });
    }
    // Numbers are given in the order of states, so the dead one, which comes first, stays 0.
    Automaton { classes, states: merged.into_iter().flatten().collect(), start: blocks[start] }
}
