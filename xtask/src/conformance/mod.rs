//! `cargo xtask conformance`: Redis's own test suite through kv-cache, on both paths, against Redis directly.
//!
//! Every run has a test network, a Redis and a sidecar of its own: the suite leaves settings changed. What counts is that
//! the same tests pass on all sides, that none fails, and that kv-cache has answered some requests itself: a cache that is
//! switched off passes any test.
//!
//! Three things show the agent to a client by Redis's own will: `MONITOR`, the slow log where all is logged, and the count of
//! tracking connections. Their tests in the suite take themselves to be alone. The agent cannot hide (only commands for
//! administrators are left out there, and of these it may not be allowed more), and must not ask less for a test's sake. So
//! units of which a failure shows the agent run again, a few times at most, on the user path without a tracking connection,
//! and the report says so. What was no accident fails then, too.
//!
//! # Layout
//! - [`source`]: Redis's source package, which holds the suite.
//! - [`suite`]: one run of it; [`results`]: what it said; [`report`]: the sides beside each other.

mod report;
mod results;
mod source;
mod suite;

use crate::lab::{Lab, Mode, Redis, Sidecar};
use crate::{machine, setup, workspace};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use report::Row;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;
use suite::Suite;

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Only units that take a few seconds: what `cargo xtask test` runs.
    #[arg(long, conflicts_with = "only")]
    subset: bool,
    /// The path to compare with Redis itself.
    #[arg(long, value_enum, default_value_t = Paths::All)]
    path: Paths,
    /// The suite's client.
    #[arg(long, value_enum, default_value_t = Clients::All, conflicts_with = "subset")]
    client: Clients,
    /// Only these units of the suite, such as `unit/type/string` (comma-separated or repeated).
    #[arg(long, value_name = "UNIT", value_delimiter = ',')]
    only: Vec<String>,
    /// Use this kv-cache binary instead of building one.
    #[arg(long, value_name = "PATH", env = "XPS_KV_CACHE")]
    kv_cache: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Paths {
    Kernel,
    User,
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clients {
    /// As Redis's authors wrote it.
    Original,
    /// One that brings keys into the cache before they change, and compares both ports after each command.
    Provoking,
    /// One after the other.
    All,
}

/// Units that use GET, or what makes GET's answer another, or connections in every state; that are quick; and whose tests
/// wait for the answers on one connection before they use another, between which a relay keeps no order.
const SUBSET: [&str; 7] = [
    "unit/type/string",
    "unit/type/incr",
    "unit/bitfield",
    "unit/multi",
    "unit/protocol",
    "unit/keyspace",
    "unit/quit",
];

/// With the client that shows most in little time.
const SUBSET_CLIENTS: [Client; 1] = [Client::Provoking];

/// The side that tests run through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Direct,
    Kernel,
    User,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "directly",
            Self::Kernel => "kernel path",
            Self::User => "user path",
        }
    }
}

/// The suite's client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    /// As Redis's authors wrote it.
    Original,
    /// Changed so that the cache has entries for what tests change and read: see `provoking.tcl`.
    Provoking,
}

/// Runs the suite and prints the table. Returns whether all sides agree.
pub(crate) fn run(options: &Options) -> Result<bool> {
    setup::run(&setup::Options::default())?;
    let program = match &options.kv_cache {
        Some(path) => path.clone(),
        None => workspace::build_release("kv-cache")?,
    };
    let units = if options.subset { SUBSET.map(str::to_owned).to_vec() } else { options.only.clone() };
    let clients: &[Client] = match options.client {
        _ if options.subset => &SUBSET_CLIENTS,
        Clients::Original => &[Client::Original],
        Clients::Provoking => &[Client::Provoking],
        Clients::All => &[Client::Original, Client::Provoking],
    };
    let groups = Conformance::new(program, units)?.compare(clients, &sides(options.path)?)?;
    println!("\n{}", report::text(&groups));
    Ok(report::complaints(&groups).all(|(_, complaints)| complaints.is_empty()))
}

/// What the checks want to know of the subset.
pub(crate) struct Summary {
    /// Tests that passed through the accelerated port.
    pub(crate) passed: u64,
    /// Failures and differences, on all sides.
    pub(crate) failed: u64,
    /// What was left out.
    pub(crate) note: Option<String>,
}

/// The subset, with the kv-cache that the tests have built already.
pub(crate) fn check() -> Result<Summary> {
    let program = workspace::build("kv-cache", "dev")?;
    let units = SUBSET.map(str::to_owned).to_vec();
    let groups = Conformance::new(program, units)?.compare(&SUBSET_CLIENTS, &sides(Paths::All)?)?;
    println!("\n{}", report::text(&groups));
    let accelerated = groups.iter().flatten().filter(|row| row.path.is_some());
    Ok(Summary {
        passed: accelerated.map(|row| u64::from(row.results.passed_count())).sum(),
        failed: report::complaints(&groups).map(|(_, complaints)| complaints.len() as u64).sum(),
        note: (!workspace::is_root()).then(|| "the kernel path left out: it needs root".to_owned()),
    })
}

fn sides(paths: Paths) -> Result<Vec<Side>> {
    let kernel = paths != Paths::User;
    if kernel && !workspace::is_root() {
        if paths == Paths::Kernel {
            bail!("the kernel path needs root; without it there is `--path user`");
        }
        println!("conformance: not root: the kernel path is left out");
    }
    let kernel = kernel && workspace::is_root();
    let user = paths != Paths::Kernel;
    let wanted = [(Side::Direct, true), (Side::Kernel, kernel), (Side::User, user)];
    Ok(wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(side, _)| side).collect())
}

