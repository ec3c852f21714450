//! What a seed does to two sessions.

use core::num::NonZeroU8;

use heartbeat_bfd::config::{Config, Keys};
use heartbeat_fastpath::bfd::authentication::{Key, Type};

use crate::random::Random;

pub const MS: u64 = 1_000_000;

/// Something that happens to a side, 0 or 1.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It begins anew at once, having forgotten everything.
    Restart {
        side: usize,
    },
    /// It stops, and stays so until it is restarted.
    Crash {
        side: usize,
    },
    /// It stands still; what is sent to it is kept, and its stack sends echo packets back.
    Pause {
        side: usize,
    },
    Wake {
        side: usize,
    },
    /// What it sends is lost.
    Cut {
        side: usize,
    },
    /// Its stack does not send echo packets back.
    Swallow {
        side: usize,
    },
    HoldDown {
        side: usize,
        held: bool,
    },
    PathDown {
        side: usize,
        down: bool,
    },
    /// It has other intervals.
    Configure {
        side: usize,
        config: Config,
    },
    /// It has other keys.
    Keys {
        side: usize,
        keys: Keys,
    },
    /// Nothing is cut, swallowed, held, stopped or lost any more.
    Heal,
}

/// Two sessions and what happens to them.
#[derive(Clone, Debug)]
pub struct Plan {
    pub configs: [Config; 2],
    pub keys: Option<Keys>,
    first_keys: Option<Keys>,
    /// Lost and repeated ones of 1000 packets; delays.
    pub loss: u64,
    pub repeats: u64,
    pub delay_ns: u64,
    pub jitter_ns: u64,
    /// In the order of time.
    pub faults: Vec<(u64, Fault)>,
    pub healed_ns: u64,
    /// Nothing happens that is an excuse for taking the other side for failed.
    pub is_calm: bool,
}

fn key(number: u8) -> Key {
    Key::new(number, &[b'k', number]).expect("a short secret")
}

fn config(random: &Random, echo: bool) -> Config {
    let interval = || random.pick(&[10_000, 30_000, 100_000, 300_000, 1_500_000]);
    Config {
        desired_min_tx_us: interval(),
        required_min_rx_us: interval(),
        detect_multiplier: NonZeroU8::new(random.between(1, 5) as u8).expect("not 0"),
        passive: false,
        echo_interval_us: (echo && random.chance(700)).then(|| random.pick(&[20_000, 50_000])),
        required_min_echo_rx_us: if echo { random.pick(&[0, 10_000, 40_000]) } else { 0 },
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let random = Random::new(seed);
        let echo = random.chance(400);
        let is_calm = random.chance(300);
        let mut configs = [config(&random, echo), config(&random, echo)];
        configs[random.below(2) as usize].passive = random.chance(400);
        let kind = random.pick(&[Type::Keyed, Type::Meticulous]);
        let keys = random.chance(500).then_some(Keys { kind, key: key(1), other: None });
        let mut plan = Self {
            configs,
            keys,
            first_keys: keys,
            loss: if is_calm { 0 } else { random.pick(&[0, 10, 100]) },
            repeats: random.pick(&[0, 10, 100]),
            // With a multiplier of 1 a tenth of an interval is all the time that a packet may lose.
            delay_ns: MS / 2,
            jitter_ns: if is_calm { MS / 4 } else { random.pick(&[MS / 4, 5 * MS, 50 * MS]) },
            faults: Vec::new(),
            healed_ns: 0,
            is_calm,
        };
        let mut now_ns = random.between(100, 10_000) * MS;
        for _ in 0..random.between(1, 6) {
            if is_calm {
                now_ns = plan.happen_calmly(&random, now_ns, echo);
            } else {
                now_ns = plan.happen(&random, now_ns, echo);
            }
        }
        plan.healed_ns = now_ns;
        plan.faults.push((now_ns, Fault::Heal));
        plan
    }

    /// Those that both begin with; the others are those at the end.
    pub fn keys_at_first(&self) -> Option<Keys> {
        self.first_keys
    }

    fn happen_calmly(&mut self, random: &Random, now_ns: u64, echo: bool) -> u64 {
        let side = random.below(2) as usize;
        let mut at = |at_ns, fault| self.faults.push((at_ns, fault));
        // Long enough for what goes on to settle, or not.
        let end_ns = now_ns + random.pick(&[20, 500, 8_000, 20_000]) * MS;
        match random.below(4) {
            0 => {
                at(now_ns, Fault::HoldDown { side, held: true });
                at(end_ns, Fault::HoldDown { side, held: false });
            }
            1 => {
                at(now_ns, Fault::PathDown { side, down: true });
                at(end_ns, Fault::PathDown { side, down: false });
            }
            2 => {
                let passive = self.configs[side].passive;
                at(now_ns, Fault::Configure { side, config: Config { passive, ..config(random, echo) } });
            }
            _ => self.change_keys(now_ns, end_ns),
        }
        end_ns + random.between(100, 5_000) * MS
    }

    /// As PROTOCOL.md says: both have the new key, then both send with it, then the old one goes.
    fn change_keys(&mut self, now_ns: u64, end_ns: u64) {
        let Some(Keys { kind, key: old, .. }) = self.keys else { return };
        let new = if old == key(1) { key(2) } else { key(1) };
        let step_ns = (end_ns - now_ns) / 6;
        let mut at_ns = now_ns;
        for (key, other) in [(old, Some(new)), (new, Some(old)), (new, None)] {
            for side in [0, 1] {
                self.faults.push((at_ns, Fault::Keys { side, keys: Keys { kind, key, other } }));
                at_ns += step_ns;
            }
        }
        self.keys = Some(Keys { kind, key: new, other: None });
    }

    fn happen(&mut self, random: &Random, now_ns: u64, echo: bool) -> u64 {
        let side = random.below(2) as usize;
        let end_ns = now_ns + random.pick(&[5, 50, 500, 8_000, 20_000]) * MS;
        let mut at = |at_ns, fault| self.faults.push((at_ns, fault));
        match random.below(8) {
            0 => at(now_ns, Fault::Restart { side }),
            1 => {
                at(now_ns, Fault::Crash { side });
                at(end_ns, Fault::Restart { side });
            }
            2 => {
                at(now_ns, Fault::Pause { side });
                at(end_ns, Fault::Wake { side });
            }
            3 => at(now_ns, Fault::Cut { side }),
            4 => {
                at(now_ns, Fault::Cut { side: 0 });
                at(now_ns, Fault::Cut { side: 1 });
            }
            5 => at(now_ns, Fault::Swallow { side }),
            6 => {
                // A key that the other side does not have, until everything is well again.
                if let Some(Keys { kind, .. }) = self.keys {
                    at(now_ns, Fault::Keys { side, keys: Keys { kind, key: key(9), other: None } });
                }
            }
            _ => return self.happen_calmly(random, now_ns, echo),
        }
        if random.chance(500) {
            self.faults.push((end_ns, Fault::Heal));
        }
        end_ns + random.between(100, 5_000) * MS
    }
}
