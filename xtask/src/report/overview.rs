//! What stands before and behind the services' own sections.

use super::document::{Block, NONE, Section, Table};
use super::numbers::{duration, ratio, small_ratio, whole};
use super::result::{Figures, HeartbeatFigures, Rows, Saved, ServiceRow};
use super::source::{Bench, Source};

/// What is told at a glance: gains and costs alike.
const AT_A_GLANCE: [(&str, &str); 9] = [
    ("get-hit-64B-c50-t2", "Redis, GETs that hit, 50 connections"),
    ("get-hit-64B-c1", "Redis, GETs that hit, one connection"),
    ("mix-90-10", "Redis, 90 % GETs and 10 % SETs, keys by Zipf's law"),
    ("hit-share-0", "Redis, GETs of which none hits"),
    ("set-64B", "Redis, SETs"),
    ("refused-rule", "Nginx, requests that a rule refuses"),
    ("flood-goodput", "Nginx, who is served beside a flood"),
    ("allowed-612B", "Nginx, a small file that may be had"),
    ("reply-saturated", "heartbeat, 99.9 % of the replies of a busy host"),
];
/// Of the CPUs' time, in percent: figures of a run in which other guests had more say little.
const STOLEN_MAX_PERCENT: f64 = 3.0;

/// The most important rows.
pub(super) fn glance(sources: &[Source]) -> Section {
    let mut table =
        Table::new("Server alone and with the sidecar", 2, &["", "path", "alone", "with it", "ratio"]);
    for (workload, words) in AT_A_GLANCE {
        for source in sources {
            let Source::Result { result, .. } = source else { continue };
            if let Some([path, alone, with, by]) = glance_line(result, workload) {
                table.line([format!("{words} (`{workload}`)"), path, alone, with, by]);
            }
        }
    }
    let mut blocks = vec![Block::Text(
        "XPS answers some requests in the Linux network stack, in front of an unmodified server. These are measurements of that, \
         those where it costs something among them. Rates are requests a second, and a ratio above 1 is a gain; for heartbeat it is \
         the time of a reply against that of an echo in userspace, and below 1 is a gain."
            .to_owned(),
    )];
    blocks.push(if table.lines.is_empty() {
        Block::Warning("None of the rows that are shown here was measured.".to_owned())
    } else {
        Block::Table(table)
    });
    for source in sources {
        if let Source::Missing { bench, reason, .. } = source {
            blocks.push(Block::Warning(format!("`bench {}` is missing: {reason}.", bench.name())));
        }
    }
    Section { name: "glance".to_owned(), heading: "At a glance".to_owned(), blocks }
}

fn glance_line(result: &Saved, workload: &str) -> Option<[String; 4]> {
    match &result.rows {
        Rows::Service(rows) => rows.iter().find(|row| row.workload == workload).and_then(service_line),
        Rows::Heartbeat { rows, .. } => {
            let row = rows.iter().find(|row| row.workload == workload)?;
            let p999 = |side: &Option<HeartbeatFigures>| match side {
                Some(HeartbeatFigures::Replies { p999_us, .. }) => Some(format!("{} µs", duration(*p999_us))),
                _ => None,
            };
            Some([
                "kernel".to_owned(),
                p999(&row.echo)?,
                p999(&row.kernel)?,
                small_ratio(row.ratio_p999_echo?),
            ])
        }
    }
}

fn service_line(row: &ServiceRow) -> Option<[String; 4]> {
    let rate = |figures: &Figures| format!("{}/s", whole(figures.rps));
    // Without a kernel path the user path is what there is, and it is named.
    let (with, by) = match (&row.kernel, &row.user) {
        (Some(kernel), _) => (kernel, row.ratio_rps?),
        (None, user) => (user.as_ref()?, row.ratio_rps_user?),
    };
    Some([row.path.clone()?, rate(row.plain.as_ref()?), rate(with), ratio(by)])
}

