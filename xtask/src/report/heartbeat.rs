//! What is said of heartbeat.

use super::document::{Block, NONE, Section, Table};
use super::numbers::{duration, percent, ratio, small_ratio, whole};
use super::plot::marks::{self, Mark, Marks};
use super::plot::percentiles::{self, Curve};
use super::plot::scale::Kind;
use super::plot::{Plot, Side};
use super::result::{HeartbeatFigures as Figures, HeartbeatRow, Rows, Saved, Stack};
use super::source::Bench;

/// The section of its bench.
pub(super) fn section(result: &Saved) -> Section {
    let mut blocks = vec![Block::Text(
        "heartbeat answers probes in the stack while the application holds its lease. It is compared with its own user path and with a \
         minimal echo, on an idle host and on one whose CPUs are all busy; then an application is killed, stopped or cut off, and false \
         alarms are counted while all is well but slow."
            .to_owned(),
    )];
    if let Rows::Heartbeat { rows, stack } = &result.rows {
        let unmeasured = unmeasured(result.bench, rows, stack.is_some());
        if !unmeasured.is_empty() {
            let names: Vec<String> = unmeasured.iter().map(|name| format!("`{name}`")).collect();
            blocks.push(Block::Warning(format!("Not measured in this run: {}.", names.join(", "))));
        }
        let plots: Vec<Plot> = [replies(rows), detections(rows)].into_iter().flatten().collect();
        blocks.push(Block::Plots(plots));
        blocks.push(Block::Plots(rows.iter().filter_map(distribution).collect()));
        let tables = [reply_table(rows), detection_table(rows), alarm_table(rows)];
        for table in tables {
            blocks.push(match table.lines.is_empty() {
                true => {
                    Block::Warning(format!("Not measured in this run: {}.", table.caption.to_lowercase()))
                }
                false => Block::Table(table),
            });
        }
        match stack {
            Some(stack) => blocks.extend(stack_blocks(stack)),
            None => blocks.push(Block::Warning(
                "What a reply takes in the stack was not measured in this run.".to_owned(),
            )),
        }
        let notes: Vec<(String, String)> = rows.iter().filter_map(note).collect();
        if !notes.is_empty() {
            blocks.push(Block::Terms(notes));
        }
    }
    blocks.retain(|block| !matches!(block, Block::Plots(plots) if plots.is_empty()));
    Section {
        name: "heartbeat".to_owned(),
        heading: "heartbeat against an echo in userspace".to_owned(),
        blocks,
    }
}

/// Workloads of which there is no figure. That of the stack is no row.
fn unmeasured(bench: Bench, rows: &[HeartbeatRow], stack: bool) -> Vec<&'static str> {
    let is_there = |name: &str| {
        let in_row = rows.iter().any(|row| row.workload == name && sides(row).next().is_some());
        in_row || (name == "stack" && stack)
    };
    bench.workloads().into_iter().filter(|name| !is_there(name)).collect()
}

/// What a reader must know of a row.
fn note(row: &HeartbeatRow) -> Option<(String, String)> {
    let ratios = [(row.ratio_p999_user, "the user path's"), (row.ratio_p999_echo, "the echo's")];
    let ratios = ratios.into_iter().filter_map(|(value, whose)| {
        value.map(|value| format!("99.9 % of the kernel path's replies by {whose}: {}", small_ratio(value)))
    });
    let said: Vec<String> = ratios.chain(row.note.clone()).collect();
    (!said.is_empty()).then(|| (format!("`{}`", row.workload), said.join("; ")))
}

/// Sides that were measured.
fn sides(row: &HeartbeatRow) -> impl Iterator<Item = (Side, String, &Figures)> {
    let all = [
        (Side::Kernel, "heartbeat, kernel path", &row.kernel),
        (Side::User, "heartbeat, user path", &row.user),
        (Side::Other, "echo", &row.echo),
    ];
    all.into_iter().filter_map(|(side, who, figures)| Some((side, who.to_owned(), figures.as_ref()?)))
}

fn marked(
    rows: &[HeartbeatRow],
    of: impl Fn(&Figures) -> Option<(f64, Option<(f64, f64)>)>,
) -> Vec<marks::Row> {
    let row = |row: &HeartbeatRow| {
        let mark = |(side, who, figures)| {
            let (value, range) = of(figures)?;
            Some(Mark { side, who, value, range })
        };
        let marks: Vec<Mark> = sides(row).filter_map(mark).collect();
        (!marks.is_empty()).then(|| marks::Row { name: row.workload.clone(), marks })
    };
    rows.iter().filter_map(row).collect()
}

fn replies(rows: &[HeartbeatRow]) -> Option<Plot> {
    marks::plot(&Marks {
        name: "heartbeat-replies",
        title: "Replies to probes, from the median to 99.9 %",
        caption: "The mark is the median, the line reaches to what 99.9 % of the replies do not exceed.",
        axis: "µs (logarithmic)",
        kind: Kind::Logarithmic,
        reference: None,
        write: duration,
        rows: marked(rows, |figures| match figures {
            Figures::Replies { p50_us, p999_us, .. } => Some((*p50_us, Some((*p50_us, *p999_us)))),
            _ => None,
        }),
    })
}

