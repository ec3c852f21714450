//! How often somebody is taken for gone who is only slow.
//!
//! The prober asks once in a millisecond and has a fixed time-out and one try; one record tells of all time-outs. Beside it agents
//! observe, each with one of the time-outs as the longest that it may wait, and are as urgent as the prober: their false alarms
//! are those of heartbeat's detector.

use super::load::Load;
use super::record::{Record, alarms};
use super::sides::{ALWAYS, Side};
use crate::bench::measure::rounded;
use crate::lab::heartbeat::Probing;
use crate::lab::{Events, Sidecar, Star};
use anyhow::Result;
use serde::Serialize;
use std::time::Duration;

/// Once in so long the prober asks.
pub(super) const GAP: Duration = Duration::from_millis(1);
/// The shortest interval that heartbeat has.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// False alarms of one side at one time-out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct FalseAlarms {
    /// For so long all was well, but slow.
    pub(crate) seconds: f64,
    pub(crate) alarms: u64,
    /// As if it went on like this.
    pub(crate) alarms_per_hour: f64,
    /// How often heartbeat's detector has suspected, by its own time-out, which is this one at most; no echo has one.
    pub(crate) suspected: Option<u64>,
    /// How often it has taken the responder for failed.
    pub(crate) failed: Option<u64>,
}

impl FalseAlarms {
    /// Adds what was found in another while.
    pub(super) fn add(&mut self, other: &Self) {
        let sum =
            |mine: Option<u64>, theirs: Option<u64>| theirs.map(|count| count + mine.unwrap_or(0)).or(mine);
        self.seconds += other.seconds;
        self.alarms += other.alarms;
        self.suspected = sum(self.suspected, other.suspected);
        self.failed = sum(self.failed, other.failed);
        self.alarms_per_hour = rounded(self.alarms as f64 * 3600.0 / self.seconds.max(f64::MIN_POSITIVE));
    }
}

/// One side for a while under a load of so many loops for each CPU, at each of these time-outs.
pub(super) fn observe(
    star: &Star,
    side: &Side<'_>,
    loops: usize,
    timeouts: &[Duration],
    duration: Duration,
) -> Result<Vec<FalseAlarms>> {
    let observers = start_observers(side, timeouts)?;
    let load = Load::start(star, side.server, loops)?;
    // What the load's beginning has brought about is not counted.
    for (_, events) in &observers {
        events.rest();
    }
    let record = side.prober().run(GAP, duration)?.on_running_time();
    let changes: Vec<_> = observers.iter().map(|(_, events)| events.rest()).collect();
    drop(load);
    let found = timeouts.iter().enumerate().map(|(index, timeout)| {
        let count = |state: &str| {
            let of = |changes: &Vec<crate::lab::Change>| {
                changes.iter().filter(|change| change.node == ALWAYS && change.to == state).count() as u64
            };
            changes.get(index).map(of)
        };
        found(&record, *timeout, duration, [count("suspect"), count("failed")])
    });
    let found = found.collect();
    for (agent, events) in observers {
        drop(events);
        agent.stop()?;
    }
    Ok(found)
}

fn found(record: &Record, timeout: Duration, duration: Duration, states: [Option<u64>; 2]) -> FalseAlarms {
    let alarms = alarms(record, timeout.as_nanos() as u64).len() as u64;
    let [suspected, failed] = states;
    let mut found = FalseAlarms::default();
    found.add(&FalseAlarms {
        seconds: duration.as_secs_f64(),
        alarms,
        suspected,
        failed,
        alarms_per_hour: 0.0,
    });
    found
}

/// None for an echo.
fn start_observers(side: &Side<'_>, timeouts: &[Duration]) -> Result<Vec<(Sidecar, Events)>> {
    if side.is_echo() {
        return Ok(Vec::new());
    }
    let start = |(index, timeout): (usize, &Duration)| {
        let interval = (*timeout / 2).max(INTERVAL_MIN);
        let probing = Probing { interval, timeout: *timeout, confirmation: interval };
        let agent = side.observer(index + 1, ALWAYS, probing, true)?;
        let events = agent.events()?;
        Ok((agent, events))
    };
    timeouts.iter().enumerate().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_of_several_whiles_are_added_and_told_by_the_hour() {
        let one = FalseAlarms { seconds: 30.0, alarms: 1, suspected: Some(2), ..FalseAlarms::default() };
        let mut sum = FalseAlarms::default();
        sum.add(&one);
        sum.add(&FalseAlarms { seconds: 60.0, alarms: 2, suspected: Some(1), failed: None, ..one });
        let expected = FalseAlarms {
            seconds: 90.0,
            alarms: 3,
            alarms_per_hour: 120.0,
            suspected: Some(3),
            failed: None,
        };
        assert_eq!(sum, expected);
    }
}