/// How often units run again that have met the agent.
const REPETITIONS: usize = 5;

/// What all runs share.
struct Conformance {
    /// The kv-cache binary.
    program: PathBuf,
    /// Units of the suite; empty means all.
    units: Vec<String>,
    /// Redis's source package.
    package: PathBuf,
    /// Where the suite's words are kept.
    logs: PathBuf,
}

impl Conformance {
    fn new(program: PathBuf, units: Vec<String>) -> Result<Self> {
        let package = source::fetch()?;
        let installed = machine::describe().redis;
        if installed != source::VERSION {
            println!(
                "conformance: the suite is that of Redis {}, the server here is {installed}: tests of what changed \
                 in between may fail on all sides alike",
                source::VERSION
            );
        }
        let logs = workspace::target().join("xps-conformance");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Self { program, units, package, logs })
    }

    /// One group of rows for each client, a row for each side.
    fn compare(&self, clients: &[Client], sides: &[Side]) -> Result<Vec<Vec<Row>>> {
        println!("conformance: what the suite says is kept in {}", self.logs.display());
        let group = |client: &Client| sides.iter().map(|side| self.measure(*side, *client)).collect();
        clients.iter().map(group).collect()
    }

    fn measure(&self, side: Side, client: Client) -> Result<Row> {
        let name = match client {
            Client::Original => side.name().to_owned(),
            Client::Provoking => format!("{}, provoked", side.name()),
        };
        let mut row = self.once(side, client, name, &self.units, &[])?;
        for _ in 0..REPETITIONS {
            let units = row.results.met_agent();
            if side == Side::Direct || units.is_empty() {
                break;
            }
            // A mode of its own, and its tests are of Redis's tracking, which clients have without it as well.
            let settings = if side == Side::User { &["coherence.tracking=off"][..] } else { &[] };
            let again = self.once(side, client, format!("{}, again", row.name), &units, settings)?;
            row.results.replace(&units, again.results);
            row.seconds += again.seconds;
            row.repeated.extend(units);
            row.repeated.sort();
            row.repeated.dedup();
            // A few units need not have hits, but they must take the same path.
            if again.path != row.path {
                row.objection = again.objection;
            }
        }
        Ok(row)
    }

    /// One run, of these units; with these settings beside those of the side.
    fn once(
        &self,
        side: Side,
        client: Client,
        name: String,
        units: &[String],
        settings: &[&str],
    ) -> Result<Row> {
        println!("conformance: {name}");
        let lab = Lab::create_with(&suite::REDIS_ARGUMENTS)?;
        let sources = source::unpack(&self.package, lab.folder())?;
        let mut left_out = &[][..];
        if client == Client::Provoking {
            suite::provoke(&sources)?;
            left_out = &suite::NOT_PROVOKED;
        }
        let sidecar = self.sidecar(side, &lab, settings)?;
        let port = if sidecar.is_some() { lab.ports().accelerated } else { lab.ports().plain };
        let log = self.logs.join(format!("{}.log", name.replace([' ', ','], "-")));
        let start = Instant::now();
        let results = suite::run(&Suite {
            sources: &sources,
            // On Redis's own machine: some tests take a port and want Redis to find it taken.
            place: &lab.server(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            redis_port: lab.ports().plain,
            units,
            left_out,
            log: &log,
        })
        .with_context(|| name.clone())?;
        let mut row = Row {
            name,
            path: None,
            hits: None,
            seconds: start.elapsed().as_secs_f64(),
            results,
            repeated: Vec::new(),
            objection: None,
        };
        if let Some(sidecar) = sidecar {
            judge(side, &sidecar, &mut row)?;
            sidecar.stop()?;
        }
        Ok(row)
    }

    fn sidecar(&self, side: Side, lab: &Lab<Redis>, settings: &[&str]) -> Result<Option<Sidecar>> {
        let (mode, own) = match side {
            Side::Direct => return Ok(None),
            Side::Kernel => (Mode::Auto, &[][..]),
            // In strict mode the user path only relays.
            Side::User => (Mode::User, &["coherence.mode=bounded"][..]),
        };
        // Each miss counts, so that a second read of a key can be a hit.
        let all = [&["cache.miss_sample=1"], own, settings].concat();
        Ok(Some(Sidecar::kv_cache(lab, &self.program, mode, &all)?))
    }
}

/// Files the path that the sidecar has taken and its hits, and objects if they are not what the run was for.
fn judge(side: Side, sidecar: &Sidecar, row: &mut Row) -> Result<()> {
    let status = sidecar.status()?;
    let path = status.path()?.to_owned();
    let wanted = if side == Side::Kernel { "kernel" } else { "user" };
    let hits = status.hits()?;
    if path != wanted {
        row.objection = Some(format!(
            "the sidecar took the {path} path, not the {wanted} path: {}",
            status.causes().join("; ")
        ));
    } else if hits == 0 {
        row.objection = Some(format!(
            "kv-cache has answered not one request itself, so this run shows nothing; passes: {}",
            status.passes()
        ));
    }
    (row.path, row.hits) = (Some(path), Some(hits));
    Ok(())
}
