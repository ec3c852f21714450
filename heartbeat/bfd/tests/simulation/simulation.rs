//! The network and its clock.

use core::num::NonZeroU32;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use heartbeat_bfd::ECHO_BYTES;
use heartbeat_bfd::config::{Config, Keys};
use heartbeat_bfd::mistake::Mistake;
use heartbeat_bfd::session::{Output, Session};
use heartbeat_fastpath::bfd::{State, Unverified};

use crate::plan::{Fault, MS, Plan};
use crate::random::Random;
use crate::watch::Watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    Paused,
    Crashed,
}

pub struct Side {
    pub session: Session,
    pub config: Config,
    pub keys: Option<Keys>,
    pub life: Life,
    inbox: Vec<Arrival>,
    tick_ns: u64,
    is_cut: bool,
    swallows: bool,
    held_down: bool,
    path_down: bool,
}

#[derive(Clone, Debug)]
enum Arrival {
    Control(Vec<u8>),
    /// One that has come back.
    Echo([u8; ECHO_BYTES]),
}

#[derive(Debug)]
enum Event {
    Arrival(usize, Arrival),
    /// Somebody else's echo packet.
    Reflect(usize, [u8; ECHO_BYTES]),
    Tick(usize),
    Fault(Fault),
    Look(usize),
}

#[derive(Debug, Default)]
pub struct Totals {
    pub packets: u64,
    pub echoes: u64,
    pub downs: u64,
}

pub struct Simulation {
    pub plan: Plan,
    pub now_ns: u64,
    pub sides: [Side; 2],
    pub violation: Option<String>,
    pub totals: Totals,
    watch: [Watch; 2],
    /// When the last packet to a side arrives.
    last_ns: [u64; 2],
    loss: u64,
    mistake: Option<Mistake>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
    random: Random,
}

/// Runs a plan. What did not hold, if something did not.
pub fn run(plan: Plan, seed: u64, mistake: Option<Mistake>) -> Result<Totals, String> {
    let random = Random::new(!seed);
    let [a, b] = plan.configs;
    let begin = |config: Config| Side {
        session: born(config, plan.keys_at_first(), &random, 0, mistake),
        config,
        keys: plan.keys_at_first(),
        life: Life::Running,
        inbox: Vec::new(),
        tick_ns: u64::MAX,
        is_cut: false,
        swallows: false,
        held_down: false,
        path_down: false,
    };
    let sides = [begin(a), begin(b)];
    let mut simulation = Simulation {
        now_ns: 0,
        sides,
        violation: None,
        totals: Totals::default(),
        watch: Default::default(),
        last_ns: [0; 2],
        loss: plan.loss,
        mistake,
        queue: BinaryHeap::new(),
        events: Vec::new(),
        random,
        plan,
    };
    for (at_ns, fault) in simulation.plan.faults.clone() {
        simulation.at(at_ns, Event::Fault(fault));
    }
    for side in [0, 1] {
        simulation.settle(side);
        simulation.at(0, Event::Look(side));
    }
    simulation.go();
    match simulation.violation {
        None => Ok(simulation.totals),
        Some(what) => Err(format!("{what} ({:?})", simulation.plan)),
    }
}

fn born(
    config: Config,
    keys: Option<Keys>,
    random: &Random,
    now_ns: u64,
    mistake: Option<Mistake>,
) -> Session {
    let discriminator = NonZeroU32::new(random.next() as u32 | 1).expect("not 0");
    let mut session =
        Session::new(config, keys.as_ref(), discriminator, random.next(), now_ns).expect("a configuration");
    if let Some(mistake) = mistake {
        session.make(mistake);
    }
    session
}

impl Simulation {
    fn at(&mut self, at_ns: u64, event: Event) {
        self.queue.push(Reverse((at_ns, self.events.len() as u64)));
        self.events.push(Some(event));
    }

