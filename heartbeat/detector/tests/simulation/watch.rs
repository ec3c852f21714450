//! What must hold.

use heartbeat_detector::detector::Change;
use heartbeat_fastpath::wire::Health;

use crate::plan::Fault;
use crate::simulation::{Life, Simulation, id, index};

/// What the watch remembers of each node.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When something last befell it: a crash, a restart, a pause, a jump of its clock. Until it ends, the end of time.
    disturbed_ns: u64,
    /// Since when it can talk with another one, both ways. While it cannot, the end of time.
    connected_ns: u64,
    /// When it last could no more.
    cut_off_ns: u64,
    crashed_ns: Option<u64>,
    /// The worst local health since the last disturbance, its own or of its connections, or the last crash of somebody.
    local_health: u32,
}

pub struct Watch {
    seen: Vec<Seen>,
    /// Until when a split or a cut lasted; while it lasts, the end of time.
    divided_ns: u64,
}

const NOW_ON: u64 = u64::MAX;

impl Watch {
    pub fn new(nodes: usize) -> Self {
        let seen =
            Seen { disturbed_ns: 0, connected_ns: 0, cut_off_ns: 0, crashed_ns: None, local_health: 0 };
        Self { seen: vec![seen; nodes], divided_ns: 0 }
    }

    pub fn saw_local_health(&mut self, node: usize, score: u32) {
        let seen = &mut self.seen[node];
        seen.local_health = seen.local_health.max(score);
    }

    /// Since when an observer had to notice that somebody is crashed, if he has to.
    fn since_ns(&self, observer: usize, crashed: usize) -> Option<u64> {
        let Seen { disturbed_ns, connected_ns, .. } = self.seen[observer];
        let since_ns = self.seen[crashed].crashed_ns?.max(disturbed_ns).max(connected_ns);
        (since_ns != NOW_ON).then_some(since_ns)
    }
}

impl Simulation {
    /// Notes what has happened; who is to be looked at, and when.
    pub fn disturb(&mut self, fault: Fault) -> Vec<(usize, usize, u64)> {
        let now_ns = self.now_ns;
        let seen = &mut self.watch.seen;
        match fault {
            Fault::Crash { node } => {
                seen[node].crashed_ns = Some(now_ns);
                seen[node].disturbed_ns = NOW_ON;
            }
            Fault::Pause { node } => seen[node].disturbed_ns = NOW_ON,
            Fault::Restart { node, .. } => {
                seen[node].crashed_ns = None;
                seen[node].disturbed_ns = now_ns;
            }
            Fault::Wake { node } | Fault::Jump { node, .. } => seen[node].disturbed_ns = now_ns,
            Fault::Split { .. } => self.watch.divided_ns = NOW_ON,
            Fault::Cut { .. } if self.plan.only_cuts => {}
            Fault::Cut { .. } => self.watch.divided_ns = NOW_ON,
            Fault::Heal if self.watch.divided_ns == NOW_ON => self.watch.divided_ns = now_ns,
            Fault::Heal => {}
        }
        for node in 0..self.plan.nodes {
            let talks = |other: usize| {
                other != node
                    && self.nodes[other].life == Life::Running
                    && self.passes(node, other)
                    && self.passes(other, node)
            };
            let connected = (0..self.plan.nodes).any(talks);
            let score = self.nodes[node].detector.local_health();
            let seen = &mut self.watch.seen[node];
            match (connected, seen.connected_ns == NOW_ON) {
                (false, false) => (seen.connected_ns, seen.cut_off_ns) = (NOW_ON, now_ns),
                (true, true) => seen.connected_ns = now_ns,
                _ => {}
            }
            seen.local_health = score.max(if now_ns == seen.disturbed_ns { 0 } else { seen.local_health });
        }
        let nodes = 0..self.plan.nodes;
        let crashed = nodes.clone().filter(|&node| self.watch.seen[node].crashed_ns.is_some());
        let looks: Vec<_> = crashed
            .flat_map(|crashed| nodes.clone().map(move |observer| (observer, crashed)))
            .filter_map(|(observer, crashed)| {
                // Only who is concerned by this: everybody by a crash, otherwise who has to begin now.
                let since_ns = self.watch.since_ns(observer, crashed)?;
                (since_ns == now_ns).then(|| (observer, crashed, self.bound_end_ns(observer, since_ns)))
            })
            .collect();
        looks
    }

