//! The tracking connection: Redis tells which keys were changed, whoever changed them (C6).
//!
//! `CLIENT TRACKING ON BCAST` on a RESP3 connection: each changed key of any database comes as a push, a flush as a push
//! of null. It is held only while bounded coherence needs it ([`crate::freshness`]).
//!
//! Beats prove that nothing is held up: `PING`, and the next one only after its answer. Redis writes the invalidations of
//! what it has carried out before it reads the next commands (`trackingBroadcastInvalidationMessages` in `beforeSleep`,
//! src/server.c), so the answer to a beat comes behind the invalidations of everything that was carried out before the
//! beat before it was sent: for the bound's length from then on, hits are allowed.
//!
//! `SWAPDB` invalidates no key. Where it may come unseen (a replica's master, a unix socket), its count in
//! `INFO commandstats`, asked for with each beat, gives it away.
//!
//! [`Reader`] is sans-IO; the rest is the connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kv_fastpath::coherence::{PENDING_BITS, bucket_of};
use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::OwnedFrame as Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use xps_runtime::control::monotonic_ns;
use xps_runtime::link::Stream;

use crate::credentials::Server;
use crate::link::Link;
use crate::redis::{ANSWER_TIMEOUT, RedisError, connect, encode, retry_delay};
use crate::shared::{Shared, count};
use crate::store::key_hash;

/// Beats during the bound, at least.
const BEATS: u32 = 4;

/// Longest message that is taken: a push holds the keys that one round of Redis's event loop has changed.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    /// These keys may have changed.
    Changed(Vec<Vec<u8>>),
    /// Any key may have changed.
    All,
    /// An answer to a question.
    Answer(Answer),
    /// A push of another kind.
    Other,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Text(String),
    Error(String),
    Other,
}

/// Reads messages out of a stream.
#[derive(Debug, Default)]
struct Reader {
    received: Vec<u8>,
    at: usize,
}

impl Reader {
    /// The next whole message.
    fn next(&mut self) -> Result<Option<Message>, RedisError> {
        let decoded =
            decode(&self.received[self.at..]).map_err(|error| RedisError::Protocol(error.to_string()))?;
        let Some((frame, length)) = decoded else {
            self.received.drain(..self.at);
            self.at = 0;
            if self.received.len() > MESSAGE_BYTES_MAX {
                return Err(RedisError::Protocol(format!("larger than {MESSAGE_BYTES_MAX} bytes")));
            }
            return Ok(None);
        };
        self.at += length;
        Ok(Some(message(frame)))
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Push { data, .. } => invalidation(data),
        Frame::SimpleString { data, .. }
        | Frame::BlobString { data, .. }
        | Frame::VerbatimString { data, .. } => {
            Message::Answer(Answer::Text(String::from_utf8_lossy(&data).into_owned()))
        }
        Frame::SimpleError { data, .. } => Message::Answer(Answer::Error(data)),
        Frame::BlobError { data, .. } => {
            Message::Answer(Answer::Error(String::from_utf8_lossy(&data).into_owned()))
        }
        _ => Message::Answer(Answer::Other),
    }
}

fn invalidation(data: Vec<Frame>) -> Message {
    let bytes = |frame: &Frame| match frame {
        Frame::BlobString { data, .. } | Frame::SimpleString { data, .. } => Some(data.clone()),
        _ => None,
    };
    let mut parts = data.into_iter();
    if parts.next().as_ref().and_then(bytes).as_deref() != Some(b"invalidate".as_slice()) {
        return Message::Other;
    }
    match parts.next() {
        Some(Frame::Array { data, .. }) => {
            let keys: Vec<_> = data.iter().filter_map(bytes).collect();
            // A key of another form would be one that is missed.
            if keys.len() == data.len() { Message::Changed(keys) } else { Message::All }
        }
        _ => Message::All,
    }
}

