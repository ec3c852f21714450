//! What became of each probe, and what follows from it.

use crate::bench::quantiles;
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

/// A time in which a CPU did not run what was most urgent on it: the machine itself stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) from_ns: u64,
    pub(super) until_ns: u64,
}

/// All probes of a time, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) probes: Vec<Probe>,
    /// Of all CPUs, in any order.
    pub(super) pauses: Vec<Pause>,
}

impl Record {
    /// The same on a clock that stands still whenever the machine does. Other guests of its host take CPUs away for tens of
    /// milliseconds, from whoever answers and from whoever asks.
    pub(super) fn on_running_time(&self) -> Self {
        let clock = RunningTime::new(&self.pauses);
        let probe = |probe: &Probe| Probe {
            due_ns: clock.at(probe.due_ns),
            sent_ns: clock.at(probe.sent_ns),
            answered_ns: probe.answered_ns.map(|answered_ns| clock.at(answered_ns)),
        };
        Self { probes: self.probes.iter().map(probe).collect(), pauses: Vec::new() }
    }

    /// For how long the machine stood still.
    pub(super) fn paused_ns(&self) -> u64 {
        RunningTime::new(&self.pauses).pauses.iter().map(|(_, length_ns)| length_ns).sum()
    }
}

/// A clock that stands still in pauses.
struct RunningTime {
    /// Begin and length of each, in their order; none touch.
    pauses: Vec<(u64, u64)>,
    /// What all up to each take together.
    sums: Vec<u64>,
}

impl RunningTime {
    fn new(pauses: &[Pause]) -> Self {
        let mut sorted: Vec<Pause> = pauses.to_vec();
        sorted.sort_unstable_by_key(|pause| pause.from_ns);
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for Pause { from_ns, until_ns } in sorted {
            match merged.last_mut() {
                Some((begin_ns, length_ns)) if from_ns <= *begin_ns + *length_ns => {
                    *length_ns = (*length_ns).max(until_ns.saturating_sub(*begin_ns));
                }
                _ => merged.push((from_ns, until_ns.saturating_sub(from_ns))),
            }
        }
        let running = merged.iter().scan(0, |sum, (_, length_ns)| {
            *sum += length_ns;
            Some(*sum)
        });
        Self { sums: running.collect(), pauses: merged }
    }

    fn at(&self, ns: u64) -> u64 {
        let begun = self.pauses.partition_point(|(begin_ns, _)| *begin_ns < ns);
        let Some(last) = begun.checked_sub(1) else { return ns };
        let (begin_ns, length_ns) = self.pauses[last];
        // Of the last one only a part may be over.
        ns - (self.sums[last] - length_ns) - length_ns.min(ns - begin_ns)
    }
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
    /// The whole distribution: at position `n` what a share of `1 - 0.5^n` of the probes does not exceed.
    pub(crate) quantiles_us: Vec<f64>,
    /// How much later than due the prober itself has sent: what of the figures is not the responder's.
    pub(crate) sent_late_p999_us: f64,
    /// For how long the machine stood still meanwhile, which is not counted in the others.
    pub(crate) paused_ms: f64,
    /// With what it stood still.
    pub(crate) p999_with_pauses_us: f64,
    /// How busy the CPUs were, all of them together.
    pub(crate) busy_percent: f64,
}

impl Replies {
    /// Of all rounds. From when a probe was due to when the prober had the reply: one that is late does not hide what the
    /// next ones would have met.
    pub(super) fn of(rounds: &[Record], busy_percent: f64) -> Self {
        let running: Vec<Record> = rounds.iter().map(Record::on_running_time).collect();
        let took = sorted(latencies_ns(&running));
        let late = running.iter().flat_map(|round| &round.probes);
        let late = sorted(late.map(|probe| probe.sent_ns.saturating_sub(probe.due_ns)));
        let probes = rounds.iter().flat_map(|round| &round.probes);
        Self {
            probes: took.len() as u64,
            lost: probes.filter(|probe| probe.answered_ns.is_none()).count() as u64,
            p50_us: quantile_us(&took, 0.5),
            p99_us: quantile_us(&took, 0.99),
            p999_us: quantile_us(&took, 0.999),
            max_us: quantile_us(&took, 1.0),
            quantiles_us: quantiles::at_each(|share| quantile_us(&took, share)).to_vec(),
            sent_late_p999_us: quantile_us(&late, 0.999),
            paused_ms: rounds.iter().map(Record::paused_ns).sum::<u64>() as f64 / 1e6,
            p999_with_pauses_us: quantile_us(&sorted(latencies_ns(rounds)), 0.999),
            busy_percent,
        }
    }
}

fn latencies_ns(rounds: &[Record]) -> impl Iterator<Item = u64> {
    rounds.iter().flat_map(|round| &round.probes).map(|probe| match probe.answered_ns {
        Some(answered_ns) => answered_ns.saturating_sub(probe.due_ns),
        None => LOST_NS,
    })
}

/// When a detector with a fixed time-out would have raised an alarm: a probe is not answered in that time, while the last
/// alarm is over, which the next answer ends.
pub(super) fn alarms(record: &Record, timeout_ns: u64) -> Vec<u64> {
    let answers = sorted(record.probes.iter().filter_map(|probe| probe.answered_ns));
    let mut over_ns = 0;
    let mut alarms = Vec::new();
    for probe in &record.probes {
        let at_ns = probe.sent_ns + timeout_ns;
        let in_time = probe.answered_ns.is_some_and(|answered_ns| answered_ns <= at_ns);
        if in_time || at_ns < over_ns {
            continue;
        }
        alarms.push(at_ns);
        let next = answers.partition_point(|answered_ns| *answered_ns <= at_ns);
        over_ns = answers.get(next).copied().unwrap_or(u64::MAX);
    }
    alarms
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
    fn a_clock_stands_still_in_pauses() {
        let pause = |from_ns, until_ns| Pause { from_ns, until_ns };
        let pauses = [pause(50, 60), pause(10, 20), pause(15, 30), pause(16, 17), pause(30, 31)];
        let clock = RunningTime::new(&pauses);
        for (ns, running_ns) in
            [(5, 5), (10, 10), (12, 10), (31, 10), (40, 19), (55, 29), (60, 29), (100, 69)]
        {
            assert_eq!(clock.at(ns), running_ns, "{ns}");
        }
        assert_eq!(RunningTime::new(&[]).at(7), 7);
    }

    #[test]
    fn what_the_machine_slept_through_is_nobodys_latency_and_no_alarm() {
        let mut round = record(&[Some(0), Some(30), Some(0)]);
        let pause_ns = 26 * MS;
        round.pauses = vec![Pause { from_ns: 5 * MS, until_ns: 5 * MS + pause_ns }];
        assert_eq!(alarms(&round, 5 * MS), [7 * MS]);
        assert!(alarms(&round.on_running_time(), 5 * MS).is_empty());
        assert_eq!(alarms(&round.on_running_time(), 3 * MS), [5 * MS]);
        let replies = Replies::of(&[round], 0.0);
        assert_eq!(
            (replies.max_us, replies.p999_with_pauses_us, replies.paused_ms),
            (4000.0, 30_000.0, 26.0)
        );
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
