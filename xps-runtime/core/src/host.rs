//! The programs' world without a kernel: packets are vectors, maps are std collections.
//!
//! For tests. A [`Machine`] holds what the maps of a service hold; [`Machine::ingress`] and [`Machine::egress`] run one
//! program on one [`Frame`] and say what became of it. Checksums are real, in both forms that a packet can have; the
//! linear part of a packet is as short as the kernel may make it; the flow's lock is checked. A hook is called wherever
//! another CPU could run, so that a test can let it ([`Machine::set_preempt`]).
//!
//! # Layout
//!
//! - [`frame`]: packets, and their checksums.
//! - [`skb`]: a packet as [`Stack`](crate::path::Stack).
//! - [`segment`]: packets written down for tests.
//! - [`table`]: the table of packets, for the host and for the kernel; [`arrivals`]: those that are looked at on arrival.

pub mod arrivals;
pub mod frame;
pub mod segment;
pub mod skb;
pub mod table;

use std::boxed::Box;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::vec::Vec;

use crate::abi::{Control, Local, VERSION};
use crate::binding::Shown;
use crate::flow::{Flow, FlowKey, bpf_spin_lock};
use crate::handler::{Handler, REPLY_MAX, Reply, Window};
use crate::handshake::{MARKS, Mark};
use crate::outlet::Outlet;
use crate::packet::{Layout, Options, Tcp, Unusual};
use crate::path::{
    Action, Reading, Request, STAGES_MAX, Scratch, Socket, Stage, Step, Target, connect, egress, headers,
    icmp, ingress,
};
use crate::predicate::Predicate;
use crate::splice::Splice;
use crate::verdict::Reason;

pub use frame::{Checksum, DEVICE, Frame};
use segment::SERVERS;
use skb::Packet;

/// Mark of packets that the programs send themselves.
pub const INTERNAL_MARK: u32 = 0x5850_5301;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program ended with.
    pub action: Action,
    /// The packet as it is now.
    pub frame: Frame,
    /// Where it was sent, with [`Action::Redirected`].
    pub target: Option<Target>,
    /// The interface by which the kernel is to find its next hop, or 0.
    pub via: u32,
    /// Copies that were sent, in order.
    pub copies: Vec<(Target, Frame)>,
}

/// A flow at a place that stays, like a value in the kernel's map.
type FlowCell<H> = Box<UnsafeCell<Flow<<H as Handler>::State>>>;

/// A network namespace with the maps of one service.
pub struct Machine<H: Handler> {
    /// The service's code.
    pub handler: H,
    control: UnsafeCell<Control>,
    ports: RefCell<Vec<u8>>,
    predicates: Vec<Predicate>,
    locals: RefCell<HashMap<[u8; 16], Box<Local>>>,
    vrfs: RefCell<HashMap<u32, u32>>,
    flows: RefCell<HashMap<FlowKey, FlowCell<H>>>,
    removed: RefCell<Vec<FlowCell<H>>>,
    marks: Vec<UnsafeCell<Mark>>,
    sockets: RefCell<HashMap<FlowKey, Socket>>,
    cookies: Cell<bool>,
    own: RefCell<HashSet<FlowKey>>,
    counters: RefCell<[u64; Reason::COUNT]>,
    foreign: Cell<u64>,
    number_of_flows: Cell<i64>,
    flows_room: Cell<usize>,
    now_ns: Cell<u64>,
    locked: Cell<bool>,
    linear: Cell<u32>,
    writes_until_failure: Cell<u32>,
    mss: Cell<u16>,
    preempt: RefCell<Option<Rc<dyn Fn()>>>,
    blank: H::State,
}

/// An all-zero value.
///
/// # Safety
/// All zero must be a valid `T`; the programs ask the same of what the kernel's maps hold.
unsafe fn zeroed<T>() -> T {
    // SAFETY: the caller vouches for it.
    unsafe { core::mem::zeroed() }
}

