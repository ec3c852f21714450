//! Containers are restarted and killed while clients go on: each time everything comes back by itself.

use super::checks::{self, LIMIT, Path, SIDECARS};
use super::client;
use super::report::Report;
use super::stack::{Stack, eventually};
use anyhow::{Context, Result, ensure};

/// Who is restarted in order.
const RESTARTED: [&str; 11] = [
    "kv-cache",
    "redis",
    "redis-net",
    "http-guard",
    "nginx",
    "nginx-net",
    "heartbeat-redis",
    "heartbeat-nginx",
    "heartbeat-witness",
    "prometheus",
    "load-redis",
];

/// Who is killed: sidecars, which leave programs and maps in the stack, and an owner of a namespace.
const KILLED: [&str; 4] = ["kv-cache", "http-guard", "heartbeat-witness", "redis-net"];

/// Disturbs one container after the other. With `reduced` only those whose namespaces others share, and the sidecars.
pub(super) fn run(report: &mut Report, stack: &Stack<'_>, reduced: bool) {
    let restarted =
        RESTARTED.iter().filter(|service| !reduced || ["kv-cache", "redis", "nginx-net"].contains(service));
    for service in restarted {
        report.check(&format!("{service} is restarted, and all comes back"), || {
            stack.restart(service)?;
            recovered(stack)
        });
    }
    for service in KILLED.iter().filter(|service| !reduced || **service == "http-guard") {
        report.check(&format!("{service} is killed, and all comes back"), || {
            stack.crash(service)?;
            recovered(stack)
        });
    }
}

/// All containers are well, all ports serve, the sidecars are on the kernel path, the cluster is whole.
fn recovered(stack: &Stack<'_>) -> Result<String> {
    eventually(2 * LIMIT, || {
        let ports = stack.published();
        for (service, program) in SIDECARS {
            let status = stack.status(service, program)?;
            checks::on_path(&status, Path::Kernel).context(service)?;
        }
        client::set(ports.redis, "compose", "again")?;
        checks::http(ports.nginx)?;
        checks::http(ports.nginx_accelerated)?;
        checks::members(stack)?;
        let unwell = stack.unwell()?;
        ensure!(unwell.is_empty(), "{}", unwell.join(", "));
        Ok(())
    })?;
    checks::redis(stack, Path::Kernel)
}
