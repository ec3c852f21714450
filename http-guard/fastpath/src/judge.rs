//! What becomes of a request whose head is read: the first rule that holds decides.

use xps_core::bound::keep_in_memory;
use xps_core::siphash::{self, SipHash13};

use crate::abi::{ClientKey, Conditions, Limit, RULES_MAX, Rule, SLOTS_MAX, Settings, key};
use crate::guard::{Scratch, State, Tables};
use crate::limit::{Charge, Rate};
use crate::rules::{Action, Found, STEP, Search};

/// What becomes of a request. A number, since it lies in memory that is kept between calls.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes to the server.
    #[default]
    Pass = 0,
    /// It is answered instead of the server.
    Refuse = 1,
    /// Its connection is reset.
    Close = 2,
    /// Its connection is left without an answer.
    Drop = 3,
}

/// What was counted of a request that a rule holds for. The words are those of Nginx's `$limit_req_status`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It passed, or was counted only.
    Passed = 0,
    /// It was refused.
    Rejected = 1,
    /// It would have been refused.
    RejectedDryRun = 2,
    /// There was no place for its key.
    Full = 3,
}

/// A verdict, and what it follows from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// When a request like it may come again, in nanoseconds; 0: nothing is known of that.
    pub retry_ns: u64,
    /// How long the request must wait before it may pass, in nanoseconds.
    pub wait_ns: u64,
    /// The rule that decided, or [`RULES_MAX`]: none did.
    pub rule: u32,
    /// How far the rules were looked at.
    search: Search,
    /// The verdict.
    pub verdict: Verdict,
    padding: [u8; 7],
}

impl Judgement {
    /// None yet.
    pub const NONE: Self = Self {
        retry_ns: 0,
        wait_ns: 0,
        rule: RULES_MAX as u32,
        search: Search::START,
        verdict: Verdict::Close,
        padding: [0; 7],
    };
}

/// What tells a client's strikes from all else that is hashed with a limit's number.
const STRIKES: u64 = u64::from_be_bytes(*b"strikes ");

/// Judges the request whose head was just read, by the tables that it was read by. The result is the scratch's `judgement`.
#[inline(always)]
pub fn judge<T: Tables>(tables: &T, state: &mut State, scratch: &mut Scratch) {
    scratch.judgement = Judgement::NONE;
    let which = state.matching.tables();
    let Some(settings) = tables.settings() else { return };
    let Some(matcher) = tables.matcher(which) else { return };
    let Some(rules) = tables.rules(which) else { return };
    // SAFETY: maps' values stay while the program runs. Tables are changed only when no head is read by them any more; a head
    // that took longer finds another generation.
    let (settings, matcher, rules) = unsafe { (&*settings, &*matcher, &*rules) };
    let generation = matcher.generation;
    if settings.clients != 0 {
        let key = ClientKey::of(generation, scratch.client);
        if let Some(conditions) = tables.client(&key) {
            // SAFETY: as above.
            let conditions: &Conditions = unsafe { &*conditions };
            state.matching.matched.add(conditions);
        }
    }
    scratch.judgement.verdict = Verdict::Pass;
    for _ in 0..RULES_MAX + RULES_MAX / STEP as usize {
        keep_in_memory();
        let found = tables.search(rules, &state.matching.matched, &mut scratch.judgement.search);
        if found as u32 == Found::None as u32 {
            break;
        }
        let at = scratch.judgement.search.rule();
        if found as u32 == Found::Rule as u32 && tables.decides(at, state, scratch) {
            scratch.judgement.rule = at;
            break;
        }
    }
    keep_in_memory();
    // Read again: while it was looked at, all of it may have become another set of tables.
    // SAFETY: as above.
    let after = unsafe { (&raw const matcher.generation).read_volatile() };
    if after as u16 != state.matching.generation || after != generation {
        scratch.judgement.verdict = Verdict::Close;
    }
}

