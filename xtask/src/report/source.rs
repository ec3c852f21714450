//! Results: measured now, or saved before.

use super::result::Saved;
use super::write;
use crate::bench;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// This program, also after it was built anew.
const PROGRAM: &str = "/proc/self/exe";

/// One of the benches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bench {
    Kv,
    Http,
    Heartbeat,
}

impl Bench {
    /// In the order in which the report tells of them.
    pub(super) const ALL: [Self; 3] = [Self::Kv, Self::Http, Self::Heartbeat];

    /// As `cargo xtask bench` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Http => "http",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// The sidecar that it measures.
    pub(super) fn sidecar(self) -> &'static str {
        match self {
            Self::Kv => "kv-cache",
            Self::Http => "http-guard",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// The server that clients could ask without it.
    pub(super) fn server(self) -> &'static str {
        match self {
            Self::Kv => "Redis",
            Self::Http => "Nginx",
            Self::Heartbeat => "a minimal echo",
        }
    }

    /// What it would measure if it left nothing out.
    pub(super) fn workloads(self) -> Vec<&'static str> {
        match self {
            Self::Kv => bench::kv::workloads().iter().map(|workload| workload.name).collect(),
            Self::Http => bench::http::workloads().iter().map(|workload| workload.name).collect(),
            Self::Heartbeat => bench::heartbeat::workloads().iter().map(|workload| workload.name).collect(),
        }
    }
}

/// What there is of a bench.
pub(super) enum Source {
    Result {
        result: Box<Saved>,
        /// Where it was read from; `None` if it was measured for this report.
        file: Option<PathBuf>,
    },
    Missing {
        bench: Bench,
        reason: String,
        /// It was to be measured.
        failed: bool,
    },
}

impl Source {
    /// Whose it is.
    pub(super) fn bench(&self) -> Bench {
        match self {
            Self::Result { result, .. } => result.bench,
            Self::Missing { bench, .. } => *bench,
        }
    }
}

/// Runs all benches, each in a process of its own, and keeps what they print in the folder. One that fails is missing.
pub(super) fn measure(quick: bool, folder: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for bench in Bench::ALL {
        println!("report: measuring {}", bench.sidecar());
        sources.push(match run(bench, quick, folder) {
            Ok(result) => Source::Result { result: Box::new(result), file: None },
            Err(error) => Source::Missing { bench, reason: format!("{error:#}"), failed: true },
        });
    }
    let all_failed = sources.iter().all(|source| matches!(source, Source::Missing { .. }));
    ensure!(!all_failed, "no bench could be run; what each of them said is above");
    Ok(sources)
}

fn run(bench: Bench, quick: bool, folder: &Path) -> Result<Saved> {
    let mut command = Command::new(PROGRAM);
    command.args(["bench", bench.name(), "--json"]).stdin(Stdio::null()).stderr(Stdio::inherit());
    if quick {
        command.arg("--quick");
    }
    let output = command.output().context("cannot run the bench")?;
    if !output.status.success() {
        bail!("`cargo xtask bench {}` failed ({})", bench.name(), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let result = Saved::parse(&text)?;
    write(&folder.join(format!("{}.json", bench.name())), &text)?;
    Ok(result)
}

/// Reads what benches have printed before. Of a bench whose result is not among them, that is said.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let result = Saved::parse(&text)
            .with_context(|| format!("{} is not what a bench prints with --json", file.display()))?;
        if sources.iter().any(|source| source.bench() == result.bench) {
            bail!("{} is a second result of bench {}; give one of each", file.display(), result.bench.name());
        }
        sources.push(Source::Result { result: Box::new(result), file: Some(file.clone()) });
    }
    for bench in Bench::ALL {
        if sources.iter().all(|source| source.bench() != bench) {
            let reason = "its result was not given to this report".to_owned();
            sources.push(Source::Missing { bench, reason, failed: false });
        }
    }
    sources.sort_by_key(|source| Bench::ALL.iter().position(|bench| *bench == source.bench()));
    Ok(sources)
}
