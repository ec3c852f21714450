//! The tables that the agent compiles from the rules, and the programs read.
//!
//! They are values of maps, changed only as a whole: a reload fills a second set of tables, so a request whose head is read
//! in two parts meets the same tables for both, or, by [`Matcher::generation`], knows that it does not.
//!
//! All of it is made so that no content, however wrong, leads a program out of a table: every index is masked.

use xps_core::abi::{EVENT_SERVICE, Event};
use xps_core::handler::REPLY_MAX;

use crate::head;
use crate::limit::Rate;

/// Version of this module's layouts.
pub const VERSION: u32 = 1;

/// Names of the maps, beside the runtime's own.
pub mod map {
    /// Two [`super::Matcher`]s.
    pub const MATCHERS: &str = "MATCHERS";
    /// Two [`super::Rules`].
    pub const RULES: &str = "RULES";
    /// [`super::Conditions`] by [`super::ClientKey`]: a tree of prefixes.
    pub const CLIENTS: &str = "CLIENTS";
    /// One [`super::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// [`crate::limit::Set`]s; a power of two of them.
    pub const LIMITS: &str = "LIMITS";
    /// [`super::Answer`]s, by [`super::answer_of`].
    pub const ANSWERS: &str = "ANSWERS";
    /// [`super::Counts`] by set of tables and rule: [`super::counts_of`]. Per CPU.
    pub const COUNTS: &str = "COUNTS";
    /// How often a [`crate::refusal::Refusal`] was the cause, by its number. Per CPU.
    pub const REFUSALS: &str = "REFUSALS";
    /// Until when a client is blocked, `CLOCK_MONOTONIC` in nanoseconds, by its address or prefix.
    pub const BLOCKS: &str = "BLOCKS";
    /// How many connections a client has, likewise.
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// [`crate::recall::Remembered`]s. Per CPU.
    pub const HEADS: &str = "HEADS";
}

/// Names of the programs, beside the runtime's own.
pub mod program {
    /// Carries out one [`crate::ledger::Entry`] for the agent. It is attached nowhere.
    pub const LEDGER: &str = "http_ledger";
    /// At XDP: lets nobody in who is blocked.
    pub const BLOCK: &str = "http_block";
}

/// Kinds of records in the ring of events.
pub mod event {
    /// A [`super::Refused`].
    pub const REFUSED: u32 = super::EVENT_SERVICE;
}

/// Sets of tables: one is in use, the other one is filled.
pub const TABLES: u32 = 2;
/// Answers of one set of tables.
pub const ANSWERS_MAX: u32 = 512;
/// Numbers of refusals that have a counter.
pub const REFUSALS_MAX: u32 = 64;
/// Prefixes of clients' addresses in one set of tables.
pub const CLIENTS_MAX: usize = 1 << 16;
/// Clients that can be blocked at once.
pub const BLOCKS_MAX: u32 = 65_536;
/// Clients whose connections can be counted at once.
pub const CONNECTIONS_MAX: u32 = 65_536;
/// Longest answer, in bytes: the longest that the stack sends.
pub const ANSWER_BYTES_MAX: usize = REPLY_MAX;
/// Bytes of a date (RFC 9110 section 5.6.7).
pub const DATE_BYTES: usize = 29;
/// Digits that a number in an answer has room for; what is not needed is filled with spaces.
pub const NUMBER_BYTES: usize = 10;

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
    /// Not 0: requests of a burst wait until their time has come ([`crate::limit::Charge::Pass`]).
    pub delays: u32,
    /// What tells the keys of this limit from those of others: the same after a reload, so its buckets are kept.
    pub id: u64,
    /// How often a client may be refused before it is blocked; no interval: it never is.
    pub strikes: Rate,
    /// How long it is blocked.
    pub block_ns: u64,
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

/// What the agent tells the handler.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How heads are read.
    pub head: head::Settings,
    /// The key of all hashes of what clients choose.
    pub secret: [u64; 2],
    /// Which set of tables is in use.
    pub tables: u32,
    /// Number of sets of buckets less one.
    pub limits_mask: u32,
    /// Which of [`Self::dates`] holds.
    pub date: u32,
    /// One of how many refusals is reported; a power of two, or 0 for none.
    pub refused_sample: u32,
    /// Not 0: some rule looks at addresses.
    pub clients: u32,
    /// Bits of an IPv6 address that make one client, where connections are counted and clients blocked.
    pub ipv6_prefix: u32,
    /// Not 0: there may be clients in the table of blocks. The handler sets it, the agent takes it back.
    pub blocking: u32,
    /// How many connections a client may have at once; 0: any number.
    pub connections_max: u32,
    /// How often a client may open a connection; no interval: any time.
    pub connections: Rate,
    /// Dates for answers, the rest of each zero. The one that is not in use is written.
    pub dates: [[u8; 32]; 2],
}

