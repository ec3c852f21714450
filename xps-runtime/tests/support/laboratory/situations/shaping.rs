//! A queueing discipline that shapes what leaves the server's device: replies of the stack wait in it like all others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::{Network, SERVER, Service, Talk, on_each_port, until};

/// Bytes a second that may leave.
const RATE: u64 = 250_000;
/// Bytes that may leave at once.
const BURST: u64 = 8_000;
/// Requests, one after the other.
const REQUESTS: u64 = 60;
/// Bytes of each answer, at least.
const ANSWER_BYTES: u64 = 1_000;

/// Answers go through the discipline, and no faster than it allows.
pub(crate) fn respected<S: Service>(service: &S) -> Result<()> {
    shape(service)?;
    on_each_port(service, |to| {
        let mut talk = service.connect_to(to)?;
        noticed(service.network(), &mut *talk)?;
        goes_through(service.network(), &mut *talk)
    })
}

/// The same on open connections, whose discipline comes, goes and comes again.
pub(crate) fn followed<S: Service>(service: &S) -> Result<()> {
    on_each_port(service, |to| {
        let mut talk = service.connect_to(to)?;
        talk.answer()?;
        for _ in 0..2 {
            shape(service)?;
            noticed(service.network(), &mut *talk)?;
            goes_through(service.network(), &mut *talk).context("shaped")?;
            run_tc(service, "qdisc del dev veth0 root")?;
            talk.pass()?;
            talk.answer()?;
        }
        Ok(())
    })
}

fn shape<S: Service>(service: &S) -> Result<()> {
    let (bits, limit) = (8 * RATE, 1 << 20);
    run_tc(service, &format!("qdisc add dev veth0 root tbf rate {bits}bit burst {BURST} limit {limit}"))
}

/// Waits until an answer goes through the discipline: the sidecar hears of it in a moment.
fn noticed(network: &Network, talk: &mut dyn Talk) -> Result<()> {
    until("an answer that goes through the queue", || {
        let before = sent_bytes(network)?;
        talk.answer()?;
        Ok((sent_bytes(network)? - before >= ANSWER_BYTES).then_some(()))
    })
}

fn run_tc<S: Service>(service: &S, line: &str) -> Result<()> {
    let words: Vec<_> = line.split(' ').collect();
    service.server().run_program("tc", &words).with_context(|| line.to_owned())
}

fn goes_through(network: &Network, talk: &mut dyn Talk) -> Result<()> {
    let (before, start) = (sent_bytes(network)?, Instant::now());
    (0..REQUESTS).try_for_each(|_| talk.answer())?;
    let (queued, elapsed) = (sent_bytes(network)? - before, start.elapsed());
    let bytes = REQUESTS * ANSWER_BYTES;
    ensure!(queued >= bytes, "{queued} bytes went through the queue, of {bytes} or more");
    // Nothing makes it faster; on a slow machine it takes longer.
    let least = Duration::from_millis((bytes - 2 * BURST) * 1000 / RATE);
    ensure!(elapsed >= least, "{bytes} bytes came in {elapsed:?}, not in {least:?} or more");
    Ok(())
}

/// Bytes that have left by the discipline.
fn sent_bytes(network: &Network) -> Result<u64> {
    let said = network.said(SERVER, "tc -s qdisc show dev veth0 root")?;
    let mut words = said.split_whitespace().skip_while(|word| *word != "Sent");
    words.nth(1).and_then(|bytes| bytes.parse().ok()).with_context(|| format!("no count: {said}"))
}