impl<H: Handler> Machine<H> {
    /// A machine whose `accelerated_port` leads to `plain_port` at [`SERVERS`], with a lease that does not end.
    pub fn new(handler: H, accelerated_port: u16, plain_port: u16) -> Self {
        let mut ports = std::vec![0; 65536];
        ports[usize::from(accelerated_port)] = 1;
        ports[usize::from(plain_port)] = 1;
        Self {
            handler,
            control: UnsafeCell::new(Control {
                version: VERSION,
                accept: 1,
                answer: 1,
                flows_max: 1024,
                lease_deadline_ns: u64::MAX,
                secret: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
                internal_mark: INTERNAL_MARK,
                reply_bytes_max: REPLY_MAX as u32,
            }),
            ports: RefCell::new(ports),
            predicates: std::vec![
                Predicate::default(),
                Predicate { accelerated_port, plain_port, ..Predicate::default() }
            ],
            locals: RefCell::new(
                SERVERS
                    .map(|address| (address, Box::new(Local { accelerated: 1, ..Local::default() })))
                    .into(),
            ),
            vrfs: RefCell::new(HashMap::from([(DEVICE, 0)])),
            flows: RefCell::default(),
            removed: RefCell::default(),
            marks: (0..MARKS).map(|_| UnsafeCell::new(Mark::default())).collect(),
            sockets: RefCell::default(),
            cookies: Cell::new(false),
            own: RefCell::default(),
            counters: RefCell::new([0; Reason::COUNT]),
            foreign: Cell::new(0),
            number_of_flows: Cell::new(0),
            flows_room: Cell::new(1024),
            now_ns: Cell::new(1),
            locked: Cell::new(false),
            linear: Cell::new(0),
            writes_until_failure: Cell::new(0),
            mss: Cell::new(u16::MAX),
            preempt: RefCell::new(None),
            // SAFETY: a handler's state starts as zeros, says the trait.
            blank: unsafe { zeroed() },
        }
    }

    /// Runs the ingress program.
    pub fn ingress(&self, frame: Frame) -> Outcome {
        self.run(frame, true)
    }

    /// Runs the egress program.
    pub fn egress(&self, frame: Frame) -> Outcome {
        self.run(frame, false)
    }

    fn run(&self, frame: Frame, into: bool) -> Outcome {
        // SAFETY: plain data, as in the kernel's map.
        let handler = unsafe { zeroed() };
        let scratch = Scratch {
            window: Window::EMPTY,
            reading: Reading::default(),
            key: FlowKey::default(),
            accelerated: 0,
            role: 0,
            layout: Layout { v6: false, unusual: Unusual::No, tcp: 0, end: 0 },
            tcp: Tcp::default(),
            request: Request::default(),
            ending: 0,
            shown: Shown::default(),
            // SAFETY: plain data.
            told: unsafe { zeroed() },
            // SAFETY: plain data.
            outgoing: unsafe { zeroed() },
            piece: 0,
            turned: 0,
            header: [0xa5; headers::MAX],
            options: Options::EMPTY,
            handler,
        };
        let packet = Packet::new(self, frame, scratch, self.linear.get());
        let action = if into { self.stages(&packet) } else { egress::run(&packet, &self.handler) };
        packet.outcome(action)
    }

    /// Runs the programs at ingress, one after the other.
    fn stages(&self, packet: &Packet<'_, H>) -> Action {
        let mut stage = Stage::Ingress;
        for _ in 0..STAGES_MAX {
            let step = match stage {
                Stage::Ingress => ingress::run(packet, &self.handler),
                Stage::Open => connect::run(packet, &self.handler),
                Stage::Request => ingress::request::run(packet, &self.handler),
                Stage::End => ingress::closing::run(packet, &self.handler),
                Stage::Error => icmp::run(packet),
            };
            match step {
                Step::Done(action) => return action,
                Step::Go(next) => stage = next,
            }
        }
        panic!("a packet goes from program to program");
    }

    /// Changes what the agent says.
    pub fn set_control(&self, change: impl FnOnce(&mut Control)) {
        // SAFETY: no program runs, so nobody reads.
        change(unsafe { &mut *self.control.get() });
    }

    /// Sets `CLOCK_MONOTONIC`.
    pub fn set_now_ns(&self, now_ns: u64) {
        self.now_ns.set(now_ns);
    }

    /// Sets how many flows the table has room for.
    pub fn set_flows_room(&self, flows: usize) {
        self.flows_room.set(flows);
    }