/// An answer, but for what differs from one request to the next.
///
/// Places are offsets in [`Self::bytes`]; 0: there is no such place.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Bytes of the head, its empty line included: what a HEAD is answered with.
    pub head_len: u16,
    /// Bytes of all.
    pub len: u16,
    /// Where the date is: [`DATE_BYTES`].
    pub date_at: u16,
    /// Where the seconds are after which to come again: [`NUMBER_BYTES`].
    pub retry_at: u16,
    /// The same once more, in another field.
    pub reset_at: u16,
    /// Zero.
    pub padding: [u16; 3],
    /// The answer.
    pub bytes: [u8; ANSWER_BYTES_MAX],
}

impl Answer {
    /// No answer.
    pub const EMPTY: Self = Self {
        head_len: 0,
        len: 0,
        date_at: 0,
        retry_at: 0,
        reset_at: 0,
        padding: [0; 3],
        bytes: [0; ANSWER_BYTES_MAX],
    };
}

/// Where the answer of a rule is, within a set of tables: the one after which the connection stays, or the one that closes it.
#[inline(always)]
#[must_use]
pub const fn answer_of(tables: u32, rule: u32, closes: bool) -> u32 {
    tables * ANSWERS_MAX + rule * 2 + closes as u32
}

/// Whether an answer has a form that closes the connection, behind the other one.
#[inline(always)]
#[must_use]
pub const fn has_two_forms(answer: u32) -> bool {
    answer % ANSWERS_MAX < 2 * RULES_MAX as u32
}

/// Where the answer to a request that is refused by its syntax is. All of them close.
#[inline(always)]
#[must_use]
pub const fn answer_of_refusal(tables: u32, refusal: u8) -> u32 {
    tables * ANSWERS_MAX + 2 * RULES_MAX as u32 + refusal as u32
}

/// How often what became of requests that a rule holds for; the words are those of Nginx's `$limit_req_status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They passed by it, or were counted only.
    pub passed: u64,
    /// They were refused.
    pub rejected: u64,
    /// They would have been refused, but for the dry run.
    pub rejected_dry_run: u64,
    /// The table had no place for their key.
    pub full: u64,
}

/// Where a rule's [`Counts`] are.
#[inline(always)]
#[must_use]
pub const fn counts_of(tables: u32, rule: u32) -> u32 {
    tables * RULES_MAX as u32 + rule
}

/// A refusal that is reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Kind and length.
    pub head: Event,
    /// The client's address, IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Which set of tables was in use.
    pub tables: u32,
    /// The rule, or [`RULES_MAX`] and more: a refusal's number behind it.
    pub cause: u32,
    /// How many refusals this one stands for.
    pub weight: u32,
    /// Zero.
    pub padding: u32,
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
                delays: 0,
                id: 0,
                strikes: Rate { interval_ns: 0, tolerance_ns: 0 },
                block_ns: 0,
            },
        }; RULES_MAX],
    };
}

/// Key of the tree of clients' addresses: a longest-prefix tree's key. Its value is a [`Conditions`]: what holds for every
/// address of this prefix, also by shorter ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey {
    /// Length of the prefix in bits, of which [`Self::FIRST_BITS`] come before the address; of an IPv4 address 96 more than its
    /// own.
    pub bits: u32,
    /// [`Matcher::generation`]: one tree serves both sets of tables.
    pub generation: u32,
    /// Zero; the tree's values are aligned by it.
    pub padding: u32,
    /// The address, IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
}

impl ClientKey {
    /// Bits that come before the address's.
    pub const FIRST_BITS: u32 = 64;

    /// The key of a whole address.
    #[inline(always)]
    #[must_use]
    pub const fn of(generation: u32, address: [u8; 16]) -> Self {
        Self { bits: Self::FIRST_BITS + 128, generation, padding: 0, address }
    }
}

const _: () = {
    assert!(size_of::<Limit>() == 64 && size_of::<Rule>() == 64 + 16 + 64);
    assert!(size_of::<Rules>() == 8 + RULES_MAX * size_of::<Rule>());
    assert!(size_of::<ClientKey>() == 28);
    assert!(size_of::<Settings>() == 24 + 16 + 32 + 16 + 64);
    assert!(size_of::<Answer>() == 16 + ANSWER_BYTES_MAX && size_of::<Counts>() == 32);
    assert!(size_of::<Refused>() == 8 + 16 + 16);
    assert!(2 * RULES_MAX as u32 + REFUSALS_MAX <= ANSWERS_MAX);
    assert!(DATE_BYTES <= 32);
    assert!(
        size_of::<Matcher>()
            == 24 + 256 + 3 * SUBJECTS_MAX + 4 * STATES_MAX + 32 * SETS_MAX + 2 * TRANSITIONS_MAX
    );
    assert!(CONDITIONS_MAX.is_power_of_two() && RULES_MAX.is_power_of_two());
    assert!(
        SETS_MAX.is_power_of_two() && SUBJECTS_MAX.is_power_of_two() && TRANSITIONS_MAX.is_power_of_two()
    );
};
