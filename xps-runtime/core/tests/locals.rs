//! Which packets are this host's, on the host: at which interfaces an address counts, and how often a packet is read (T4).

use std::cell::Cell;

use xps_core::abi::{Local, Scope};
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::host::segment::{ACCELERATED_PORT, PLAIN_PORT, SERVERS, client, server};
use xps_core::host::{DEVICE, Frame, Machine};
use xps_core::packet::mapped;
use xps_core::path::local::LOOPBACK_NETWORK;
use xps_core::path::{Action, Socket};
use xps_core::verdict::{Reason, Verdict};

/// Counts what it is shown, and passes everything.
#[derive(Default)]
struct Meter {
    bytes: Cell<[u32; 2]>,
}

impl Meter {
    fn read(&self, window: &mut Window, direction: usize) -> Scan {
        let mut bytes = self.bytes.get();
        while window.next().is_some() {
            bytes[direction] += 1;
        }
        self.bytes.set(bytes);
        Scan::More
    }
}

impl Handler for Meter {
    type State = u32;
    type Scratch = u32;

    fn begin(&self, _: &FlowKey, _: &mut u32) {}

    fn request(&self, window: &mut Window, _: &mut u32, _: &mut u32) -> Scan {
        self.read(window, 0)
    }

    fn answer(&self, _: &mut u32, _: &mut u32, _: &mut Reply, _: u32) -> Verdict {
        Verdict::Pass(Reason::NotServed)
    }

    fn passed(&self, _: &mut u32, _: &mut u32) {}

    fn response(&self, window: &mut Window, _: &mut u32, _: &mut u32) -> Scan {
        self.read(window, 1)
    }

    fn opaque(&self, _: &mut u32) {}

    fn ended(&self, _: &FlowKey, _: &mut u32) -> bool {
        true
    }

    fn requests(&self, _: &u32) -> u32 {
        0
    }
}

const LOOPBACK: u32 = 1;

fn machine() -> Machine<Meter> {
    Machine::new(Meter::default(), ACCELERATED_PORT, PLAIN_PORT)
}

/// A SYN of the client to `address`, at `ifindex`.
fn syn(address: [u8; 16], ifindex: u32) -> Frame {
    let v6 = address[..12] != mapped([0; 4])[..12];
    let mut frame = client(999, 0, b"").over(v6).opening().frame();
    if v6 {
        frame.bytes[38..54].copy_from_slice(&address);
    } else {
        frame.bytes[30..34].copy_from_slice(&address[12..]);
    }
    frame.seal();
    frame.ifindex = ifindex;
    frame
}

/// Whether the programs take a connection to `address` that comes in at `ifindex`.
fn taken(machine: &Machine<Meter>, address: [u8; 16], ifindex: u32) -> bool {
    let frame = syn(address, ifindex);
    let outcome = machine.ingress(frame.clone());
    assert_eq!(outcome.action, Action::Next);
    assert_eq!(outcome.frame.bytes, frame.bytes, "no port is rewritten");
    outcome.frame.seen != 0
}

fn local(scope: Scope, index: u32) -> Option<Local> {
    Some(Local { scope: scope as u32, index, accelerated: 1 })
}

#[test]
fn an_address_counts_where_the_kernel_would_take_it() {
    let machine = machine();
    machine.set_vrf(3, 0);
    machine.set_vrf(4, 9);
    for address in SERVERS {
        let at = |local| {
            machine.set_local(address, local);
            [LOOPBACK, DEVICE, 3, 4, 5].map(|ifindex| taken(&machine, address, ifindex))
        };
        assert_eq!(at(local(Scope::Host, 0)), [true; 5]);
        assert_eq!(at(local(Scope::Interface, 3)), [true, false, true, false, false]);
        // An interface that is not hooked is in no VRF that is known.
        assert_eq!(at(local(Scope::Vrf, 0)), [false, true, true, false, false]);
        assert_eq!(at(local(Scope::Vrf, 9)), [false, false, false, true, false]);
        assert_eq!(at(None), [false; 5]);
    }
}

#[test]
fn the_whole_of_127_is_at_loopback_and_nowhere_else() {
    let machine = machine();
    let addresses = [[127, 0, 0, 1], [127, 0, 0, 2], [127, 255, 1, 1]].map(mapped);
    assert!(addresses.iter().all(|address| !taken(&machine, *address, LOOPBACK)));
    machine.set_local(LOOPBACK_NETWORK, local(Scope::Interface, LOOPBACK));
    for address in addresses {
        assert!(taken(&machine, address, LOOPBACK) && !taken(&machine, address, DEVICE));
    }
    assert!(!taken(&machine, mapped([128, 0, 0, 1]), LOOPBACK));
    let mut six = [0; 16];
    six[12] = 127;
    assert!(!taken(&machine, six, LOOPBACK), "127 is no network of IPv6");
    // One that has its own entry goes by that.
    let own = Some(Local { scope: Scope::Interface as u32, index: LOOPBACK, accelerated: 0 });
    machine.set_local(addresses[1], own);
    let frame = syn(addresses[1], LOOPBACK);
    assert_eq!(machine.ingress(frame.clone()).frame.bytes, frame.bytes);
    assert_eq!(machine.counted(Reason::AddressExcluded), 1);
}

/// A packet of IPv6 with addresses of IPv4 in it would have the key of a connection of IPv4.
#[test]
fn no_packet_of_ipv6_is_for_an_address_of_ipv4() {
    let machine = machine();
    assert!(taken(&machine, SERVERS[0], DEVICE));
    let mut frame = syn(SERVERS[1], DEVICE);
    frame.bytes[38..54].copy_from_slice(&SERVERS[0]);
    frame.seal();
    let outcome = machine.ingress(frame.clone());
    assert_eq!((outcome.action, outcome.frame), (Action::Next, frame));
}

/// A packet that passes two hooked devices is read and translated at the first.
#[test]
fn a_packet_at_two_devices_is_read_once() {
    for port in [ACCELERATED_PORT, PLAIN_PORT] {
        let machine = machine();
        let key = client(0, 0, b"").port(port).key();
        let twice = |frame: Frame, into: bool| {
            let run = |frame| if into { machine.ingress(frame) } else { machine.egress(frame) };
            let first = run(frame);
            assert_eq!(first.action, Action::Next);
            let second = run(Frame { ifindex: 7, ..first.frame.clone() });
            assert_eq!((second.action, second.frame.bytes), (Action::Next, first.frame.bytes.clone()));
            first.frame
        };
        machine.set_socket(key, Socket::Free);
        twice(client(999, 0, b"").port(port).opening().frame(), true);
        twice(server(1999, 1000, b"").port(port).opening().frame(), false);
        machine.set_socket(key, Socket::Live);
        twice(client(1000, 2000, b"").port(port).frame(), true);
        twice(client(1000, 2000, b"A\n").port(port).frame(), true);
        let answer = twice(server(2000, 1002, b"answer\n").port(port).frame(), false);
        assert_eq!(machine.handler.bytes.get(), [2, 7]);
        // Over loopback a packet is at egress and then at ingress; only what is read there counts there.
        assert_ne!(answer.seen, twice(client(1002, 2007, b"B\n").port(port).frame(), true).seen);
        // The same segment as another packet is a retransmission.
        machine.reset_counters();
        twice(client(1000, 2000, b"A\n").port(port).frame(), true);
        assert_eq!(machine.counters(), [(Reason::Retransmission, 1)]);
        assert_eq!(machine.handler.bytes.get(), [4, 7]);
    }
}
