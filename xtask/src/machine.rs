//! What this machine is, and what it spends.

use crate::workspace;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::process::Command;

/// Described beside every result: figures of different machines don't compare.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) redis: String,
    pub(crate) nginx: String,
    pub(crate) haproxy: String,
    pub(crate) xps: &'static str,
    /// Load average over the last minute when the run began; much above 0, something else was running.
    pub(crate) load_before: f64,
}

/// Describes this machine; what cannot be read is left empty or 0.
pub(crate) fn describe() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let memory_kib = field(&read("/proc/meminfo"), "MemTotal");
    Machine {
        cpu: field(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory_kib.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
            * 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        redis: version("redis-server", "--version", " v="),
        nginx: version("nginx", "-v", "nginx/"),
        haproxy: version("haproxy", "-v", "version "),
        xps: env!("CARGO_PKG_VERSION"),
        load_before: read("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|load| load.parse().ok())
            .unwrap_or(0.0),
    }
}

/// What a program calls its version behind `mark`; empty if it does not run.
fn version(program: &str, argument: &str, mark: &str) -> String {
    let Some(output) =
        workspace::find(program).and_then(|path| Command::new(path).arg(argument).output().ok())
    else {
        return String::new();
    };
    // Nginx says it on standard error.
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let version = text.split_once(mark).and_then(|(_, rest)| rest.split_whitespace().next());
    version.unwrap_or_default().to_owned()
}

/// CPU time that the whole machine has spent busy since it started, µs. Client, server, kernel and sidecar are all
/// in it: work that a path moves elsewhere does not vanish from the account.
pub(crate) fn busy_us() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    // SAFETY: sysconf has no preconditions.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(busy_ticks(&text).context("/proc/stat has no line for all CPUs")? * 1_000_000
        / u64::try_from(ticks_per_second).context("no clock tick is known")?)
}

fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find(|line| line.starts_with("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq; steal is time that somebody else had, guest is part of user.
    (fields.len() >= 7).then(|| fields[0] + fields[1] + fields[2] + fields[5] + fields[6])
}

#[cfg(test)]
mod tests {
    #[test]
    fn busy_is_neither_idle_nor_stolen() {
        assert_eq!(super::busy_ticks("cpu  1 2 4 8 16 32 64 128 0 0\ncpu0 9 9 9 9 9 9 9\n"), Some(103));
        assert_eq!(super::busy_ticks("intr 5\n"), None);
    }
}
