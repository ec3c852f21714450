//! The result, for readers and for programs.

use super::detection::{Detection, PROBING};
use super::false_alarms::{FalseAlarms, GAP};
use super::load::CONNECTIONS;
use super::record::Replies;
use super::sides::LEASE;
use super::stack::{Rate, Stack};
use super::workload::{Kind, Workload};
use crate::bench::measure::rounded;
use crate::bench::note::Note;
use crate::bench::{self, table};
use crate::machine::Machine;
use serde::Serialize;

/// All that was measured in one run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// What a reply takes in the stack; null if it was not measured.
    pub(crate) stack: Option<Stack>,
    /// Busy loops for each CPU where it was saturated.
    pub(crate) loops: usize,
    pub(crate) machine: Machine,
}

/// What was found of one side.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Figures {
    Replies(Replies),
    Detection(Detection),
    FalseAlarms(FalseAlarms),
}

/// One workload. A side that was not measured is null.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    #[serde(skip)]
    kind: Kind,
    /// heartbeat, as long as it said that it was on the kernel path.
    pub(crate) kernel: Option<Figures>,
    /// heartbeat on the user path.
    pub(crate) user: Option<Figures>,
    /// A process that sends back what it receives.
    pub(crate) echo: Option<Figures>,
    /// 99.9 % of replies: kernel by user path; below 1 the kernel path is faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_p999_user: Option<f64>,
    /// The same by the echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_p999_echo: Option<f64>,
    pub(crate) note: Note,
}

impl Row {
    /// Nothing measured yet.
    pub(super) fn new(workload: &Workload) -> Self {
        Self {
            workload: workload.name,
            kind: workload.kind,
            kernel: None,
            user: None,
            echo: None,
            ratio_p999_user: None,
            ratio_p999_echo: None,
            note: Note::default(),
        }
    }

    /// True for what is not a row of the result, but [`Report::stack`].
    pub(super) fn is_stack(&self) -> bool {
        self.kind == Kind::Stack
    }

    /// Whether any side was measured.
    pub(super) fn is_filled(&self) -> bool {
        self.kernel.is_some() || self.user.is_some() || self.echo.is_some()
    }

    /// Files figures under the path that the responder said it was on.
    pub(super) fn keep(&mut self, path: &str, figures: Figures) {
        match path {
            "kernel" => self.kernel = Some(figures),
            "user" => self.user = Some(figures),
            "echo" => self.echo = Some(figures),
            other => self.note.remark(&format!("heartbeat names a path that is not known here: {other}")),
        }
    }

    /// Fills in what follows from the figures.
    pub(super) fn compare(&mut self) {
        let p999 = |side: &Option<Figures>| match side {
            Some(Figures::Replies(replies)) if replies.p999_us > 0.0 => Some(replies.p999_us),
            _ => None,
        };
        let by = |base| p999(&self.kernel).zip(base).map(|(kernel, base)| rounded(kernel / base));
        (self.ratio_p999_user, self.ratio_p999_echo) = (by(p999(&self.user)), by(p999(&self.echo)));
    }

    fn print(&self) {
        let mut name = self.workload;
        for (side, figures) in [("kernel", &self.kernel), ("user", &self.user), ("echo", &self.echo)] {
            let Some(figures) = figures else { continue };
            println!("{}", table::own_line(name, side, &figures.values()));
            name = "";
        }
        if !name.is_empty() {
            println!("{}", table::text_line(name, "not measured"));
        }
        if let (Some(user), Some(echo)) = (self.ratio_p999_user, self.ratio_p999_echo) {
            let text = format!("(kernel's p99.9 by the user path's: {user:.3}, by the echo's: {echo:.3})");
            println!("{}", table::text_line("", &text));
        }
        print!("{}", self.note);
    }

    /// What its columns are called.
    fn head(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Replies { .. } => {
                &["probes", "lost", "p50 µs", "p99 µs", "p99.9 µs", "max µs", "own µs", "paused ms", "CPU"]
            }
            Kind::Detection(_) => &["trials", "median ms", "min ms", "max ms", "bound ms"],
            Kind::FalseAlarms { .. } => &["seconds", "alarms", "by hour", "suspects", "failures"],
            Kind::Stack => &[],
        }
    }
}

