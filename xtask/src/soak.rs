//! `cargo xtask soak`: mixed load with faults for a long time; memory must stay flat and counters add up.

use crate::trial::{self, Trial};
use anyhow::Result;
use clap::Args;

/// How long.
#[derive(Args)]
pub(crate) struct Options {
    /// How long the load lasts, in minutes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Makes the choice of operations and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it. Whether it was judged good.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let variables = vec![
        ("XPS_SOAK_SECONDS", (options.minutes * 60).to_string()),
        ("XPS_LINEARIZE_SEED", options.seed.to_string()),
    ];
    trial::run(&Trial {
        package: "kv-cache",
        program: "linearizability",
        names: &["memory_stays_flat_and_counters_add_up"],
        variables,
    })
}
