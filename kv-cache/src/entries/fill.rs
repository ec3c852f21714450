//! Fills the table: from misses that the handler reports, to entries (C3, C4).
//!
//! For each key the bucket's and the global word are read first, nothing pending; then the server is asked for the time to
//! live and the value. No transaction is needed around these two: a write to the key, however it comes, passes the stack
//! before the server sees it, so an entry whose time and value belong to different states carries versions that are no
//! longer current, and is never served. The order matters only for keys that expire in between: the time is asked first,
//! and the deadline counts from before it was asked, so it is never late.
//!
//! The value is asked for with `GETRANGE key 0 <limit>`, so that a value of hundreds of megabytes costs the server and the
//! agent nothing; one that comes back longer than can be cached is too large. Where there is no value there is no time to
//! live either: so a key that does not exist is told from an empty value. One that expires between the two questions looks
//! like an empty value, whose deadline has passed by then.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kv_fastpath::abi::{EntryHead, GLOBAL_BUCKET};
use kv_fastpath::coherence::{bucket_of, entry_id, settled};
use redis_protocol::resp2::types::OwnedFrame as Frame;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use xps_runtime::control::{monotonic_ns, tai_ns};

use crate::config::Config;
use crate::entries::reports::{Miss, Reports};
use crate::entries::store::key_hash;
use crate::entries::table::Admission;
use crate::server::redis::{Connection, RedisError, retry_delay};
use crate::shared::{Cache, Shared, count, lock, now_ms};

/// Keys asked for at once.
const BATCH: usize = 256;

/// How long a key without a value that can be cached is left alone, in milliseconds.
const UNCACHEABLE_MS: u64 = 1_000;

/// Most keys that are left alone.
const UNCACHEABLE_MAX: usize = 65_536;

/// Times the sampling of misses may be halved when they lead to nothing.
const SAMPLE_SHIFT_MAX: u32 = 5;

/// Outcomes after which the sampling is looked at again.
const OUTCOMES: u32 = 256;

/// Times a key is asked for again at once because a write was faster.
const OVERTAKEN_MAX: u32 = 4;

/// Longest time without a sign of life.
const BEAT: Duration = Duration::from_millis(50);

/// A key that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    id: u64,
    database: u32,
    key: Vec<u8>,
    /// Words of its bucket and of the global one, read before the server is asked.
    words: (u64, u64),
    bucket: u32,
    /// Times that a write was faster.
    overtaken: u32,
}

/// Reports of misses turned into work.
struct Filler {
    shared: Arc<Shared>,
    secret: [u64; 2],
    /// Keys to leave alone, until when in milliseconds.
    uncacheable: HashMap<u64, u64>,
    sample: Sample,
    /// Database that the connection has selected.
    database: u32,
    /// Keys whose value was overtaken by a write, with how often: they are asked for again at once.
    again: Vec<(Miss, u32)>,
}

/// Adapts how many misses are reported to how many lead to an entry: a flood of keys that do not exist must cost the
/// server little.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    outcomes: u32,
    useful: u32,
    shift: u32,
}

impl Sample {
    /// Counts an outcome; the new shift if it changed.
    fn outcome(&mut self, useful: bool) -> Option<u32> {
        self.outcomes += 1;
        self.useful += u32::from(useful);
        if self.outcomes < OUTCOMES {
            return None;
        }
        let before = self.shift;
        if self.useful * 8 < self.outcomes {
            self.shift = (self.shift + 1).min(SAMPLE_SHIFT_MAX);
        } else if self.useful * 4 > self.outcomes {
            self.shift = self.shift.saturating_sub(1);
        }
        (self.outcomes, self.useful) = (0, 0);
        (self.shift != before).then_some(self.shift)
    }
}

