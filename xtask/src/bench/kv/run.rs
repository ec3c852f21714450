//! Which side is measured when: first everything with the sidecar on the best path it gets, then the user path.

use super::keys;
use super::report::{Report, Row};
use super::traffic::Requests;
use super::workload::{Kind, Workload};
use crate::bench::measure::{Effort, Side, alternate, rounded};
use crate::lab::{Lab, Mode, Redis, Sidecar};
use crate::machine;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// The sidecar's `coherence.max_staleness`.
const MAX_STALENESS: Duration = Duration::from_secs(1);

/// What a run needs.
pub(crate) struct Run<'a> {
    pub(crate) lab: &'a Lab<Redis>,
    /// The kv-cache binary.
    pub(crate) program: &'a Path,
    /// The reflector's binary, if one of the workloads needs it.
    pub(crate) reflector: Option<&'a Path>,
    pub(crate) workloads: &'a [Workload],
    pub(crate) effort: Effort,
    /// Also measure the user path where the kernel path is to be had.
    pub(crate) user_path: bool,
}

/// Measures all workloads.
pub(crate) fn measure(run: &Run<'_>) -> Result<Report> {
    let mut machine = machine::describe();
    let mut rows: Vec<Row> = run.workloads.iter().map(|workload| Row::new(workload.name)).collect();
    let mut phase = Phase { run, sidecar: Some(start(run, Mode::Auto)?), loaded: None };
    let status = phase.sidecar()?.status()?;
    let is_kernel = status.path()? == "kernel";
    if !is_kernel {
        println!("the sidecar is on the user path: {}", status.causes().join("; "));
    }
    for (workload, row) in run.workloads.iter().zip(&mut rows) {
        println!("measuring {}", workload.name);
        phase.first(workload, row).with_context(|| format!("workload {}", workload.name))?;
        if !is_kernel && matches!(workload.kind, Kind::Ports | Kind::Hooks) {
            row.note.remark(&format!("no kernel path: {}", status.causes().join("; ")));
        }
        row.compare();
    }
    let on_user_path = |workload: &Workload| matches!(workload.kind, Kind::Ports | Kind::Haproxy);
    if is_kernel && run.user_path && run.workloads.iter().any(on_user_path) {
        phase.restart(Mode::User)?;
        for (workload, row) in run.workloads.iter().zip(&mut rows) {
            if on_user_path(workload) {
                println!("measuring {} on the user path", workload.name);
                phase
                    .user(workload, row)
                    .with_context(|| format!("workload {}, user path", workload.name))?;
            }
        }
    }
    if let Some(sidecar) = phase.sidecar.take() {
        sidecar.stop()?;
    }
    machine.run_ended();
    Ok(Report { rows, machine })
}

/// Starts the sidecar without its adaptive bypass: at few hits that would be measured instead of what they cost.
fn start(run: &Run<'_>, mode: Mode) -> Result<Sidecar> {
    Sidecar::kv_cache(run.lab, run.program, mode, &["cache.adaptive_bypass=false"])
}

struct Phase<'a> {
    run: &'a Run<'a>,
    /// `None` only between a stop and the next start.
    sidecar: Option<Sidecar>,
    /// Size of the values that are in Redis.
    loaded: Option<usize>,
}

impl<'a> Phase<'a> {
    fn sidecar(&self) -> Result<&Sidecar> {
        self.sidecar.as_ref().context("the sidecar is not running")
    }

    fn restart(&mut self, mode: Mode) -> Result<()> {
        if let Some(sidecar) = self.sidecar.take() {
            sidecar.stop()?;
        }
        self.sidecar = Some(start(self.run, mode)?);
        Ok(())
    }

