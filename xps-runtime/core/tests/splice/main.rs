//! The splice in simulation: a real TCP (smoltcp) at both ends, the programs' own code between, links that lose, repeat,
//! delay and reorder, CPUs that interrupt each other, values that change, helpers that fail.
//!
//! Both applications check every byte. `XPS_SEEDS` says how many seeds are run, `XPS_SEED` replays one and prints its
//! packets.

#![allow(unreachable_pub, missing_docs)]

mod client;
mod end;
mod gate;
mod handler;
mod protocol;
mod random;
mod server;
mod simulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use simulation::{Totals, run};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

#[test]
fn either_side_sees_what_a_server_alone_would_send() {
    if let Some(seed) = number("XPS_SEED") {
        println!("seed {seed}: {:?}", run(seed, true));
        run(seed, false).expect("the property holds");
        return;
    }
    let seeds = number("XPS_SEEDS").unwrap_or(12_000);
    let first = number("XPS_SEED_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let results = Mutex::new((Totals::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| run(seed, false)));
            let (sum, failed) = &mut *results.lock().unwrap();
            match result {
                Ok(Ok(totals)) => sum.add(&totals),
                Ok(Err(what)) => failed.push(format!("XPS_SEED={seed}: {what}")),
                Err(_) => failed.push(format!("XPS_SEED={seed}: panic")),
            }
            if failed.len() >= 20 {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (sum, failed) = results.into_inner().unwrap();
    println!("{seeds} seeds: {sum:?}");
    assert!(sum.stalled * 30 < seeds.max(300), "too many stalls to be of the ends' making");
    assert!(sum.cut * 100 < seeds.max(300), "too many repetitions that cannot be compared");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
