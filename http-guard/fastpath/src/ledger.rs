//! What the agent's proxy has entered where the stack keeps it too: buckets, blocks, clients' connections.
//!
//! Those are changed under locks and by atomic additions that only programs have. So one program, attached nowhere, is run by
//! the agent for each such change, with an [`Entry`] in the place of a packet. It does to the tables what the handler does
//! (`Tables`), so a client has one bucket, whichever of the two serves its connections.

use crate::guard::Tables;
use crate::limit::{Charge, Rate};

/// Words that a packet cannot do without: the kernel takes the first 14 bytes for a header of Ethernet, which is that of no
/// protocol if they are zero.
const FRAME_WORDS: usize = 2;
/// Words of an [`Entry`].
pub const WORDS: usize = FRAME_WORDS + 5;

/// An order to the program, and behind its run what became of it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    words: [u64; WORDS],
}

/// What is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A request is charged to a bucket: [`Tables::charge`].
    Charge {
        /// The set of buckets.
        index: u32,
        /// The key.
        tag: u64,
        /// How often it may come.
        rate: Rate,
    },
    /// A client is blocked for a time: [`Tables::block`].
    Block {
        /// Its address or prefix.
        client: [u64; 2],
        /// For how long, in nanoseconds.
        time_ns: u64,
    },
    /// Nothing; whether a client is blocked: [`Tables::is_blocked`].
    IsBlocked {
        /// Its address or prefix.
        client: [u64; 2],
    },
    /// A client has one more connection, if it has less than `max`: [`Tables::connected`].
    Enter {
        /// Its address or prefix.
        client: [u64; 2],
        /// How many it may have.
        max: u32,
    },
    /// A client has one connection less: [`Tables::disconnected`].
    Leave {
        /// Its address or prefix.
        client: [u64; 2],
    },
}

// Kinds of orders.
const CHARGE: u64 = 1;
const BLOCK: u64 = 2;
const IS_BLOCKED: u64 = 3;
const ENTER: u64 = 4;
const LEAVE: u64 = 5;

// What became of them. It stands where the kind was, so that an entry that was not run is none of these.
const NO: u64 = 16;
const YES: u64 = 17;
const PASSED: u64 = 18;
const REFUSED: u64 = 19;
const FULL: u64 = 20;

impl From<Order> for Entry {
    fn from(order: Order) -> Self {
        match order {
            Order::Charge { index, tag, rate } => {
                Self::new(CHARGE, [index.into(), tag, rate.interval_ns, rate.tolerance_ns])
            }
            Order::Block { client: [high, low], time_ns } => Self::new(BLOCK, [high, low, time_ns, 0]),
            Order::IsBlocked { client: [high, low] } => Self::new(IS_BLOCKED, [high, low, 0, 0]),
            Order::Enter { client: [high, low], max } => Self::new(ENTER, [high, low, max.into(), 0]),
            Order::Leave { client: [high, low] } => Self::new(LEAVE, [high, low, 0, 0]),
        }
    }
}

impl Entry {
    /// No order, to be read over.
    pub const EMPTY: Self = Self { words: [0; WORDS] };

    #[inline(always)]
    const fn new(kind: u64, [a, b, c, d]: [u64; 4]) -> Self {
        Self { words: [0, 0, kind, a, b, c, d] }
    }

    /// Its words, in the place of a packet's bytes.
    pub const fn words_mut(&mut self) -> &mut [u64; WORDS] {
        &mut self.words
    }

    /// What became of an [`Order::Charge`], if it was run.
    #[must_use]
    pub const fn charge(&self) -> Option<Charge> {
        let [_, _, kind, first, second, ..] = self.words;
        match kind {
            PASSED => Some(Charge::Pass { remaining: first, wait_ns: second }),
            REFUSED => Some(Charge::Refused { retry_after_ns: first }),
            FULL => Some(Charge::Full),
            _ => None,
        }
    }

    /// Whether what another [`Order`] asks for is so, if it was run.
    #[must_use]
    pub const fn answer(&self) -> Option<bool> {
        match self.words[FRAME_WORDS] {
            YES => Some(true),
            NO => Some(false),
            _ => None,
        }
    }
}

