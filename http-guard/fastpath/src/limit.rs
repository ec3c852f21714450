//! Limits (G5): how often a key may ask, by the generic cell rate algorithm in a bounded table.
//!
//! Each key has a theoretical arrival time: when its bucket would be full again. A request moves it on by one interval,
//! unless it would then lie further ahead than the tolerance. A bucket that is full is as good as one that was never there,
//! so its place is given to others, and nothing that matters is forgotten.
//!
//! In any span of time at most `rate * span + burst` requests of a key pass, however many CPUs charge: time is what the
//! set has seen at the latest. A clock that was read before the set was locked may lie a little behind another CPU's, and a
//! way that the other one took for full must not come to life again.

use core::fmt;

use xps_core::bound::masked;
use xps_core::flow::bpf_spin_lock;

/// Ways of a [`Set`].
pub const WAYS: usize = 8;

/// Longest time in which an empty bucket is full again, in nanoseconds: 36 years. Sums of it and the time do not overflow.
pub const TOLERANCE_NS_MAX: u64 = 1 << 60;

const SECOND_NS: u64 = 1_000_000_000;

/// How often one key may ask.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Time between two requests that come evenly.
    pub interval_ns: u64,
    /// Time in which an empty bucket is full again: as many intervals as requests may come at once.
    pub tolerance_ns: u64,
}

/// Why there is no such [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateError {
    /// No request, no time, or no burst: nothing would ever pass.
    Nothing,
    /// Less than a nanosecond between two requests.
    TooFast,
    /// An empty bucket would be full again after [`TOLERANCE_NS_MAX`] only.
    TooLong,
}

impl Rate {
    /// `requests` in `period_ns`, of which `burst` may come at once. An interval that is no whole number of nanoseconds is
    /// rounded up: never more than the rate passes.
    ///
    /// # Errors
    /// If nothing would pass, or if a number would not fit.
    pub const fn new(requests: u64, period_ns: u64, burst: u64) -> Result<Self, RateError> {
        if requests == 0 || period_ns == 0 || burst == 0 {
            return Err(RateError::Nothing);
        }
        if requests > period_ns {
            return Err(RateError::TooFast);
        }
        let interval_ns = period_ns.div_ceil(requests);
        match interval_ns.checked_mul(burst) {
            Some(tolerance_ns) if tolerance_ns <= TOLERANCE_NS_MAX => Ok(Self { interval_ns, tolerance_ns }),
            _ => Err(RateError::TooLong),
        }
    }

    /// How many requests may come at once.
    #[inline(always)]
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.requests_in(self.tolerance_ns)
    }

    /// How many intervals `time_ns` is long.
    #[inline(always)]
    const fn requests_in(&self, time_ns: u64) -> u64 {
        // Only a table that was never written to has no interval.
        match time_ns.checked_div(self.interval_ns) {
            Some(requests) => requests,
            None => 0,
        }
    }
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing would ever pass",
            Self::TooFast => "the rate is above one request a nanosecond",
            Self::TooLong => "the burst takes longer than 36 years to come back",
        })
    }
}

impl core::error::Error for RateError {}

/// The bucket of one key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Keyed hash of rule and key.
    pub tag: u64,
    /// When the bucket is full again. In the past: the way is free.
    pub tat_ns: u64,
}

/// The buckets whose keys share a place in the table; zero at first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Set {
    /// Guards the rest. A process has a lock of its own around the set.
    pub lock: bpf_spin_lock,
    /// Zero.
    pub padding: u32,
    /// The latest time that a request was charged at.
    pub latest_ns: u64,
    /// The buckets, in no order.
    pub ways: [Way; WAYS],
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It passes.
    Pass {
        /// How many more would pass at this moment.
        remaining: u64,
        /// After which time it would have come evenly.
        wait_ns: u64,
    },
    /// It is over the limit, and was not charged.
    Refused {
        /// After this time one request passes, if none comes before.
        retry_after_ns: u64,
    },
    /// The set has no way for another key: the rule says what follows.
    Full,
}

impl Set {
    /// An empty set.
    pub const EMPTY: Self = Self {
        lock: bpf_spin_lock { val: 0 },
        padding: 0,
        latest_ns: 0,
        ways: [Way { tag: 0, tat_ns: 0 }; WAYS],
    };

    /// Charges one request of the key `tag` at `now_ns`. Called under the set's lock.
    #[inline(always)]
    pub fn charge(&mut self, tag: u64, now_ns: u64, rate: Rate) -> Charge {
        let now_ns = if now_ns > self.latest_ns { now_ns } else { self.latest_ns };
        self.latest_ns = now_ns;
        let place = self.place(tag, now_ns);
        if place as usize >= WAYS {
            return Charge::Full;
        }
        // SAFETY: masked to the number of ways.
        let way = unsafe { &mut *self.ways.as_mut_ptr().add(masked::<{ WAYS as u32 - 1 }>(place)) };
        let start_ns = if way.tat_ns > now_ns { way.tat_ns } else { now_ns };
        let tat_ns = start_ns.saturating_add(rate.interval_ns);
        let ahead_ns = tat_ns - now_ns;
        if ahead_ns > rate.tolerance_ns {
            return Charge::Refused { retry_after_ns: ahead_ns - rate.tolerance_ns };
        }
        way.tag = tag;
        way.tat_ns = tat_ns;
        Charge::Pass { remaining: rate.requests_in(rate.tolerance_ns - ahead_ns), wait_ns: start_ns - now_ns }
    }

    /// The way of `tag`, or else one that is free, or else [`WAYS`].
    #[inline(always)]
    fn place(&self, tag: u64, now_ns: u64) -> u32 {
        let mut free = WAYS as u32;
        let mut i = 0;
        while i < WAYS {
            let way = &self.ways[i];
            if way.tag == tag {
                return i as u32;
            }
            if way.tat_ns <= now_ns {
                free = i as u32;
            }
            i += 1;
        }
        free
    }

    /// How many ways are taken at `now_ns`.
    #[must_use]
    pub fn taken(&self, now_ns: u64) -> usize {
        self.ways.iter().filter(|way| way.tat_ns > now_ns).count()
    }
}

/// `retry_after_ns` in whole seconds, as `Retry-After` tells it: who comes then is not too early.
#[inline(always)]
#[must_use]
pub const fn retry_after_s(retry_after_ns: u64) -> u64 {
    retry_after_ns.div_ceil(SECOND_NS)
}

const _: () = assert!(size_of::<Set>() == 144 && WAYS.is_power_of_two());

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
