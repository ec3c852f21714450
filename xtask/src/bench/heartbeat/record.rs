//! What became of each probe, and what follows from it.

use serde::Serialize;

/// What a probe counts that was never answered: longer than any that was.
pub(super) const LOST_NS: u64 = 1_000_000_000;

/// A probe. Times are on `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// When the clock said that it was to be sent.
    pub(super) due_ns: u64,
    /// When it was.
    pub(super) sent_ns: u64,
    /// When the prober had its answer, if it got one.
    pub(super) answered_ns: Option<u64>,
}

/// A time in which the prober did not run although it was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
}

/// All probes of a time, in the order in which they were sent, and what the prober slept through.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) probes: Vec<Probe>,
    pub(super) pauses: Vec<Pause>,
}

/// Reply latencies of one side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Replies {
    pub(crate) probes: u64,
    pub(crate) lost: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// How much later than due the prober itself has sent: what of the figures is not the responder's.
    pub(crate) sent_late_p999_us: f64,
    /// How busy the CPUs were, all of them together.
    pub(crate) busy_percent: f64,
}

impl Replies {
    /// Of all rounds. From when a probe was due to when the prober had the reply: one that is late does not hide what the
    /// next ones would have met.
    pub(super) fn of(rounds: &[Record], busy_percent: f64) -> Self {
        let probes = || rounds.iter().flat_map(|round| &round.probes);
        let took = sorted(probes().map(|probe| match probe.answered_ns {
            Some(answered_ns) => answered_ns.saturating_sub(probe.due_ns),
            None => LOST_NS,
        }));
        let late = sorted(probes().map(|probe| probe.sent_ns.saturating_sub(probe.due_ns)));
        Self {
            probes: took.len() as u64,
            lost: probes().filter(|probe| probe.answered_ns.is_none()).count() as u64,
            p50_us: quantile_us(&took, 0.5),
            p99_us: quantile_us(&took, 0.99),
            p999_us: quantile_us(&took, 0.999),
            max_us: quantile_us(&took, 1.0),
            sent_late_p999_us: quantile_us(&late, 0.999),
            busy_percent,
        }
    }
}

/// When a detector with a fixed time-out would have raised an alarm: a probe is not answered in that time, while the last
/// alarm is over, which the next answer ends. What the prober has slept through for a good part of the time-out is its own
/// fault, and no alarm.
pub(super) fn alarms(record: &Record, timeout_ns: u64) -> Vec<u64> {
    let answers = sorted(record.probes.iter().filter_map(|probe| probe.answered_ns));
    let mut over_ns = 0;
    let mut alarms = Vec::new();
    for probe in &record.probes {
        let at_ns = probe.sent_ns + timeout_ns;
        let in_time = probe.answered_ns.is_some_and(|answered_ns| answered_ns <= at_ns);
        if in_time || at_ns < over_ns || slept_ns(&record.pauses, probe.sent_ns, at_ns) > timeout_ns / 4 {
            continue;
        }
        alarms.push(at_ns);
        let next = answers.partition_point(|answered_ns| *answered_ns <= at_ns);
        over_ns = answers.get(next).copied().unwrap_or(u64::MAX);
    }
    alarms
}

/// For how much of a time the prober did not run.
fn slept_ns(pauses: &[Pause], from_ns: u64, until_ns: u64) -> u64 {
    let first = pauses.partition_point(|pause| pause.until_ns <= from_ns);
    let within = pauses[first..].iter().take_while(|pause| pause.from_ns < until_ns);
    within.map(|pause| pause.until_ns.min(until_ns) - pause.from_ns.max(from_ns)).sum()
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

/// The value that a share of all does not exceed, µs; 0 if there is none.
fn quantile_us(sorted: &[u64], share: f64) -> f64 {
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index).map_or(0.0, |ns| *ns as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Probes sent each millisecond from 1 on, each answered after so many, or never.
    fn record(took_ms: &[Option<u64>]) -> Record {
        let probe = |(index, took_ms): (usize, &Option<u64>)| {
            let sent_ns = (index as u64 + 1) * MS;
            let answered_ns = took_ms.map(|took_ms| sent_ns + took_ms * MS);
            Probe { due_ns: sent_ns, sent_ns, answered_ns }
        };
        Record { probes: took_ms.iter().enumerate().map(probe).collect(), pauses: Vec::new() }
    }

    #[test]
    fn one_pause_of_the_responder_is_one_alarm() {
        // Nothing comes until 30 ms; what was asked before comes then, all at once.
        let took: Vec<_> = (1..=100).map(|ms: u64| Some(30_u64.saturating_sub(ms))).collect();
        assert_eq!(alarms(&record(&took), 5 * MS), [6 * MS]);
        assert_eq!(alarms(&record(&took), 20 * MS), [21 * MS]);
        assert!(alarms(&record(&took), 29 * MS).is_empty());
        let twice = [took.clone(), took].concat();
        assert_eq!(alarms(&record(&twice), 20 * MS), [21 * MS, 121 * MS]);
    }

    #[test]
    fn who_never_answers_again_is_one_alarm_and_a_lost_probe_another() {
        assert_eq!(alarms(&record(&[Some(0), None, None, None]), 5 * MS), [7 * MS]);
        let mut took = vec![Some(0); 50];
        (took[10], took[30]) = (None, None);
        assert_eq!(alarms(&record(&took), 5 * MS), [16 * MS, 36 * MS]);
    }

    #[test]
    fn what_the_prober_slept_through_is_no_alarm() {
        let mut record =
            record(&[Some(0), None, Some(0), Some(0), Some(0), Some(0), Some(0), Some(0), Some(0)]);
        record.pauses = vec![Pause { from_ns: 3 * MS, until_ns: 4 * MS }];
        assert_eq!(alarms(&record, 5 * MS), [7 * MS]);
        record.pauses = vec![Pause { from_ns: MS, until_ns: 4 * MS }];
        assert!(alarms(&record, 5 * MS).is_empty());
        assert_eq!(slept_ns(&record.pauses, 2 * MS, 3 * MS), MS);
        assert_eq!(slept_ns(&record.pauses, 4 * MS, 9 * MS), 0);
    }

    #[test]
    fn latencies_count_from_when_a_probe_was_due() {
        let mut round = record(&vec![Some(1); 999]);
        round.probes[7].due_ns -= MS;
        round.probes.push(Probe { due_ns: MS, sent_ns: MS, answered_ns: None });
        let replies = Replies::of(&[round], 0.0);
        assert_eq!((replies.probes, replies.lost), (1000, 1));
        assert_eq!((replies.p50_us, replies.p99_us, replies.p999_us), (1000.0, 1000.0, 2000.0));
        assert_eq!(replies.max_us, LOST_NS as f64 / 1000.0);
        assert_eq!(replies.sent_late_p999_us, 0.0);
        assert_eq!(Replies::of(&[], 0.0).max_us, 0.0);
    }
}
