//! `cargo xtask bench heartbeat`: replies from the stack, from heartbeat's own user path, and from a minimal echo.
//!
//! # Layout
//! - [`workload`]: what is measured, by name. [`sides`]: the three that answer; [`load`]: what keeps their host busy.
//! - [`prober`], [`speech`]: who asks, and in which words. [`record`]: what became of each probe, and what follows from it.
//!   [`cpu`], [`pauses`]: where they run, and when nothing did.
//! - [`detection`], [`false_alarms`]: faults that are to be noticed, and what is not to be taken for one.
//! - [`flood`], [`stack`]: what a reply takes in the stack.
//! - [`run`](mod@run): which side is measured when. [`report`]: the result.

mod cpu;
mod detection;
mod false_alarms;
mod flood;
mod load;
mod pauses;
mod prober;
mod record;
mod report;
mod run;
mod sides;
mod speech;
mod stack;
mod workload;

#[cfg(test)]
pub(crate) use report::example;
pub(crate) use workload::all as workloads;

use super::measure::Effort;
use crate::{setup, workspace};
use anyhow::Result;
use clap::Args;
use report::Report;
use run::{Run, measure};
use std::path::PathBuf;
use std::time::Duration;
use workload::Workload;

/// How to measure heartbeat.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: super::Common,
    /// Watch each side for false alarms for so long (default: 2; with --quick 0.1).
    #[arg(long, value_name = "MINUTES")]
    false_alarm_minutes: Option<f64>,
    /// Busy loops for each CPU where the host is to be saturated.
    #[arg(long, value_name = "N", default_value_t = load::LOOPS)]
    loops: usize,
    /// Measure this heartbeat binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_HEARTBEAT")]
    heartbeat: Option<PathBuf>,
    /// Compare with this xps-echo binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_ECHO")]
    echo: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = options.common.choose(workloads(), |workload| workload.name)?;
    options.common.report(|| prepare_and_measure(options, &chosen))
}

fn prepare_and_measure(options: &Options, chosen: &[Workload]) -> Result<Report> {
    setup::run(&setup::Options::default())?;
    let program = |given: &Option<PathBuf>, package| match given {
        Some(path) => Ok(path.clone()),
        None => workspace::build_release(package),
    };
    let heartbeat = program(&options.heartbeat, "heartbeat")?;
    let echo = program(&options.echo, "xps-echo")?;
    let quick = options.common.quick;
    let minutes = options.false_alarm_minutes.unwrap_or(if quick { 0.1 } else { 2.0 });
    measure(&Run {
        program: &heartbeat,
        echo: &echo,
        workloads: chosen,
        effort: effort(options.common.effort(), quick),
        loops: options.loops,
        trials: if quick { 3 } else { 15 },
        watched: Duration::try_from_secs_f64(minutes * 60.0)?,
        user_path: !options.common.kernel_only,
    })
}

/// The rounds that all benches have, but where time is no matter longer ones: slow replies are rare.
fn effort(usual: Effort, quick: bool) -> Effort {
    if quick { usual } else { Effort { duration: usual.duration * 2, ..usual } }
}