fn detections(rows: &[HeartbeatRow]) -> Option<Plot> {
    marks::plot(&Marks {
        name: "heartbeat-detection",
        title: "Until it is known that an application is gone",
        caption: "Medians of the trials; ranges from the shortest to the longest.",
        axis: "ms",
        kind: Kind::Linear,
        reference: None,
        write: duration,
        rows: marked(rows, |figures| match figures {
            Figures::Detection { p50_ms, min_ms, max_ms, .. } => Some((*p50_ms, Some((*min_ms, *max_ms)))),
            _ => None,
        }),
    })
}

fn distribution(row: &HeartbeatRow) -> Option<Plot> {
    let curves: Vec<Curve<'_>> = sides(row)
        .filter_map(|(side, who, figures)| match figures {
            Figures::Replies { quantiles_us, .. } if !quantiles_us.is_empty() => {
                Some(Curve { side, who, quantiles_us })
            }
            _ => None,
        })
        .collect();
    let title = format!("Latencies, {}", row.workload);
    percentiles::plot(
        &format!("heartbeat-latencies-{}", row.workload),
        &title,
        "Further down is faster; of all probes.",
        &curves,
    )
}

/// A table with a line for each side of which `cells` knows something.
fn table(
    rows: &[HeartbeatRow],
    caption: &str,
    head: &[&str],
    cells: impl Fn(&Figures) -> Option<Vec<String>>,
) -> Table {
    let head: Vec<&str> = ["workload", "answered by"].iter().chain(head).copied().collect();
    let mut table = Table::new(caption, 2, &head);
    for row in rows {
        let mut name = row.workload.clone();
        for (_, who, figures) in sides(row) {
            if let Some(cells) = cells(figures) {
                table.line([std::mem::take(&mut name), who].into_iter().chain(cells));
            }
        }
    }
    table
}

fn reply_table(rows: &[HeartbeatRow]) -> Table {
    let head = ["probes", "lost", "p50 µs", "p99 µs", "p99.9 µs", "longest µs", "CPUs busy"];
    table(rows, "Replies to probes", &head, |figures| match figures {
        Figures::Replies { probes, lost, p50_us, p99_us, p999_us, max_us, busy_percent, .. } => Some(vec![
            whole(*probes as f64),
            whole(*lost as f64),
            duration(*p50_us),
            duration(*p99_us),
            duration(*p999_us),
            duration(*max_us),
            percent(busy_percent / 100.0),
        ]),
        _ => None,
    })
}

fn detection_table(rows: &[HeartbeatRow]) -> Table {
    let head = ["trials", "median ms", "shortest ms", "longest ms", "bound ms"];
    table(rows, "Time until a fault is known", &head, |figures| match figures {
        Figures::Detection { trials, p50_ms, min_ms, max_ms, bound_ms } => Some(vec![
            trials.to_string(),
            duration(*p50_ms),
            duration(*min_ms),
            duration(*max_ms),
            duration(*bound_ms),
        ]),
        _ => None,
    })
}

fn alarm_table(rows: &[HeartbeatRow]) -> Table {
    let count = |count: Option<u64>| count.map_or_else(|| NONE.to_owned(), |count| whole(count as f64));
    let head = ["watched s", "alarms", "alarms an hour", "suspected", "taken for failed"];
    table(rows, "False alarms on a busy host", &head, |figures| match figures {
        Figures::FalseAlarms { seconds, alarms, alarms_per_hour, suspected, failed } => Some(vec![
            whole(*seconds),
            whole(*alarms as f64),
            whole(*alarms_per_hour),
            count(*suspected),
            count(*failed),
        ]),
        _ => None,
    })
}

fn stack_blocks(stack: &Stack) -> Vec<Block> {
    let mut costs = Table::new(
        "What a reply takes in the stack, in ns",
        1,
        &["hook", "reply", "probe seen before", "other port", "bare reflector"],
    );
    for cost in &stack.costs {
        let values = [cost.heartbeat_ns, cost.replayed_ns, cost.foreign_ns, cost.bare_ns];
        costs.line([cost.hook.clone()].into_iter().chain(values.map(whole)));
    }
    let mut rates = Table::new(
        "Replies that a core can give",
        1,
        &["answered by", "replies per busy second", "spread", "CPU busy", "replies/s", "ratio"],
    );
    for (who, rate, ratio_by) in
        [("heartbeat, kernel path", &stack.heartbeat, stack.ratio), ("bare reflector", &stack.bare, None)]
    {
        let Some(rate) = rate else { continue };
        rates.line([
            who.to_owned(),
            whole(rate.per_core_second),
            percent(rate.spread),
            percent(rate.busy_percent / 100.0),
            whole(rate.rps),
            ratio_by.map_or_else(|| NONE.to_owned(), ratio),
        ]);
    }
    [costs, rates].into_iter().filter(|table| !table.lines.is_empty()).map(Block::Table).collect()
}
