//! Coherence in simulation: clients, the stack, a model of Redis and an agent, scheduled at random by a seed; the history
//! of every key is checked for linearizability (C1–C5).
//!
//! `XPS_SEED=n` runs one seed, `XPS_SEEDS=n` that many.

mod history;
mod model;
mod mutant;

use model::Simulation;
use mutant::Mutation;

/// Runs seeds until one has a key whose history cannot be explained.
fn first_violation(mutation: Mutation, seeds: impl Iterator<Item = u64>) -> (Option<String>, u64) {
    let mut hits = 0;
    for seed in seeds {
        let mut simulation = Simulation::new(seed, mutation);
        let result = simulation.run();
        hits += simulation.hits;
        if let Err(violation) = result {
            return (Some(format!("XPS_SEED={seed}: {violation}")), hits);
        }
    }
    (None, hits)
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number, is {value:?}")))
}

#[test]
fn every_history_is_linearizable() {
    let seeds = match variable("XPS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("XPS_SEEDS").unwrap_or(3_000),
    };
    let runs = seeds.end - seeds.start;
    let (violation, hits) = first_violation(Mutation::None, seeds);
    assert_eq!(violation, None);
    println!("{runs} seeds, {hits} hits");
    assert!(hits > runs, "a simulation without hits shows nothing");
}

/// The check is worth something: each rule that is left out is noticed.
#[test]
fn every_rule_is_needed() {
    for mutation in [
        Mutation::NoVersions,
        Mutation::NoPending,
        Mutation::NoDeadline,
        Mutation::NoGlobal,
        Mutation::RefusalCounts,
        Mutation::EarlyRelease,
    ] {
        let (violation, _) = first_violation(mutation, 0..3_000);
        println!("{mutation:?}: {violation:?}");
        assert!(violation.is_some(), "nobody noticed {mutation:?}");
    }
}
