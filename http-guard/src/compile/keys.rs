//! What limits' keys are made of, and which values of headers and cookies are read at all.

use http_fastpath::abi::{self, SLOTS_MAX, SUBJECTS_MAX, key, subject};
use http_fastpath::limit::Rate;
use xps_core::siphash::SipHash13;
use xps_runtime::config::Mistake;

use crate::rules::{Action, KeyPart, Limit, Rule, Subject, Test, WhenFull};

use super::mistake;

/// Most values that can be told apart.
const VALUES_MAX: usize = SUBJECTS_MAX - subject::FIRST_VALUE as usize;

/// What a rule's buckets are known by, in this process and the next one.
fn id(name: &str) -> u64 {
    let mut hash = SipHash13::new([0; 2]);
    name.bytes().for_each(|byte| hash.byte(byte));
    hash.finish()
}

/// Headers and cookies whose values are in keys, each once.
pub(super) fn slots(rules: &[Rule], mistakes: &mut Vec<Mistake>) -> Vec<KeyPart> {
    let mut slots = Vec::new();
    for rule in rules {
        let Action::Limit(limit) = &rule.action else { continue };
        for part in &limit.key {
            if !matches!(part, KeyPart::Header(_) | KeyPart::Cookie(_)) || slots.contains(part) {
                continue;
            }
            slots.push(part.clone());
            if slots.len() == SLOTS_MAX + 1 {
                let message = format!(
                    "rule \"{}\": the keys of all limits name more than {SLOTS_MAX} different headers and cookies",
                    rule.name
                );
                mistakes.push(mistake(&rule.place, message));
            }
        }
    }
    slots
}

/// Headers and cookies whose values are read, each once; headers come first.
pub(super) fn values(rules: &[Rule], slots: &[KeyPart], mistakes: &mut Vec<Mistake>) -> Vec<KeyPart> {
    let mut values: Vec<KeyPart> = Vec::new();
    let mut add = |part: KeyPart, place: Option<&Rule>| {
        if values.contains(&part) {
            return;
        }
        values.push(part);
        if values.len() == VALUES_MAX + 1 {
            let name = place.map_or_else(String::new, |rule| format!("rule \"{}\": ", rule.name));
            let message =
                format!("{name}all rules together look at more than {VALUES_MAX} headers and cookies");
            mistakes.push(mistake(place.map_or("rules", |rule| &rule.place), message));
        }
    };
    for rule in rules {
        for condition in &rule.conditions {
            if let Test::Text(Subject::Header(name), _) = &condition.test {
                add(KeyPart::Header(name.clone()), Some(rule));
            }
        }
    }
    for slot in slots {
        // Its value is read to find cookies in it.
        if matches!(slot, KeyPart::Cookie(_)) {
            add(KeyPart::Header("cookie".into()), None);
        }
        add(slot.clone(), None);
    }
    values.sort();
    values
}

/// The limit of the rule with this name, with the slots that its key takes values from.
pub(super) fn limit(name: &str, limit: &Limit, slots: &[KeyPart]) -> abi::Limit {
    let bits = limit.key.iter().map(|part| match part {
        KeyPart::Address => key::ADDRESS,
        KeyPart::Host => key::HOST,
        KeyPart::Path => key::PATH,
        KeyPart::Header(_) | KeyPart::Cookie(_) => {
            slots.iter().position(|slot| slot == part).map_or(0, |slot| key::FIRST_SLOT << slot)
        }
    });
    abi::Limit {
        rate: limit.rate,
        key: bits.fold(0, |all, bit| all | bit),
        ipv6_prefix: u32::from(limit.ipv6_prefix),
        refuse_when_full: u32::from(limit.when_full == WhenFull::Refuse),
        delays: u32::from(!limit.nodelay),
        id: id(name),
        strikes: limit.block.as_ref().map_or_else(Rate::default, |block| block.after),
        block_ns: limit.block.as_ref().map_or(0, |block| block.time.as_nanos() as u64),
    }
}
