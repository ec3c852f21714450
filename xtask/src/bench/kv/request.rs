//! The load generator's requests, and the one right reply to each: a benchmark that is answered wrongly fails.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys that are loaded, cached and read; named as redis-benchmark names them with `-r`.
pub(crate) const KEYS: u64 = 10_000;

/// What a connection sends.
#[derive(Clone, Copy)]
pub(crate) enum Mix {
    /// GETs: this share of them for loaded keys, %, the others for keys that do not exist, each asked for once: kv-cache
    /// keeps what it was asked for again.
    Share { percent: u64, value_bytes: usize },
    /// This share of GETs, %, the others SETs, all of loaded keys that are as popular as Zipf's law says.
    Zipf { percent: u64, value_bytes: usize },
    /// By turns a GET of a missing key, a SET and an INCR: pipelines that the stack must pass.
    Pass { value_bytes: usize },
}

/// A reply that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The value of a loaded key.
    Value { key: u64, bytes: usize },
    /// No such key.
    Nil,
    /// A SET is done.
    Ok,
    /// Any integer.
    Integer,
}

/// Writes a loaded key's name.
pub(super) fn key_name(key: u64) -> String {
    format!("key:{key:012}")
}

/// A loaded key's value: its name over and over, so that another key's value is seen.
pub(super) fn value(key: u64, bytes: usize) -> Vec<u8> {
    key_name(key).bytes().cycle().take(bytes).collect()
}

/// Appends a request in RESP.
pub(super) fn append(out: &mut Vec<u8>, words: &[&[u8]]) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

impl Mix {
    /// Appends the next request and says what must come back.
    pub(super) fn next(self, random: &mut Random, out: &mut Vec<u8>) -> Expected {
        let key = random.below(KEYS);
        match self {
            Self::Share { percent, value_bytes } if random.below(100) < percent => {
                append(out, &[b"GET", key_name(key).as_bytes()]);
                Expected::Value { key, bytes: value_bytes }
            }
            Self::Share { .. } => get_missing(out),
            Self::Zipf { percent, value_bytes } => {
                let key = zipf(random);
                if random.below(100) < percent {
                    append(out, &[b"GET", key_name(key).as_bytes()]);
                    return Expected::Value { key, bytes: value_bytes };
                }
                append(out, &[b"SET", key_name(key).as_bytes(), &value(key, value_bytes)]);
                Expected::Ok
            }
            Self::Pass { value_bytes } => match random.below(3) {
                0 => get_missing(out),
                1 => {
                    append(out, &[b"SET", format!("set:{key:012}").as_bytes(), &value(key, value_bytes)]);
                    Expected::Ok
                }
                _ => {
                    append(out, &[b"INCR", format!("counter:{key:012}").as_bytes()]);
                    Expected::Integer
                }
            },
        }
    }
}

/// Exponent of the law, as YCSB has it by default.
const ZIPF_EXPONENT: f64 = 0.99;

/// A loaded key by Zipf's law: the r-th most popular one with a probability that falls as `r^-ZIPF_EXPONENT`.
fn zipf(random: &mut Random) -> u64 {
    static CUMULATED: OnceLock<Vec<u64>> = OnceLock::new();
    const WHOLE: u64 = 1 << 32;
    let cumulated = CUMULATED.get_or_init(|| {
        let weights = (1..=KEYS).map(|rank| (rank as f64).powf(-ZIPF_EXPONENT));
        let sum: f64 = weights.clone().sum();
        let mut so_far = 0.0;
        let add = |weight: f64| {
            so_far += weight / sum;
            (so_far * WHOLE as f64) as u64
        };
        weights.map(add).collect()
    });
    let point = random.below(WHOLE);
    let rank = cumulated.partition_point(|upto| *upto <= point) as u64;
    // Neighbours in rank are no neighbours in name: 7919 has no factor in common with the number of keys.
    rank.min(KEYS - 1) * 7919 % KEYS
}

/// A key that does not exist and that nobody has asked for before.
fn get_missing(out: &mut Vec<u8>) -> Expected {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let key = ASKED.fetch_add(1, Ordering::Relaxed);
    append(out, &[b"GET", format!("missing:{key:012}").as_bytes()]);
    Expected::Nil
}