/// Fills until `stop` turns true. The lease is renewed only while this runs.
pub async fn run(shared: Arc<Shared>, mut reports: Reports, mut stop: watch::Receiver<bool>) {
    let secret = shared.secret;
    let mut filler = Filler {
        shared,
        secret,
        uncacheable: HashMap::new(),
        sample: Sample::default(),
        database: 0,
        again: Vec::new(),
    };
    tokio::select! {
        () = filler.run(&mut reports) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

impl Filler {
    async fn run(&mut self, reports: &mut Reports) {
        let mut connection: Option<Connection> = None;
        let mut failures = 0;
        let mut next_attempt = Instant::now();
        loop {
            self.beat();
            let (wanted, config) = self.gather(reports).await;
            if wanted.is_empty() {
                continue;
            }
            // What is asked of another server than the watch's is not what clients get.
            let known = |open: &Connection| {
                open.peer_address().is_ok_and(|peer| self.shared.whereabouts.include(peer))
            };
            connection = connection.filter(known);
            if connection.is_none() && Instant::now() >= next_attempt {
                match self.beating(Connection::open(&config.redis)).await {
                    Ok(opened) => {
                        *lock(&self.shared.fill_address) = opened.local_address().ok();
                        (connection, self.database, failures) = (Some(opened), 0, 0);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot fill");
                        next_attempt = Instant::now() + retry_delay(failures);
                        failures += 1;
                    }
                }
            }
            let Some(open) = &mut connection else { continue };
            if let Err(error) = self.fill(open, wanted, &config).await {
                tracing::info!(%error, "filling is interrupted");
                connection = None;
                next_attempt = Instant::now() + retry_delay(failures);
                failures += 1;
            }
        }
    }

    fn beat(&self) {
        self.shared.fill_beat_ns.store(monotonic_ns(), Ordering::Release);
    }

    /// Waits for `work`, with signs of life.
    async fn beating<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            self.beat();
            if let Ok(done) = timeout(BEAT, &mut work).await {
                return done;
            }
        }
    }

    /// Reads reports, as many as are there, and keeps those that are worth a question. What is made of them is for the
    /// configuration that comes with them to say: it was read after their words, so that a change of it, which makes all
    /// entries invalid, leaves none that was made by the former one's rules.
    async fn gather(&mut self, reports: &mut Reports) -> (Vec<Wanted>, Arc<Config>) {
        let again = std::mem::take(&mut self.again);
        let mut misses: Vec<Miss> = Vec::new();
        let mut recheck = false;
        // With something to do, what has come by now is enough.
        let patience = if again.is_empty() { BEAT } else { Duration::ZERO };
        match timeout(patience, reports.read(BATCH, &mut misses)).await {
            Ok(Ok(asked)) => recheck = asked,
            Ok(Err(error)) => {
                tracing::error!(%error, "no reports can be read");
                sleep(BEAT).await;
            }
            Err(_) => {}
        }
        if recheck {
            self.shared.recheck.notify_one();
        }
        self.shared.counts.misses_reported.fetch_add(misses.len() as u64, Ordering::Relaxed);
        let coherent = self.shared.coherent.load(Ordering::Acquire);
        let now_ms = now_ms();
        if self.uncacheable.len() > UNCACHEABLE_MAX {
            self.uncacheable.clear();
        }
        let mut taken = HashSet::new();
        let mut wanted = Vec::new();
        let cache = &mut lock(&self.shared.cache).table;
        let misses = misses.into_iter().map(|miss| (miss, 0));
        for (Miss { id, database, key, weight }, overtaken) in again.into_iter().chain(misses) {
            let hash = key_hash(self.secret, &key);
            if entry_id(hash, database) != id {
                continue;
            }
            if overtaken == 0 {
                cache.asked(id, weight);
                self.shared.top.missed(id, database, &key, weight);
            }
            let left_alone = self.uncacheable.get(&id).is_some_and(|until| *until > now_ms);
            if !coherent || left_alone || cache.hopeless(id) || !taken.insert(id) {
                continue;
            }
            let bucket = bucket_of(hash);
            let words = (self.shared.buckets.read(bucket), self.shared.buckets.read(GLOBAL_BUCKET));
            if settled(words.0) && settled(words.1) && !cache.valid(id, words, tai_ns()) {
                wanted.push(Wanted { id, database, key, words, bucket, overtaken });
            }
        }
        let config = self.shared.config.read();
        let all = wanted.len();
        wanted.retain(|one: &Wanted| config.limits.admits(&one.key));
        self.shared.counts.filtered.fetch_add((all - wanted.len()) as u64, Ordering::Relaxed);
        (wanted, config)
    }

    /// Asks the server for all of `wanted` in one batch, and makes entries of the answers.
    async fn fill(
        &mut self,
        connection: &mut Connection,
        wanted: Vec<Wanted>,
        config: &Config,
    ) -> Result<(), RedisError> {
        let end = config.value_bytes_max.to_string();
        // Before the server is asked: what is fetched while there is no tracking is capped, whatever comes later.
        let cap_ns = self.shared.freshness.cap_ns().min(config.limits.ttl_max_ns());
        let asked = Asked { tai_ns: tai_ns(), cap_ns };
        let mut selects = Vec::with_capacity(wanted.len());
        for one in &wanted {
            let select = one.database != self.database;
            if select {
                connection.push(&[b"SELECT", one.database.to_string().as_bytes()]);
                self.database = one.database;
            }
            selects.push(select);
            connection.push(&[b"PTTL", &one.key]);
            connection.push(&[b"GETRANGE", &one.key, b"0", end.as_bytes()]);
        }
        let answers = self.beating(connection.send()).await?;
        let mut answers = answers.into_iter();
        let now_ms = now_ms();
        let shared = Arc::clone(&self.shared);
        let mut cache = lock(&shared.cache);
        for (one, select) in wanted.into_iter().zip(selects) {
            if select && !matches!(answers.next(), Some(Frame::SimpleString(_))) {
                return Err(RedisError::Protocol("SELECT was refused".to_owned()));
            }
            let (Some(ttl), Some(value)) = (answers.next(), answers.next()) else {
                return Err(RedisError::Protocol("answers are missing".to_owned()));
            };
            count(&shared.counts.fills);
            let useful = match answer(config.value_bytes_max, asked, &ttl, value) {
                // One that nobody has asked for again within a second or so is not worth an entry: a flood of keys that
                // do not exist must not push others out.
                Answer::Missing if config.missing_keys && self.uncacheable.remove(&one.id).is_some() => {
                    self.admit(&mut cache, now_ms, &one, asked.capped(u64::MAX), &[])
                }
                Answer::Value { deadline, reply } => self.admit(&mut cache, now_ms, &one, deadline, &reply),
                Answer::Missing | Answer::Uncacheable => {
                    count(&shared.counts.uncacheable);
                    self.uncacheable.insert(one.id, now_ms + UNCACHEABLE_MS);
                    false
                }
            };
            if let Some(shift) = self.sample.outcome(useful) {
                shared.settings.set_miss_sample(config.miss_sample << shift);
            }
        }
        Ok(())
    }

    /// Whether an entry was made, or a write was faster, which says nothing against the key.
    fn admit(
        &mut self,
        cache: &mut Cache,
        now_ms: u64,
        one: &Wanted,
        deadline_tai_ns: u64,
        reply: &[u8],
    ) -> bool {
        let now = (self.shared.buckets.read(one.bucket), self.shared.buckets.read(GLOBAL_BUCKET));
        if now != one.words {
            // It would never be served.
            count(&self.shared.counts.overtaken);
            if one.overtaken < OVERTAKEN_MAX {
                // It was counted the first time.
                let miss = Miss { id: one.id, database: one.database, key: one.key.clone(), weight: 0 };
                self.again.push((miss, one.overtaken + 1));
            }
            return true;
        }
        let head = EntryHead {
            id: one.id,
            bucket: one.words.0,
            global: one.words.1,
            deadline_tai_ns,
            key_len: one.key.len() as u16,
            reply_len: reply.len() as u16,
            database: one.database,
            ..EntryHead::default()
        };
        let Cache { table, entries } = cache;
        match table.insert(entries, now_ms, &head, &one.key, reply) {
            Admission::Admitted => {
                count(&self.shared.counts.admitted);
                true
            }
            // There is a place, only not now: bytes are in quarantine.
            Admission::NoRoom => {
                count(&self.shared.counts.refused);
                true
            }
            Admission::NotFrequent | Admission::TooLarge => {
                count(&self.shared.counts.refused);
                false
            }
        }
    }
}

