//! `cargo xtask hostile`: connections that lie, against a recorded socket and against real servers behind the sidecars.

use crate::trial::{self, Trial};
use anyhow::Result;
use clap::Args;

/// How long, and which connections.
#[derive(Args)]
pub(crate) struct Options {
    /// How long in all, in minutes: half of it against the recorder, a quarter each against Redis and Nginx. That each check
    /// of the splice is found when it is switched off comes on top of it.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Makes the connections; the same one makes the same connections.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this connection of the seed, against the recorder.
    #[arg(long, value_name = "CONNECTION")]
    only: Option<u64>,
}

/// A part of the run: its package, test program and tests, and how many equal shares of the time each test has.
const PARTS: [(&str, &str, &[&str], u64); 3] = [
    (
        "xps-recorder",
        "hostile",
        &["what_the_handler_reads_is_what_the_server_takes", "each_check_that_is_missing_is_found"],
        8,
    ),
    (
        "kv-cache",
        "kernel",
        &[
            "hostile::who_has_not_given_the_password_reads_nothing_however_frames_lie",
            "hostile::nobody_reads_what_redis_does_not_hold_however_frames_lie",
            "hostile::who_has_not_given_the_password_reads_nothing_in_place",
            "hostile::nobody_reads_what_redis_does_not_hold_in_place",
        ],
        1,
    ),
    (
        "http-guard",
        "kernel",
        &[
            "hostile::what_is_denied_never_reaches_nginx_however_frames_lie",
            "hostile::what_is_denied_never_reaches_nginx_in_place",
        ],
        2,
    ),
];

/// The time's shares.
const SHARES: u64 = 16;

/// Runs it. Whether nothing differed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut good = true;
    let alone = options.only.is_some();
    for &(package, program, names, shares) in if alone { &PARTS[..1] } else { &PARTS[..] } {
        let names = if alone { &names[..1] } else { names };
        let mut variables = vec![
            ("XPS_HOSTILE_SECONDS", (options.minutes * 60 * shares / SHARES).to_string()),
            ("XPS_HOSTILE_SEED", options.seed.to_string()),
        ];
        variables.extend(options.only.map(|only| ("XPS_HOSTILE_ONLY", only.to_string())));
        good &= trial::run(&Trial { package, program, names, variables })?;
    }
    Ok(good)
}
