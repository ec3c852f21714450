//! The detector in simulation: clusters whose messages are lost, repeated, delayed and reordered, whose nodes crash, pause,
//! restart and whose clocks jump, whose networks are split, in both directions or in one.
//!
//! `XPS_SEEDS` says how many seeds are run, `XPS_SEED` replays one. A thousand members for a minute:
//! `cargo test --release -p heartbeat-detector --test simulation -- --ignored --nocapture`.

#![allow(unreachable_pub, missing_docs)]

mod plan;
#[path = "../../../../xps-runtime/core/tests/splice/random.rs"]
mod random;
mod simulation;
mod watch;

use heartbeat_detector::mistake::Mistake;
use plan::Plan;
use simulation::run;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

#[test]
fn crashes_are_detected_in_time_and_nobody_else_is_accused_or_lost() {
    let seeds = match number("XPS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("XPS_SEEDS").unwrap_or(300),
    };
    let (mut failed, mut detected, mut messages) = (Vec::new(), 0, 0);
    for seed in seeds {
        match run(Plan::small(seed), seed, None) {
            Ok(totals) => {
                detected += totals.detected;
                messages += totals.messages;
            }
            Err(what) => failed.push(format!("XPS_SEED={seed}: {what}")),
        }
    }
    println!("{messages} messages, {detected} times a crash was detected in time");
    assert!(failed.is_empty(), "{} seeds:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn deliberate_mistakes_are_found() {
    let mistakes = [
        Mistake::KeepingQuiet,
        Mistake::AskingNobody,
        Mistake::TrustingItself,
        Mistake::GivingUp,
        Mistake::Believing,
    ];
    for mistake in mistakes {
        let found =
            (0..1000).find_map(|seed| Some((seed, run(Plan::small(seed), seed, Some(mistake)).err()?)));
        println!("{mistake:?}: {found:?}");
        assert!(found.is_some(), "{mistake:?} is not found");
    }
}

#[test]
#[ignore = "takes about a minute, and only in release"]
fn a_thousand_members_lose_nobody() {
    let seed = number("XPS_SEED").unwrap_or(1);
    let totals = run(Plan::large(seed), seed, None).expect("the property holds");
    println!("{totals:?}");
    assert!(totals.detected > 0, "no crash had to be detected");
}
