//! What a reply takes in the stack, by `BPF_PROG_TEST_RUN`.
//!
//! A test run goes on with what the run before left, and a reply is no probe: what answers is measured in many single runs,
//! each with a probe of its own. Starting and calling are in those numbers, so single runs of a packet that is not ours are
//! taken away, and what such a packet takes is added, as found in one long run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::{TestRun, TestRunOptions, TestRunResult};
use heartbeat_fastpath::host::arrivals::{PORT, arrivals, encoded, probe};
use heartbeat_fastpath::host::packet::Hook;
use serde::Serialize;

use crate::bare::Bare;
use crate::stack::Stack;

/// Runs that are timed together.
const LONG: u32 = 1_000_000;
/// Runs that are timed each for itself.
const SINGLE: u64 = 5000;
/// As long as any reply is.
const OUT_MAX: usize = 256;
/// Where the UDP header's destination port and checksum, and the payload, are in a frame over IPv4.
const PORT_AT: usize = 36;
const CHECKSUM_AT: usize = 40;
const PAYLOAD_AT: usize = 42;

/// What was found at one hook; nanoseconds.
#[derive(Serialize)]
pub(crate) struct Cost {
    hook: &'static str,
    /// A reply of heartbeat's, its two tags included.
    heartbeat_ns: f64,
    /// What heartbeat takes for a probe that it has seen: all but the reply.
    replayed_ns: f64,
    /// What heartbeat takes for a datagram to another port.
    foreign_ns: f64,
    /// A reply of the bare reflector's, found in the same way.
    bare_ns: f64,
    /// The same in one long run.
    bare_long_ns: f64,
}

/// Measures at both hooks.
pub(crate) fn measure() -> Result<Vec<Cost>> {
    [Hook::Xdp, Hook::Tcx].into_iter().map(at).collect()
}

fn at(hook: Hook) -> Result<Cost> {
    let mut stack = Stack::load()?;
    let mut bare = Bare::load(PORT)?;
    let template = arrivals()
        .into_iter()
        .find(|arrived| arrived.name == "a probe over IPv4")
        .context("no packet has this name")?
        .bytes;
    let (ours, foreign) = (frames(&template, PORT), frames(&template, PORT + 1));
    let mut out = [0; OUT_MAX];

    let foreign_ns = long(stack.run(hook, &foreign(0), &mut out, LONG)?);
    let foreign_once_ns = single(|sequence| stack.run(hook, &foreign(sequence), &mut out, 1))?;
    let answered_ns = single(|sequence| {
        let probe = ours(sequence);
        let result = stack.run(hook, &probe, &mut out, 1)?;
        ensure!(out[PAYLOAD_AT..PAYLOAD_AT + 64] != probe[PAYLOAD_AT..], "probe {sequence} was not answered");
        Ok(result)
    })?;
    // The last one again.
    let replayed_ns = long(stack.run(hook, &ours(SINGLE - 1), &mut out, LONG)?);

    let bare_long_ns = long(run(&mut bare, hook, &ours(0), &mut out, LONG)?);
    let bare_foreign_ns = long(run(&mut bare, hook, &foreign(0), &mut out, LONG)?);
    let bare_foreign_once_ns = single(|sequence| run(&mut bare, hook, &foreign(sequence), &mut out, 1))?;
    let returned_ns = single(|sequence| {
        let probe = ours(sequence);
        let result = run(&mut bare, hook, &probe, &mut out, 1)?;
        ensure!(out[..probe.len()] == returned(&probe), "not sent back: {:02x?}", &out[..probe.len()]);
        Ok(result)
    })?;
    Ok(Cost {
        hook: match hook {
            Hook::Xdp => "xdp",
            Hook::Tcx => "tcx",
        },
        heartbeat_ns: answered_ns - foreign_once_ns + foreign_ns,
        replayed_ns,
        foreign_ns,
        bare_ns: returned_ns - bare_foreign_once_ns + bare_foreign_ns,
        bare_long_ns,
    })
}

/// Frames with probes by their sequences, to this port, without a checksum.
fn frames(template: &[u8], port: u16) -> impl Fn(u64) -> Vec<u8> {
    move |sequence| {
        let mut frame = template.to_vec();
        frame[PORT_AT..PORT_AT + 2].copy_from_slice(&port.to_be_bytes());
        frame[CHECKSUM_AT..CHECKSUM_AT + 2].fill(0);
        // The table's own probe has the lowest numbers.
        frame[PAYLOAD_AT..].copy_from_slice(&encoded(&probe(1000 + sequence)));
        frame
    }
}

/// What a reflector makes of a frame.
fn returned(frame: &[u8]) -> Vec<u8> {
    let mut turned = frame.to_vec();
    for (one, other, bytes) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        turned[one..one + bytes].copy_from_slice(&frame[other..other + bytes]);
        turned[other..other + bytes].copy_from_slice(&frame[one..one + bytes]);
    }
    turned
}

fn run(bare: &mut Bare, hook: Hook, bytes: &[u8], out: &mut [u8], repeat: u32) -> Result<TestRunResult> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(bytes);
    options.data_out = Some(out);
    options.repeat = repeat;
    Ok(match hook {
        Hook::Xdp => bare.xdp()?.test_run(options)?,
        Hook::Tcx => bare.tcx()?.test_run(options)?,
    })
}

/// The mean of a long run, which the kernel tells in whole nanoseconds.
fn long(result: TestRunResult) -> f64 {
    result.duration.as_nanos() as f64
}

/// The median of single runs.
fn single(mut run: impl FnMut(u64) -> Result<TestRunResult>) -> Result<f64> {
    let mut took: Vec<Duration> =
        (0..SINGLE).map(|sequence| Ok(run(sequence)?.duration)).collect::<Result<_>>()?;
    took.sort_unstable();
    Ok(took[took.len() / 2].as_nanos() as f64)
}