    fn go(&mut self) {
        // Detection, sequence numbers that are forgotten, and a few slow packets, of the slowest configuration.
        let end_ns = self.plan.healed_ns + 60_000 * MS;
        while let Some(Reverse((at_ns, place))) = self.queue.pop() {
            let Some(event) = self.events[place as usize].take() else { continue };
            if at_ns > end_ns || self.violation.is_some() {
                break;
            }
            self.now_ns = at_ns;
            match event {
                Event::Arrival(side, arrival) => self.arrive(side, arrival),
                Event::Reflect(side, bytes) => self.reflect(side, bytes),
                Event::Tick(side) => self.tick(side),
                Event::Fault(fault) => self.befall(fault),
                Event::Look(side) => {
                    let again_ns = self.watch[side].look(&self.sides[side], at_ns, &mut self.violation);
                    self.at(again_ns, Event::Look(side));
                }
            }
        }
        for side in [0, 1] {
            Watch::end(&self.sides[side], &self.sides[1 - side], &mut self.violation);
        }
    }

    fn arrive(&mut self, to: usize, arrival: Arrival) {
        match self.sides[to].life {
            Life::Crashed => {}
            Life::Paused => self.sides[to].inbox.push(arrival),
            Life::Running => {
                self.take(to, &arrival);
                self.settle(to);
            }
        }
    }

    fn take(&mut self, to: usize, arrival: &Arrival) {
        let session = &mut self.sides[to].session;
        match arrival {
            Arrival::Control(bytes) => {
                let packet = Unverified::read(bytes).expect("a packet that a session made");
                if session.handle(self.now_ns, &packet).is_ok() {
                    let control = bytes.as_slice();
                    self.watch[to].heard(&self.sides[to], self.now_ns, control, &mut self.violation);
                }
            }
            Arrival::Echo(bytes) => {
                if session.handle_echo(self.now_ns, bytes) {
                    self.totals.echoes += 1;
                    self.watch[to].echo_back(self.now_ns);
                }
            }
        }
    }

    fn reflect(&mut self, by: usize, bytes: [u8; ECHO_BYTES]) {
        // The stack needs no process.
        if !self.sides[by].swallows && self.sides[by].life != Life::Crashed {
            self.carry(by, |to| Event::Arrival(to, Arrival::Echo(bytes)));
        }
    }

    fn tick(&mut self, side: usize) {
        if self.sides[side].tick_ns != self.now_ns {
            return;
        }
        self.sides[side].tick_ns = u64::MAX;
        if self.sides[side].life == Life::Running {
            self.sides[side].session.tick(self.now_ns);
            self.settle(side);
        }
    }

    /// Takes the outputs of a side, and schedules its next tick.
    fn settle(&mut self, side: usize) {
        let outputs: Vec<_> = self.sides[side].session.outputs().collect();
        for output in outputs {
            match output {
                Output::Send(packet) => {
                    self.totals.packets += 1;
                    let bytes = packet.as_bytes().to_vec();
                    self.watch[side].sent(&bytes, &mut self.violation);
                    self.carry(side, |to| Event::Arrival(to, Arrival::Control(bytes.clone())));
                }
                Output::Echo(bytes) => self.carry(side, |to| Event::Reflect(to, bytes)),
                Output::Changed(change) => {
                    self.totals.downs += u64::from(change.from == State::Up);
                    self.watch[side].changed(change, self.plan.is_calm, self.now_ns, &mut self.violation);
                }
            }
        }
        self.watch[side].echo_is(&self.sides[side], self.now_ns);
        let Some(deadline_ns) = self.sides[side].session.next_deadline_ns() else { return };
        let at_ns = deadline_ns.max(self.now_ns);
        if at_ns < self.sides[side].tick_ns {
            self.sides[side].tick_ns = at_ns;
            self.at(at_ns, Event::Tick(side));
        }
    }

