//! A cluster whose time is a queue of events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use heartbeat_detector::detector::{Change, Detector, Identity, Output};
use heartbeat_detector::mistake::Mistake;
use heartbeat_fastpath::wire::{ClusterId, Health, Incarnation, Message, NodeId, Sequence};

use crate::plan::{Fault, Plan, is_in};
use crate::random::Random;
use crate::watch::Watch;

const CLUSTER: ClusterId = ClusterId(7);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    Paused,
    Crashed,
}

pub struct Node {
    pub detector: Detector,
    pub life: Life,
    /// What its clock is ahead of the time.
    ahead_ns: u64,
    /// What came while it was paused.
    inbox: Vec<Message>,
    /// The time for which its tick is scheduled.
    tick_ns: u64,
    lives: u64,
}

enum Event {
    Arrival(Message),
    Tick(usize),
    Fault(Fault),
    /// The watch looks at an observer and somebody who crashed.
    Look {
        observer: usize,
        crashed: usize,
    },
}

/// What was seen in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub messages: u64,
    pub failures: u64,
    pub false_alarms: u64,
    /// Crashes that an observer had to detect within the bound, and did.
    pub detected: u64,
    pub worst_local_health: u32,
}

pub struct Simulation {
    pub plan: Plan,
    pub now_ns: u64,
    pub nodes: Vec<Node>,
    pub watch: Watch,
    pub totals: Totals,
    pub violation: Option<String>,
    random: Random,
    mistake: Option<Mistake>,
    split: Option<(u64, bool)>,
    cut: Option<(usize, usize, bool)>,
    queue: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// Events by their place; free places are used again.
    events: Vec<Option<Event>>,
    free: Vec<u32>,
    number: u64,
}

pub fn id(node: usize) -> NodeId {
    NodeId::new(node as u32 + 1).expect("it is above 0")
}

pub fn index(id: NodeId) -> usize {
    id.number() as usize - 1
}

/// Runs a plan to its end: what was seen, or what was wrong.
pub fn run(plan: Plan, seed: u64, mistake: Option<Mistake>) -> Result<Totals, String> {
    let mut simulation = Simulation::new(plan, seed, mistake);
    simulation.go();
    match simulation.violation {
        Some(what) => Err(what),
        None => Ok(simulation.totals),
    }
}

impl Simulation {
    fn new(plan: Plan, seed: u64, mistake: Option<Mistake>) -> Self {
        let mut simulation = Self {
            watch: Watch::new(plan.nodes),
            plan,
            now_ns: 0,
            nodes: Vec::new(),
            totals: Totals::default(),
            violation: None,
            random: Random::new(seed ^ 0x5eed),
            mistake,
            split: None,
            cut: None,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            number: 0,
        };
        for node in 0..simulation.plan.nodes {
            let detector = simulation.born(node, Incarnation(1), 0, 0);
            let ahead_ns = 0;
            let (life, inbox) = (Life::Running, Vec::new());
            simulation.nodes.push(Node { detector, life, ahead_ns, inbox, tick_ns: u64::MAX, lives: 1 });
            simulation.settle(node);
        }
        for (at_ns, fault) in simulation.plan.faults.clone() {
            simulation.at(at_ns, Event::Fault(fault));
        }
        simulation
    }