impl Figures {
    /// As they stand below their columns' names.
    fn values(&self) -> Vec<String> {
        let us = |value: f64| format!("{value:.1}");
        match self {
            Self::Replies(replies) => vec![
                replies.probes.to_string(),
                replies.lost.to_string(),
                us(replies.p50_us),
                us(replies.p99_us),
                us(replies.p999_us),
                us(replies.max_us),
                us(replies.sent_late_p999_us),
                us(replies.paused_ms),
                format!("{:.0}%", replies.busy_percent),
            ],
            Self::Detection(detection) => vec![
                detection.trials.to_string(),
                us(detection.p50_ms),
                us(detection.min_ms),
                us(detection.max_ms),
                us(detection.bound_ms),
            ],
            Self::FalseAlarms(alarms) => {
                let count =
                    |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
                vec![
                    format!("{:.0}", alarms.seconds),
                    alarms.alarms.to_string(),
                    format!("{:.0}", alarms.alarms_per_hour),
                    count(alarms.suspected),
                    count(alarms.failed),
                ]
            }
        }
    }
}

fn line(name: &str, side: &str, values: &[&str]) -> String {
    table::own_line(name, side, &values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
}

fn print_stack(stack: &Stack) {
    println!("\n{}", line("reply in the stack", "hook", &["ns", "replayed", "foreign", "bare", "bare long"]));
    for cost in &stack.costs {
        let values = [cost.heartbeat_ns, cost.replayed_ns, cost.foreign_ns, cost.bare_ns, cost.bare_long_ns];
        println!("{}", table::own_line("", &cost.hook, &values.map(|ns| format!("{ns:.0}"))));
    }
    println!("{}", line("replies of a core", "", &["by second", "spread", "CPU", "req/s"]));
    for (name, rate) in [("ours", &stack.heartbeat), ("bare", &stack.bare)] {
        let Some(Rate { per_core_second, rps, busy_percent, spread }) = rate else { continue };
        let percent = |value: f64| format!("{value:.0}%");
        let values = [
            format!("{per_core_second:.0}"),
            percent(spread * 100.0),
            percent(*busy_percent),
            format!("{rps:.0}"),
        ];
        println!("{}", table::own_line("", name, &values));
    }
    if let Some(ratio) = stack.ratio {
        println!("{}", table::text_line("", &format!("(heartbeat by the bare reflector: {ratio:.2})")));
    }
}

impl bench::Report for Report {
    const BENCH: &'static str = "heartbeat";

    fn print(&self) {
        table::print_machine(&self.machine, &format!("Redis {}", self.machine.redis));
        let mut head: &[&str] = &[];
        for row in &self.rows {
            if row.head() != head {
                head = row.head();
                println!("{}", line("workload", "side", head));
            }
            row.print();
        }
        if let Some(stack) = &self.stack {
            print_stack(stack);
        }
        println!(
            "\nBy turns, all rounds of a side together. The prober has a CPU before everybody else (SCHED_FIFO), for all sides alike, \
             sends by the clock, once in {GAP:?} on average, and counts from when a probe was due; one that is lost counts a second. \
             own: how late the prober itself was in 99.9 %. paused: for so long a CPU did not even run what was most urgent on it, since \
             the host's other guests had it; no latency and no time-out counts that. A probe is handled by another CPU than the prober's, in an interrupt. \
             Saturated: {} busy loops for each CPU and a Redis with {CONNECTIONS} clients in the responder's namespace, at \
             ordinary priority, each in a session of its own.\n\
             detect: the application is a Redis whose lease counts {LEASE:?}; an agent observes, interval {:?}, time-out {:?}, \
             confirmation {:?}. The echo is its own application, and is observed with a fixed time-out of {:?}.\n\
             false-alarms: alarms of a prober with that time-out and one try; suspects and failures are those of agents whose \
             time-out adapts and is that at most, as urgent as the prober.\n\
             replies of a core: for each second that a CPU spends on packets, in interrupts, under a flood from another.",
            self.loops, PROBING.interval, PROBING.timeout, PROBING.confirmation, PROBING.timeout,
        );
    }
}

/// A printed result with a row of each kind.
#[cfg(test)]
pub(crate) fn example() -> String {
    use super::stack::Cost;
    use super::workload;

    let replies = |p50_us: f64| {
        Figures::Replies(Replies {
            probes: 1200,
            lost: 1,
            p50_us,
            p99_us: p50_us * 3.25,
            p999_us: p50_us * 6.5,
            max_us: p50_us * 20.0,
            quantiles_us: vec![p50_us / 2.0, p50_us, p50_us * 1.5],
            sent_late_p999_us: 3.5,
            paused_ms: 1.5,
            p999_with_pauses_us: p50_us * 7.0,
            busy_percent: 99.5,
        })
    };
    let detection = |p50_ms: f64| {
        let (min_ms, max_ms) = (p50_ms / 2.0, p50_ms * 1.5);
        Figures::Detection(Detection { trials: 15, p50_ms, min_ms, max_ms, bound_ms: 60.0 })
    };
    let alarms = |alarms| {
        let (suspected, failed) = (Some(2), Some(1));
        let alarms_per_hour = alarms as f64 * 30.0;
        Figures::FalseAlarms(FalseAlarms { seconds: 120.0, alarms, alarms_per_hour, suspected, failed })
    };
    let mut rows: Vec<Row> = workload::all().iter().map(Row::new).collect();
    rows.retain(|row| ["reply-saturated", "detect-kill", "false-alarms-20ms"].contains(&row.workload));
    for row in &mut rows {
        for (number, path) in ["kernel", "user", "echo"].into_iter().enumerate() {
            let figures = match row.kind {
                Kind::Replies { .. } => replies(21.25 * (1.0 + 40.0 * number as f64)),
                Kind::Detection(_) => detection(31.5 + number as f64),
                _ => alarms(number as u64 * 7),
            };
            row.keep(path, figures);
        }
        row.compare();
        row.note.remark("a note");
    }
    let rate = |per_core_second| Rate { per_core_second, rps: 450_000.0, busy_percent: 50.0, spread: 0.05 };
    let cost = Cost {
        hook: "xdp".to_owned(),
        heartbeat_ns: 410.0,
        replayed_ns: 300.0,
        foreign_ns: 20.0,
        bare_ns: 60.0,
        bare_long_ns: 55.0,
    };
    let (heartbeat, bare) = (Some(rate(900_000.0)), Some(rate(1_500_000.0)));
    let stack = Some(Stack { costs: vec![cost], heartbeat, bare, ratio: Some(0.6) });
    let mut machine = crate::machine::describe();
    machine.stolen_percent = 7.5;
    bench::printed(Report { rows, stack, loops: 4, machine })
}

#[cfg(test)]
mod tests {
    use super::super::workload;
    use super::*;

    fn replies(p999_us: f64) -> Figures {
        Figures::Replies(Replies {
            probes: 1000,
            lost: 0,
            p50_us: 1.0,
            p99_us: 2.0,
            p999_us,
            max_us: 3.0,
            quantiles_us: Vec::new(),
            sent_late_p999_us: 0.0,
            paused_ms: 0.0,
            p999_with_pauses_us: p999_us,
            busy_percent: 100.0,
        })
    }

    #[test]
    fn figures_stand_below_their_names() {
        let detection = Detection { trials: 1, p50_ms: 1.0, min_ms: 1.0, max_ms: 1.0, bound_ms: 2.0 };
        for row in workload::all().iter().map(Row::new) {
            let figures = match row.kind {
                Kind::Replies { .. } => replies(1.0),
                Kind::Detection(_) => Figures::Detection(detection.clone()),
                Kind::FalseAlarms { .. } => Figures::FalseAlarms(FalseAlarms::default()),
                Kind::Stack => continue,
            };
            assert_eq!(figures.values().len(), row.head().len(), "{}", row.workload);
        }
    }

    #[test]
    fn json_has_figures_by_side() {
        let mut row = Row::new(&workload::all()[1]);
        for (path, p999_us) in [("kernel", 50.0), ("user", 1000.0), ("echo", 2000.0), ("other", 1.0)] {
            row.keep(path, replies(p999_us));
        }
        row.compare();
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["workload"], "reply-saturated");
        assert_eq!((&json["kernel"]["p999_us"], &json["echo"]["lost"]), (&50.0.into(), &0.into()));
        assert_eq!((&json["ratio_p999_user"], &json["ratio_p999_echo"]), (&0.05.into(), &0.025.into()));
        assert!(json["note"].as_str().unwrap().contains("other"));
    }
}