/// Whether a rule that holds decides. What it decides is in the judgement.
#[inline(always)]
pub fn decides<T: Tables>(tables: &T, at: u32, state: &State, scratch: &mut Scratch) -> bool {
    let which = state.matching.tables();
    let Some(rules) = tables.rules(which) else { return false };
    // SAFETY: maps' values stay while the program runs.
    let rule: &Rule = unsafe { (*rules).rule(at) };
    let index = crate::abi::counts_of(which, at);
    let mut status = Status::Rejected;
    let mut verdict = Verdict::Refuse;
    match Action::from_u32(rule.action) {
        Action::Allow => (status, verdict) = (Status::Passed, Verdict::Pass),
        Action::Count => {
            tables.count(index, Status::Passed);
            return false;
        }
        Action::Deny => {}
        Action::Close => verdict = Verdict::Close,
        Action::Drop => verdict = Verdict::Drop,
        Action::Limit => match charge(tables, &rule.limit, state, scratch) {
            Charge::Pass { wait_ns, .. } => {
                if rule.limit.delays != 0 {
                    scratch.judgement.wait_ns = wait_ns;
                }
                tables.count(index, Status::Passed);
                return rule.dry_run == 0;
            }
            Charge::Refused { retry_after_ns } => {
                scratch.judgement.retry_ns = retry_after_ns;
                if rule.dry_run == 0
                    && rule.limit.strikes.interval_ns != 0
                    && strike(tables, &rule.limit, scratch)
                {
                    verdict = Verdict::Close;
                }
            }
            Charge::Full => {
                tables.count(index, Status::Full);
                if rule.limit.refuse_when_full == 0 {
                    return rule.dry_run == 0;
                }
                scratch.judgement.retry_ns = rule.limit.rate.interval_ns;
            }
        },
    }
    if rule.dry_run != 0 && verdict as u8 != Verdict::Pass as u8 {
        tables.count(index, Status::RejectedDryRun);
        scratch.judgement.retry_ns = 0;
        return false;
    }
    tables.count(index, status);
    scratch.judgement.verdict = verdict;
    true
}

#[inline(always)]
fn charge<T: Tables>(tables: &T, limit: &Limit, state: &State, scratch: &Scratch) -> Charge {
    let Some(settings) = tables.settings() else { return Charge::Full };
    // SAFETY: maps' values stay while the program runs.
    let settings = unsafe { &*settings };
    let mut hash = SipHash13::new(settings.secret);
    hash.aligned(limit.id);
    if limit.key & key::ADDRESS != 0 {
        let [high, low] = prefix(&scratch.client, limit.ipv6_prefix);
        hash.aligned(high);
        hash.aligned(low);
    }
    if limit.key & key::HOST != 0 {
        hash.aligned(state.matching.host);
    }
    if limit.key & key::PATH != 0 {
        hash.aligned(scratch.path);
    }
    let mut i = 0;
    while i < SLOTS_MAX {
        if limit.key & key::FIRST_SLOT << i != 0 {
            hash.aligned(state.matching.slots[i]);
        }
        i += 1;
    }
    charge_tag(tables, settings.limits_mask, hash.finish(), limit.rate)
}

/// Whether the segment's client is blocked.
#[inline(always)]
pub(crate) fn is_blocked<T: Tables>(tables: &T, settings: &Settings, scratch: &mut Scratch) -> bool {
    if settings.blocking == 0 {
        return false;
    }
    scratch.blocked = prefix(&scratch.client, settings.ipv6_prefix);
    tables.is_blocked(&scratch.blocked)
}

/// Counts a refusal against the client. Whether it is one too many: then the client is blocked.
#[inline(always)]
fn strike<T: Tables>(tables: &T, limit: &Limit, scratch: &Scratch) -> bool {
    let Some(settings) = tables.settings() else { return false };
    // SAFETY: maps' values stay while the program runs.
    let settings = unsafe { &*settings };
    let [high, low] = prefix(&scratch.client, settings.ipv6_prefix);
    let tag = siphash::of_words(settings.secret, [limit.id, STRIKES, high, low]);
    match charge_tag(tables, settings.limits_mask, tag, limit.strikes) {
        Charge::Pass { .. } | Charge::Full => false,
        Charge::Refused { .. } => tables.block([high, low], limit.block_ns),
    }
}

#[inline(always)]
pub(crate) fn charge_tag<T: Tables>(tables: &T, mask: u32, tag: u64, rate: Rate) -> Charge {
    // A way whose tag is 0 is one that was never used.
    let tag = tag | 1;
    tables.charge((tag >> 32) as u32 & mask, tag, rate)
}

/// The words of an address of which, if it is one of IPv6, only so many bits count: at least one.
#[inline(always)]
#[must_use]
pub fn prefix(address: &[u8; 16], ipv6_prefix: u32) -> [u64; 2] {
    let high = xps_core::word::load_be_u64(address, 0);
    let low = xps_core::word::load_be_u64(address, 8);
    if high == 0 && low >> 32 == 0xffff {
        return [high, low];
    }
    if ipv6_prefix > 64 {
        let rest = 128u32.saturating_sub(ipv6_prefix) & 63;
        [high, low >> rest << rest]
    } else {
        let rest = 64u32.saturating_sub(ipv6_prefix) & 63;
        [high >> rest << rest, 0]
    }
}
