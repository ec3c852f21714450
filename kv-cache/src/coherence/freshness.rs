//! How old a value may be when not every write is seen, and who sees to it.
//!
//! In bounded mode, no value is served that was replaced longer than `coherence.max_staleness` ago. Two things can hold
//! that bound, one at a time:
//!
//! - the tracking connection ([`crate::coherence::tracking`]): invalidations come within moments, and its beats prove that none is
//!   held up; hits are allowed until [`Freshness::until_ns`], which the beats move on;
//! - else a cap: an entry is served at most that long after its value was asked for ([`Freshness::cap_ns`]).
//!
//! Who leaves one state invalidates all entries before the other's rule holds: an entry that was made without a cap must
//! not outlive the connection that would have invalidated it.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::shared::lock;

/// What holds the bound now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Every write is seen: there is no staleness to bound.
    Strict,
    /// The tracking connection.
    Tracked,
    /// The cap; why it is not the tracking connection.
    Capped(String),
}

impl State {
    /// A short name for metrics and status; stable.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Strict => "not_needed",
            Self::Tracked => "connected",
            Self::Capped(_) => "unavailable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => write!(f, "not needed: every write is seen"),
            Self::Tracked => write!(f, "connected"),
            Self::Capped(why) => {
                write!(f, "no tracking, entries live at most coherence.max_staleness: {why}")
            }
        }
    }
}

/// The bound and what holds it.
#[derive(Debug)]
pub struct Freshness {
    bound: Duration,
    cap_ns: AtomicU64,
    until_ns: AtomicU64,
    state: Mutex<State>,
    wanted: watch::Sender<bool>,
}

impl Freshness {
    /// Nothing to bound yet.
    #[must_use]
    pub fn new(bound: Duration) -> Self {
        Self {
            bound,
            cap_ns: AtomicU64::new(u64::MAX),
            until_ns: AtomicU64::new(u64::MAX),
            state: Mutex::new(State::Strict),
            wanted: watch::Sender::new(false),
        }
    }

    /// The bound.
    #[must_use]
    pub const fn bound(&self) -> Duration {
        self.bound
    }

    /// How long after the question an entry may be served, in nanoseconds; `u64::MAX`: as long as its time to live. To be
    /// read before the server is asked.
    #[must_use]
    pub fn cap_ns(&self) -> u64 {
        self.cap_ns.load(Ordering::Acquire)
    }

    /// Until when hits are allowed, `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn until_ns(&self) -> u64 {
        self.until_ns.load(Ordering::Acquire)
    }

    /// What holds the bound.
    #[must_use]
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// Tells whether the tracking connection is wanted.
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// Whether there is a bound to be held: not every write is seen. Takes no lock that a flush may be called under.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        *self.wanted.borrow()
    }

    /// Not every write is seen from here on. Whether that is new: then the caller invalidates all entries.
    #[must_use]
    pub fn bind(&self) -> bool {
        let mut state = lock(&self.state);
        let new = *state == State::Strict;
        if new {
            *state = State::Capped("not connected yet".to_owned());
            self.cap_ns.store(nanoseconds(self.bound), Ordering::Release);
            self.wanted.send_replace(true);
        }
        new
    }

    /// Every write is seen. The caller has invalidated all entries, unless it always was so.
    pub fn unbind(&self) {
        let mut state = lock(&self.state);
        *state = State::Strict;
        self.cap_ns.store(u64::MAX, Ordering::Release);
        self.until_ns.store(u64::MAX, Ordering::Release);
        self.wanted.send_replace(false);
    }

    /// The tracking connection works and vouches for the time until `until_ns`.
    pub fn beat(&self, until_ns: u64) {
        let mut state = lock(&self.state);
        if *state == State::Strict {
            return;
        }
        self.until_ns.store(until_ns, Ordering::Release);
        if *state != State::Tracked {
            *state = State::Tracked;
            self.cap_ns.store(u64::MAX, Ordering::Release);
        }
    }

    /// There is no tracking connection, for this reason. `flush` must invalidate all entries; it is called if some may
    /// have been made without a cap.
    pub fn lost(&self, why: String, flush: impl FnOnce()) {
        let mut state = lock(&self.state);
        match &*state {
            State::Strict => return,
            State::Tracked => {
                self.cap_ns.store(nanoseconds(self.bound), Ordering::Release);
                flush();
                self.until_ns.store(u64::MAX, Ordering::Release);
            }
            State::Capped(_) => {}
        }
        *state = State::Capped(why);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(1);

    #[test]
    fn what_holds_the_bound_changes_with_a_flush() {
        let freshness = Freshness::new(BOUND);
        assert_eq!((freshness.cap_ns(), freshness.until_ns()), (u64::MAX, u64::MAX));
        assert!(freshness.bind() && !freshness.bind());
        assert_eq!((freshness.cap_ns(), freshness.until_ns()), (1_000_000, u64::MAX));
        assert!(*freshness.wanted().borrow());
        freshness.beat(7);
        assert_eq!((freshness.cap_ns(), freshness.until_ns()), (u64::MAX, 7));
        assert_eq!(freshness.state(), State::Tracked);
        let mut flushed = 0;
        freshness.lost("broken".into(), || {
            // The cap stands before, and hits go on only after.
            assert_eq!((freshness.cap_ns(), freshness.until_ns()), (1_000_000, 7));
            flushed += 1;
        });
        assert_eq!((flushed, freshness.until_ns()), (1, u64::MAX));
        freshness.lost("refused".into(), || panic!("nothing to flush"));
        assert_eq!(freshness.state(), State::Capped("refused".into()));
        freshness.unbind();
        assert_eq!((freshness.cap_ns(), freshness.state()), (u64::MAX, State::Strict));
    }

    #[test]
    fn where_every_write_is_seen_tracking_has_no_say() {
        let freshness = Freshness::new(BOUND);
        freshness.beat(7);
        freshness.lost("broken".into(), || panic!("nothing to flush"));
        assert_eq!((freshness.until_ns(), freshness.state()), (u64::MAX, State::Strict));
    }
}
