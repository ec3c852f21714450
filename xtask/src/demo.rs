//! `cargo xtask demo`: what XPS does, in two minutes.

use crate::bench::{Effort, Report, http, kv};
use crate::lab::Lab;
use crate::{setup, workspace};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// What to show.
#[derive(Args)]
pub(crate) struct Options {
    /// Use this kv-cache binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_KV_CACHE")]
    kv_cache: Option<PathBuf>,
    /// Use this http-guard binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_HTTP_GUARD")]
    http_guard: Option<PathBuf>,
}

const SHOWN_KV: [&str; 2] = ["get-hit-64B-c50-t2", "get-hit-64B-c1"];
const SHOWN_HTTP: [&str; 4] = ["allowed-612B", "refused-rule", "refused-rate", "flood-goodput"];

/// Builds, measures, prints, removes.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options::default())?;
    let program = |given: &Option<PathBuf>, package| match given {
        Some(path) => Ok(path.clone()),
        None => workspace::build_release(package),
    };
    // Both are built first: nobody waits for a compiler in the middle of a demonstration.
    let kv_cache = program(&options.kv_cache, "kv-cache")?;
    let http_guard = program(&options.http_guard, "http-guard")?;

    let mut workloads = kv::workloads();
    workloads.retain(|workload| SHOWN_KV.contains(&workload.name));
    let lab = Lab::create()?;
    println!(
        "Redis on {} (plain), kv-cache on {} (accelerated); 10,000 keys, values of 64 bytes",
        lab.address(lab.ports().plain),
        lab.address(lab.ports().accelerated)
    );
    let effort = Effort { rounds: 5, duration: Duration::from_millis(1500) };
    let report = kv::measure(&kv::Run {
        lab: &lab,
        program: &kv_cache,
        reflector: None,
        workloads: &workloads,
        effort,
        user_path: false,
    })?;
    report.print();
    drop(lab);

    let mut workloads = http::workloads();
    workloads.retain(|workload| SHOWN_HTTP.contains(&workload.name));
    println!(
        "\nNow HTTP: files that may be had, files that may not, clients that ask too often, and a flood of those"
    );
    let effort = Effort { rounds: 3, duration: Duration::from_secs(1) };
    let report =
        http::measure(&http::Run { program: &http_guard, workloads: &workloads, effort, user_path: false })?;
    report.print();
    Ok(())
}
