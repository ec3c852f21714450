//! A client and a server with a link between them: the server's stack answers probes though no process listens.

use std::ffi::CString;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::tc::TcAttachType;
use aya::programs::xdp::XdpMode;
use heartbeat_fastpath::host::arrivals::{encoded, probe};
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::Outcome;
use xps_core::abi::Redirect;

use crate::kernel_tests;
use crate::lab::{DEVICE, Lab, PATIENCE, SERVERS, probed, socket};
use crate::namespace::Place;
use crate::stack::Stack;

/// Waits until one more datagram was dropped because of a lease than `before`.
fn until_lapsed(stack: &Stack, before: u64) -> Result<()> {
    let start = Instant::now();
    while stack.counts()?[Outcome::Dropped(Refusal::Lapsed).index()] == before {
        ensure!(start.elapsed() < PATIENCE, "a probe was not refused although the lease has lapsed");
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Probes from `place`: a reply while the lease is fresh, none when it has lapsed. `sequence` is the last one that was used.
fn exchange(stack: &mut Stack, place: &Place, sequence: &mut u64) -> Result<()> {
    for server in SERVERS {
        let socket = socket(place, server)?;
        for _ in 0..3 {
            *sequence += 1;
            probed(&socket, *sequence).with_context(|| format!("of {server}"))?;
        }
        let node = probe(0).receiver;
        let lapsed = stack.counts()?[Outcome::Dropped(Refusal::Lapsed).index()];
        stack.set_lease(node, 1)?;
        *sequence += 1;
        socket.send(&encoded(&probe(*sequence)))?;
        until_lapsed(stack, lapsed)?;
        // Had that one been answered, its reply would be the first that comes.
        stack.set_lease(node, u64::MAX)?;
        *sequence += 1;
        probed(&socket, *sequence).with_context(|| format!("of {server} after a lapse"))?;
    }
    Ok(())
}

fn at_tcx(device: &str, redirect: Redirect) -> Result<()> {
    let lab = Lab::create()?;
    let mut stack = Stack::load()?;
    let server = lab.server.place();
    let index = server.run(|| {
        stack.tcx()?.attach(device, TcAttachType::Ingress)?;
        let name = CString::new(device)?;
        // SAFETY: a valid C string that lives through the call.
        Ok(unsafe { libc::if_nametoindex(name.as_ptr()) })
    })?;
    stack.set_device(index, redirect)?;
    let place = if redirect == Redirect::Loopback { server } else { lab.client.place() };
    exchange(&mut stack, place, &mut 0)
}

#[test]
fn tcx_answers_out_of_the_interface() {
    if kernel_tests() {
        at_tcx(DEVICE, Redirect::Egress).expect("replies");
    }
}

#[test]
fn tcx_answers_into_the_other_end_of_a_pair() {
    if kernel_tests() {
        at_tcx(DEVICE, Redirect::Peer).expect("replies");
    }
}

#[test]
fn tcx_answers_on_loopback() {
    if kernel_tests() {
        at_tcx("lo", Redirect::Loopback).expect("replies");
    }
}

fn at_xdp() -> Result<()> {
    let lab = Lab::create()?;
    // Hardware sends a checksum. A virtual device does not compute it, and its program at XDP is not told that it is missing.
    lab.client.place().run_program("ethtool", &["-K", DEVICE, "tx", "off"])?;
    let mut stack = Stack::load()?;
    // A virtual device takes what a program sends back only if its own has one, too. With port 0 it lets everything pass.
    let mut passing = Stack::load()?;
    passing.set_port(0)?;
    lab.client.place().run(|| Ok(passing.xdp()?.attach(DEVICE, XdpMode::Driver).map(drop)?))?;
    lab.server.place().run(|| Ok(stack.xdp()?.attach(DEVICE, XdpMode::Driver).map(drop)?))?;
    exchange(&mut stack, lab.client.place(), &mut 0)?;
    ensure!(passing.counts()?.iter().all(|count| *count == 0), "the passing program has counted");
    Ok(())
}

#[test]
fn xdp_answers_before_the_stack() {
    if kernel_tests() {
        at_xdp().expect("replies");
    }
}
