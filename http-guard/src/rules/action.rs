//! What a rule does.

use std::time::Duration;

use http_fastpath::limit::Rate;
use xps_runtime::config::duration_of;

use super::condition::is_token;
use super::keys::Keys;

/// Status of a refusal by rule.
const DENY_STATUS: u32 = 403;
/// Status of a refusal by rate.
const LIMIT_STATUS: u32 = 429;
/// Most requests of a rate, in its unit of time: above, whole nanoseconds would be too coarse.
const REQUESTS_MAX: u64 = 1_000_000;
const BURST_MAX: u32 = 1_000_000;

/// What a rule does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It passes.
    Allow,
    /// It is refused.
    Deny {
        /// Status of the answer.
        status: u16,
    },
    /// It is refused if it is one too many.
    Limit(Limit),
    /// Its connection is closed.
    Close,
    /// Its connection is left without an answer.
    Drop,
    /// It is counted, and the next rules decide.
    Count,
}

impl Action {
    /// As it is written.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny { .. } => "deny",
            Self::Limit(_) => "limit",
            Self::Close => "close",
            Self::Drop => "drop",
            Self::Count => "count",
        }
    }
}

/// How often which key may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How often, and how many at once.
    pub rate: Rate,
    /// The rate as it was written, for people.
    pub written: String,
    /// Whether requests of a burst pass at once, rather than evenly.
    pub nodelay: bool,
    /// What is counted together.
    pub key: Vec<KeyPart>,
    /// Bits of an IPv6 address that make one client.
    pub ipv6_prefix: u8,
    /// What happens to keys that the table has no place for.
    pub when_full: WhenFull,
    /// Status of the answer.
    pub status: u16,
    /// When a client that goes on is blocked, if ever.
    pub block: Option<Block>,
}

/// When and for how long a client is blocked that does not heed its refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// How often it may be refused.
    pub after: Rate,
    /// How long it is blocked then.
    pub time: Duration,
}

/// A part of a limit's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPart {
    /// The client's address.
    Address,
    /// The host.
    Host,
    /// The path, normalised.
    Path,
    /// The value of a header; its name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
}

/// What happens to requests with keys that a full table has no place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// They pass.
    #[default]
    Pass,
    /// They are refused.
    Refuse,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Allow,
    Deny,
    Limit,
    Close,
    Drop,
    Count,
}

const WORDS: [(&str, Word); 6] = [
    ("allow", Word::Allow),
    ("deny", Word::Deny),
    ("limit", Word::Limit),
    ("close", Word::Close),
    ("drop", Word::Drop),
    ("count", Word::Count),
];

/// Longest time for which a client is blocked.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

const LIMIT_KEYS: [&str; 8] =
    ["rate", "burst", "nodelay", "key", "ipv6_prefix", "when_full", "block_after", "block_time"];

/// Reads what a rule does, and whether only for show.
pub(super) fn read(keys: &mut Keys<'_, '_>) -> (Action, bool) {
    let word = keys.choice("action", &WORDS);
    let Some(word) = word else {
        if !keys.is_given("action") {
            let all = WORDS.map(|(word, _)| format!("\"{word}\"")).join(", ");
            keys.mistake(&format!("has no action; it must be one of {all}"));
        }
        // What the other keys are good for is not known.
        keys.know(&LIMIT_KEYS);
        keys.know(&["status", "dry_run"]);
        return (Action::Allow, false);
    };
    if word != Word::Limit {
        for key in LIMIT_KEYS {
            keys.useless(key, "is of use with action = \"limit\" only");
        }
    }
    if !matches!(word, Word::Deny | Word::Limit) {
        keys.useless("status", "is of use with action = \"deny\" and \"limit\" only");
    }
    if matches!(word, Word::Allow | Word::Count) {
        keys.useless("dry_run", "is of no use: the action refuses nothing");
    }
    let action = match word {
        Word::Allow => Action::Allow,
        Word::Deny => Action::Deny { status: status(keys, DENY_STATUS) },
        Word::Limit => limit(keys),
        Word::Close => Action::Close,
        Word::Drop => Action::Drop,
        Word::Count => Action::Count,
    };
    (action, keys.boolean("dry_run").is_some_and(|(_, dry_run)| dry_run))
}

fn status(keys: &mut Keys<'_, '_>, default: u32) -> u16 {
    keys.integer("status", default, 400..=599) as u16
}