/// What the server said of a key.
enum Answer {
    /// A reply, and until when it may be served.
    Value { deadline: u64, reply: Vec<u8> },
    /// There is no such key.
    Missing,
    /// Another type, too large, or about to expire.
    Uncacheable,
}

fn answer(value_bytes_max: u32, asked: Asked, ttl: &Frame, value: Frame) -> Answer {
    let Frame::BulkString(value) = value else { return Answer::Uncacheable };
    if matches!(ttl, Frame::Integer(-2)) && value.is_empty() {
        return Answer::Missing;
    }
    match deadline(asked, ttl) {
        Some(deadline) if value.len() <= value_bytes_max as usize => {
            Answer::Value { deadline, reply: reply_of(&value) }
        }
        _ => Answer::Uncacheable,
    }
}

/// When the server was asked, and how long what it says may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    tai_ns: u64,
    cap_ns: u64,
}

impl Asked {
    fn capped(self, deadline: u64) -> u64 {
        deadline.min(self.tai_ns.saturating_add(self.cap_ns))
    }
}

/// Until when a value may be served, from `PTTL`'s answer; `None` if the key is not there any more.
fn deadline(asked: Asked, ttl: &Frame) -> Option<u64> {
    match ttl {
        Frame::Integer(-1) => Some(asked.capped(u64::MAX)),
        Frame::Integer(ms @ 1..) => {
            Some(asked.capped(asked.tai_ns.saturating_add(ms.unsigned_abs().saturating_mul(1_000_000))))
        }
        _ => None,
    }
}

