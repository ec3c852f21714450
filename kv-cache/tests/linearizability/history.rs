//! Histories of one group of keys, and whether Redis alone could have had them.
//!
//! Linearizable means: each operation can be given a moment within its time so that all answers are those of one server
//! that does them in this order. The check goes through the history in time and keeps every *configuration* that is still
//! possible: what the group holds, and which of the operations under way have taken place (Lowe, *Testing for
//! linearizability*, 2017). An operation is given its place as late as possible, when it ends; only reads are placed as
//! soon as they fit, since they stand in nobody's way. The work is linear in the history; what it costs for each operation
//! depends on how many writes of one group are under way at once, which the number of clients limits.
//!
//! An operation whose outcome is unknown (its connection broke) may have taken place within its time, or never.
//!
//! # Staleness
//!
//! With a bound, a read from the cache may also return what a write *on the plain port* has overwritten at most so long
//! before the read began, unless a write through the accelerated port has changed the cell since: those are seen at once.
//! When a value was overwritten is not known exactly; the latest possible time is taken, so the check errs on one side only.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::model::{Action, Answer, CELLS, State, Value};

/// Operations under way at once that can be told apart.
const OPEN_MAX: usize = 128;

/// An action, and what was seen of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) action: Action,
    pub(crate) seen: Option<Answer>,
}

/// Steps that take place at once: mostly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    One(Step),
    Many(Box<[Step]>),
}

impl Steps {
    pub(crate) fn as_slice(&self) -> &[Step] {
        match self {
            Self::One(step) => std::slice::from_ref(step),
            Self::Many(steps) => steps,
        }
    }
}

/// When a cache learns of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// At once: a write through the accelerated port.
    AtOnce,
    /// Within the bound: a write on the plain port.
    Late,
    /// Nobody tells it, it must know: a deadline is over.
    Known,
}

/// An operation, with the times at which it began and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) from: u64,
    /// `u64::MAX` for one that may still be under way at the end.
    pub(crate) to: u64,
    /// Whether it is known that it took place.
    pub(crate) certain: bool,
    /// When the cache learns of it.
    pub(crate) notice: Notice,
    /// Whether it may have been answered from the cache.
    pub(crate) cached: bool,
    pub(crate) steps: Steps,
}

impl Operation {
    /// Whether it is a client's, not a deadline.
    pub(crate) fn is_command(&self) -> bool {
        !matches!(self.steps, Steps::One(Step { action: Action::Expire(_), .. }))
    }

    /// Whether it is known to have changed nothing.
    pub(crate) fn is_read(&self) -> bool {
        self.steps.as_slice().iter().all(|step| step.action.is_read(step.seen))
    }
}

/// Values that a cache may still return, and when each was overwritten. Empty without a bound.
type Stale = [Vec<(Value, u64)>; CELLS];

/// A way that things may have gone so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Configuration {
    state: State,
    /// Which of the operations under way have taken place.
    done: u128,
}

/// All ways that things may have gone.
type Configurations = HashMap<Configuration, Stale>;

/// Why a history cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which operation could not be placed.
    pub(crate) operation: Operation,
    /// What was possible when it ended, and what was under way.
    pub(crate) context: String,
}

/// Whether there is an order that explains all answers, starting with nothing. With a `bound` (in the history's unit of
/// time) reads from the cache may be stale. The first operation that has no place is the error.
///
/// # Panics
/// If more than [`OPEN_MAX`] operations are under way at once: the history is not one that this check was made for.
pub(crate) fn check(history: &[Operation], bound: Option<u64>) -> Result<(), Box<Violation>> {
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(history.len() * 2);
    for (index, operation) in history.iter().enumerate() {
        events.push((operation.from, false, index));
        if operation.to != u64::MAX {
            events.push((operation.to, true, index));
        }
    }
    // Of two at the same time the beginning comes first, so they overlap.
    events.sort_unstable();
    let mut search = Search {
        history,
        bound,
        now: 0,
        open: Vec::new(),
        places: vec![0; history.len()],
        possible: HashMap::from([(Configuration { state: State::default(), done: 0 }, Stale::default())]),
    };
    for (time, end, index) in events {
        search.now = time;
        if end { search.end(index)? } else { search.begin(index) }
    }
    Ok(())
}

struct Search<'a> {
    history: &'a [Operation],
    bound: Option<u64>,
    now: u64,
    /// Operations under way, by place.
    open: Vec<Option<usize>>,
    /// The place of each operation under way.
    places: Vec<usize>,
    possible: Configurations,
}

