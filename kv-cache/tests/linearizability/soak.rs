//! Mixed load with faults for a long time: memory stays flat, counters add up, nothing is left over.
//!
//! Each row is a round of the linearizability check with one kind of fault, beside a [crowd](crate::crowd) that makes
//! entries come and go. After it all clients have gone, and what is left is looked at.
//!
//! What must add up, where no fault resets a counter: each `GET` that a client had an answer to was answered by the stack
//! (`hits_total`) or by Redis (`cmdstat_get`); and each request that the stack has read and not answered
//! (`requests_total` - `hits_total`) is one that Redis has carried out (`total_commands_processed`), except for what
//! scripts call themselves and what a transaction that was not carried out had queued. The agent's own requests are in
//! both, and so is this test's. Both sums are exact, but for connections that end with requests under way.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::crowd::Crowd;
use crate::faults::Fault;
use crate::round::{Outcome, Round};
use crate::support::{ACCELERATED, Client, Lab, PATIENCE, PLAIN, interrupted, resident_bytes};

/// Requests of this test's own in a [`Sample`].
const OWN: u64 = 2;

/// Most requests that are in doubt for each connection that was cut or lost, and for each segment that was not read.
const DOUBT: u64 = 16;

/// Counters of segments that the stack says it has not read: of a connection whose mark another one has overwritten.
const UNREAD: [&str; 3] = ["foreign", "handshake_unseen", "opaque"];

/// In which time flows of connections that have ended without a word are collected: the server's sockets are in
/// TIME_WAIT for a minute, and the agent looks seldom on a machine with many sockets.
const COLLECTED: Duration = Duration::from_secs(150);

/// One kind of fault a row; the first has none.
const ROWS: [&[Fault]; 6] =
    [&[], &[Fault::Kill], &[Fault::Loss], &[Fault::Cuts], &[Fault::Stop], &[Fault::Redis]];

/// Counters, and where memory went, while nobody works.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    agent_bytes: u64,
    map_bytes: u64,
    entries: u64,
    flows: u64,
    hits: u64,
    requests: u64,
    /// Segments whose requests are not in `requests`.
    unread: u64,
    redis_gets: u64,
    redis_commands: u64,
}

fn number(info: &str, name: &str) -> u64 {
    let rest = info.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).unwrap_or(0)
}

impl Sample {
    /// All counters as of one moment. They are read one after the other, so they belong together only if nobody else asks
    /// anything meanwhile, which the next reading shows. The agent does so when the clients have gone, too: for keys that they
    /// missed, hundreds in a batch, and all the time for signs of life.
    fn of_one_moment(lab: &Lab) -> Result<Self> {
        let start = Instant::now();
        let mut last = Self::take(lab)?;
        while start.elapsed() < PATIENCE {
            let next = Self::take(lab)?;
            if next.requests - last.requests == OWN && next.redis_commands - last.redis_commands == OWN {
                return Ok(next);
            }
            last = next;
        }
        bail!("requests without end while nobody works: {last:?}")
    }

    fn take(lab: &Lab) -> Result<Self> {
        let mut plain = lab.client(PLAIN)?;
        let mut info = |section: &str| -> Result<String> {
            Ok(String::from_utf8_lossy(&plain.command(&format!("INFO {section}"))?).into_owned())
        };
        let (stats, commands) = (info("stats")?, info("commandstats")?);
        let status = lab.status()?;
        Ok(Self {
            agent_bytes: resident_bytes(lab.sidecar_id()?)?,
            map_bytes: status.memory.maps.values().sum(),
            entries: status.entries,
            flows: status.flows.accelerated + status.flows.observed,
            hits: status.hits_total,
            requests: status.requests_total,
            unread: UNREAD.iter().filter_map(|reason| status.passes.get(*reason)).sum(),
            redis_gets: number(&commands, "cmdstat_get:calls="),
            redis_commands: number(&stats, "total_commands_processed:"),
        })
    }
}