    fn bound_end_ns(&self, observer: usize, since_ns: u64) -> u64 {
        let plan = &self.plan;
        // The last answer may have been on its way.
        let on_its_way_ns = plan.delay_ns + plan.jitter_ns;
        let local_health = self.watch.seen[observer].local_health;
        since_ns + on_its_way_ns + plan.config.bound_ns(plan.nodes, local_health)
    }

    /// Every crash is detected within the bound by all who are connected. When to look again, if it is too early.
    pub fn must_have_detected(&mut self, observer: usize, crashed: usize) -> Option<u64> {
        let since_ns = self.watch.since_ns(observer, crashed)?;
        let end_ns = self.bound_end_ns(observer, since_ns);
        if self.now_ns <= end_ns {
            return Some(end_ns + 1);
        }
        let view = self.nodes[observer].detector.peer(self.clock_ns(observer), id(crashed))?;
        if view.health == Health::Failed {
            self.totals.detected += 1;
        } else {
            let late_ns = self.now_ns - since_ns;
            self.violation = Some(format!("{observer} has not detected {crashed} in {late_ns} ns: {view:?}"));
        }
        None
    }

    /// Who is cut off from everybody doubts himself as much as he can before he accuses others, if there are two.
    pub fn must_doubt(&mut self, observer: usize, change: Change) {
        let Seen { connected_ns, cut_off_ns, disturbed_ns, .. } = self.watch.seen[observer];
        let detector = &self.nodes[observer].detector;
        let score = detector.local_health();
        let config = &self.plan.config;
        // What was heard before the connection broke may still count.
        let since_ns = cut_off_ns.max(if disturbed_ns == NOW_ON { 0 } else { disturbed_ns });
        let heard_until_ns = since_ns + config.bound_ns(self.plan.nodes, score);
        if connected_ns != NOW_ON || self.now_ns <= heard_until_ns || score >= config.local_health_max {
            return;
        }
        let mut others = detector.peers(self.now_ns).filter(|peer| peer.node != change.node);
        if others.any(|peer| peer.health != Health::Failed) {
            let who = index(change.node);
            self.violation = Some(format!("{observer}, cut off, accuses {who} with local health {score}"));
        }
    }

    /// Nobody is taken for failed who is well and can be reached, by whomever, also by one who was paused himself.
    pub fn judge_alarm(&mut self, observer: usize, change: Change) {
        let accused = index(change.node);
        let plan = &self.plan;
        let worst = plan.config.local_health_max;
        let excused_until_ns = |disturbed_ns: u64| {
            disturbed_ns
                .saturating_add(plan.config.bound_ns(plan.nodes, worst) + plan.config.rejoin_ns(plan.nodes))
        };
        let divided = self.now_ns <= excused_until_ns(self.watch.divided_ns);
        let disturbed_ns = self.watch.seen[accused].disturbed_ns;
        let disturbed = disturbed_ns > 0 && self.now_ns <= excused_until_ns(disturbed_ns);
        if disturbed || (divided && self.watch.divided_ns > 0) {
            return;
        }
        self.totals.false_alarms += 1;
        self.violation = Some(format!("{observer} takes {accused} for failed at {} ns", self.now_ns));
    }

    /// In the end everybody who lives sees everybody else who does, and nobody who does not.
    pub fn compare_views(&mut self) {
        for observer in 0..self.plan.nodes {
            if self.nodes[observer].life != Life::Running || self.violation.is_some() {
                continue;
            }
            for other in (0..self.plan.nodes).filter(|&other| other != observer) {
                let lives = self.nodes[other].life == Life::Running;
                let view = self.nodes[observer].detector.peer(self.clock_ns(observer), id(other));
                let Some(view) = view else { continue };
                if lives && view.health == Health::Failed {
                    self.violation = Some(format!("{other} is lost to {observer}: {view:?}"));
                }
            }
        }
    }
}
