//! The keys that are asked for most: `kv-cache top`.
//!
//! Hits are what the programs count with each entry, misses what they report of them: nothing is counted for this report,
//! and nobody looks at the counts for it unless somebody watches. Whoever watches asks again and again; some seconds after
//! the last question the agent stops looking. Keys appear here and nowhere else. Meanwhile [`crate::entries::touch`] sees only the hits
//! since the last look, and eviction gets those that were taken by its sketch.

mod sample;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::shared::{Shared, lock, now_ms};
use sample::Sampler;

pub use view::{Key, View};

/// Keys in a report, at most.
pub const KEYS_MAX: usize = 1_000;

/// How long after the last question counts are taken.
const LINGER: Duration = Duration::from_secs(10);

/// Time between two rounds, at least.
const ROUND: Duration = Duration::from_secs(1);

/// How much longer than the work of a round the time between two is.
const SHARE: u32 = 4;

/// Oldest report that is shown.
const AGE_MAX: Duration = Duration::from_secs(3);

/// How long to wait for a report.
const PATIENCE: Duration = Duration::from_secs(8);

/// Keys whose misses are counted in one round, at most: the first ones that are reported.
const MISSED_MAX: usize = 8_192;

/// Misses of a key in a round.
#[derive(Clone, Debug, Default)]
struct Missed {
    database: u32,
    key: Vec<u8>,
    /// How many there were, by those that were reported.
    weight: u64,
}

/// Who watches, and what there is to see.
#[derive(Debug)]
pub struct Top {
    watched: AtomicBool,
    asked_ms: AtomicU64,
    begin: Notify,
    missed: Mutex<HashMap<u64, Missed>>,
    latest: watch::Sender<Option<(Instant, Arc<View>)>>,
}

impl Default for Top {
    fn default() -> Self {
        Self {
            watched: AtomicBool::new(false),
            asked_ms: AtomicU64::new(0),
            begin: Notify::new(),
            missed: Mutex::default(),
            latest: watch::Sender::new(None),
        }
    }
}

impl Top {
    /// A miss was reported that stands for `weight`.
    pub fn missed(&self, id: u64, database: u32, key: &[u8], weight: u32) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let mut missed = lock(&self.missed);
        if let Some(known) = missed.get_mut(&id) {
            known.weight += u64::from(weight);
        } else if missed.len() < MISSED_MAX {
            missed.insert(id, Missed { database, key: key.to_owned(), weight: weight.into() });
        }
    }

    /// What is asked for most now. Waits for a round if nobody watched before; `None` if none comes.
    pub async fn look(&self) -> Option<Arc<View>> {
        self.asked_ms.store(now_ms(), Ordering::Release);
        let mut latest = self.latest.subscribe();
        self.begin.notify_one();
        let fresh = |view: &Option<(Instant, Arc<View>)>| {
            view.as_ref().is_some_and(|(made, _)| made.elapsed() < AGE_MAX)
        };
        let found = timeout(PATIENCE, latest.wait_for(fresh)).await.ok()?.ok()?;
        found.as_ref().map(|(_, view)| Arc::clone(view))
    }

    fn somebody_watches(&self) -> bool {
        let silent_ms = now_ms().saturating_sub(self.asked_ms.load(Ordering::Acquire));
        Duration::from_millis(silent_ms) < LINGER
    }
}

/// Takes counts while somebody watches, until `stop` turns true.
pub async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let watching = async {
        loop {
            shared.top.begin.notified().await;
            watch_for_somebody(&shared).await;
        }
    };
    tokio::select! {
        () = watching => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn watch_for_somebody(shared: &Arc<Shared>) {
    let top = &shared.top;
    let mut sampler = Sampler::default();
    let mut since = Instant::now();
    tokio::task::block_in_place(|| sampler.start(shared));
    let mut work = since.elapsed();
    top.watched.store(true, Ordering::Relaxed);
    while top.somebody_watches() {
        sleep(ROUND.max(work * SHARE)).await;
        let started = Instant::now();
        let missed = std::mem::take(&mut *lock(&top.missed));
        let over = started - std::mem::replace(&mut since, started);
        let view = tokio::task::block_in_place(|| sampler.round(shared, &missed, over));
        work = started.elapsed();
        top.latest.send_replace(Some((Instant::now(), Arc::new(view))));
    }
    top.watched.store(false, Ordering::Relaxed);
    lock(&top.missed).clear();
    top.latest.send_replace(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_count_only_while_somebody_watches_and_of_a_bounded_number_of_keys() {
        let top = Top::default();
        top.missed(1, 0, b"key", 4);
        assert!(lock(&top.missed).is_empty());
        top.watched.store(true, Ordering::Relaxed);
        for id in 0..MISSED_MAX as u64 + 10 {
            top.missed(id, 0, b"key", 4);
        }
        top.missed(1, 0, b"key", 8);
        let missed = lock(&top.missed);
        assert_eq!((missed.len(), missed[&1].weight), (MISSED_MAX, 12));
    }
}