/// What a row must show.
struct Row {
    faults: &'static [Fault],
    outcome: Outcome,
    sample: Sample,
    /// By how many the two sums are off, beyond what is in doubt; `None` where a fault resets counters.
    off: Option<(u64, u64)>,
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn row(lab: &mut Lab, number: u64, seed: u64, time: Duration) -> Result<Row> {
    let faults = ROWS[number as usize % ROWS.len()];
    let before = Sample::of_one_moment(lab)?;
    let crowd = Crowd::start(lab, seed.wrapping_add(number));
    let round = Round { number, seed: seed.wrapping_add(number << 32), time, faults, bound: None };
    let outcome = round.run(lab);
    let crowd = crowd.stop()?;
    let mut outcome = outcome?;
    outcome.gets += crowd.gets;
    outcome.gets_unknown += crowd.gets_unknown;
    let sample = Sample::of_one_moment(lab)?;
    let counted = !faults.iter().any(|fault| matches!(fault, Fault::Stop | Fault::Redis));
    let off = counted.then(|| {
        let hits = sample.hits - before.hits;
        let got = hits + sample.redis_gets - before.redis_gets;
        let gets = outcome.gets..=outcome.gets + outcome.gets_unknown;
        let passed = sample.requests - before.requests - hits + outcome.called - outcome.dropped;
        let unread = sample.unread - before.unread;
        let doubt = DOUBT * (outcome.broken() + crowd.unknown + unread);
        let commands = sample.redis_commands - before.redis_commands;
        let off = gets.start().saturating_sub(got) + got.saturating_sub(*gets.end());
        (off, passed.abs_diff(commands).saturating_sub(doubt))
    });
    Ok(Row { faults, outcome, sample, off })
}

/// Every bucket is free again: keys all over the table get hits.
fn serves(lab: &Lab) -> Result<()> {
    let mut client: Client = lab.client(ACCELERATED)?;
    for key in ["soak:1", "soak:2", "soak:3", "soak:4"] {
        client.set(key, "value")?;
        lab.warm(&mut client, key, "value")?;
    }
    Ok(())
}

fn most(rows: &[Row], what: impl Fn(&Sample) -> u64) -> u64 {
    rows.iter().map(|row| what(&row.sample)).max().unwrap_or(0)
}

/// Whether something has grown from the second third of the rows to the last. Short runs show nothing of that.
fn flat(rows: &[Row], name: &str, slack: u64, what: impl Fn(&Sample) -> u64 + Copy) -> Result<()> {
    let third = rows.len() / 3;
    if third < ROWS.len() {
        println!("{name}: too few rows to judge growth; {:.1} MiB at most", megabytes(most(rows, what)));
        return Ok(());
    }
    let (middle, last) = (most(&rows[third..2 * third], what), most(&rows[2 * third..], what));
    println!("{name}: {:.1} MiB in the middle, {:.1} at the end", megabytes(middle), megabytes(last));
    ensure!(last <= middle + middle / 10 + slack, "{name} has grown from {middle} to {last} bytes");
    Ok(())
}

/// Rows until the time is over, and the judgement.
pub(crate) fn run(lab: &mut Lab, seconds: u64, seed: u64) -> Result<()> {
    let time = Duration::from_secs((seconds / 60).clamp(3, 15));
    let (start, mut rows) = (Instant::now(), Vec::new());
    println!(
        "{:>6} {:>10} {:>9} {:>9} {:>8} {:>9} {:>9} {:>6} {:>9} {:>11}  fault",
        "second",
        "operations",
        "hits",
        "requests",
        "entries",
        "agent MiB",
        "maps MiB",
        "flows",
        "GETs off",
        "passes off"
    );
    while start.elapsed().as_secs() < seconds {
        let row = row(lab, rows.len() as u64, seed, time)?;
        serves(lab).context("after a row")?;
        let (gets, passes) =
            row.off.map_or(("-".into(), "-".into()), |(a, b)| (a.to_string(), b.to_string()));
        let sample = &row.sample;
        println!(
            "{:>6} {:>10} {:>9} {:>9} {:>8} {:>9.1} {:>9.1} {:>6} {gets:>9} {passes:>11}  {:?}",
            start.elapsed().as_secs(),
            row.outcome.operations,
            row.outcome.hits,
            sample.requests,
            sample.entries,
            megabytes(sample.agent_bytes),
            megabytes(sample.map_bytes),
            sample.flows,
            row.faults,
        );
        if !row.outcome.violations.is_empty() {
            bail!("{}", row.outcome.violations.join("\n"));
        }
        rows.push(row);
    }
    judge(&rows)?;
    let start = Instant::now();
    loop {
        let flows = lab.status()?.flows;
        // The agent's own, and those of this test.
        if flows.accelerated + flows.observed <= 8 {
            println!("no flow is left over {:.0} s after the last row", start.elapsed().as_secs_f64());
            return Ok(());
        }
        ensure!(start.elapsed() < COLLECTED, "still there after {COLLECTED:?}: {flows:?}");
        ensure!(!interrupted(), "interrupted");
        sleep(Duration::from_millis(100));
    }
}

fn judge(rows: &[Row]) -> Result<()> {
    flat(rows, "memory of the agent", 4 << 20, |sample| sample.agent_bytes)?;
    flat(rows, "memory of the maps", 0, |sample| sample.map_bytes)?;
    let off: Vec<_> =
        rows.iter().enumerate().filter(|(_, row)| row.off.is_some_and(|off| off != (0, 0))).collect();
    ensure!(
        off.is_empty(),
        "counters do not add up in rows {:?}",
        off.iter().map(|(i, _)| i).collect::<Vec<_>>()
    );
    let hits: u64 = rows.iter().map(|row| row.outcome.hits).sum();
    ensure!(hits > 1000, "{hits} hits show nothing");
    println!("counters add up, violations 0");
    Ok(())
}
