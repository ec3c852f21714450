//! Two sessions in simulation: packets that are lost, repeated, delayed and reordered; sides that pause, restart, change
//! their intervals and keys, or are held down; links that break in one direction or in both, and echo packets that stay away.
//!
//! `XPS_SEEDS` says how many seeds are run, `XPS_SEED` replays one.

#![allow(unreachable_pub, missing_docs)]

mod plan;
#[path = "../../../../xps-runtime/core/tests/splice/random.rs"]
mod random;
mod simulation;
mod watch;

use heartbeat_bfd::mistake::Mistake;
use plan::Plan;
use simulation::run;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

#[test]
fn failures_are_noticed_in_time_and_both_sides_come_up_again() {
    let seeds = match number("XPS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("XPS_SEEDS").unwrap_or(400),
    };
    let (mut failed, mut packets, mut downs, mut echoes) = (Vec::new(), 0, 0, 0);
    for seed in seeds {
        match run(Plan::of(seed), seed, None) {
            Ok(totals) => {
                packets += totals.packets;
                downs += totals.downs;
                echoes += totals.echoes;
            }
            Err(what) => failed.push(format!("XPS_SEED={seed}: {what}")),
        }
    }
    println!("{packets} packets, {echoes} echo packets back, {downs} times down");
    assert!(failed.is_empty(), "{} seeds:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn deliberate_mistakes_are_found() {
    let mistakes = [
        Mistake::ChangingAtOnce,
        Mistake::IgnoringPolls,
        Mistake::KeepingDiscriminator,
        Mistake::KeepingSequence,
        Mistake::OwnMultiplier,
        Mistake::SkippingInit,
        Mistake::NeverSlow,
        Mistake::OwnInterval,
        Mistake::TrustingEcho,
    ];
    for mistake in mistakes {
        let found = (0..1000).find_map(|seed| Some((seed, run(Plan::of(seed), seed, Some(mistake)).err()?)));
        println!("{mistake:?}: {found:?}");
        assert!(found.is_some(), "{mistake:?} is not found");
    }
}