    fn side(&self, workload: &'a Workload, port: u16) -> Side<Requests<'a>> {
        let lab = self.run.lab;
        Side::new(Requests { client: &workload.client, place: lab.client(), server: lab.address(port) })
    }

    fn load(&mut self, workload: &Workload) -> Result<()> {
        if self.loaded != Some(workload.value_bytes) {
            keys::load(self.run.lab, workload.value_bytes)?;
            // On the user path the sidecar is told of what was written past it, within this bound.
            std::thread::sleep(MAX_STALENESS);
            self.loaded = Some(workload.value_bytes);
        }
        Ok(())
    }

    fn first(&mut self, workload: &'a Workload, row: &mut Row) -> Result<()> {
        self.load(workload)?;
        match workload.kind {
            Kind::Ports => self.ports(workload, row),
            Kind::Hooks => self.hooks(workload, row),
            Kind::Haproxy if self.sidecar()?.status()?.path()? == "user" => self.haproxy(workload, row),
            Kind::Haproxy => Ok(()), // Later, when there are no hooks.
            Kind::Reflector => self.reflector(workload, row),
        }
    }

    fn ports(&mut self, workload: &'a Workload, row: &mut Row) -> Result<()> {
        let ports = self.run.lab.ports();
        let before = self.sidecar()?.status()?;
        let path = before.path()?.to_owned();
        if workload.warm {
            let entries = keys::warm(self.run.lab, self.sidecar()?, workload.value_bytes)?;
            if entries < super::request::KEYS * 995 / 1000 {
                row.note.remark(&format!("only {entries} of {} keys were cached", super::request::KEYS));
            }
        }
        let mut plain = self.side(workload, ports.plain);
        let mut accelerated = self.side(workload, ports.accelerated);
        // Calibration is part of `alternate`, so its requests are in the hits but not in the rounds: the share is
        // taken over one extra, counted round.
        alternate(&mut [&mut plain, &mut accelerated], self.run.effort)?;
        row.hit_share = Some(self.hit_share(workload)?);
        // A row that is named after hits and has few of them says why.
        if workload.name.starts_with("get-hit") && row.hit_share.is_some_and(|share| share < 0.9) {
            row.note.remark(&format!("passes since the start: {}", self.sidecar()?.status()?.passes()));
        }
        row.plain = Some(plain.figures());
        self.keep(row, &path, &accelerated)?;
        row.path = Some(path);
        Ok(())
    }

    /// The share of hits in a round of its own, with the sidecar's counters read before and after.
    fn hit_share(&self, workload: &'a Workload) -> Result<f64> {
        let mut side = self.side(workload, self.run.lab.ports().accelerated);
        side.calibrate()?;
        let before = self.sidecar()?.status()?;
        side.round(Effort { rounds: 1, ..self.run.effort })?;
        let after = self.sidecar()?.status()?;
        let hits = after.hits()?.saturating_sub(before.hits()?);
        Ok(rounded((hits as f64 / side.requests() as f64).min(1.0)))
    }

    /// Files the figures under the path that the sidecar still says it takes.
    fn keep(&self, row: &mut Row, path: &str, side: &Side<Requests<'_>>) -> Result<()> {
        let status = self.sidecar()?.status()?;
        if status.path()? != path {
            row.note
                .remark(&format!("the path changed from {path} to {} while it was measured", status.path()?));
            return Ok(());
        }
        match path {
            "kernel" => row.kernel = Some(side.figures()),
            "user" => row.user = Some(side.figures()),
            other => row.note.remark(&format!("the sidecar names a path that is not known here: {other}")),
        }
        Ok(())
    }

    fn user(&mut self, workload: &'a Workload, row: &mut Row) -> Result<()> {
        self.load(workload)?;
        let path = self.sidecar()?.status()?.path()?.to_owned();
        if path != "user" {
            row.note.remark(&format!("the sidecar was asked for the user path and took {path}"));
            return Ok(());
        }
        if workload.kind == Kind::Haproxy {
            return self.haproxy(workload, row);
        }
        if workload.warm {
            keys::warm(self.run.lab, self.sidecar()?, workload.value_bytes)?;
        }
        let ports = self.run.lab.ports();
        let mut plain = self.side(workload, ports.plain);
        let mut side = self.side(workload, ports.accelerated);
        alternate(&mut [&mut plain, &mut side], self.run.effort)?;
        row.hit_share_user = Some(self.hit_share(workload)?);
        self.keep(row, &path, &side)?;
        row.compare_user(&plain.figures());
        Ok(())
    }

    /// `plain`: the sidecar stopped, `kernel`: the same port under its hooks.
    fn hooks(&mut self, workload: &'a Workload, row: &mut Row) -> Result<()> {
        let path = self.sidecar()?.status()?.path()?.to_owned();
        if path != "kernel" {
            row.path = Some(path);
            return Ok(());
        }
        let port = self.run.lab.ports().plain;
        let (mut without, mut with) = (self.side(workload, port), self.side(workload, port));
        with.calibrate()?;
        for round in 0..self.run.effort.rounds {
            with.round(self.run.effort)?;
            if let Some(sidecar) = self.sidecar.take() {
                sidecar.stop()?;
            }
            if round == 0 {
                without.calibrate()?;
            }
            without.round(self.run.effort)?;
            self.restart(Mode::Auto)?;
        }
        row.plain = Some(without.figures());
        self.keep(row, &path, &with)?;
        row.path = Some(path);
        row.note.remark("plain: without hooks; kernel: the same port under them");
        Ok(())
    }

    /// `kernel`: constant replies from the stack, with a Redis of its own for the handshakes.
    fn reflector(&mut self, workload: &'a Workload, row: &mut Row) -> Result<()> {
        let Some(program) = self.run.reflector.filter(|_| self.run.lab.has_namespaces()) else {
            row.note.remark("no kernel path without root");
            return Ok(());
        };
        let reflector = self.run.lab.start_reflector(program, workload.value_bytes)?;
        let ports = self.run.lab.ports();
        let mut plain = self.side(workload, ports.plain);
        let mut reflected = self.side(workload, ports.relay);
        alternate(&mut [&mut plain, &mut reflected], self.run.effort)?;
        drop(reflector);
        row.plain = Some(plain.figures());
        row.kernel = Some(reflected.figures());
        row.note.remark("kernel: a constant reply without flow table and parser, not kv-cache");
        Ok(())
    }

    /// Three sides by turns, without hooks: the plain port, HAProxy's relay and the user path.
    fn haproxy(&mut self, workload: &'a Workload, row: &mut Row) -> Result<()> {
        let haproxy = self.run.lab.start_relay()?;
        let ports = self.run.lab.ports();
        let mut plain = self.side(workload, ports.plain);
        let mut relay = self.side(workload, ports.relay);
        let mut user = self.side(workload, ports.accelerated);
        alternate(&mut [&mut plain, &mut relay, &mut user], self.run.effort)?;
        drop(haproxy);
        row.hit_share_user = Some(self.hit_share(workload)?);
        self.keep(row, "user", &user)?;
        row.haproxy = Some(relay.figures());
        row.plain = Some(plain.figures());
        row.compare_user(&plain.figures());
        Ok(())
    }
}
