//! One round, several rounds by turns, and what comes out.

use super::quantiles::Quantiles;
use crate::machine;
use anyhow::{Result, bail};
use serde::Serialize;
use std::time::Duration;

/// redis-benchmark looks whether it is done only at these intervals when it has threads, so its clock stops up to one
/// too late. Rounds differ in length by as much, lest the error be the same in all of them.
const CLOCK: Duration = Duration::from_millis(250);

/// How much to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// About how long a round of one side takes.
    pub(crate) duration: Duration,
}

/// A client, what it sends and to whom.
pub(super) trait Traffic {
    /// Finds the rate to expect, requests per second. What this measures is thrown away: it also warms up.
    fn try_out(&self) -> Result<f64>;

    /// Sends about so many requests, or for about so long, whichever the client can be told.
    fn send(&self, requests: u64, duration: Duration) -> Result<Outcome>;
}

/// What a client reports of one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) rps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The whole distribution.
    pub(super) quantiles_us: Quantiles,
    /// Responses that the client has waited for so long that their latencies are not counted.
    pub(super) late: u64,
    /// Rate of a flood beside, if there was one.
    pub(super) flood_rps: Option<f64>,
}

/// One round of one side.
struct Sample {
    outcome: Outcome,
    cpu_us_per_request: f64,
}

impl Sample {
    fn round(&self) -> Round {
        let Outcome { rps, p50_us, p99_us, .. } = self.outcome;
        Round {
            rps: rounded(rps),
            p50_us: rounded(p50_us),
            p99_us: rounded(p99_us),
            cpu_us_per_request: rounded(self.cpu_us_per_request),
        }
    }
}

/// Medians over the rounds of one side.
#[derive(Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) rps: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time of the whole machine (client, server, kernel, sidecar) by request.
    pub(crate) cpu_us_per_request: f64,
    /// Highest less lowest rate, by the median.
    pub(crate) spread: f64,
    pub(crate) rounds: usize,
    /// Latency at position `n`: that which a share of `1 - 0.5^n` of the requests does not exceed, from the least to 99.9 %.
    pub(crate) quantiles_us: Vec<f64>,
    /// The rounds in the order in which they were measured; those of the other sides are of the same turns.
    pub(crate) each: Vec<Round>,
    /// Responses of all rounds that came so late that they are missing in the latencies.
    #[serde(skip_serializing_if = "is_none")]
    pub(crate) late: u64,
    /// Rate of a flood beside, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flood_rps: Option<f64>,
}

/// One round of one side.
#[derive(Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) rps: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_us_per_request: f64,
}

impl Figures {
    /// One of the figures by another side's. `None` if there is nothing to divide by.
    pub(super) fn ratio(&self, base: &Self, field: fn(&Self) -> f64) -> Option<f64> {
        (field(base) > 0.0).then(|| rounded(field(self) / field(base)))
    }

    /// Rates by another side's, each round by that of the same turn.
    pub(super) fn rps_ratios(&self, base: &Self) -> Vec<f64> {
        let turns = self.each.iter().zip(&base.each);
        turns.map(|(mine, theirs)| rounded(mine.rps / theirs.rps)).collect()
    }

    /// Some that say nothing but these.
    #[cfg(test)]
    pub(super) fn of(rps: f64, p50_us: f64, p99_us: f64) -> Self {
        Self {
            rps,
            p50_us,
            p99_us,
            cpu_us_per_request: 1.0,
            spread: 0.0,
            rounds: 1,
            quantiles_us: vec![p50_us / 2.0, p50_us, p99_us],
            each: vec![Round { rps, p50_us, p99_us, cpu_us_per_request: 1.0 }],
            late: 0,
            flood_rps: None,
        }
    }
}

/// One side of a comparison: its traffic, and the rate to expect.
pub(super) struct Side<T> {
    traffic: T,
    /// Requests per second, found by trying; 0 before.
    rate: f64,
    samples: Vec<Sample>,
}

impl<T: Traffic> Side<T> {
    /// Nothing measured yet.
    pub(super) fn new(traffic: T) -> Self {
        Self { traffic, rate: 0.0, samples: Vec::new() }
    }

    /// Finds about how many requests make a round.
    pub(super) fn calibrate(&mut self) -> Result<()> {
        self.rate = self.traffic.try_out()?;
        Ok(())
    }

