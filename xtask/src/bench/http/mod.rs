//! `cargo xtask bench http`: http-guard in front of Nginx, against Nginx's own rules and HAProxy's.
//!
//! # Layout
//! - [`workload`]: what is measured, by name. [`rules`]: what is refused, said to each of the three.
//! - [`wrk`], [`flood`], [`client`]: those who ask; [`answers`], [`response`]: how they read and count what they are told.
//! - [`traffic`]: a workload sent to one of the servers, and whether what came back is right.
//! - [`run`](mod@run): which side is measured when. [`report`]: the result.

mod answers;
mod client;
mod flood;
mod report;
mod response;
mod rules;
mod run;
mod traffic;
mod workload;
mod wrk;

pub(crate) use flood::Flood;
#[cfg(test)]
pub(crate) use report::example;
pub(crate) use run::{Run, measure};
pub(crate) use workload::all as workloads;

use crate::{setup, workspace};
use anyhow::Result;
use clap::Args;
use report::Report;
use std::path::PathBuf;
use workload::Workload;

/// How to measure http-guard.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: super::Common,
    /// Measure this http-guard binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_HTTP_GUARD")]
    http_guard: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = options.common.choose(workloads(), |workload| workload.name)?;
    options.common.report(|| prepare_and_measure(options, &chosen))
}

fn prepare_and_measure(options: &Options, chosen: &[Workload]) -> Result<Report> {
    setup::run(&setup::Options::default())?;
    let program = match &options.http_guard {
        Some(path) => path.clone(),
        None => workspace::build_release("http-guard")?,
    };
    measure(&Run {
        program: &program,
        workloads: chosen,
        effort: options.common.effort(),
        user_path: !options.common.kernel_only,
    })
}
