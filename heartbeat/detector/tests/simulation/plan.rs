//! What a seed does to a cluster.

use heartbeat_detector::config::Config;

use crate::random::Random;

pub const MS: u64 = 1_000_000;

/// Something that happens to nodes.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A node stops for good, or until it is restarted.
    Crash {
        node: usize,
    },
    /// It begins a new life; it may have forgotten its incarnation.
    Restart {
        node: usize,
        forgetful: bool,
    },
    /// It stands still; what is sent to it is kept.
    Pause {
        node: usize,
    },
    Wake {
        node: usize,
    },
    /// Its clock jumps ahead.
    Jump {
        node: usize,
        by_ns: u64,
    },
    /// Nodes whose bit is set, and the others: messages from the first to the second are lost, and back unless `one_way`.
    Split {
        group: u64,
        one_way: bool,
    },
    /// The link between two nodes loses all.
    Cut {
        a: usize,
        b: usize,
        one_way: bool,
    },
    /// No link is cut and nothing is split.
    Heal,
}

/// A cluster and what happens to it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub nodes: usize,
    pub config: Config,
    /// Lost and repeated ones of 1000 messages; delays.
    pub loss: u64,
    pub repeats: u64,
    pub delay_ns: u64,
    pub jitter_ns: u64,
    /// In the order of time.
    pub faults: Vec<(u64, Fault)>,
    /// When everything has healed.
    pub healed_ns: u64,
    /// When all who live must see each other alive, if not as soon as is certain.
    pub end_ns: Option<u64>,
    /// One link may be cut, and nothing else happens: no excuse for a false alarm.
    pub only_cuts: bool,
}

/// The group of a node in a split.
pub fn is_in(group: u64, node: usize) -> bool {
    group >> (node % 64) & 1 == 1
}

impl Plan {
    /// A small cluster.
    pub fn small(seed: u64) -> Self {
        let random = Random::new(seed);
        let interval_ns = random.pick(&[MS, 10 * MS, 100 * MS, 1000 * MS]);
        let mut config = Config::with_interval(interval_ns);
        config.gap_min_ns = random.pick(&[interval_ns / 100, interval_ns / 3]);
        config.jitter_per_mille = random.pick(&[0, 100, 500]) as u32;
        let only_cuts = random.chance(300);
        let nodes = random.between(if only_cuts { 5 } else { 2 }, 10) as usize;
        let mut plan = Self {
            nodes,
            config,
            loss: random.pick(&[0, 10, 50]),
            repeats: random.pick(&[0, 10, 100]),
            delay_ns: interval_ns / random.pick(&[100, 1000]),
            jitter_ns: interval_ns / random.pick(&[30, 300]),
            faults: Vec::new(),
            healed_ns: 0,
            end_ns: None,
            only_cuts,
        };
        let period_ns = config.period_ns(nodes);
        plan.healed_ns = plan.happen(&random, 15 * period_ns, 12);
        plan
    }

    /// A thousand members for a minute, of which the last part is for finding each other again.
    pub fn large(seed: u64) -> Self {
        let random = Random::new(seed);
        let mut config = Config::with_interval(1000 * MS);
        config.gap_min_ns = 16 * MS;
        config.window = 16;
        let mut plan = Self {
            nodes: 1000,
            config,
            loss: 50,
            repeats: 10,
            delay_ns: MS,
            jitter_ns: 5 * MS,
            faults: Vec::new(),
            healed_ns: 0,
            end_ns: Some(60_000 * MS),
            only_cuts: false,
        };
        let mut at = |at_ms: u64, fault| plan.faults.push((at_ms * MS, fault));
        let first = random.below(900) as usize;
        for node in first..first + 20 {
            at(4_000, Fault::Pause { node });
        }
        for node in first + 20..first + 25 {
            at(5_000, Fault::Crash { node });
        }
        at(6_000, Fault::Split { group: random.next(), one_way: false });
        for node in first..first + 20 {
            at(20_000, Fault::Wake { node });
        }
        at(24_000, Fault::Heal);
        plan.healed_ns = 24_000 * MS;
        plan
    }

    /// Lets things happen, at intervals of the mean of `pause_ns`, and ends them.
    fn happen(&mut self, random: &Random, pause_ns: u64, times: usize) -> u64 {
        let mut now_ns = 2 * self.config.period_ns(self.nodes);
        let mut crashed = Vec::new();
        let mut paused = Vec::new();
        for _ in 0..times {
            now_ns += random.between(pause_ns / 2, pause_ns * 3 / 2);
            let node = random.below(self.nodes as u64) as usize;
            let other = (node + 1 + random.below(self.nodes as u64 - 1) as usize) % self.nodes;
            let is_idle = crashed.contains(&node) || paused.contains(&node);
            let fault = match random.below(8) {
                _ if self.only_cuts && random.chance(500) => Fault::Heal,
                _ if self.only_cuts => Fault::Cut { a: node, b: other, one_way: random.chance(500) },
                0 | 1 if !is_idle && crashed.len() + 1 < self.nodes => {
                    crashed.push(node);
                    Fault::Crash { node }
                }
                2 if !crashed.is_empty() => Fault::Restart {
                    node: crashed.swap_remove(random.below(crashed.len() as u64) as usize),
                    forgetful: random.chance(300),
                },
                3 if !is_idle => {
                    paused.push(node);
                    Fault::Pause { node }
                }
                4 if !paused.is_empty() => Fault::Wake { node: paused.swap_remove(0) },
                5 if !is_idle => Fault::Jump { node, by_ns: random.between(pause_ns / 20, pause_ns) },
                6 => Fault::Split { group: random.next(), one_way: random.chance(400) },
                7 => Fault::Split { group: u64::MAX * random.below(2), one_way: false },
                _ => Fault::Heal,
            };
            self.faults.push((now_ns, fault));
            if let Fault::Cut { .. } = fault {
                // One link at a time.
                now_ns += pause_ns;
                self.faults.push((now_ns, Fault::Heal));
            }
        }
        now_ns += pause_ns;
        self.faults.push((now_ns, Fault::Heal));
        self.faults.extend(paused.into_iter().map(|node| (now_ns, Fault::Wake { node })));
        now_ns
    }
}