    /// Sets how many bytes of a packet are in its linear part before the programs reach for more.
    pub fn set_linear(&self, bytes: u32) {
        self.linear.set(bytes);
    }

    /// Lets the `n`th change of a packet from now on fail, and those after it succeed; 0 for none.
    pub fn fail_write(&self, n: u32) {
        self.writes_until_failure.set(n);
    }

    /// Sets the state of the server's socket for a key.
    pub fn set_socket(&self, key: FlowKey, socket: Socket) {
        self.sockets.borrow_mut().insert(key, socket);
    }

    /// Sets whether listeners of the server take any acknowledgement for the answer to a SYN cookie.
    pub fn set_cookies(&self, cookies: bool) {
        self.cookies.set(cookies);
    }

    /// Says that the agent itself is opening a connection, or that it is open.
    pub fn set_own(&self, key: FlowKey, own: bool) {
        if own {
            self.own.borrow_mut().insert(key);
        } else {
            self.own.borrow_mut().remove(&key);
        }
    }

    /// Sets how many bytes of payload the server's socket sends at once.
    pub fn set_mss(&self, bytes: u16) {
        self.mss.set(bytes);
    }

    /// Sets what the agent says of an address: `None` if it is no address of this host.
    pub fn set_local(&self, address: [u8; 16], local: Option<Local>) {
        self.locals.borrow_mut().remove(&address);
        self.locals.borrow_mut().extend(local.map(|local| (address, Box::new(local))));
    }

    /// Sets the VRF that an interface is in, 0 for none.
    pub fn set_vrf(&self, ifindex: u32, vrf: u32) {
        self.vrfs.borrow_mut().insert(ifindex, vrf);
    }

    /// Sets what is called wherever another CPU could run on the same flow.
    pub fn set_preempt(&self, hook: Option<Rc<dyn Fn()>>) {
        *self.preempt.borrow_mut() = hook;
    }

    /// How often a reason was counted.
    pub fn counted(&self, reason: Reason) -> u64 {
        self.counters.borrow()[reason as usize]
    }

    /// All counters that are not zero.
    pub fn counters(&self) -> Vec<(Reason, u64)> {
        Reason::ALL.iter().map(|reason| (*reason, self.counted(*reason))).filter(|(_, n)| *n != 0).collect()
    }

    /// Sets all counters to zero.
    pub fn reset_counters(&self) {
        *self.counters.borrow_mut() = [0; Reason::COUNT];
    }

    /// Number of flows in the table.
    pub fn flows_len(&self) -> usize {
        let len = self.flows.borrow().len();
        assert_eq!(
            i64::try_from(len),
            Ok(self.number_of_flows.get()),
            "the count of flows has left the table's"
        );
        len
    }

    /// Segments of connections that are not in the table.
    pub fn foreign_len(&self) -> u64 {
        self.foreign.get()
    }

    /// Splice and handler state of a flow.
    pub fn flow_state(&self, key: &FlowKey) -> Option<(Splice, H::State)> {
        // SAFETY: no program runs, so nobody writes.
        self.flows.borrow().get(key).map(|flow| unsafe { ((*flow.get()).splice, (*flow.get()).handler) })
    }

    /// Frees flows that were removed. Programs that run may still hold pointers to them, so only between programs.
    pub fn quiesce(&self) {
        assert!(!self.locked.get(), "a lock is held between programs");
        self.removed.borrow_mut().clear();
    }

    fn new_flow(&self) -> Flow<H::State> {
        Flow {
            lock: bpf_spin_lock::default(),
            bound: 0,
            splice: Splice::default(),
            outlet: Outlet::default(),
            handler: self.blank,
            reply: Reply::EMPTY,
        }
    }

    fn yield_now(&self) {
        assert!(!self.locked.get(), "a helper is called under the lock");
        let hook = self.preempt.borrow().clone();
        if let Some(hook) = hook {
            hook();
        }
    }

    fn write_succeeds(&self) -> bool {
        assert!(!self.locked.get(), "a packet is changed under the lock");
        let left = self.writes_until_failure.get();
        self.writes_until_failure.set(left.saturating_sub(1));
        left != 1
    }
}