    /// Measures one round.
    pub(super) fn round(&mut self, effort: Effort) -> Result<()> {
        let phase = self.samples.len() as f64 / effort.rounds as f64 - 0.5;
        let duration = effort.duration.as_secs_f64() + phase * CLOCK.as_secs_f64();
        let requests = ((self.rate * duration) as u64).max(1000);
        let busy_before_us = machine::busy_us()?;
        let outcome = self.traffic.send(requests, effort.duration)?;
        if outcome.requests == 0 || outcome.rps <= 0.0 {
            bail!("no request was answered");
        }
        let cpu_us_per_request = (machine::busy_us()? - busy_before_us) as f64 / outcome.requests as f64;
        self.samples.push(Sample { outcome, cpu_us_per_request });
        Ok(())
    }

    /// Requests of the rounds so far.
    pub(super) fn requests(&self) -> u64 {
        self.samples.iter().map(|sample| sample.outcome.requests).sum()
    }

    /// Medians of the rounds so far.
    pub(super) fn figures(&self) -> Figures {
        let sorted = |field: fn(&Sample) -> f64| {
            let mut values: Vec<f64> = self.samples.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let rates = sorted(|sample| sample.outcome.rps);
        let rps = median(&rates);
        let has_flood = self.samples.iter().any(|sample| sample.outcome.flood_rps.is_some());
        let flood = || rounded(median(&sorted(|sample| sample.outcome.flood_rps.unwrap_or(0.0))));
        Figures {
            rps: rounded(rps),
            p50_us: rounded(median(&sorted(|sample| sample.outcome.p50_us))),
            p99_us: rounded(median(&sorted(|sample| sample.outcome.p99_us))),
            cpu_us_per_request: rounded(median(&sorted(|sample| sample.cpu_us_per_request))),
            spread: rounded((rates[rates.len() - 1] - rates[0]) / rps),
            rounds: rates.len(),
            quantiles_us: self.quantiles_us(),
            each: self.samples.iter().map(Sample::round).collect(),
            late: self.samples.iter().map(|sample| sample.outcome.late).sum(),
            flood_rps: has_flood.then(flood),
        }
    }
}

impl<T> Side<T> {
    /// The median of the rounds at each position.
    fn quantiles_us(&self) -> Vec<f64> {
        let rounds: Vec<&Quantiles> =
            self.samples.iter().map(|sample| &sample.outcome.quantiles_us).collect();
        let middle = |step| {
            let mut values: Vec<f64> = rounds.iter().map(|round| round[step]).collect();
            values.sort_by(f64::total_cmp);
            rounded(median(&values))
        };
        (0..rounds.first().map_or(0, |round| round.len())).map(middle).collect()
    }
}

/// Measures sides by turns; who begins changes with each round.
pub(super) fn alternate<T: Traffic>(sides: &mut [&mut Side<T>], effort: Effort) -> Result<()> {
    for side in &mut *sides {
        side.calibrate()?;
    }
    for _ in 0..effort.rounds {
        for side in &mut *sides {
            side.round(effort)?;
        }
        sides.rotate_left(1);
    }
    Ok(())
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// The middle of sorted values.
pub(super) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Three decimals: the rest is noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::quantiles;
    use std::cell::Cell;

    #[test]
    fn medians() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    /// Answers each round a little slower.
    struct Slower(Cell<f64>);

    impl Traffic for Slower {
        fn try_out(&self) -> Result<f64> {
            Ok(1000.0)
        }

        fn send(&self, requests: u64, _duration: Duration) -> Result<Outcome> {
            let us = self.0.get() + 1.0;
            self.0.set(us);
            let quantiles_us = quantiles::at_each(|share| us + share);
            Ok(Outcome {
                requests,
                rps: 1e6 / us,
                p50_us: us,
                p99_us: us,
                quantiles_us,
                late: 0,
                flood_rps: None,
            })
        }
    }

    #[test]
    fn rounds_are_kept_in_their_order_and_compared_turn_by_turn() {
        let (mut slow, mut slower) = (Side::new(Slower(Cell::new(0.0))), Side::new(Slower(Cell::new(1.0))));
        let effort = Effort { rounds: 3, duration: Duration::ZERO };
        alternate(&mut [&mut slow, &mut slower], effort).unwrap();
        let (slow, slower) = (slow.figures(), slower.figures());
        let latencies: Vec<f64> = slow.each.iter().map(|round| round.p50_us).collect();
        assert_eq!((latencies, slow.p50_us), (vec![1.0, 2.0, 3.0], 2.0));
        assert_eq!((slow.quantiles_us[0], slow.quantiles_us[1]), (2.0, 2.5));
        assert_eq!(slower.rps_ratios(&slow), [0.5, 0.667, 0.75]);
    }
}
