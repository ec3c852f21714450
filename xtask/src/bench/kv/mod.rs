//! `cargo xtask bench kv`: kv-cache in front of Redis.
//!
//! # Layout
//! - [`workload`]: what is measured, by name.
//! - [`keys`]: the keys that are read, loaded and warmed up.
//! - [`redis_benchmark`], [`load`]: the clients; [`request`] belongs to the second, and [`traffic`] is one of both.
//! - [`run`](mod@run): which side is measured when. [`report`]: the result.

mod keys;
mod load;
mod redis_benchmark;
mod report;
mod request;
mod run;
mod traffic;
mod workload;

#[cfg(test)]
pub(crate) use report::example;
pub(crate) use run::{Run, measure};
pub(crate) use workload::all as workloads;

use crate::lab::Lab;
use crate::{setup, workspace};
use anyhow::Result;
use clap::Args;
use report::Report;
use std::path::PathBuf;
use workload::{Kind, Workload};

/// How to measure kv-cache.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: super::Common,
    /// Measure this kv-cache binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_KV_CACHE")]
    kv_cache: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = options.common.choose(workloads(), |workload| workload.name)?;
    options.common.report(|| prepare_and_measure(options, &chosen))
}

fn prepare_and_measure(options: &Options, chosen: &[Workload]) -> Result<Report> {
    setup::run(&setup::Options::default())?;
    let program = match &options.kv_cache {
        Some(path) => path.clone(),
        None => workspace::build_release("kv-cache")?,
    };
    let reflected = chosen.iter().any(|workload| workload.kind == Kind::Reflector) && workspace::is_root();
    let reflector = reflected.then(|| workspace::build_release("xps-reflector")).transpose()?;
    let lab = Lab::create()?;
    measure(&Run {
        lab: &lab,
        program: &program,
        reflector: reflector.as_deref(),
        workloads: chosen,
        effort: options.common.effort(),
        user_path: !options.common.kernel_only,
    })
}
