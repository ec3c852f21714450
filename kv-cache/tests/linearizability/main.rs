//! Concurrent readers and writers on both ports against a real Redis, with writes of all kinds, while the agent is killed,
//! packets are lost and connections are cut; every history is checked.
//!
//! # Layout
//! - [`model`]: what a group of keys holds, and what Redis answers.
//! - [`history`]: whether Redis alone could have had a history; how late a cache may be.
//! - [`command`], [`reply`]: what clients ask, and what the replies tell.
//! - [`worker`], [`faults`], [`round`]: clients, trouble, and both together for some seconds.
//! - [`soak`], [`crowd`]: the same for long, with an eye on memory and counters.
//!
//! On the kernel path every history must be strict. On the user path reads from the cache may be late by a bound for
//! writes on the plain port.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `XPS_LINEARIZE_SECONDS` | how long each test runs; 30 and 10 by default |
//! | `XPS_LINEARIZE_SEED` | makes the choice of operations and faults; 1 by default |
//! | `XPS_SOAK_SECONDS` | how long the soak runs; 12 by default |
//! | `XPS_LINEARIZE_BOUND_MS` | how late the user path may be; 1000 by default |

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the other test programs; each uses a part")]
mod support;

mod command;
mod crowd;
mod faults;
mod history;
mod model;
mod reply;
mod round;
mod soak;
mod worker;

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use faults::Fault;
use round::{Outcome, Round};
use support::{Lab, Options, hurry};

/// Longest round: histories are kept until they are checked.
const ROUND: Duration = Duration::from_secs(15);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} must be a number, is {text:?}"))
    })
}

/// Rounds until the time is over.
fn run(lab: &mut Lab, default_seconds: u64, bound: Option<Duration>) -> Result<()> {
    hurry(lab)?;
    let seed = number("XPS_LINEARIZE_SEED", 1);
    let mut left = Duration::from_secs(number("XPS_LINEARIZE_SECONDS", default_seconds));
    let mut all = Outcome::default();
    let mut faults = Fault::ALL;
    for count in 0.. {
        let time = left.min(ROUND);
        let round =
            Round { number: count, seed: seed.wrapping_add(count << 32), time, faults: &faults, bound };
        all.add(round.run(lab)?);
        left -= time;
        // So that short rounds meet all of them in the end.
        faults.rotate_left(2);
        if left.is_zero() || !all.violations.is_empty() {
            break;
        }
    }
    let status = lab.status()?;
    let cached = status.coherence.state != "off";
    println!("path          {}, coherence {}", status.path, status.coherence.state);
    println!("seed          {seed}");
    println!("operations    {} ({} writes, {} of unknown outcome)", all.operations, all.writes, all.unknown);
    println!("hits          {}{}", all.hits, if cached { "" } else { " (nothing is cached on this path)" });
    for (fault, count) in &all.faults {
        println!("fault         {fault}: {count}");
    }
    println!("violations    {}", all.violations.len());
    if !all.violations.is_empty() {
        bail!("{}", all.violations.join("\n"));
    }
    ensure!(!cached || all.hits > all.operations / 50, "too few hits to show anything");
    ensure!(all.operations > 1000 && all.writes > 100, "too few operations to show anything");
    Ok(())
}

fn kernel_settings() -> Vec<&'static str> {
    vec![
        "lease.duration=500ms",
        "lease.drain_timeout=300ms",
        // Connections on the plain port that outlive an orderly stop.
        "coherence.kill_older_connections=true",
    ]
}

#[test]
fn kernel_path_is_linearizable() {
    Lab::run(Options { settings: kernel_settings(), ..Options::default() }, |lab| run(lab, 30, None));
}

#[test]
fn user_path_is_late_by_its_bound_at_most() {
    let settings = vec!["lease.drain_timeout=300ms", "coherence.mode=bounded"];
    let bound = Duration::from_millis(number("XPS_LINEARIZE_BOUND_MS", 1000));
    Lab::run(Options { settings, ..Options::user() }, |lab| run(lab, 10, Some(bound)));
}

#[test]
fn memory_stays_flat_and_counters_add_up() {
    let mut settings = kernel_settings();
    // Less than the crowd's keys take.
    settings.push("cache.memory_bytes=4MiB");
    Lab::run(Options { settings, ..Options::default() }, |lab| {
        hurry(lab)?;
        soak::run(lab, number("XPS_SOAK_SECONDS", 12), number("XPS_LINEARIZE_SEED", 1))
    });
}