/// Carries out the order of an entry, and leaves what became of it there.
#[inline(always)]
pub fn run<T: Tables>(tables: &T, entry: &mut Entry) {
    let [_, _, kind, a, b, c, d] = entry.words;
    let yes = |answer| if answer { YES } else { NO };
    *entry = match kind {
        CHARGE => match tables.charge(a as u32, b, Rate { interval_ns: c, tolerance_ns: d }) {
            Charge::Pass { remaining, wait_ns } => Entry::new(PASSED, [remaining, wait_ns, 0, 0]),
            Charge::Refused { retry_after_ns } => Entry::new(REFUSED, [retry_after_ns, 0, 0, 0]),
            Charge::Full => Entry::new(FULL, [0; 4]),
        },
        BLOCK => Entry::new(yes(tables.block([a, b], c)), [0; 4]),
        IS_BLOCKED => Entry::new(yes(tables.is_blocked(&[a, b])), [0; 4]),
        ENTER => {
            // First counted and then looked at: of two that come at once for the last place one gets it.
            let enters = tables.connected([a, b]) <= c;
            if !enters {
                tables.disconnected([a, b]);
            }
            Entry::new(yes(enters), [0; 4])
        }
        LEAVE => {
            tables.disconnected([a, b]);
            Entry::new(YES, [0; 4])
        }
        _ => return,
    };
}

const _: () = assert!(FRAME_WORDS * 8 >= 14);

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::host::world::World;

    fn run(world: &World, order: Order) -> Entry {
        let mut entry = Entry::from(order);
        super::run(&world, &mut entry);
        entry
    }

    #[test]
    fn a_charge_is_that_of_the_tables() {
        let (entered, direct) = (World::new(), World::new());
        let rate = Rate { interval_ns: 1000, tolerance_ns: 3000 };
        for (step, tag) in
            [(0, 7), (0, 7), (1, 9), (0, 7), (0, 7), (500, 7), (600, 7)].into_iter().cycle().take(40)
        {
            for world in [&entered, &direct] {
                world.now_ns.set(world.now_ns.get() + step);
            }
            let charge = (&direct).charge(3, tag, rate);
            let entry = run(&entered, Order::Charge { index: 3, tag, rate });
            assert_eq!((entry.charge(), entry.answer()), (Some(charge), None));
        }
        for tag in 100..120 {
            run(&entered, Order::Charge { index: 3, tag, rate });
        }
        assert_eq!(run(&entered, Order::Charge { index: 3, tag: 99, rate }).charge(), Some(Charge::Full));
    }

    #[test]
    fn blocks_are_those_of_the_tables() {
        let world = World::new();
        let asked = |client| run(&world, Order::IsBlocked { client }).answer();
        assert_eq!(asked([1, 2]), Some(false));
        assert_eq!(run(&world, Order::Block { client: [1, 2], time_ns: 5 }).answer(), Some(true));
        assert!((&world).is_blocked(&[1, 2]));
        assert_eq!((asked([1, 2]), asked([2, 1])), (Some(true), Some(false)));
        world.now_ns.set(world.now_ns.get() + 5);
        assert_eq!(asked([1, 2]), Some(false));
    }

    #[test]
    fn connections_are_counted_with_those_of_the_stack() {
        let world = World::new();
        let enter = || run(&world, Order::Enter { client: [1, 2], max: 2 }).answer();
        (&world).connected([1, 2]);
        assert_eq!([enter(), enter(), enter()], [Some(true), Some(false), Some(false)]);
        assert_eq!((&world).connections([1, 2]), 2);
        assert_eq!(run(&world, Order::Leave { client: [1, 2] }).answer(), Some(true));
        (&world).disconnected([1, 2]);
        assert_eq!((&world).connections([1, 2]), 0);
    }

    #[test]
    fn what_was_not_run_answers_nothing() {
        for order in [Order::IsBlocked { client: [YES, YES] }, Order::Leave { client: [PASSED, 0] }] {
            let entry = Entry::from(order);
            assert_eq!((entry.charge(), entry.answer()), (None, None));
        }
        let mut entry = Entry::EMPTY;
        super::run(&&World::new(), &mut entry);
        assert_eq!((entry.charge(), entry.answer()), (None, None));
    }
}
