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
    pub(crate) wrk: String,
    pub(crate) xps: &'static str,
    /// Load average over the last minute when the run began; much above 0, something else was running.
    pub(crate) load_before: f64,
    /// Share of the CPUs' time that other guests of the same host had during the run, in percent: figures of a run with more
    /// than a few say little.
    pub(crate) stolen_percent: f64,
    #[serde(skip)]
    since: Option<Ticks>,
}

impl Machine {
    /// The run that began with [`describe`] has ended.
    pub(crate) fn run_ended(&mut self) {
        let now = Ticks::now();
        if let (Some(since), Some(now)) = (self.since, now) {
            self.stolen_percent = now.stolen_percent(since);
        }
    }
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
        wrk: version("wrk", "-v", "wrk "),
        xps: env!("CARGO_PKG_VERSION"),
        load_before: read("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|load| load.parse().ok())
            .unwrap_or(0.0),
        stolen_percent: 0.0,
        since: Ticks::now(),
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
    Ok(busy_ticks(&text).context("/proc/stat has no line for all CPUs")? * us_per_tick()?)
}

/// How busy the CPUs are from now on.
pub(crate) struct Busy(Option<Ticks>);

impl Busy {
    /// From now on.
    pub(crate) fn since_now() -> Self {
        Self(Ticks::now())
    }

    /// How busy they were until now, all of them together, in percent. What other guests of the host had is no time of theirs.
    pub(crate) fn percent(&self) -> f64 {
        match (self.0, Ticks::now()) {
            (Some(since), Some(now)) => now.busy_percent(since),
            _ => 0.0,
        }
    }
}

/// Time that one CPU has spent in interrupts and what they leave to be done at once (the stack's receiving side) since it
/// started, µs.
pub(crate) fn interrupts_us_of(cpu: usize) -> Result<u64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let ticks =
        interrupt_ticks(&text, cpu).with_context(|| format!("/proc/stat has no line for CPU {cpu}"))?;
    Ok(ticks * us_per_tick()?)
}

fn interrupt_ticks(stat: &str, cpu: usize) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{cpu} ")))?;
    let mut fields = line.split_whitespace().skip(5).map_while(|field| field.parse::<u64>().ok());
    Some(fields.next()? + fields.next()?)
}

fn us_per_tick() -> Result<u64> {
    // SAFETY: sysconf has no preconditions.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(1_000_000 / u64::try_from(ticks_per_second).context("no clock tick is known")?.max(1))
}

fn busy_ticks(stat: &str) -> Option<u64> {
    Ticks::of(stat).map(|ticks| ticks.busy)
}

/// Time of all CPUs since they started, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    idle: u64,
    stolen: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// From `/proc/stat` (Documentation/filesystems/proc.rst): user, nice, system, idle, iowait, irq, softirq, steal; guest is
    /// part of user.
    fn of(stat: &str) -> Option<Self> {
        let line = stat.lines().find(|line| line.starts_with("cpu "))?;
        let fields: Vec<u64> =
            line.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, idle, waiting, irq, softirq, rest @ ..] = fields.as_slice() else {
            return None;
        };
        Some(Self {
            busy: user + nice + system + irq + softirq,
            idle: idle + waiting,
            stolen: rest.first().copied().unwrap_or(0),
        })
    }

    fn busy_percent(self, since: Self) -> f64 {
        let busy = self.busy.saturating_sub(since.busy) as f64;
        let all = busy + self.idle.saturating_sub(since.idle) as f64;
        if all > 0.0 { (busy / all * 1000.0).round() / 10.0 } else { 0.0 }
    }

    fn stolen_percent(self, since: Self) -> f64 {
        let stolen = self.stolen.saturating_sub(since.stolen) as f64;
        let all = (self.busy + self.idle).saturating_sub(since.busy + since.idle) as f64 + stolen;
        if all > 0.0 { (stolen / all * 1000.0).round() / 10.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::Ticks;

    #[test]
    fn what_is_stolen_is_a_share_of_all() {
        let since = Ticks { busy: 10, idle: 10, stolen: 5 };
        assert_eq!(Ticks { busy: 80, idle: 20, stolen: 25 }.stolen_percent(since), 20.0);
        assert_eq!(since.stolen_percent(since), 0.0);
        assert_eq!(Ticks { busy: 80, idle: 40, stolen: 25 }.busy_percent(since), 70.0);
        assert_eq!(since.busy_percent(since), 0.0);
        let old = Ticks::of("cpu 1 2 4 8 16 32 64\n");
        assert_eq!(old, Some(Ticks { busy: 103, idle: 24, stolen: 0 }));
    }

    #[test]
    fn busy_is_neither_idle_nor_stolen() {
        assert_eq!(super::busy_ticks("cpu  1 2 4 8 16 32 64 128 0 0\ncpu0 9 9 9 9 9 9 9\n"), Some(103));
        assert_eq!(super::busy_ticks("intr 5\n"), None);
        let each = "cpu  9 0 0 0 0 0 0\ncpu1 1 2 3 4 5 6 7 8\ncpu10 8 0 0 0 0 0 0\n";
        assert_eq!((super::interrupt_ticks(each, 1), super::interrupt_ticks(each, 2)), (Some(13), None));
    }
}
