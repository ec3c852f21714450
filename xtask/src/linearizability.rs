//! `cargo xtask linearizability`: concurrent clients against Redis under faults, every history checked.

use crate::trial::{self, Trial};
use anyhow::Result;
use clap::{Args, ValueEnum};

/// How long, on which path, and how.
#[derive(Args)]
pub(crate) struct Options {
    /// How long clients work, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The path that they take.
    #[arg(long, value_enum, default_value_t = Path::Kernel)]
    path: Path,
    /// Makes the choice of operations and faults; the same one makes the same choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On the user path: how long a write on the plain port may stay unseen, in milliseconds.
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    bound: u64,
}

/// A path.
#[derive(Clone, Copy, ValueEnum)]
enum Path {
    /// Strict, whatever port writes come from.
    Kernel,
    /// Strict for what goes through the accelerated port, bounded for the rest.
    User,
}

/// Runs it. Whether there was no violation.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let name = match options.path {
        Path::Kernel => "kernel_path_is_linearizable",
        Path::User => "user_path_is_late_by_its_bound_at_most",
    };
    let variables = vec![
        ("XPS_LINEARIZE_SECONDS", options.seconds.to_string()),
        ("XPS_LINEARIZE_SEED", options.seed.to_string()),
        ("XPS_LINEARIZE_BOUND_MS", options.bound.to_string()),
    ];
    trial::run(&Trial { package: "kv-cache", program: "linearizability", names: &[name], variables })
}