/// The reply that the server would send.
fn reply_of(value: &[u8]) -> Vec<u8> {
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.extend_from_slice(value);
    reply.extend_from_slice(b"\r\n");
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_count_from_the_question() {
        let asked = Asked { tai_ns: 1_000, cap_ns: u64::MAX };
        assert_eq!(deadline(asked, &Frame::Integer(-1)), Some(u64::MAX));
        assert_eq!(deadline(asked, &Frame::Integer(2)), Some(2_001_000));
        assert_eq!(deadline(asked, &Frame::Integer(-2)), None);
        assert_eq!(deadline(asked, &Frame::Integer(0)), None);
        assert_eq!(deadline(asked, &Frame::Error("ERR".into())), None);
        let capped = Asked { cap_ns: 1_000_000, ..asked };
        assert_eq!(deadline(capped, &Frame::Integer(-1)), Some(1_001_000));
        assert_eq!(deadline(capped, &Frame::Integer(2)), Some(1_001_000));
    }

    #[test]
    fn replies_are_bulk_strings() {
        assert_eq!(reply_of(b"a\r\nb"), b"$4\r\na\r\nb\r\n");
    }

    #[test]
    fn misses_without_values_are_sampled_less() {
        let mut sample = Sample::default();
        for _ in 0..OUTCOMES * 10 {
            sample.outcome(false);
        }
        assert_eq!(sample.shift, SAMPLE_SHIFT_MAX);
        for _ in 0..OUTCOMES * 10 {
            sample.outcome(true);
        }
        assert_eq!(sample.shift, 0);
    }
}