    fn born(&self, node: usize, incarnation: Incarnation, sequence: u64, clock_ns: u64) -> Detector {
        let sequence = Sequence(sequence);
        let identity = Identity { cluster: CLUSTER, node: id(node), incarnation, sequence };
        let seed = self.random.next();
        let mut detector =
            Detector::new(identity, self.plan.config, seed, clock_ns).expect("the configuration is right");
        if let Some(mistake) = self.mistake {
            detector.make(mistake);
        }
        for peer in 0..self.plan.nodes {
            detector.add(clock_ns, id(peer));
        }
        detector
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() as u32 - 1
        });
        self.events[place as usize] = Some(event);
        self.number += 1;
        self.queue.push(Reverse((at_ns, self.number, place)));
    }

    /// When all who live must see each other alive.
    pub fn end_ns(&self) -> u64 {
        let Plan { config, nodes, healed_ns, end_ns, .. } = &self.plan;
        // Time for what was lost on the way, and for time-outs that began before.
        end_ns.unwrap_or(healed_ns + 4 * config.rejoin_ns(*nodes) + config.bound_ns(*nodes, 1))
    }

    fn go(&mut self) {
        let end_ns = self.end_ns();
        while let Some(Reverse((at_ns, _, place))) = self.queue.pop() {
            let Some(event) = self.events[place as usize].take() else { continue };
            self.free.push(place);
            if at_ns > end_ns || self.violation.is_some() {
                break;
            }
            self.now_ns = at_ns;
            match event {
                Event::Arrival(message) => self.arrive(message),
                Event::Tick(node) => self.tick(node),
                Event::Fault(fault) => self.befall(fault),
                Event::Look { observer, crashed } => self.look(observer, crashed),
            }
        }
        self.compare_views();
    }

    pub fn clock_ns(&self, node: usize) -> u64 {
        self.now_ns + self.nodes[node].ahead_ns
    }

    fn arrive(&mut self, message: Message) {
        let receiver = index(message.receiver);
        match self.nodes[receiver].life {
            Life::Crashed => {}
            Life::Paused => self.nodes[receiver].inbox.push(message),
            Life::Running => {
                let clock_ns = self.clock_ns(receiver);
                self.nodes[receiver].detector.handle(clock_ns, &message);
                self.settle(receiver);
            }
        }
    }

    fn tick(&mut self, node: usize) {
        if self.nodes[node].tick_ns != self.now_ns {
            return;
        }
        self.nodes[node].tick_ns = u64::MAX;
        if self.nodes[node].life == Life::Running {
            let clock_ns = self.clock_ns(node);
            self.nodes[node].detector.tick(clock_ns);
            self.settle(node);
        }
    }

    /// Takes the outputs of a node, and schedules its next tick.
    fn settle(&mut self, node: usize) {
        let outputs: Vec<_> = self.nodes[node].detector.outputs().collect();
        for output in outputs {
            match output {
                Output::Send(message) => self.send(message),
                Output::Changed(change) => self.changed(node, change),
                Output::Answered { .. } | Output::Incarnation(_) => {}
            }
        }
        let score = self.nodes[node].detector.local_health();
        self.watch.saw_local_health(node, score);
        self.totals.worst_local_health = self.totals.worst_local_health.max(score);
        let Some(deadline_ns) = self.nodes[node].detector.next_deadline_ns() else { return };
        let at_ns = deadline_ns.saturating_sub(self.nodes[node].ahead_ns).max(self.now_ns);
        if at_ns < self.nodes[node].tick_ns {
            self.nodes[node].tick_ns = at_ns;
            self.at(at_ns, Event::Tick(node));
        }
    }

    fn changed(&mut self, observer: usize, change: Change) {
        if change.to == Health::Failed {
            self.totals.failures += 1;
            self.judge_alarm(observer, change);
            self.must_doubt(observer, change);
        }
    }

    pub fn passes(&self, from: usize, to: usize) -> bool {
        let is_cut = self
            .cut
            .is_some_and(|(a, b, one_way)| (from, to) == (a, b) || (!one_way && (from, to) == (b, a)));
        let is_split = self.split.is_some_and(|(group, one_way)| {
            let (of_sender, of_receiver) = (is_in(group, from), is_in(group, to));
            of_sender != of_receiver && (of_sender || !one_way)
        });
        !is_cut && !is_split
    }

    fn send(&mut self, message: Message) {
        self.totals.messages += 1;
        let Plan { loss, repeats, delay_ns, jitter_ns, .. } = self.plan;
        if !self.passes(index(message.sender), index(message.receiver)) {
            return;
        }
        for _ in 0..=u32::from(self.random.chance(repeats)) {
            if !self.random.chance(loss) {
                let at_ns = self.now_ns + delay_ns + self.random.below(jitter_ns + 1);
                self.at(at_ns, Event::Arrival(message));
            }
        }
    }

    fn befall(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { node } => {
                self.nodes[node].life = Life::Crashed;
                self.nodes[node].inbox.clear();
                self.nodes[node].lives += 1;
            }
            Fault::Restart { node, forgetful } => {
                let before = self.nodes[node].detector.incarnation().0;
                let incarnation = Incarnation(if forgetful { 0 } else { before + 1 });
                let sequence = self.nodes[node].lives << 40;
                let clock_ns = self.clock_ns(node);
                self.nodes[node].detector = self.born(node, incarnation, sequence, clock_ns);
                self.nodes[node].life = Life::Running;
                self.nodes[node].tick_ns = u64::MAX;
                self.settle(node);
            }
            Fault::Pause { node } => self.nodes[node].life = Life::Paused,
            Fault::Wake { node } => {
                self.nodes[node].life = Life::Running;
                self.nodes[node].tick_ns = u64::MAX;
                if self.random.chance(500) {
                    // Its timers come before its sockets.
                    let clock_ns = self.clock_ns(node);
                    self.nodes[node].detector.tick(clock_ns);
                    self.settle(node);
                }
                for message in std::mem::take(&mut self.nodes[node].inbox) {
                    self.arrive(message);
                }
                self.settle(node);
            }
            Fault::Jump { node, by_ns } => {
                self.nodes[node].ahead_ns += by_ns;
                self.nodes[node].tick_ns = u64::MAX;
                self.settle(node);
            }
            Fault::Split { group, one_way } => self.split = Some((group, one_way)),
            Fault::Cut { a, b, one_way } => self.cut = Some((a, b, one_way)),
            Fault::Heal => {
                self.split = None;
                self.cut = None;
            }
        }
        for (observer, crashed, at_ns) in self.disturb(fault) {
            self.at(at_ns, Event::Look { observer, crashed });
        }
    }

    fn look(&mut self, observer: usize, crashed: usize) {
        if let Some(again_ns) = self.must_have_detected(observer, crashed) {
            self.at(again_ns, Event::Look { observer, crashed });
        }
    }
}
