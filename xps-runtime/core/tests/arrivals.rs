//! The table of packets for the program at XDP, on the host.

use std::cell::{Cell, RefCell};

use xps_core::abi::{Control, VERSION};
use xps_core::host::arrivals::{Arrived, BLOCKED_V4, BLOCKED_V6, arrivals};
use xps_core::host::segment::{ACCELERATED_PORT, PLAIN_PORT, client};
use xps_core::packet::{Skb, mapped};
use xps_core::path::Action;
use xps_core::path::arrival::{Arrival, Blocks, run};
use xps_core::predicate::Predicate;
use xps_core::verdict::Reason;

/// What the program knows.
struct World {
    control: Control,
    predicate: Predicate,
    now_ns: u64,
    here: bool,
    counted: RefCell<Vec<Reason>>,
}

impl World {
    fn new() -> Self {
        let control =
            Control { version: VERSION, accept: 1, answer: 1, lease_deadline_ns: 100, ..Control::default() };
        let predicate =
            Predicate { accelerated_port: ACCELERATED_PORT, plain_port: PLAIN_PORT, ..Predicate::default() };
        Self { control, predicate, now_ns: 99, here: true, counted: RefCell::default() }
    }

    /// Whether the program lets a packet go no further.
    fn drops(&self, bytes: &[u8], blocks: &impl Blocks) -> bool {
        match run(&Packet { world: self, bytes, asked: Cell::new(false) }, blocks) {
            Action::Drop => true,
            Action::Next => false,
            Action::Redirected(_) => panic!("redirected"),
        }
    }
}

struct Packet<'a> {
    world: &'a World,
    bytes: &'a [u8],
    /// Whether anything was read of it.
    asked: Cell<bool>,
}

impl Skb for Packet<'_> {
    fn head<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.asked.set(true);
        self.bytes.get(offset as usize..)?.first_chunk().copied()
    }

    fn reach(&self, _: u32) {}

    fn protocol(&self) -> u16 {
        self.half(12).unwrap_or(0)
    }

    fn uncut_len(&self) -> u32 {
        0
    }

    fn completed_later(&self, _: u32) -> bool {
        false
    }
}

impl Arrival for Packet<'_> {
    fn local(&self, _: &[u8; 16]) -> Option<bool> {
        self.world.here.then_some(true)
    }

    fn port(&self, port: u16) -> u8 {
        (port == ACCELERATED_PORT || port == PLAIN_PORT).into()
    }

    fn predicate(&self, index: u8) -> Option<*const Predicate> {
        (index == 1).then_some(&raw const self.world.predicate)
    }

    fn control(&self) -> Option<*const Control> {
        Some(&raw const self.world.control)
    }

    fn now_ns(&self) -> u64 {
        self.world.now_ns
    }

    fn count(&self, reason: Reason) {
        self.world.counted.borrow_mut().push(reason);
    }
}

/// What is changed of it.
type Change = fn(&mut World);

/// Those of the table.
struct Blocked;

impl Blocks for Blocked {
    fn any(&self) -> bool {
        true
    }

    fn blocked(&self, client: &[u8; 16]) -> bool {
        *client == BLOCKED_V4 || client[..8] == BLOCKED_V6[..8]
    }
}

/// Nobody, so nobody is asked for.
struct Nobody;

impl Blocks for Nobody {
    fn any(&self) -> bool {
        false
    }

    fn blocked(&self, client: &[u8; 16]) -> bool {
        panic!("{client:?} is asked for")
    }
}

#[test]
fn the_table_holds_on_the_host() {
    let world = World::new();
    let mut drops = 0;
    for Arrived { name, bytes, dropped } in arrivals() {
        assert_eq!(world.drops(&bytes, &Blocked), dropped, "{name}: {bytes:02x?}");
        drops += usize::from(dropped);
    }
    assert_eq!(*world.counted.borrow(), vec![Reason::BlockedOnArrival; drops]);
}

#[test]
fn where_nobody_is_blocked_no_packet_is_read() {
    let world = World::new();
    for Arrived { name, bytes, .. } in arrivals() {
        let packet = Packet { world: &world, bytes: &bytes, asked: Cell::new(false) };
        assert_eq!((run(&packet, &Nobody), packet.asked.get()), (Action::Next, false), "{name}");
    }
}

#[test]
fn nothing_is_dropped_that_nobody_vouches_for() {
    let syn = client(1, 0, b"").opening().frame().bytes;
    let mut world = World::new();
    assert!(world.drops(&syn, &Blocked));
    let changes: [(&str, Change); 7] = [
        ("another host's address", |world| world.here = false),
        ("the lease has lapsed", |world| world.now_ns = 100),
        ("everything passes", |world| world.control.answer = 0),
        ("no connections are taken", |world| world.control.accept = 0),
        ("an agent of another version", |world| world.control.version = VERSION + 1),
        ("another server", |world| {
            world.predicate.address = mapped([10, 0, 0, 9]);
            world.predicate.prefix_bits = 128;
        }),
        ("only observed", |world| world.predicate.accelerated_port = 0),
    ];
    for (name, change) in changes {
        world = World::new();
        change(&mut world);
        assert!(!world.drops(&syn, &Blocked), "{name}");
    }
    world = World::new();
    (world.predicate.address, world.predicate.prefix_bits) = (mapped([10, 0, 0, 2]), 128);
    assert!(world.drops(&syn, &Blocked), "this server");
}
