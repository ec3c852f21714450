//! `cargo xtask bench kv`: plain and accelerated measured by turns in one run.
//!
//! # Layout
//! - [`workload`]: what is measured, by name.
//! - [`keys`]: the keys that are read, loaded and warmed up.
//! - [`redis_benchmark`], [`load`]: the clients; [`request`] and [`histogram`] belong to the second.
//! - [`measure`](mod@measure): rounds, medians. [`run`](mod@run): which side is measured when. [`report`]: the result.

mod histogram;
mod keys;
mod load;
mod measure;
mod redis_benchmark;
mod report;
mod request;
mod run;
mod workload;

pub(crate) use measure::Effort;
pub(crate) use report::Report;
pub(crate) use run::{Run, measure};
pub(crate) use workload::all as workloads;

use crate::lab::Lab;
use crate::{setup, workspace};
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use workload::{Kind, Workload};

/// How to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Fewer and shorter rounds: about five minutes instead of twenty.
    #[arg(long)]
    quick: bool,
    /// Print JSON, and nothing else, on standard output; progress goes to standard error.
    #[arg(long)]
    json: bool,
    /// Only these workloads (comma-separated or repeated).
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave the user path out where the kernel path is to be had.
    #[arg(long)]
    kernel_only: bool,
    /// Measure this kv-cache binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_KV_CACHE")]
    kv_cache: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = choose(workloads(), &options.only)?;
    // With --json, whatever the steps before print must not stand in the result.
    let report = if options.json {
        let stdout = Redirected::to_stderr()?;
        let report = prepare_and_measure(options, &chosen);
        drop(stdout);
        report?
    } else {
        prepare_and_measure(options, &chosen)?
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

fn prepare_and_measure(options: &Options, chosen: &[Workload]) -> Result<Report> {
    setup::run(&setup::Options::default())?;
    let program = match &options.kv_cache {
        Some(path) => path.clone(),
        None => workspace::build_release("kv-cache")?,
    };
    let reflected = chosen.iter().any(|workload| workload.kind == Kind::Reflector) && workspace::is_root();
    let reflector = reflected.then(|| workspace::build_release("xps-reflector")).transpose()?;
    let effort = if options.quick {
        Effort { rounds: 3, duration: Duration::from_millis(1500) }
    } else {
        Effort { rounds: 7, duration: Duration::from_secs(3) }
    };
    let lab = Lab::create()?;
    measure(&Run {
        lab: &lab,
        program: &program,
        reflector: reflector.as_deref(),
        workloads: chosen,
        effort,
        user_path: !options.kernel_only,
    })
}

fn choose(all: Vec<Workload>, names: &[String]) -> Result<Vec<Workload>> {
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|workload| workload.name != **name)) {
        let known: Vec<&str> = all.iter().map(|workload| workload.name).collect();
        bail!("no workload is named {unknown:?}; there are: {}", known.join(", "));
    }
    Ok(all
        .into_iter()
        .filter(|workload| names.is_empty() || names.iter().any(|name| name == workload.name))
        .collect())
}

/// Standard output goes to standard error, also that of child processes, until this is dropped.
struct Redirected(std::os::fd::OwnedFd);

impl Redirected {
    fn to_stderr() -> Result<Self> {
        use std::os::fd::AsFd;
        let kept = std::io::stdout().as_fd().try_clone_to_owned()?;
        // SAFETY: both are the process's standard descriptors, open for its whole life.
        if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(Self(kept))
    }
}

impl Drop for Redirected {
    fn drop(&mut self) {
        use std::os::fd::AsRawFd;
        // SAFETY: the kept descriptor is open; dup2 replaces standard output by it.
        unsafe { libc::dup2(self.0.as_raw_fd(), libc::STDOUT_FILENO) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_errors_that_list_the_known() {
        let error = choose(workloads(), &["nonsense".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("nonsense") && error.contains("haproxy-tcp"), "{error}");
        let one = choose(workloads(), &["set-16KB".to_owned()]).unwrap();
        assert_eq!(one.len(), 1);
    }
}
