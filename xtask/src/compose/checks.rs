//! What must be so while all is well.

use super::client;
use super::prometheus::{self, Expression};
use super::report::Report;
use super::stack::{Stack, eventually};
use crate::dashboard;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// How long a sidecar, Prometheus or the cluster may take to see what has changed.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// Requests on one connection. The first misses, and it takes a moment until the value is there.
const GETS: usize = 50;

/// Which path the sidecars must have taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Kernel,
    User,
}

impl Path {
    const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// The sidecars: service and program.
pub(super) const SIDECARS: [(&str, &str); 5] = [
    ("kv-cache", "kv-cache"),
    ("http-guard", "http-guard"),
    ("heartbeat-redis", "heartbeat"),
    ("heartbeat-nginx", "heartbeat"),
    ("heartbeat-witness", "heartbeat"),
];

/// Paths, service through all published ports, the cluster.
pub(super) fn service(report: &mut Report, stack: &Stack<'_>, path: Path) {
    for (service, program) in SIDECARS {
        let what = format!("{service} is on the {} path", path.label());
        report.check(&what, || on_path(&stack.status(service, program)?, path));
    }
    let ports = *stack.published();
    report.check("Redis is served on the plain port", || {
        client::set(ports.redis, "compose", "plain")?;
        client::get(ports.redis, "compose", "plain", GETS)?;
        Ok(format!("{GETS} GETs right"))
    });
    let how = if path == Path::Kernel { "in the stack" } else { "through the relay" };
    report.check(&format!("Redis is served {how} on the accelerated port"), || redis(stack, path));
    report.check("Nginx is served on the plain port", || {
        http(ports.nginx)?;
        Ok("200, and 403 by its own rule".to_owned())
    });
    report.check(&format!("Nginx is served {how} on the accelerated port"), || nginx(stack));
    report.check("three heartbeats see each other alive", || eventually(LIMIT, || members(stack)));
}

/// That it is on this path by its status; on which interfaces, or why.
pub(super) fn on_path(status: &Value, path: Path) -> Result<String> {
    ensure!(status["path"] == path.label(), "its status says {} {}", status["path"], status["path_causes"]);
    Ok(match path {
        Path::Kernel => interfaces(status),
        Path::User => status["path_causes"].to_string(),
    })
}

fn interfaces(status: &Value) -> String {
    let names = status["interfaces"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// Values are right before and after a write on the other port, and on the kernel path hits are counted: with the profile load also
/// its own.
pub(super) fn redis(stack: &Stack<'_>, path: Path) -> Result<String> {
    let ports = stack.published();
    let hits = || counter(&stack.status("kv-cache", "kv-cache")?, "hits_total");
    let before = hits()?;
    let mut round = 0;
    eventually(LIMIT, || {
        round += 1;
        let value = format!("round {round}");
        client::set(ports.redis, "compose", &value)?;
        client::get(ports.redis_accelerated, "compose", &value, GETS)?;
        let hits = hits()?.saturating_sub(before);
        ensure!(path == Path::User || hits > 0, "{round} times {GETS} GETs are right, but no hit is counted");
        Ok(format!("{} GETs right, {hits} hits counted meanwhile", round * GETS))
    })
}

fn nginx(stack: &Stack<'_>) -> Result<String> {
    let refused = || counter(&stack.status("http-guard", "http-guard")?, "refused_total");
    let before = refused()?;
    http(stack.published().nginx_accelerated)?;
    let counted = eventually(LIMIT, || {
        let counted = refused()?.saturating_sub(before);
        ensure!(counted > 0, "http-guard has counted no refusal");
        Ok(counted)
    })?;
    Ok(format!("200, and 403 by http-guard, which counts {counted}"))
}

/// A page that may be had, and one that may not.
pub(super) fn http(server: std::net::SocketAddr) -> Result<()> {
    for (path, expected) in [("/", 200), ("/index.php", 403)] {
        let status = client::http_status(server, path)?;
        ensure!(status == expected, "GET {path} is answered with {status} instead of {expected}");
    }
    Ok(())
}

fn counter(status: &Value, name: &str) -> Result<u64> {
    status[name].as_u64().with_context(|| format!("the status has no {name}"))
}

/// Each heartbeat sees the two others, alive.
pub(super) fn members(stack: &Stack<'_>) -> Result<String> {
    for (service, _) in SIDECARS.iter().filter(|(_, program)| *program == "heartbeat") {
        let text = stack.run_in(service, &["heartbeat", "watch", "--json"])?;
        let members: Value = serde_json::from_str(&text).context("the members are not JSON")?;
        let alive =
            members.as_array().into_iter().flatten().filter(|member| member["state"] == "alive").count();
        ensure!(alive == 2, "{service} sees {alive} of two others alive: {members}");
    }
    Ok(String::new())
}

/// Prometheus reaches all it should, and with traffic every panel and every alert has data.
pub(super) fn monitoring(report: &mut Report, stack: &Stack<'_>) {
    let address = stack.published().prometheus;
    report.check("the alerts' tests pass (promtool)", || {
        stack.run_in("prometheus", &["promtool", "check", "config", "/etc/prometheus/prometheus.yml"])?;
        // It writes, which it may only there.
        let test =
            ["env", "TMPDIR=/prometheus", "promtool", "test", "rules", "/etc/prometheus/alerts_test.yml"];
        stack.run_in("prometheus", &test)?;
        Ok(String::new())
    });
    report.check("Prometheus has every target up", || eventually(LIMIT, || targets(stack)));
    report.check("the dashboard fits Grafana's own types", dashboard::fits_schema);
    report.check("every expression of the dashboard gives series", || {
        all_give_series(stack, &prometheus::of_dashboard()?)
    });
    report.check("every alert looks at series that are there", || {
        all_give_series(stack, &prometheus::of_alerts(address)?)
    });
}

fn targets(stack: &Stack<'_>) -> Result<String> {
    let targets = prometheus::targets(stack.published().prometheus)?;
    let down: Vec<_> = targets.iter().filter(|(_, up, _)| !up).collect();
    ensure!(down.is_empty(), "these are down: {down:?}");
    // Prometheus itself, the five sidecars and two load generators.
    ensure!(targets.len() == 8, "there should be 8 targets: {targets:?}");
    Ok(format!("{} targets", targets.len()))
}

/// All that gives no series within the limit is named.
fn all_give_series(stack: &Stack<'_>, expressions: &[Expression]) -> Result<String> {
    let address = stack.published().prometheus;
    eventually(LIMIT, || {
        let failures: Vec<String> = expressions
            .iter()
            .filter_map(|expression| prometheus::series(address, expression).err())
            .map(|error| format!("{error:#}"))
            .collect();
        ensure!(
            failures.is_empty(),
            "{} of {}:\n    {}",
            failures.len(),
            expressions.len(),
            failures.join("\n    ")
        );
        Ok(format!("{} expressions", expressions.len()))
    })
}