/// On what, when and by which command each was measured.
pub(super) fn circumstances(sources: &[Source]) -> Section {
    let results: Vec<(&Saved, String)> = sources.iter().filter_map(of_source).collect();
    let benches: Vec<String> =
        results.iter().map(|(result, _)| format!("bench {}", result.bench.name())).collect();
    let head: Vec<&str> = std::iter::once("").chain(benches.iter().map(String::as_str)).collect();
    let mut table = Table::new("Machine, programs and commands", head.len(), &head);
    let known = |text: &str| if text.is_empty() { "not recorded".to_owned() } else { text.to_owned() };
    let number = |value: Option<f64>, write: &dyn Fn(f64) -> String| {
        value.map_or_else(|| "not recorded".to_owned(), write)
    };
    let mut row = |name: &str, value: &dyn Fn(&Saved) -> String| {
        table.line(std::iter::once(name.to_owned()).chain(results.iter().map(|(result, _)| value(result))));
    };
    row("command", &|result| {
        result.command.as_ref().map_or_else(|| known(""), |command| format!("`{command}`"))
    });
    row("began (UTC)", &|result| known(result.began.as_deref().unwrap_or_default()));
    row("took", &|result| number(result.seconds, &|seconds| format!("{:.0} min", (seconds / 60.0).ceil())));
    row("CPU", &|result| known(&result.machine.cpu));
    row("cores", &|result| result.machine.cores.to_string());
    row("memory", &|result| format!("{:.1} GiB", result.machine.memory_bytes as f64 / 1_073_741_824.0));
    row("Linux", &|result| known(&result.machine.kernel));
    row("XPS", &|result| known(&result.machine.xps));
    row("Redis", &|result| known(&result.machine.redis));
    row("Nginx", &|result| known(&result.machine.nginx));
    row("HAProxy", &|result| known(&result.machine.haproxy));
    row("wrk", &|result| known(&result.machine.wrk));
    row("load before", &|result| number(result.machine.load_before, &|load| format!("{load:.2}")));
    row("CPU time that other guests of the host took", &|result| {
        number(result.machine.stolen_percent, &|stolen| format!("{stolen:.1} %"))
    });
    table.line(std::iter::once("result".to_owned()).chain(results.iter().map(|(_, from)| from.clone())));
    let mut blocks = vec![Block::Table(table)];
    for (result, _) in &results {
        if let Some(stolen) = result.machine.stolen_percent.filter(|stolen| *stolen > STOLEN_MAX_PERCENT) {
            let name = result.bench.name();
            blocks.push(Block::Warning(format!(
                "During `bench {name}` other guests of the host had {stolen:.1} % of the CPUs' time: its figures say little."
            )));
        }
    }
    Section { name: "circumstances".to_owned(), heading: "Measured on".to_owned(), blocks }
}

fn of_source(source: &Source) -> Option<(&Saved, String)> {
    let Source::Result { result, file } = source else { return None };
    let from = match file {
        // The folder is the reader's own affair, and a report may be given away.
        Some(file) => format!("saved before, `{}`", file.file_name().unwrap_or_default().to_string_lossy()),
        None => format!("measured for this report, `{}.json`", result.bench.name()),
    };
    Some((result, from))
}

/// A bench that is not there.
pub(super) fn missing(bench: Bench, reason: &str) -> Section {
    let name = bench.name();
    Section {
        name: name.to_owned(),
        heading: format!("{}: not measured", bench.sidecar()),
        blocks: vec![Block::Warning(format!(
            "There are no figures of `bench {name}`: {reason}. `cargo xtask bench {name} --json` makes them."
        ))],
    }
}

/// What the words mean.
pub(super) fn reading() -> Section {
    let term = |term: &str, words: &str| (term.to_owned(), words.to_owned());
    let terms = vec![
        term(
            "path",
            "What the sidecar itself said that it was on, asked before and after it was measured; never what it was configured to. Figures \
             during which the path changed are left out, and that is said.",
        ),
        term(
            "by turns",
            "A round of each side, then the next round, in one run; who begins changes. What else happens on the machine meets all sides \
             alike. Figures are medians of the rounds.",
        ),
        term(
            "ratio",
            "That of the medians. Its range is that of the rounds, each by the other side's round of the same turn.",
        ),
        term(
            "spread",
            "Highest rate less lowest, by the median. A ratio whose rounds reach over 1 says little.",
        ),
        term(
            "CPU time by request",
            "Busy time of the whole machine, from /proc/stat, by the requests that were answered: clients, server, kernel and sidecar.",
        ),
        term(
            "other guests of the host",
            "On a virtual machine, the share of the CPUs' time that the host gave to others while this ran (steal).",
        ),
        term(NONE, "Not measured, or nothing to compare with."),
    ];
    Section {
        name: "reading".to_owned(),
        heading: "How to read this".to_owned(),
        blocks: vec![Block::Terms(terms)],
    }
}