impl Expected {
    /// Checks the reply at the start of `input`. `Some(length)` when it is whole and right, `None` when more must come.
    pub(super) fn check(self, input: &[u8]) -> Result<Option<usize>, String> {
        let whole = match self {
            Self::Value { key, bytes } => {
                let mut reply = format!("${bytes}\r\n").into_bytes();
                reply.extend(value(key, bytes));
                reply.extend_from_slice(b"\r\n");
                reply
            }
            Self::Nil => b"$-1\r\n".to_vec(),
            Self::Ok => b"+OK\r\n".to_vec(),
            Self::Integer => return integer(input).ok_or_else(|| self.wrong(input)),
        };
        let common = whole.len().min(input.len());
        if whole[..common] != input[..common] {
            return Err(self.wrong(input));
        }
        Ok((common == whole.len()).then_some(common))
    }

    fn wrong(self, input: &[u8]) -> String {
        let shown = &input[..input.len().min(80)];
        format!("wrong reply: expected {self:?}, got {:?}", String::from_utf8_lossy(shown))
    }
}

/// `Some(None)`: more must come. `None`: not an integer.
fn integer(input: &[u8]) -> Option<Option<usize>> {
    let Some((first, rest)) = input.split_first() else { return Some(None) };
    if *first != b':' {
        return None;
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match &rest[digits..] {
        [] | [b'\r'] => Some(None),
        [b'\r', b'\n', ..] if digits > 0 => Some(Some(digits + 3)),
        _ => None,
    }
}

/// xorshift64*: fast and repeatable; nothing here needs more.
pub(super) struct Random(u64);

impl Random {
    /// Any seed will do.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform below `limit`, up to a bias of limit / 2^32.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * limit) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_checked_byte_by_byte_at_any_cut() {
        let expected = Expected::Value { key: 7, bytes: 20 };
        let reply = b"$20\r\nkey:000000000007key:\r\nrest";
        for cut in 0..27 {
            assert_eq!(expected.check(&reply[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(expected.check(reply), Ok(Some(27)));
        assert!(Expected::Value { key: 8, bytes: 20 }.check(reply).is_err());
        assert!(expected.check(b"$-1\r\n").is_err());
        assert_eq!(Expected::Integer.check(b":12\r\n:3"), Ok(Some(5)));
        assert_eq!(Expected::Integer.check(b":12\r"), Ok(None));
        assert!(Expected::Integer.check(b"+OK\r\n").is_err());
        assert!(Expected::Integer.check(b":\r\n").is_err());
        assert!(Expected::Ok.check(b"-ERR\r\n").is_err());
    }

    #[test]
    fn popular_keys_are_as_popular_as_the_law_says() {
        let mut random = Random::new(1);
        let mut counts = vec![0_u32; KEYS as usize];
        for _ in 0..200_000 {
            counts[zipf(&mut random) as usize] += 1;
        }
        // The sum of r^-0.99 over 10,000 ranks is 10.2.
        let share = |rank: u64| f64::from(counts[(rank * 7919 % KEYS) as usize]) / 200_000.0;
        assert!((0.093..0.103).contains(&share(0)), "{}", share(0));
        assert!((0.046..0.053).contains(&share(1)), "{}", share(1));
        assert!(counts.iter().filter(|count| **count > 0).count() > 8_000);
    }

    #[test]
    fn missing_keys_are_asked_for_once() {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        get_missing(&mut first);
        get_missing(&mut second);
        assert_ne!(first, second);
    }

    #[test]
    fn the_share_is_what_was_asked_for() {
        let (mut random, mut out, mut hits) = (Random::new(1), Vec::new(), 0);
        for _ in 0..20_000 {
            out.clear();
            let mix = Mix::Share { percent: 90, value_bytes: 64 };
            hits += u64::from(matches!(mix.next(&mut random, &mut out), Expected::Value { .. }));
        }
        assert!((17_700..18_300).contains(&hits), "{hits}");
    }
}
