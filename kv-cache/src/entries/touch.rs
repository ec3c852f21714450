//! Redis keeps seeing hot keys (C10).
//!
//! Where Redis evicts by use (an LRU or LFU policy), it would take the keys that are answered in the stack for the ones that
//! nobody wants. So about once a second the agent takes the hits of some entries, and sends `TOUCH` for those that had any.
//! `TOUCH` counts as a use whatever `CLIENT NO-TOUCH` says, moves no value, and is no write.
//!
//! The rate is bounded (`cache.touches_per_second`): with many entries in use, each has its turn less often. For LRU that
//! is enough as long as a round through all entries is shorter than the time in which Redis would evict. LFU counts uses:
//! there an entry that had many hits is touched several times; still Redis counts far fewer uses than there were, so a key
//! that is too large to be cached looks hotter beside them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis_protocol::resp2::types::OwnedFrame as Frame;

use crate::server::redis::{Connection, Info, RedisError};
use crate::shared::{Cache, Shared, lock};

/// Time between two rounds, at least: a little less than between two looks at the server, which it is called at.
const PERIOD: Duration = Duration::from_millis(900);

/// Keys in one command: other clients' commands have their turn in between.
const KEYS_MAX: usize = 64;

/// Hits for which an LFU policy is told of one more use.
const HITS_PER_USE: u16 = 32;

/// What is known about touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Redis does not evict by use.
    #[default]
    NotNeeded,
    /// The configuration forbids it, and Redis evicts by use.
    Off,
    /// Entries that had hits are touched.
    Active,
    /// Redis refuses; what it says.
    Refused(String),
}

impl State {
    /// For the status: a short name, a colon, and what follows from it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::NotNeeded => "not_needed: Redis does not evict by use".to_owned(),
            Self::Off => {
                "off: Redis does not see hits and may evict keys in use, cache.touches_per_second is 0"
                    .to_owned()
            }
            Self::Active => "active: Redis is told which keys are in use".to_owned(),
            Self::Refused(answer) => {
                format!("refused: Redis may evict keys in use, since it answers TOUCH with: {answer}")
            }
        }
    }
}

/// What is known about touching, for all tasks.
#[derive(Debug, Default)]
pub struct Touches(Mutex<State>);

impl Touches {
    /// What is known now.
    #[must_use]
    pub fn state(&self) -> State {
        lock(&self.0).clone()
    }

    fn set(&self, state: State) {
        let mut known = lock(&self.0);
        if *known != state {
            tracing::info!(touch = state.describe(), "eviction by use");
            *known = state;
        }
    }
}

/// Goes round the entries, by one connection.
#[derive(Debug, Default)]
pub struct Toucher {
    page: usize,
    last: Option<Instant>,
    /// Database that the connection has selected.
    database: u32,
}

/// Keys by database, each with how often.
type Keys = BTreeMap<u32, Vec<Vec<u8>>>;

impl Toucher {
    /// Touches what had hits, if it is time and Redis evicts by use. The connection's database is another one afterwards.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn round(
        &mut self,
        shared: &Shared,
        connection: &mut Connection,
        info: &Info,
    ) -> Result<(), RedisError> {
        let budget = shared.config.read().touches_per_second as usize;
        if !info.evicts_by_use() {
            shared.touches.set(State::NotNeeded);
            return Ok(());
        }
        if budget == 0 {
            shared.touches.set(State::Off);
            return Ok(());
        }
        if self.last.is_some_and(|last| last.elapsed() < PERIOD) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let by_frequency = info.maxmemory_policy.ends_with("lfu");
        let keys = tokio::task::block_in_place(|| self.take(shared, budget, by_frequency));
        let touched: usize = keys.values().map(Vec::len).sum();
        for (database, keys) in &keys {
            if *database != self.database {
                connection.push(&[b"SELECT", database.to_string().as_bytes()]);
                self.database = *database;
            }
            for keys in keys.chunks(KEYS_MAX) {
                let mut command: Vec<&[u8]> = vec![b"TOUCH"];
                command.extend(keys.iter().map(Vec::as_slice));
                connection.push(&command);
            }
        }
        if touched == 0 {
            shared.touches.set(State::Active);
            return Ok(());
        }
        let answers = connection.send().await?;
        let refused = answers.into_iter().find_map(|answer| match answer {
            Frame::Error(text) => Some(text),
            _ => None,
        });
        if refused.is_none() {
            shared.counts.touches.fetch_add(touched as u64, Ordering::Relaxed);
        }
        shared.touches.set(refused.map_or(State::Active, State::Refused));
        Ok(())
    }

    /// Takes the hits of the next pages' entries, until there are `budget` touches or all pages had their turn.
    fn take(&mut self, shared: &Shared, budget: usize, by_frequency: bool) -> Keys {
        let mut keys = Keys::new();
        let mut touches = 0;
        let pages = lock(&shared.cache).table.pages();
        for _ in 0..pages {
            if touches >= budget {
                break;
            }
            self.page = (self.page + 1) % pages;
            let Cache { table, entries } = &mut *lock(&shared.cache);
            for heat in table.take_page_hits(entries, self.page) {
                let (database, key) = entries.key(heat.location);
                let times = if by_frequency { 1 + heat.hits / HITS_PER_USE } else { 1 };
                touches += usize::from(times);
                keys.entry(database).or_default().extend(std::iter::repeat_n(key, times.into()));
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_says_what_follows_from_it() {
        for (state, start) in [
            (State::NotNeeded, "not_needed: "),
            (State::Off, "off: Redis does not see hits"),
            (State::Active, "active: "),
            (
                State::Refused("NOPERM".into()),
                "refused: Redis may evict keys in use, since it answers TOUCH with: NOPERM",
            ),
        ] {
            assert!(state.describe().starts_with(start), "{state:?}");
        }
    }
}
