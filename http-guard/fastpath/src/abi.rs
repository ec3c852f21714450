//! The tables that the agent compiles from the rules, and the programs read.
//!
//! They are values of maps, changed only as a whole: a reload fills a second set of tables, so a request whose head is read
//! in two parts meets the same tables for both, or, by [`Matcher::generation`], knows that it does not.
//!
//! All of it is made so that no content, however wrong, leads a program out of a table: every index is masked.

use crate::limit::Rate;

/// Version of this module's layouts.
pub const VERSION: u32 = 1;

/// Most conditions that all rules together may ask about.
pub const CONDITIONS_MAX: usize = 256;
/// Words of a set of conditions.
pub const CONDITION_WORDS: usize = CONDITIONS_MAX / 64;
/// Most rules.
pub const RULES_MAX: usize = 128;
/// States that 16 bits can number.
pub const STATES_MAX: usize = 1 << 16;
/// Room for transitions: states times stride.
pub const TRANSITIONS_MAX: usize = 1 << 20;
/// Most different sets of conditions that states lead to.
pub const SETS_MAX: usize = 1 << 10;
/// Most subjects.
pub const SUBJECTS_MAX: usize = 64;
/// Most values of headers and cookies that are part of limits' keys.
pub const SLOTS_MAX: usize = 8;

/// What a DFA reads. Each subject has a start state in [`Matcher::starts`].
pub mod subject {
    /// Nothing that any rule looks at.
    pub const NONE: u32 = 0;
    /// The method.
    pub const METHOD: u32 = 1;
    /// The path, normalised.
    pub const PATH: u32 = 2;
    /// The host, as in `Host` or an absolute target; port and case do not matter.
    pub const HOST: u32 = 3;
    /// A header's name. It leads to the subject that its value is.
    pub const HEADER_NAME: u32 = 4;
    /// A cookie's name. It leads to the subject that its value is.
    pub const COOKIE_NAME: u32 = 5;
    /// The first one that is a header's or a cookie's value.
    pub const FIRST_VALUE: u32 = 6;
}

/// A set of conditions.
pub type Conditions = [u64; CONDITION_WORDS];

/// The transitions of all DFAs.
///
/// State 0 is dead: it leads to itself, and holds nothing.
#[repr(C)]
pub struct Matcher {
    /// [`VERSION`].
    pub version: u32,
    /// Differs from that of every other set of tables that the programs may still know.
    pub generation: u32,
    /// The rows of [`Self::transitions`] are `1 << stride_bits` long.
    pub stride_bits: u32,
    /// States from this one on have something in [`Self::hits`].
    pub hits_from: u32,
    /// The subject of the header `Cookie`, or [`subject::NONE`].
    pub cookie: u32,
    /// Zero.
    pub padding: u32,
    /// The class of each byte: bytes of one class are the same to all DFAs.
    pub classes: [u8; 256],
    /// State in which a subject starts.
    pub starts: [u16; SUBJECTS_MAX],
    /// Which slot of a limit's key a subject's value goes into, plus one; 0: none.
    pub slots: [u8; SUBJECTS_MAX],
    /// What holds if the subject ends in a state: an index into [`Self::sets`], or a name's subject.
    pub ends: [u16; STATES_MAX],
    /// What holds as soon as a state is reached, whatever follows: an index into [`Self::sets`].
    pub hits: [u16; STATES_MAX],
    /// Sets of conditions. The first one is empty.
    pub sets: [Conditions; SETS_MAX],
    /// The next state, by state and class.
    pub transitions: [u16; TRANSITIONS_MAX],
}

/// One rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Conditions that must all hold.
    pub need: Conditions,
    /// Conditions of which none may hold.
    pub need_not: Conditions,
    /// A [`crate::rules::Action`].
    pub action: u32,
    /// Status of the answer, where there is one.
    pub status: u32,
    /// Not 0: what it does is counted only, and the rules behind it decide.
    pub dry_run: u32,
    /// Zero.
    pub padding: u32,
    /// For [`crate::rules::Action::Limit`].
    pub limit: Limit,
}

/// How often which key may ask.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// How often.
    pub rate: Rate,
    /// Which parts the key has: bits of [`key`], and of slots from [`key::FIRST_SLOT`] on.
    pub key: u32,
    /// Bits of an IPv6 address that make one client.
    pub ipv6_prefix: u32,
    /// Not 0: requests are refused where the table has no place for their key; otherwise they pass.
    pub refuse_when_full: u32,
    /// Zero.
    pub padding: u32,
}

/// Bits of [`Limit::key`].
pub mod key {
    /// The client's address.
    pub const ADDRESS: u32 = 1;
    /// The host.
    pub const HOST: u32 = 1 << 1;
    /// The path.
    pub const PATH: u32 = 1 << 2;
    /// The value in the first slot; the other slots' bits follow.
    pub const FIRST_SLOT: u32 = 1 << 8;
}

/// The rules, in order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How many there are.
    pub count: u32,
    /// As in the [`Matcher`] that belongs to them.
    pub generation: u32,
    /// The rules.
    pub rules: [Rule; RULES_MAX],
}

impl Rules {
    /// No rules: everything passes.
    pub const EMPTY: Self = Self {
        count: 0,
        generation: 0,
        rules: [Rule {
            need: [0; CONDITION_WORDS],
            need_not: [0; CONDITION_WORDS],
            action: 0,
            status: 0,
            dry_run: 0,
            padding: 0,
            limit: Limit {
                rate: Rate { interval_ns: 0, tolerance_ns: 0 },
                key: 0,
                ipv6_prefix: 0,
                refuse_when_full: 0,
                padding: 0,
            },
        }; RULES_MAX],
    };
}

/// Key of the tree of clients' addresses: a longest-prefix tree's key. Its value is a [`Conditions`]: what holds for every
/// address of this prefix, also by shorter ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey {
    /// Length of the prefix in bits; of an IPv4 address 96 more than its own.
    pub bits: u32,
    /// The address, IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
}

const _: () = {
    assert!(size_of::<Rule>() == 64 + 16 + 32);
    assert!(size_of::<Rules>() == 8 + RULES_MAX * size_of::<Rule>());
    assert!(size_of::<ClientKey>() == 20);
    assert!(
        size_of::<Matcher>()
            == 24 + 256 + 3 * SUBJECTS_MAX + 4 * STATES_MAX + 32 * SETS_MAX + 2 * TRANSITIONS_MAX
    );
    assert!(CONDITIONS_MAX.is_power_of_two() && RULES_MAX.is_power_of_two());
    assert!(
        SETS_MAX.is_power_of_two() && SUBJECTS_MAX.is_power_of_two() && TRANSITIONS_MAX.is_power_of_two()
    );
};
