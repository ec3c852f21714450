//! The tracking connection: Redis tells which keys were changed, whoever changed them (C6).
//!
//! `CLIENT TRACKING ON BCAST` on a RESP3 connection: each changed key of any database comes as a push, a flush as a push
//! of null. It is held only while bounded coherence needs it ([`crate::coherence::freshness`]).
//!
//! Beats prove that nothing is held up: `PING`, and the next one only after its answer. Redis writes the invalidations of
//! what it has carried out before it reads the next commands (`trackingBroadcastInvalidationMessages` in `beforeSleep`,
//! src/server.c), so the answer to a beat comes behind the invalidations of everything that was carried out before the
//! beat before it was sent: for the bound's length from then on, hits are allowed.
//!
//! Some changes invalidate no key: `SWAPDB`, where it comes unseen, and slots that a cluster's node loses. What gives them away
//! ([`crate::coherence::ownership`]) is asked for with each beat. A server that does not answer for its data (`-LOADING`, `-MASTERDOWN`)
//! refuses the beat's PING like any GET.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kv_fastpath::coherence::{PENDING_BITS, bucket_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use xps_runtime::control::monotonic_ns;
use xps_runtime::link::Stream;

use crate::coherence::invalidation::{Answer, Message, Reader};
use crate::coherence::ownership::Ownership;
use crate::server::credentials::Server;
use crate::server::link::Link;
use crate::server::redis::{ANSWER_TIMEOUT, RedisError, connect, encode, retry_delay};
use crate::shared::{Shared, count};

/// Beats during the bound, at least.
const BEATS: u32 = 4;

/// What a beat asks, in this order. The last one's answer is the beat's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Ping,
    Stats,
    ClusterInfo,
    ClusterNodes,
}

impl Question {
    const STANDALONE: &[Self] = &[Self::Ping, Self::Stats];
    const CLUSTER: &[Self] = &[Self::Ping, Self::Stats, Self::ClusterInfo, Self::ClusterNodes];

    const fn name(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Stats => "INFO commandstats",
            Self::ClusterInfo => "CLUSTER INFO",
            Self::ClusterNodes => "CLUSTER NODES",
        }
    }

    /// What the agent's user must be allowed.
    const fn rule(self) -> &'static str {
        match self {
            Self::Ping => "+ping",
            Self::Stats => "+info",
            Self::ClusterInfo => "+cluster|info",
            Self::ClusterNodes => "+cluster|nodes",
        }
    }
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
    user: &'a str,
    /// What each beat asks.
    questions: &'static [Question],
    /// What was asked and is not answered yet.
    asked: VecDeque<Question>,
    /// When the last beat was sent, `CLOCK_MONOTONIC` in nanoseconds.
    sent: u64,
    /// When the last beat that was answered was sent.
    before: Option<u64>,
    /// What the beat's answers have told so far.
    seen: Ownership,
    /// What the beat before told.
    known: Option<Ownership>,
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
            reader: Reader::new(shared.secret),
            user: redis.user(),
            questions: Question::STANDALONE,
            asked: VecDeque::new(),
            sent: 0,
            before: None,
            seen: Ownership::default(),
            known: None,
        };
        tracking.begin(&redis).await?;
        Ok(tracking)
    };
    let mut tracking = match timeout(ANSWER_TIMEOUT, attempt).await {
        Ok(Ok(tracking)) => tracking,
        Ok(Err(error)) => return error,
        Err(_) => return RedisError::Timeout(ANSWER_TIMEOUT),
    };
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
        // Not before: a server that is loading takes the connection and answers no beat.
        if tracking.before.is_some() {
            *failures = 0;
        }
    }
}

