//! What a reply takes in the stack, and how many a core can give, against a bare reflector at the same place.

use super::flood::{Flooded, flood};
use super::sides::Side;
use crate::bench::measure::{Effort, median, rounded};
use crate::lab::{Process, Star};
use crate::workspace;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a reflector may take to be there.
const START_LIMIT: Duration = Duration::from_secs(10);

/// What a reply takes at one hook, by `BPF_PROG_TEST_RUN`, in nanoseconds: see `xps-echo cost`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) hook: String,
    /// A reply of heartbeat's, its two tags included: median of single runs.
    pub(crate) heartbeat_ns: f64,
    /// A probe that it has seen before: all but the reply, in one long run.
    pub(crate) replayed_ns: f64,
    /// A datagram to another port.
    pub(crate) foreign_ns: f64,
    /// A reply of the bare reflector's: median of single runs.
    pub(crate) bare_ns: f64,
    /// The same in one long run.
    pub(crate) bare_long_ns: f64,
}

/// What a core can give of one kind; medians of rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rate {
    /// Replies for each second that the CPU which handles packets did so.
    pub(crate) per_core_second: f64,
    /// How many there were in a second, with as many probes as one CPU sends.
    pub(crate) rps: f64,
    /// The share of its time that it did.
    pub(crate) busy_percent: f64,
    /// Highest less lowest, by the median.
    pub(crate) spread: f64,
}

impl Rate {
    fn of(rounds: &[Flooded]) -> Self {
        let sorted = |field: fn(&Flooded) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let per_core = sorted(|round| round.per_busy_second);
        let middle = median(&per_core);
        Self {
            per_core_second: middle.round(),
            rps: median(&sorted(|round| round.rps)).round(),
            busy_percent: rounded(median(&sorted(|round| round.busy)) * 100.0),
            spread: rounded((per_core[per_core.len() - 1] - per_core[0]) / middle),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Stack {
    pub(crate) costs: Vec<Cost>,
    pub(crate) heartbeat: Option<Rate>,
    pub(crate) bare: Option<Rate>,
    /// Replies per core, heartbeat by the bare reflector.
    pub(crate) ratio: Option<f64>,
}

/// Measures both by turns. `kernel` must be on the kernel path; in the namespace of `echo` the reflector takes the place of the
/// socket.
pub(super) fn measure(
    star: &Star,
    kernel: &Side<'_>,
    echo: &Side<'_>,
    echo_program: &Path,
    effort: Effort,
) -> Result<Stack> {
    let cost = workspace::output(Command::new(echo_program).arg("cost"))?;
    let costs = serde_json::from_str(&cost).with_context(|| format!("what replies cost: {cost}"))?;
    let port = echo.address().port().to_string();
    let (place, folder) = (echo.server.place(), star.folder());
    let mut reflector = Process::start(&place, folder, "reflector", echo_program, &["stack", &port])?;
    let attached = || reflector_is_attached(folder);
    reflector.wait_until(START_LIMIT, attached)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut turns = [(kernel, &mut ours), (echo, &mut bare)];
    for _ in 0..effort.rounds {
        for (side, rounds) in &mut turns {
            let flooded = flood(&side.prober(), &side.server.client_device(), effort.duration)
                .with_context(|| format!("a flood of {}", side.server.role()))?;
            rounds.push(flooded);
        }
        turns.rotate_left(1);
    }
    drop(reflector);
    let (ours, bare) = (Rate::of(&ours), Rate::of(&bare));
    let ratio = (bare.per_core_second > 0.0).then(|| rounded(ours.per_core_second / bare.per_core_second));
    Ok(Stack { costs, heartbeat: Some(ours), bare: Some(bare), ratio })
}

/// The reflector says so once it is.
fn reflector_is_attached(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("reflector.log")).is_ok_and(|log| log.contains("sending back"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_medians_of_rounds() {
        let round = |rps, busy| Flooded { rps, per_busy_second: rps / busy, busy };
        let rate = Rate::of(&[round(100.0, 0.5), round(300.0, 1.0), round(400.0, 1.0)]);
        assert_eq!((rate.per_core_second, rate.rps, rate.busy_percent), (300.0, 300.0, 100.0));
        assert_eq!(rate.spread, 0.667);
    }
}
