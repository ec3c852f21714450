//! Random streams against a real Nginx, on both paths. What the guard lets pass, Nginx reads as the guard does: method, path,
//! host, length of the body, and how many there are. And however a path is spelled, Nginx never serves what is denied.
//!
//! The seed is printed; `XPS_SEED` chooses another one, `XPS_STREAMS` how many streams are sent.

mod maker;
mod plan;

use anyhow::ensure;

use crate::lab::{Lab, Mode};
use crate::site::Site;
use crate::streams::{Sent, Served, Stream, send_all, served};
use maker::Maker;
use plan::Plan;

const SEED: u64 = 20_240_229;
const STREAMS: usize = 4_000;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is wrong with what became of a stream, if something is.
fn fault(mode: Mode, plan: &Plan, sent: &Sent, served: &[Served]) -> Option<String> {
    let what = plan.fault(mode, served, &sent.statuses)?;
    let Stream { bytes, cuts } = &plan.stream;
    let (bytes, statuses) = (bytes.escape_ascii(), &sent.statuses);
    let passes: Vec<_> = plan.passes(mode).collect();
    Some(format!("{what}: b\"{bytes}\" {cuts:?}\n  {statuses:?} guard {passes:?}\n  Nginx {served:?}"))
}

fn run(mode: Mode, plans: &[Plan]) {
    let file = "[[rule]]\nname = \"denied\"\npath_prefix = \"/private\"\naction = \"deny\"\n";
    Lab::run_on(mode, Site::Logging, file, |lab| {
        let streams: Vec<_> = plans.iter().map(|plan| plan.stream.clone()).collect();
        let all = send_all(lab, &streams)?;
        let mut logged = served(lab)?;
        let ends = plans.iter().zip(&all);
        let faults: Vec<_> = ends
            .filter_map(|(plan, sent)| {
                fault(mode, plan, sent, &logged.remove(&sent.port).unwrap_or_default())
            })
            .collect();
        ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        let status = lab.status()?;
        ensure!(status.passed_total != 0 && status.rules[0].rejected != 0, "nothing was tried: {status}");
        Ok(())
    });
}

#[test]
fn nginx_reads_random_heads_as_the_guard_does_on_both_paths() {
    let seed = variable("XPS_SEED").unwrap_or(SEED);
    println!("XPS_SEED={seed}");
    let (mut maker, world) = (Maker::new(seed), plan::world());
    let made = (0..variable("XPS_STREAMS").unwrap_or(STREAMS)).map(|_| maker.stream());
    let plans: Vec<_> = made.map(|(bytes, cuts)| Plan::new(&world, bytes, &cuts)).collect();
    let passes = plans.iter().filter(|plan| plan.passes(Mode::Kernel).next().is_some()).count();
    println!("of {} streams something passes of {passes}", plans.len());
    assert!((plans.len() / 5..plans.len() / 5 * 4).contains(&passes), "{passes} are too few or too many");
    for mode in Mode::ALL {
        run(mode, &plans);
    }
}
