//! A client and a server with a link between them: the server's stack answers probes though no process listens.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::tc::TcAttachType;
use aya::programs::xdp::XdpMode;
use heartbeat_fastpath::host::arrivals::{PORT, answer, encoded, probe};
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::Outcome;
use xps_core::abi::Redirect;

use crate::kernel_tests;
use crate::namespace::{Namespace, Place, remove_leftovers};
use crate::stack::Stack;

const DEVICE: &str = "veth0";
const SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 79, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x79, 0, 0, 0, 0, 0, 1))];
const CLIENTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 79, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x79, 0, 0, 0, 0, 0, 2))];
/// How long a reply may take, also on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// The network, removed when it is dropped.
struct Lab {
    server: Namespace,
    client: Namespace,
}

impl Lab {
    fn create() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let server = Namespace::create(&format!("{number}-server"))?;
        let client = Namespace::create(&format!("{number}-client"))?;
        let pair = ["link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", client.name()];
        server.ip(&pair)?;
        for (end, [v4, v6]) in [(&server, SERVERS), (&client, CLIENTS)] {
            end.ip(&["address", "add", &format!("{v4}/30"), "dev", DEVICE])?;
            // Without "nodad" the address is not usable for the first second.
            end.ip(&["address", "add", &format!("{v6}/64"), "dev", DEVICE, "nodad"])?;
            end.ip(&["link", "set", DEVICE, "up"])?;
        }
        Ok(Self { server, client })
    }
}

/// A socket at `place` that speaks with the port of `server`.
fn socket(place: &Place, server: IpAddr) -> Result<UdpSocket> {
    let any =
        if server.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = place.run(|| Ok(UdpSocket::bind(SocketAddr::new(any, 0))?))?;
    socket.connect(SocketAddr::new(server, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// What comes next must be the reply to this probe.
fn expect_reply(socket: &UdpSocket, sequence: u64) -> Result<()> {
    let mut reply = [0; 128];
    let len = socket.recv(&mut reply).with_context(|| format!("no reply to {sequence}"))?;
    let expected = answer(&probe(sequence));
    ensure!(reply[..len] == expected, "{:02x?} instead of {expected:02x?}", &reply[..len]);
    Ok(())
}

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
            socket.send(&encoded(&probe(*sequence)))?;
            expect_reply(&socket, *sequence).with_context(|| format!("of {server}"))?;
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
        socket.send(&encoded(&probe(*sequence)))?;
        expect_reply(&socket, *sequence).with_context(|| format!("of {server} after a lapse"))?;
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