fn limit(keys: &mut Keys<'_, '_>) -> Action {
    if !keys.is_given("rate") {
        keys.mistake(&format!("has no rate; its action needs {RATE}"));
    }
    let written = rate(keys, "rate");
    let burst = keys.integer("burst", 1, 1..=BURST_MAX);
    let nodelay = keys.boolean("nodelay").is_none_or(|(_, nodelay)| nodelay);
    let key = key(keys);
    let ipv6_prefix = keys.integer("ipv6_prefix", 64, 1..=128) as u8;
    let words = [("pass", WhenFull::Pass), ("refuse", WhenFull::Refuse)];
    let when_full = keys.choice("when_full", &words).unwrap_or_default();
    let status = status(keys, LIMIT_STATUS);
    let block = block(keys);
    let Some((at, written, requests, period_ns)) = written else { return Action::Allow };
    match Rate::new(requests, period_ns, u64::from(burst)) {
        Ok(rate) => {
            Action::Limit(Limit { rate, written, nodelay, key, ipv6_prefix, when_full, status, block })
        }
        Err(error) => {
            keys.mistake_at(at, &format!("has a rate of {written} and a burst of {burst}: {error}"));
            Action::Allow
        }
    }
}

/// What a rate is written like.
const RATE: &str = "a rate such as \"10/s\", \"600/min\" or \"5000/h\"";

/// When a client is blocked. One key without the other is a mistake.
fn block(keys: &mut Keys<'_, '_>) -> Option<Block> {
    const TIME: &str = "a time such as \"10min\", from one second to seven days";
    let after = rate(keys, "block_after");
    let time = keys.text("block_time", TIME);
    for (given, missing) in [("block_after", "block_time"), ("block_time", "block_after")] {
        if keys.is_given(given) && !keys.is_given(missing) {
            keys.mistake(&format!("has {given} but no {missing}"));
        }
    }
    let (at, text) = time?;
    let time = duration_of(&text).filter(|time| (Duration::from_secs(1)..=BLOCK_TIME_MAX).contains(time));
    let Some(time) = time else {
        keys.wrong(at, "block_time", &format!("\"{text}\""), TIME);
        return None;
    };
    let (at, written, requests, period_ns) = after?;
    match Rate::new(requests, period_ns, requests) {
        Ok(after) => Some(Block { after, time }),
        Err(error) => {
            keys.mistake_at(at, &format!("has a block_after of {written}: {error}"));
            None
        }
    }
}

/// A rate: where it is written and how, requests, nanoseconds.
fn rate(keys: &mut Keys<'_, '_>, name: &str) -> Option<(usize, String, u64, u64)> {
    let (at, text) = keys.text(name, RATE)?;
    let parsed = text.split_once('/').and_then(|(requests, unit)| {
        let seconds: u64 = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        let requests =
            requests.bytes().all(|byte| byte.is_ascii_digit()).then(|| requests.parse().ok())??;
        Some((requests, seconds * 1_000_000_000))
    });
    let Some((requests, period_ns)) = parsed else {
        keys.wrong(at, name, &format!("\"{text}\""), RATE);
        return None;
    };
    if !(1..=REQUESTS_MAX).contains(&requests) {
        let expected = format!("a rate of 1 to {REQUESTS_MAX} requests");
        keys.wrong(at, name, &format!("\"{text}\""), &expected);
        return None;
    }
    Some((at, text, requests, period_ns))
}

fn key(keys: &mut Keys<'_, '_>) -> Vec<KeyPart> {
    const EXPECTED: &str = "\"address\", \"host\", \"path\", \"header:NAME\" or \"cookie:NAME\"";
    let mut parts = Vec::new();
    let Some(texts) = keys.texts("key", EXPECTED) else { return vec![KeyPart::Address] };
    for (at, text) in texts {
        let part = match (text.as_str(), text.split_once(':')) {
            ("address", _) => Some(KeyPart::Address),
            ("host", _) => Some(KeyPart::Host),
            ("path", _) => Some(KeyPart::Path),
            (_, Some(("header", name))) if is_token(name) => Some(KeyPart::Header(name.to_ascii_lowercase())),
            (_, Some(("cookie", name))) if is_token(name) => Some(KeyPart::Cookie(name.to_owned())),
            _ => None,
        };
        match part {
            Some(KeyPart::Header(name)) if name == "host" => {
                keys.wrong(at, "key", &format!("\"{text}\""), "\"host\"");
            }
            Some(part) => parts.push(part),
            None => keys.wrong(at, "key", &format!("\"{text}\""), EXPECTED),
        }
    }
    parts.sort();
    parts.dedup();
    parts
}