/// How often SWAPDB was carried out, from `INFO commandstats`.
fn swaps(stats: &str) -> u64 {
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_swapdb:calls="));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// Tracks while it is wanted, until `stop` turns true.
pub async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut wanted = shared.freshness.wanted();
    let tracking = async {
        let mut failures = 0;
        loop {
            if wanted.wait_for(|wanted| *wanted).await.is_err() {
                return;
            }
            if !shared.config.read().tracking {
                lost(&shared, "coherence.tracking is off".to_owned());
                let _ = wanted.wait_for(|wanted| !*wanted).await;
                continue;
            }
            let error = tokio::select! {
                error = track(&shared, &mut failures) => error,
                _ = async { wanted.clone().wait_for(|wanted| !*wanted).await.map(drop) } => continue,
            };
            if failures == 0 {
                tracing::warn!(%error, "tracking is lost; until it is back entries live for coherence.max_staleness at most");
            }
            lost(&shared, error.to_string());
            sleep(retry_delay(failures)).await;
            failures += 1;
        }
    };
    tokio::select! {
        () = tracking => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

fn lost(shared: &Shared, why: String) {
    tokio::task::block_in_place(|| shared.freshness.lost(why, || shared.flush()));
}

/// The connection while it lasts.
struct Tracking<'a> {
    shared: &'a Shared,
    stream: Link,
    /// Where it leads, for messages.
    address: String,
    reader: Reader,
    /// When the beats that are not answered yet were sent, `CLOCK_MONOTONIC` in nanoseconds.
    sent: VecDeque<u64>,
    /// When the last beat that was answered was sent.
    before: Option<u64>,
    swaps: Option<u64>,
}

/// Tracks as long as the connection lasts; gives what ended it.
async fn track(shared: &Shared, failures: &mut u32) -> RedisError {
    // The credentials may be others than at the start.
    let redis = shared.config.read().redis.clone();
    let bound = shared.freshness.bound();
    let attempt = async {
        let mut tracking = Tracking {
            shared,
            stream: connect(&redis).await?,
            address: redis.address.to_string(),
            reader: Reader::default(),
            sent: VecDeque::new(),
            before: None,
            swaps: None,
        };
        tracking.begin(&redis).await?;
        Ok(tracking)
    };
    let mut tracking = match timeout(ANSWER_TIMEOUT, attempt).await {
        Ok(Ok(tracking)) => tracking,
        Ok(Err(error)) => return error,
        Err(_) => return RedisError::Timeout(ANSWER_TIMEOUT),
    };
    *failures = 0;
    let mut beats = interval(bound / BEATS);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let turn = tokio::select! {
            read = tracking.stream.read_buf(&mut tracking.reader.received) => match read {
                Ok(0) => Err(RedisError::Broken(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => tracking.take(),
                Err(error) => Err(error.into()),
            },
            _ = beats.tick() => tracking.beat().await,
        };
        if let Err(error) = turn {
            return error;
        }
    }
}

impl Tracking<'_> {
    /// Introduces itself and asks for invalidations.
    async fn begin(&mut self, redis: &Server) -> Result<(), RedisError> {
        let user = redis.user();
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if !redis.username.is_empty() || !redis.password.is_empty() {
            hello.extend([b"AUTH".as_slice(), user.as_bytes(), redis.password.reveal().as_bytes()]);
        }
        self.ask("HELLO", &hello, user).await?;
        self.ask("CLIENT TRACKING", &[b"CLIENT", b"TRACKING", b"ON", b"BCAST"], user).await?;
        // Each beat asks for it: better to know now that it is refused.
        self.ask("INFO commandstats", &[b"INFO", b"commandstats"], user).await
    }

    async fn ask(
        &mut self,
        command: &'static str,
        arguments: &[&[u8]],
        user: &str,
    ) -> Result<(), RedisError> {
        let mut request = Vec::new();
        encode(&mut request, arguments);
        self.stream.write_all(&request).await?;
        self.stream.flush().await?;
        loop {
            match self.reader.next()? {
                Some(Message::Answer(Answer::Error(error))) => {
                    let hint = if error.starts_with("NOPERM") {
                        format!(" (ACL SETUSER {user} +hello +client|tracking +info +ping)")
                    } else {
                        String::new()
                    };
                    return Err(RedisError::Refused { command, answer: error + &hint });
                }
                Some(Message::Answer(_)) => return Ok(()),
                // Nothing is cached on its word yet.
                Some(_) => {}
                None => {
                    if self.stream.read_buf(&mut self.reader.received).await? == 0 {
                        return Err(RedisError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Sends a beat, if the one before is answered.
    async fn beat(&mut self) -> Result<(), RedisError> {
        let peer = self.stream.tcp().peer_addr()?;
        if !self.shared.whereabouts.include(peer) {
            return Err(RedisError::Moved { address: self.address.clone() });
        }
        let now = monotonic_ns();
        if let Some(sent) = self.sent.front() {
            let late = Duration::from_nanos(now.saturating_sub(*sent)) > self.shared.freshness.bound();
            return if late { Err(RedisError::Timeout(self.shared.freshness.bound())) } else { Ok(()) };
        }
        let mut request = Vec::new();
        encode(&mut request, &[b"PING"]);
        encode(&mut request, &[b"INFO", b"commandstats"]);
        self.sent.push_back(now);
        self.stream.write_all(&request).await?;
        Ok(self.stream.flush().await?)
    }

    /// Acts on all messages that have come.
    fn take(&mut self) -> Result<(), RedisError> {
        while let Some(message) = self.reader.next()? {
            match message {
                Message::Changed(keys) => {
                    for key in &keys {
                        let bucket = bucket_of(key_hash(self.shared.secret, key));
                        self.shared.buckets.add(bucket, 1 << PENDING_BITS);
                        count(&self.shared.counts.invalidations_tracked);
                    }
                }
                Message::All => {
                    self.shared.buckets.invalidate_all();
                    count(&self.shared.counts.invalidations_all);
                }
                Message::Answer(Answer::Text(text)) => self.answered(&text),
                Message::Answer(Answer::Error(error)) => {
                    return Err(RedisError::Refused { command: "INFO commandstats", answer: error });
                }
                Message::Answer(Answer::Other) | Message::Other => {}
            }
        }
        Ok(())
    }

    fn answered(&mut self, text: &str) {
        if text == "PONG" {
            return;
        }
        let swaps = Some(swaps(text));
        if self.swaps.is_some() && self.swaps != swaps {
            self.shared.buckets.invalidate_all();
            count(&self.shared.counts.invalidations_all);
        }
        self.swaps = swaps;
        let Some(sent) = self.sent.pop_front() else { return };
        if let Some(before) = self.before.replace(sent) {
            let bound = u64::try_from(self.shared.freshness.bound().as_nanos()).unwrap_or(u64::MAX);
            self.shared.freshness.beat(before.saturating_add(bound));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bytes: &[u8]) -> Vec<Message> {
        let mut reader = Reader::default();
        let mut messages = Vec::new();
        // Cut anywhere, it is the same.
        for byte in bytes {
            reader.received.push(*byte);
            while let Some(message) = reader.next().expect("RESP3") {
                messages.push(message);
            }
        }
        messages
    }

    #[test]
    fn invalidations_are_told_from_answers() {
        let bytes = b"+PONG\r\n>2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n>2\r\n$10\r\ninvalidate\r\n_\r\n\
            >3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n-ERR no\r\n";
        let expected = [
            Message::Answer(Answer::Text("PONG".into())),
            Message::Changed(vec![b"a".to_vec(), b"\r\n".to_vec()]),
            Message::All,
            Message::Other,
            Message::Answer(Answer::Error("ERR no".into())),
        ];
        assert_eq!(messages(bytes), expected);
    }

    #[test]
    fn what_is_not_a_list_of_keys_means_all() {
        for bytes in [
            b">2\r\n$10\r\ninvalidate\r\n$1\r\na\r\n".as_slice(),
            b">1\r\n$10\r\ninvalidate\r\n",
            b">2\r\n$10\r\ninvalidate\r\n*1\r\n:1\r\n",
        ] {
            assert_eq!(messages(bytes), [Message::All]);
        }
    }

    #[test]
    fn swaps_are_counted() {
        let stats = "# Commandstats\r\ncmdstat_get:calls=5,usec=1\r\ncmdstat_swapdb:calls=12,usec=34,usec_per_call=2\r\n";
        assert_eq!(swaps(stats), 12);
        assert_eq!(swaps("# Commandstats\r\n"), 0);
    }
}