impl Tracking<'_> {
    /// Introduces itself and asks for invalidations.
    async fn begin(&mut self, redis: &Server) -> Result<(), RedisError> {
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if !redis.username.is_empty() || !redis.password.is_empty() {
            hello.extend([b"AUTH".as_slice(), self.user.as_bytes(), redis.password.reveal().as_bytes()]);
        }
        self.ask("HELLO", &hello).await?;
        self.ask("CLIENT TRACKING", &[b"CLIENT", b"TRACKING", b"ON", b"BCAST"]).await?;
        let cluster = self.ask("INFO cluster", &[b"INFO", b"cluster"]).await?;
        if cluster.contains("cluster_enabled:1") {
            self.questions = Question::CLUSTER;
        }
        Ok(())
    }

    /// One question and its answer, if that is a text.
    async fn ask(&mut self, command: &'static str, arguments: &[&[u8]]) -> Result<String, RedisError> {
        let mut request = Vec::new();
        encode(&mut request, arguments);
        self.stream.write_all(&request).await?;
        self.stream.flush().await?;
        loop {
            match self.reader.next()? {
                Some(Message::Answer(Answer::Error(error))) => {
                    return Err(self.refused(command, error, "+hello +client|tracking +info +ping"));
                }
                Some(Message::Answer(Answer::Text(text))) => return Ok(text),
                Some(Message::Answer(Answer::Other)) => return Ok(String::new()),
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

    fn refused(&self, command: &'static str, error: String, rules: &str) -> RedisError {
        let refused_by_rules = error.starts_with("NOPERM");
        let hint =
            if refused_by_rules { format!(" (ACL SETUSER {} {rules})", self.user) } else { String::new() };
        RedisError::Refused { command, answer: error + &hint }
    }

    /// Sends a beat, if the one before is answered.
    async fn beat(&mut self) -> Result<(), RedisError> {
        let peer = self.stream.tcp().peer_addr()?;
        if !self.shared.whereabouts.include(peer) {
            return Err(RedisError::Moved { address: self.address.clone() });
        }
        let now = monotonic_ns();
        if !self.asked.is_empty() {
            let late = Duration::from_nanos(now.saturating_sub(self.sent)) > self.shared.freshness.bound();
            return if late { Err(RedisError::Timeout(self.shared.freshness.bound())) } else { Ok(()) };
        }
        let mut request = Vec::new();
        for question in self.questions {
            let words: Vec<&[u8]> = question.name().split(' ').map(str::as_bytes).collect();
            encode(&mut request, &words);
            self.asked.push_back(*question);
        }
        self.sent = now;
        self.stream.write_all(&request).await?;
        Ok(self.stream.flush().await?)
    }

    /// Acts on all that has come.
    fn take(&mut self) -> Result<(), RedisError> {
        while let Some(message) = self.reader.next()? {
            match message {
                Message::Changed(hash) => {
                    self.shared.buckets.add(bucket_of(hash), 1 << PENDING_BITS);
                    count(&self.shared.counts.invalidations_tracked);
                }
                Message::All => {
                    self.shared.buckets.invalidate_all();
                    count(&self.shared.counts.invalidations_all);
                }
                Message::Answer(answer) => self.answered(answer)?,
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) -> Result<(), RedisError> {
        let unexpected = |what: &str| RedisError::Protocol(format!("{what} on the tracking connection"));
        let question = self.asked.pop_front().ok_or_else(|| unexpected("an answer without a question"))?;
        let text = match answer {
            Answer::Text(text) => text,
            Answer::Error(error) => return Err(self.refused(question.name(), error, question.rule())),
            Answer::Other => return Err(unexpected(question.name())),
        };
        match question {
            Question::Ping => {}
            Question::Stats => self.seen = Ownership::of_stats(&text),
            Question::ClusterInfo => self.seen.add_cluster_info(&text),
            Question::ClusterNodes => {
                if !self.seen.add_cluster_nodes(&text) {
                    return Err(unexpected("CLUSTER NODES without the node itself"));
                }
            }
        }
        if self.asked.is_empty() {
            self.complete();
        }
        Ok(())
    }

    /// All of a beat is answered.
    fn complete(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        if self.known.as_ref().is_some_and(|known| seen.changed_since(known)) {
            self.shared.buckets.invalidate_all();
            count(&self.shared.counts.invalidations_all);
        }
        self.known = Some(seen);
        if let Some(before) = self.before.replace(self.sent) {
            let bound = u64::try_from(self.shared.freshness.bound().as_nanos()).unwrap_or(u64::MAX);
            self.shared.freshness.beat(before.saturating_add(bound));
        }
    }
}