impl Search<'_> {
    fn begin(&mut self, index: usize) {
        let place = self.open.iter().position(Option::is_none).unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        assert!(place < OPEN_MAX, "more than {OPEN_MAX} operations under way at once");
        self.open[place] = Some(index);
        self.places[index] = place;
        if self.history[index].is_read() {
            let before = std::mem::take(&mut self.possible);
            for (mut configuration, stale) in before {
                if self.fits(&configuration, &stale, index) {
                    configuration.done |= 1 << place;
                }
                add(&mut self.possible, configuration, stale);
            }
        }
    }

    fn end(&mut self, index: usize) -> Result<(), Box<Violation>> {
        let bit = 1u128 << self.places[index];
        let certain = self.history[index].certain;
        let mut after = Configurations::new();
        if self.possible.keys().all(|configuration| configuration.done & bit != 0) {
            for (mut configuration, stale) in std::mem::take(&mut self.possible) {
                configuration.done &= !bit;
                add(&mut after, configuration, stale);
            }
            self.possible = after;
            self.open[self.places[index]] = None;
            return Ok(());
        }
        let mut visited = Configurations::new();
        let mut left = Vec::new();
        for (mut configuration, stale) in self.possible.clone() {
            if configuration.done & bit != 0 {
                configuration.done &= !bit;
                add(&mut after, configuration, stale);
                continue;
            }
            if !certain {
                add(&mut after, configuration, stale.clone());
            }
            add(&mut visited, configuration, stale);
            left.push(configuration);
        }
        while let Some(configuration) = left.pop() {
            let Some(stale) = visited.get(&configuration).cloned() else { continue };
            for (place, other) in self.open.iter().enumerate() {
                let Some(other) = *other else { continue };
                if configuration.done & 1 << place != 0 || self.history[other].is_read() {
                    continue;
                }
                let Some((mut next, stale)) = self.apply(&configuration, &stale, other, index) else {
                    continue;
                };
                next.done |= 1 << place;
                self.read(&mut next, &stale);
                if next.done & bit != 0 {
                    next.done &= !bit;
                    add(&mut after, next, stale);
                } else if add(&mut visited, next, stale) {
                    left.push(next);
                }
            }
        }
        if after.is_empty() {
            return Err(Box::new(self.violation(index)));
        }
        self.possible = after;
        self.open[self.places[index]] = None;
        Ok(())
    }

    /// Whether a read would see this.
    fn fits(&self, configuration: &Configuration, stale: &Stale, index: usize) -> bool {
        let operation = &self.history[index];
        let mut state = configuration.state;
        operation.steps.as_slice().iter().all(|step| {
            let got = state.apply(step.action);
            step.seen.is_none_or(|seen| seen == got) || self.stale_fits(stale, operation, step)
        })
    }

    fn stale_fits(&self, stale: &Stale, operation: &Operation, step: &Step) -> bool {
        let (Some(bound), Action::Get(cell), Some(Answer::Value(seen)), true) =
            (self.bound, step.action, step.seen, operation.cached)
        else {
            return false;
        };
        stale[cell].iter().any(|(value, at)| *value == seen && at.saturating_add(bound) >= operation.from)
    }

    /// Gives all reads under way that fit a place.
    fn read(&self, configuration: &mut Configuration, stale: &Stale) {
        for (place, index) in self.open.iter().enumerate() {
            let Some(index) = *index else { continue };
            if configuration.done & 1 << place == 0
                && self.history[index].is_read()
                && self.fits(configuration, stale, index)
            {
                configuration.done |= 1 << place;
            }
        }
    }

    /// Gives a write a place, if its answers fit. `ending` is the one for whose sake this is tried.
    fn apply(
        &self,
        configuration: &Configuration,
        stale: &Stale,
        index: usize,
        ending: usize,
    ) -> Option<(Configuration, Stale)> {
        let operation = &self.history[index];
        let mut next = *configuration;
        for step in operation.steps.as_slice() {
            if let Action::Expire(deadline) = step.action
                && index != ending
                && !next.state.has(deadline)
            {
                // It would be for nothing; later it may not.
                return None;
            }
            let got = next.state.apply(step.action);
            if step.seen.is_some_and(|seen| seen != got) {
                return None;
            }
        }
        let mut stale = stale.clone();
        if let Some(bound) = self.bound {
            for (cell, stale) in stale.iter_mut().enumerate() {
                let (before, after) = (configuration.state.value(cell), next.state.value(cell));
                if before == after {
                    continue;
                }
                match operation.notice {
                    Notice::AtOnce => stale.clear(),
                    Notice::Known => {}
                    Notice::Late => {
                        let begun = self.open.iter().flatten().map(|index| self.history[*index].from);
                        let oldest = begun.min().unwrap_or(self.now);
                        stale.retain(|(_, at)| at.saturating_add(bound) >= oldest);
                        stale.push((before, self.now));
                    }
                }
            }
        }
        Some((next, stale))
    }

    fn violation(&self, index: usize) -> Violation {
        let possible: Vec<_> =
            self.possible.keys().take(4).map(|possible| format!("{:x?}", possible.state)).collect();
        let others = self.open.iter().flatten().filter(|other| **other != index);
        let others: Vec<_> = others.take(12).map(|other| format!("{:x?}", self.history[*other])).collect();
        let mut last: Vec<_> = self.history.iter().filter(|other| other.to < self.now).collect();
        last.sort_unstable_by_key(|other| (!other.is_read(), other.to));
        let last: Vec<_> = last.iter().rev().take(12).rev().map(|other| format!("{other:x?}")).collect();
        Violation {
            operation: self.history[index].clone(),
            context: format!(
                "possible before (first of {}):\n{}\nunder way:\n{}\nlast writes:\n{}",
                self.possible.len(),
                possible.join("\n"),
                others.join("\n"),
                last.join("\n")
            ),
        }
    }
}

/// Adds a way; where the same one is there already, either may have been gone. Whether anything is new.
fn add(all: &mut Configurations, configuration: Configuration, stale: Stale) -> bool {
    match all.entry(configuration) {
        Entry::Vacant(vacant) => {
            vacant.insert(stale);
            true
        }
        Entry::Occupied(mut known) => {
            let mut new = false;
            for (known, stale) in known.get_mut().iter_mut().zip(stale) {
                for (value, at) in stale {
                    match known.iter_mut().find(|(other, _)| *other == value) {
                        Some((_, known)) if *known >= at => {}
                        Some((_, known)) => (*known, new) = (at, true),
                        None => {
                            known.push((value, at));
                            new = true;
                        }
                    }
                }
            }
            new
        }
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