    fn carry(&mut self, from: usize, event: impl Fn(usize) -> Event) {
        if self.sides[from].is_cut {
            return;
        }
        for _ in 0..=u32::from(self.random.chance(self.plan.repeats)) {
            if !self.random.chance(self.loss) {
                let jitter_ns = self.random.below(self.plan.jitter_ns + 1);
                let at_ns = self.now_ns + self.plan.delay_ns + jitter_ns;
                // Where one overtakes the other, old intervals come after new ones, which is an excuse.
                let in_order_ns = if self.plan.is_calm { self.last_ns[1 - from] } else { 0 };
                self.last_ns[1 - from] = at_ns.max(in_order_ns);
                self.at(self.last_ns[1 - from], event(1 - from));
            }
        }
    }

    fn befall(&mut self, fault: Fault) {
        let now_ns = self.now_ns;
        match fault {
            Fault::Restart { side } => self.restart(side),
            Fault::Crash { side } => {
                self.sides[side].life = Life::Crashed;
                self.sides[side].inbox.clear();
            }
            Fault::Pause { side } if self.sides[side].life == Life::Running => {
                self.sides[side].life = Life::Paused;
            }
            Fault::Wake { side } => self.wake(side),
            Fault::Pause { .. } => {}
            Fault::Cut { side } => self.sides[side].is_cut = true,
            Fault::Swallow { side } => self.sides[side].swallows = true,
            Fault::HoldDown { side, held } => {
                self.sides[side].held_down = held;
                self.sides[side].session.hold_down(now_ns, held);
            }
            Fault::PathDown { side, down } => {
                self.sides[side].path_down = down;
                self.sides[side].session.set_path(now_ns, !down);
            }
            Fault::Configure { side, config } => {
                self.sides[side].config = config;
                self.sides[side].session.reconfigure(now_ns, config).expect("a configuration");
            }
            Fault::Keys { side, keys } => {
                self.sides[side].keys = Some(keys);
                assert!(self.sides[side].session.set_keys(&keys), "keys of two numbers");
            }
            Fault::Heal => self.heal(),
        }
        for side in [0, 1] {
            if self.sides[side].life == Life::Running {
                self.settle(side);
            }
        }
    }

    fn restart(&mut self, side: usize) {
        let Side { config, keys, held_down, path_down, .. } = self.sides[side];
        let mut session = born(config, keys, &self.random, self.now_ns, self.mistake);
        session.hold_down(self.now_ns, held_down);
        session.set_path(self.now_ns, !path_down);
        self.sides[side].session = session;
        self.sides[side].life = Life::Running;
        self.sides[side].inbox.clear();
        self.sides[side].tick_ns = u64::MAX;
        self.watch[side] = Watch::default();
    }

    /// What has arrived comes before what time brings.
    fn wake(&mut self, side: usize) {
        if self.sides[side].life != Life::Paused {
            return;
        }
        self.sides[side].life = Life::Running;
        self.sides[side].tick_ns = u64::MAX;
        for arrival in std::mem::take(&mut self.sides[side].inbox) {
            self.take(side, &arrival);
        }
        self.sides[side].session.tick(self.now_ns);
        self.watch[side].woke(self.now_ns);
        self.settle(side);
    }

    fn heal(&mut self) {
        // Only what ends the plan ends losses, too.
        if self.now_ns >= self.plan.healed_ns {
            self.loss = 0;
            self.plan.jitter_ns = self.plan.jitter_ns.min(MS / 4);
        }
        for side in [0, 1] {
            self.sides[side].is_cut = false;
            self.sides[side].swallows = false;
            match self.sides[side].life {
                Life::Crashed => self.restart(side),
                Life::Paused => self.wake(side),
                Life::Running => {}
            }
            self.sides[side].held_down = false;
            self.sides[side].path_down = false;
            self.sides[side].session.hold_down(self.now_ns, false);
            self.sides[side].session.set_path(self.now_ns, true);
            if let Some(keys) = self.plan.keys {
                self.sides[side].keys = Some(keys);
                self.sides[side].session.set_keys(&keys);
            }
            self.settle(side);
        }
    }
}
