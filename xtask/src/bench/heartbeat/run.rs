//! Which side is measured when: all by turns, and who begins changes with each round.

use super::cpu;
use super::detection::{Detection, Trials};
use super::false_alarms::{FalseAlarms, GAP, observe};
use super::load::Load;
use super::record::{Record, Replies};
use super::report::{Figures, Report, Row};
use super::sides::{ROLES, Side};
use super::stack::{self, Stack};
use super::workload::{Fault, Kind, Workload};
use crate::bench::measure::Effort;
use crate::lab::Star;
use crate::machine::{self, Busy};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// What a run needs.
pub(super) struct Run<'a> {
    /// The heartbeat binary.
    pub(super) program: &'a Path,
    /// The xps-echo binary.
    pub(super) echo: &'a Path,
    pub(super) workloads: &'a [Workload],
    pub(super) effort: Effort,
    /// Busy loops for each CPU where it is to be saturated.
    pub(super) loops: usize,
    /// Faults of each kind and side.
    pub(super) trials: usize,
    /// For how long each side is watched for false alarms.
    pub(super) watched: Duration,
    /// Also measure the user path where the kernel path is to be had.
    pub(super) user_path: bool,
}

/// For how long a side is watched at a time.
const WATCH: Duration = Duration::from_secs(30);

/// Makes a network with all sides and measures all workloads in it.
pub(super) fn measure(run: &Run<'_>) -> Result<Report> {
    let mut machine = machine::describe();
    let star = Star::create(&ROLES)?;
    let mut sides = Vec::new();
    for role in ROLES {
        if role != "user" || run.user_path {
            sides.push(Side::start(&star, role, run.program, run.echo)?);
        }
    }
    let mut measuring =
        Measuring { run, star: &star, rows: run.workloads.iter().map(Row::new).collect(), stack: None };
    measuring.remark(&mut sides)?;
    for index in 0..run.workloads.len() {
        let workload = run.workloads[index];
        println!("measuring {}", workload.name);
        measuring.workload(index, &mut sides).with_context(|| format!("workload {}", workload.name))?;
    }
    let Measuring { mut rows, stack, .. } = measuring;
    for side in sides {
        let path = side.path_now()?;
        if path != side.path {
            let text = format!("the path changed from {} to {path} while it was measured", side.path);
            rows.iter_mut().for_each(|row| row.note.remark(&text));
        }
        side.stop()?;
    }
    machine.run_ended();
    rows.retain(|row| !row.is_stack());
    Ok(Report { rows, stack, loops: run.loops, machine })
}

struct Measuring<'a> {
    run: &'a Run<'a>,
    star: &'a Star,
    rows: Vec<Row>,
    stack: Option<Stack>,
}

impl Measuring<'_> {
    /// What is not as it should be, for all rows.
    fn remark(&mut self, sides: &mut Vec<Side<'_>>) -> Result<()> {
        let mut remarks = Vec::new();
        for side in &*sides {
            if side.server.role() == "kernel" && side.path != "kernel" {
                remarks.push(format!("no kernel path: {}", side.causes()?.join("; ")));
            }
        }
        // Without a kernel path the first side is another on the user path, of which one is enough.
        sides.retain(|side| side.path == side.server.role());
        if !cpu::may_be_urgent() {
            remarks.push("the prober has no real-time priority and waits for a CPU itself".to_owned());
        }
        for row in &mut self.rows {
            remarks.iter().for_each(|remark| row.note.remark(remark));
        }
        Ok(())
    }

    fn workload(&mut self, index: usize, sides: &mut [Side<'_>]) -> Result<()> {
        match self.run.workloads[index].kind {
            Kind::Replies { saturated } => self.replies(index, sides, saturated),
            Kind::Detection(fault) => self.detection(index, sides, fault),
            Kind::FalseAlarms { .. } => self.false_alarms(sides),
            Kind::Stack => self.stack(index, sides),
        }
    }

    fn replies(&mut self, index: usize, sides: &[Side<'_>], saturated: bool) -> Result<()> {
        let mut rounds: Vec<(&Side<'_>, Vec<Record>, Vec<f64>)> =
            sides.iter().map(|side| (side, Vec::new(), Vec::new())).collect();
        for _ in 0..self.run.effort.rounds {
            for (side, records, busy) in &mut rounds {
                let load =
                    saturated.then(|| Load::start(self.star, side.server, self.run.loops)).transpose()?;
                let since = Busy::since_now();
                records.push(side.prober().run(GAP, self.run.effort.duration)?);
                busy.push(since.percent());
                drop(load);
            }
            rounds.rotate_left(1);
        }
        for (side, records, busy) in rounds {
            let busy_percent = busy.iter().sum::<f64>() / busy.len() as f64;
            let replies = Replies::of(&records, (busy_percent * 10.0).round() / 10.0);
            self.rows[index].keep(&side.path, Figures::Replies(replies));
        }
        self.rows[index].compare();
        Ok(())
    }

    fn detection(&mut self, index: usize, sides: &mut [Side<'_>], fault: Fault) -> Result<()> {
        if fault == Fault::LinkDown && !self.star.has_namespaces() {
            self.rows[index].note.remark("loopback has no link that could be taken down");
            return Ok(());
        }
        let paths: Vec<String> = sides.iter().map(|side| side.path.clone()).collect();
        let mut all = Vec::new();
        for side in &mut *sides {
            let role = side.server.role();
            all.push((role, Trials::prepare(side, fault).with_context(|| format!("of {role}"))?));
        }
        for number in 0..self.run.trials {
            for (role, trials) in &mut all {
                trials.trial(number).with_context(|| format!("of {role}"))?;
            }
        }
        for (path, (_, trials)) in paths.iter().zip(all) {
            let detection: Detection = trials.end()?;
            self.rows[index].keep(path, Figures::Detection(detection));
        }
        Ok(())
    }

    /// All rows of this kind at once: one record tells of all time-outs.
    fn false_alarms(&mut self, sides: &[Side<'_>]) -> Result<()> {
        let (mut indices, mut timeouts) = (Vec::new(), Vec::new());
        for (index, workload) in self.run.workloads.iter().enumerate() {
            if let Kind::FalseAlarms { timeout } = workload.kind {
                indices.push(index);
                timeouts.push(timeout);
            }
        }
        if indices.iter().any(|index| self.rows[*index].is_filled()) {
            return Ok(());
        }
        let mut sums: Vec<(&Side<'_>, Vec<FalseAlarms>)> =
            sides.iter().map(|side| (side, vec![FalseAlarms::default(); timeouts.len()])).collect();
        let mut rest = self.run.watched;
        while !rest.is_zero() {
            let duration = rest.min(WATCH);
            for (side, sums) in &mut sums {
                let found = observe(self.star, side, self.run.loops, &timeouts, duration)?;
                sums.iter_mut().zip(&found).for_each(|(sum, found)| sum.add(found));
            }
            sums.rotate_left(1);
            rest -= duration;
        }
        for (side, sums) in sums {
            for (index, sum) in indices.iter().zip(sums) {
                self.rows[*index].keep(&side.path, Figures::FalseAlarms(sum));
            }
        }
        Ok(())
    }

    fn stack(&mut self, index: usize, sides: &[Side<'_>]) -> Result<()> {
        let of = |path: &str| sides.iter().find(|side| side.path == path);
        match (of("kernel"), of("echo")) {
            (Some(kernel), Some(echo)) => {
                self.stack = Some(stack::measure(self.star, kernel, echo, self.run.echo, self.run.effort)?);
            }
            _ => self.rows[index].note.remark("no kernel path"),
        }
        Ok(())
    }
}
