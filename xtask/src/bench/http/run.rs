//! Which side is measured when: first everything with http-guard on the best path it gets, then the user path.

use super::report::{Report, Row};
use super::rules;
use super::traffic::{Requests, Server};
use super::workload::{Kind, Pace, Workload};
use crate::bench::measure::{Effort, Figures, Side, alternate, rounded};
use crate::lab::{Lab, Mode, Nginx, Process, Sidecar};
use crate::machine;
use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// What a run needs.
pub(crate) struct Run<'a> {
    /// The http-guard binary.
    pub(crate) program: &'a Path,
    pub(crate) workloads: &'a [Workload],
    pub(crate) effort: Effort,
    /// Also measure the user path where the kernel path is to be had.
    pub(crate) user_path: bool,
}

/// Makes a lab with Nginx and measures all workloads in it.
pub(crate) fn measure(run: &Run<'_>) -> Result<Report> {
    let mut machine = machine::describe();
    let lab = Lab::empty()?;
    let [_, known] = lab.client_addresses();
    let lab = lab.with_nginx(&rules::nginx(known))?;
    let rules = rules::http_guard(known);
    println!(
        "Nginx on {} (plain) and {} (with rules), http-guard on {} (accelerated)",
        lab.address(lab.ports().plain),
        lab.address(lab.guarded_port()),
        lab.other_address(lab.ports().accelerated)
    );
    let start = |mode| Sidecar::http_guard(&lab, run.program, mode, &rules);
    let mut rows: Vec<Row> = run.workloads.iter().map(|workload| Row::new(workload.name)).collect();
    let sidecar = start(Mode::Auto)?;
    let status = sidecar.status()?;
    let is_kernel = status.path()? == "kernel";
    if !is_kernel {
        println!("http-guard is on the user path: {}", status.causes().join("; "));
    }
    for (workload, row) in run.workloads.iter().zip(&mut rows) {
        println!("measuring {}", workload.name);
        row.flood_offered_rps = offered(&lab, *workload, run.effort)
            .with_context(|| format!("workload {}, what Nginx can refuse", workload.name))?;
        let turns = turns(&lab, &sidecar, *workload, run.effort, row.flood_offered_rps)
            .with_context(|| format!("workload {}", workload.name))?;
        row.keep(turns);
        if !is_kernel {
            row.note.remark(&format!("no kernel path: {}", status.causes().join("; ")));
        }
    }
    sidecar.stop()?;
    if is_kernel && run.user_path {
        let sidecar = start(Mode::User)?;
        for (workload, row) in run.workloads.iter().zip(&mut rows) {
            println!("measuring {} on the user path", workload.name);
            let turns = turns(&lab, &sidecar, *workload, run.effort, row.flood_offered_rps)
                .with_context(|| format!("workload {}, user path", workload.name))?;
            row.keep(turns);
        }
        sidecar.stop()?;
    }
    machine.run_ended();
    Ok(Report { rows, machine })
}

/// At which rate a paced flood asks, on all sides and both paths: as often as Nginx refuses when it has nothing else to do.
fn offered(lab: &Lab<Nginx>, workload: Workload, effort: Effort) -> Result<Option<f64>> {
    if workload.kind != Kind::Flood(Pace::Offered) {
        return Ok(None);
    }
    let unpaced = Requests { lab, workload, server: Server::Nginx, flood_rps: None };
    unpaced.refused_alone(effort.duration).map(|rate| Some(rounded(rate)))
}

/// What was measured by turns.
pub(super) struct Turns {
    /// The path that http-guard said it took.
    pub(super) path: String,
    pub(super) plain: Figures,
    pub(super) haproxy: Option<Figures>,
    pub(super) accelerated: Figures,
}

fn turns(
    lab: &Lab<Nginx>,
    sidecar: &Sidecar,
    workload: Workload,
    effort: Effort,
    flood_rps: Option<f64>,
) -> Result<Turns> {
    let _haproxy = workload.haproxy.then(|| start_haproxy(lab)).transpose()?;
    let side = |server| Side::new(Requests { lab, workload, server, flood_rps });
    let path = sidecar.status()?.path()?.to_owned();
    let (mut plain, mut accelerated) = (side(Server::Nginx), side(Server::HttpGuard(sidecar)));
    let mut haproxy = workload.haproxy.then(|| side(Server::Haproxy));
    let mut sides = vec![&mut plain, &mut accelerated];
    sides.extend(haproxy.as_mut());
    alternate(&mut sides, effort)?;
    let path_after = sidecar.status()?.path()?.to_owned();
    if path_after != path {
        bail!("the path changed from {path} to {path_after} while it was measured");
    }
    Ok(Turns {
        path,
        plain: plain.figures(),
        haproxy: haproxy.as_ref().map(Side::figures),
        accelerated: accelerated.figures(),
    })
}

fn start_haproxy(lab: &Lab<Nginx>) -> Result<Process> {
    let ([_, known], ports) = (lab.client_addresses(), lab.ports());
    let bind = if lab.has_namespaces() { "*" } else { "127.0.0.1" };
    let nginx = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.plain));
    lab.start_haproxy(&rules::haproxy(known, &format!("{bind}:{}", ports.relay), nginx), ports.relay)
}
