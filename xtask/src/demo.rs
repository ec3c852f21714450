//! `cargo xtask demo`: what XPS does, in a minute.

use crate::bench::{Effort, Report, kv};
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
}

const SHOWN: [&str; 2] = ["get-hit-64B-c50-t2", "get-hit-64B-c1"];

/// Builds, measures, prints, removes.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(&setup::Options::default())?;
    let program = match &options.kv_cache {
        Some(path) => path.clone(),
        None => workspace::build_release("kv-cache")?,
    };
    let workloads: Vec<_> =
        kv::workloads().into_iter().filter(|workload| SHOWN.contains(&workload.name)).collect();
    let lab = Lab::create()?;
    println!(
        "Redis on {} (plain), kv-cache on {} (accelerated); 10,000 keys, values of 64 bytes",
        lab.address(lab.ports().plain),
        lab.address(lab.ports().accelerated)
    );
    let effort = Effort { rounds: 5, duration: Duration::from_millis(1500) };
    let report = kv::measure(&kv::Run {
        lab: &lab,
        program: &program,
        reflector: None,
        workloads: &workloads,
        effort,
        user_path: false,
    })?;
    report.print();
    Ok(())
}
