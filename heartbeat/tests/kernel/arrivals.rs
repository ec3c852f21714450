//! The table of packets against the kernel, by `BPF_PROG_TEST_RUN`: the same verdicts, replies and counters as on the host
//! (`heartbeat/fastpath/tests/arrivals.rs`), for both programs.

use anyhow::{Result, ensure};
use heartbeat::abi::{self, Settings};
use heartbeat_fastpath::echo::EchoOutcome;
use heartbeat_fastpath::host::arrivals::{Arrived, Fate, PORT, arrivals, encoded, probe};
use heartbeat_fastpath::host::echoes::{Echo, echo_peers, echoes};
use heartbeat_fastpath::host::packet::Hook;
use heartbeat_fastpath::wire::Message;

use crate::kernel_tests;
use crate::stack::Stack;

/// The shortest packet that a test run takes: an Ethernet header, and at tcx the largest of IP headers too.
const fn least(hook: Hook) -> usize {
    match hook {
        Hook::Xdp => 14,
        Hook::Tcx => 14 + 40,
    }
}

/// Runs that are timed.
const RUNS: u32 = 1_000_000;

/// What programs return where a packet goes on, no further, or back.
const fn codes(hook: Hook) -> [u32; 3] {
    match hook {
        // XDP_PASS, XDP_DROP, XDP_TX.
        Hook::Xdp => [2, 1, 3],
        // TCX_NEXT, TCX_DROP, TCX_REDIRECT.
        Hook::Tcx => [u32::MAX, 2, 7],
    }
}

fn check(stack: &mut Stack, hook: Hook, arrived: &Arrived) -> Result<()> {
    let Arrived { name, bytes, fate, tagged } = arrived;
    let fate = if hook == Hook::Tcx && *tagged { &Fate::Foreign } else { fate };
    let mut expected = stack.counts()?;
    if let Some(outcome) = fate.outcome() {
        expected[outcome.index()] += 1;
    }
    let [next, drop, back] = codes(hook);
    let (code, left) = match fate {
        Fate::Foreign | Fate::Passed => (next, bytes),
        Fate::Dropped(_) => (drop, bytes),
        Fate::Replied(reply, _) => (back, reply),
    };
    let mut out = [0; 2048];
    let result = stack.run(hook, bytes, &mut out, 1)?;
    let found = result.return_value;
    ensure!(found == code, "{hook:?}: {name}: {found} instead of {code} for {bytes:02x?}");
    let out = &out[..result.data_size_out as usize];
    ensure!(out == left, "{hook:?}: {name}: became\n{out:02x?}\ninstead of\n{left:02x?}");
    let counts = stack.counts()?;
    ensure!(counts == expected, "{hook:?}: {name}: counted {counts:?}, expected {expected:?}");
    Ok(())
}

fn test(hook: Hook) -> Result<()> {
    let mut stack = Stack::load()?;
    let mut run = 0;
    let all = arrivals();
    for arrived in all.iter().filter(|arrived| arrived.bytes.len() >= least(hook)) {
        check(&mut stack, hook, arrived)?;
        run += 1;
    }
    ensure!(run > 400, "only {run} packets were run");
    // Without a port, or with settings of another version, nothing is ours.
    for (version, port) in [(abi::VERSION, 0), (abi::VERSION + 1, PORT)] {
        stack.set(Settings { version, port: u32::from(port), reflects: 0 })?;
        for arrived in all.iter().filter(|arrived| arrived.bytes.len() >= least(hook)) {
            check(&mut stack, hook, &Arrived { fate: Fate::Foreign, ..arrived.clone() })?;
        }
    }
    Ok(())
}

#[test]
fn the_program_at_xdp_does_what_the_host_does() {
    if kernel_tests() {
        test(Hook::Xdp).expect("the same on both");
    }
}

#[test]
fn the_program_at_tcx_does_what_the_host_does() {
    if kernel_tests() {
        test(Hook::Tcx).expect("the same on both");
    }
}

