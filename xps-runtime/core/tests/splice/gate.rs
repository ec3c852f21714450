//! The programs between the ends: each packet of the client through ingress, each of the server through egress, on
//! several CPUs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use xps_core::flow::FlowKey;
use xps_core::host::{Frame, INTERNAL_MARK, Machine, Outcome};
use xps_core::path::{Action, Target};
use xps_core::splice::flag;

use crate::handler::{Service, Values};
use crate::random::Random;

pub const ACCELERATED: u16 = 6380;
const PLAIN: u16 = 6379;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Client,
    Server,
}

pub struct Gate<const GUARDS: bool> {
    pub machine: Machine<Service<GUARDS>>,
    /// Packets that have arrived, with where they come from.
    pub pending: RefCell<Vec<(Side, Frame)>>,
    /// Packets that left, with where they go.
    pub sent: RefCell<Vec<(Side, Frame)>>,
    depth: Cell<u32>,
    random: Random,
    /// How often, of 1000 occasions, another CPU takes the next packet while one is at work.
    preemption: u64,
    /// How often, of 1000 packets, a helper fails.
    failures: u64,
    pub trace: bool,
    /// The flow that the ends have.
    pub key: Cell<Option<FlowKey>>,
    /// Whether the ends talk to each other without the programs: to tell what is theirs alone.
    alone: bool,
}

impl<const GUARDS: bool> Gate<GUARDS> {
    pub fn new(values: &Rc<Values>, random: Random, preemption: u64, failures: u64, trace: bool) -> Rc<Self> {
        let machine = Machine::new(Service(Rc::clone(values)), ACCELERATED, PLAIN);
        let gate = Rc::new(Self {
            machine,
            pending: RefCell::default(),
            sent: RefCell::default(),
            depth: Cell::new(0),
            random,
            preemption,
            failures,
            trace,
            key: Cell::new(None),
            alone: alone(),
        });
        let weak = Rc::downgrade(&gate);
        let preempt = Rc::new(move || {
            if let Some(gate) = weak.upgrade() {
                gate.preempt();
            }
        });
        gate.machine.set_preempt(Some(preempt.clone()));
        *values.preempt.borrow_mut() = Some(preempt);
        gate
    }

    /// Works until nothing is pending.
    pub fn work(&self) {
        while self.step() {}
        self.machine.quiesce();
    }

    fn preempt(&self) {
        if self.depth.get() < 3 && self.random.chance(self.preemption) {
            self.step();
        }
    }

    fn step(&self) -> bool {
        let (from, frame) = {
            let mut pending = self.pending.borrow_mut();
            if pending.is_empty() {
                return false;
            }
            // CPUs may take a packet before an older one, now and then.
            let next =
                if self.random.chance(50) { self.random.below(pending.len() as u64) as usize } else { 0 };
            pending.remove(next)
        };
        self.depth.set(self.depth.get() + 1);
        if self.random.chance(self.failures) {
            self.machine.fail_write(self.random.between(1, 6) as u32);
        }
        self.run(from, frame);
        self.depth.set(self.depth.get() - 1);
        true
    }

    fn run(&self, from: Side, frame: Frame) {
        if self.trace {
            println!("{:w$}{from:?} > gate  {}", "", show(&frame), w = self.depth.get() as usize * 4);
        }
        if self.alone {
            return self.leave(if from == Side::Client { Side::Server } else { Side::Client }, frame);
        }
        let own = frame.mark == INTERNAL_MARK;
        let ended = from == Side::Server && self.has_ended(&frame);
        let Outcome { action, frame, target, copies, .. } =
            if from == Side::Client { self.machine.ingress(frame) } else { self.machine.egress(frame) };
        assert!(
            !own || action == Action::Next && copies.is_empty(),
            "the programs' own packets are left alone"
        );
        // Another CPU may have forgotten the flow meanwhile: then both sides are done.
        let stays = self.key.get().is_some_and(|key| self.machine.flow_state(&key).is_some());
        assert!(
            !ended || !stays || action != Action::Next,
            "the server goes on behind the end: {}",
            show(&frame)
        );
        if self.trace && action == Action::Drop {
            println!("{:w$}dropped", "", w = self.depth.get() as usize * 4);
        }
        if self.trace {
            println!("{:w$}{:?}", "", self.machine.counters(), w = self.depth.get() as usize * 4);
        }
        for (target, frame) in copies {
            self.send(target, frame);
        }
        match (action, target) {
            (Action::Drop, _) => {}
            (Action::Next, _) => {
                self.leave(if from == Side::Client { Side::Server } else { Side::Client }, frame)
            }
            (Action::Redirected(_), Some(target)) => self.send(target, frame),
            (Action::Redirected(_), None) => unreachable!("a redirect without a target"),
        }
    }

    /// Whether the stack has ended the connection of a server's packet; one that opens it passes all the same.
    fn has_ended(&self, frame: &Frame) -> bool {
        let ip = frame.ip();
        let tcp = if ip[0] >> 4 == 6 { &ip[40..] } else { &ip[20..] };
        let flow = self.key.get().and_then(|key| self.machine.flow_state(&key));
        tcp[13] & 2 == 0 && flow.is_some_and(|(splice, _)| splice.has(flag::CLOSED))
    }

    fn send(&self, target: Target, frame: Frame) {
        match target {
            // Egress of the same device sees it.
            Target::Client => {
                let outcome = self.machine.egress(frame);
                assert_eq!(
                    (outcome.action, outcome.frame.mark),
                    (Action::Next, 0),
                    "a reply of the stack's own"
                );
                self.leave(Side::Client, outcome.frame);
            }
            // Ingress of the same device sees it again.
            Target::Server => {
                assert_eq!(frame.mark, INTERNAL_MARK);
                self.run(Side::Client, frame);
            }
        }
    }

    fn leave(&self, to: Side, mut frame: Frame) {
        if let Err(what) = frame.check() {
            panic!("to {to:?}: {what}: {}", show(&frame));
        }
        if self.trace {
            println!("{:w$}gate > {to:?}  {}", "", show(&frame), w = self.depth.get() as usize * 4);
        }
        frame.complete();
        self.sent.borrow_mut().push((to, frame));
    }
}

/// Whether `XPS_ALONE` asks for the ends without the programs.
fn alone() -> bool {
    std::env::var_os("XPS_ALONE").is_some()
}

/// A packet in one line.
pub fn show(frame: &Frame) -> String {
    let ip = frame.ip();
    let (tcp, end) = if ip[0] >> 4 == 6 {
        (&ip[40..], 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]])))
    } else {
        (&ip[20..], usize::from(u16::from_be_bytes([ip[2], ip[3]])))
    };
    let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let header = usize::from(tcp[12] >> 4) * 4;
    let len = end - (ip.len() - tcp.len()) - header;
    let flags: String =
        "FSRPAU".chars().enumerate().filter(|(i, _)| tcp[13] >> i & 1 != 0).map(|(_, c)| c).collect();
    let payload = String::from_utf8_lossy(&tcp[header..(header + len).min(header + 24)])
        .replace(|c: char| c.is_control(), "~");
    format!(
        "{}>{} {flags} seq {} ack {} win {} len {len} opt {} {payload:?}",
        word(0) >> 16,
        word(0) & 0xffff,
        word(4),
        word(8),
        word(12) & 0xffff,
        header - 20,
    )
}