fn echo_packets(hook: Hook) -> Result<()> {
    let mut stack = Stack::load()?;
    let all = echoes();
    let long_enough = |echo: &&Echo| echo.bytes.len() >= least(hook);
    let [next, drop, back] = codes(hook);
    let mut out = [0; 2048];
    // Nothing is sent back before anybody may be sent anything.
    for echo in all.iter().filter(long_enough) {
        let found = stack.run(hook, &echo.bytes, &mut out, 1)?.return_value;
        ensure!(found == next, "{hook:?}: {}: {found} without peers", echo.name);
    }
    stack.reflect(&echo_peers())?;
    for echo in all.iter().filter(long_enough) {
        let outcome = if hook == Hook::Tcx && echo.tagged { None } else { echo.outcome };
        let mut expected = stack.echo_counts()?;
        if let Some(outcome) = outcome {
            expected[outcome as usize] += 1;
        }
        let (code, left) = match outcome {
            Some(EchoOutcome::Reflected) => (back, &echo.becomes),
            Some(EchoOutcome::TooFast) => (drop, &echo.bytes),
            Some(EchoOutcome::Stranger | EchoOutcome::Returned) | None => (next, &echo.bytes),
        };
        let result = stack.run(hook, &echo.bytes, &mut out, 1)?;
        let found = result.return_value;
        ensure!(found == code, "{hook:?}: {}: {found} instead of {code}", echo.name);
        let out = &out[..result.data_size_out as usize];
        ensure!(out == left, "{hook:?}: {}: became\n{out:02x?}\ninstead of\n{left:02x?}", echo.name);
        let counts = stack.echo_counts()?;
        ensure!(counts == expected, "{hook:?}: {}: counted {counts:?}, expected {expected:?}", echo.name);
    }
    ensure!(stack.counts()?.iter().all(|count| *count == 0), "an echo packet was counted as a message");
    Ok(())
}

#[test]
fn both_programs_send_echo_packets_back_as_the_host_does() {
    if kernel_tests() {
        for hook in [Hook::Xdp, Hook::Tcx] {
            echo_packets(hook).expect("the same on both");
        }
    }
}

/// What takes how long. A test run goes on with what the run before left, so each of many is measured by a packet that stays
/// as it is: all but writing the reply is done for a probe that has been seen.
fn time(hook: Hook) -> Result<()> {
    let mut stack = Stack::load()?;
    let all = arrivals();
    let of = |name: &str| all.iter().find(|arrived| arrived.name == name);
    let mut out = [0; 2048];
    for (what, name) in [
        ("a packet that is not ours", "another port over IPv4"),
        ("a tag that is wrong", "bit 0 of the tag over IPv4"),
        ("a replayed probe", "a probe over IPv4"),
        ("a replayed probe", "a probe over IPv6"),
    ] {
        let Some(arrived) = of(name) else { anyhow::bail!("no packet is named {name}") };
        if what.starts_with("a replayed") {
            stack.run(hook, &arrived.bytes, &mut out, 1)?;
        }
        let took = stack.run(hook, &arrived.bytes, &mut out, RUNS)?.duration;
        println!("{hook:?}: {what} ({name}): {} ns", took.as_nanos());
    }
    // Single runs, each with a probe of its own. What calling and starting takes is in each of both numbers.
    for (what, port) in [("not ours, run once", 1), ("answered, run once", 0)] {
        let mut took = Vec::new();
        for sequence in 1000..3000 {
            let template = &of("a probe over IPv4").map(|arrived| arrived.bytes.clone()).unwrap_or_default();
            let bytes = probed(template, &probe(sequence), port);
            took.push(stack.run(hook, &bytes, &mut out, 1)?.duration);
        }
        took.sort_unstable();
        println!("{hook:?}: {what}: median {} ns", took[took.len() / 2].as_nanos());
    }
    Ok(())
}

/// The frame of another probe over IPv4, without a checksum.
fn probed(template: &[u8], probe: &Message, port_difference: u8) -> Vec<u8> {
    let mut bytes = template.to_vec();
    bytes[37] += port_difference;
    bytes[40..42].fill(0);
    bytes[42..].copy_from_slice(&encoded(probe));
    bytes
}

#[test]
fn how_long_it_takes() {
    if kernel_tests() {
        for hook in [Hook::Xdp, Hook::Tcx] {
            time(hook).expect("numbers");
        }
    }
}
