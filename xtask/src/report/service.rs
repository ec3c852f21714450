//! What is said of a sidecar before a server: kv-cache before Redis, http-guard before Nginx.

use super::document::{Block, NONE, Section, Table};
use super::numbers::{duration, fine_percent, percent, range, ratio, whole};
use super::plot::marks::{self, Mark, Marks};
use super::plot::percentiles::{self, Curve};
use super::plot::scale::Kind;
use super::plot::sweep::{self, BreakEven, Point};
use super::plot::{Plot, Side};
use super::result::{Figures, Saved, ServiceRow};
use super::source::Bench;

/// Workloads whose latencies are shown in full, where they were kept.
const IN_FULL: [&str; 8] = [
    "get-hit-64B-c50-t2",
    "get-hit-64B-c1",
    "mix-90-10",
    "get-miss",
    "refused-rule",
    "refused-rate",
    "flood-goodput",
    "allowed-612B",
];

/// The section of a bench.
pub(super) fn section(result: &Saved) -> Section {
    let (bench, rows) = (result.bench, result.service());
    let (sidecar, server) = (bench.sidecar(), bench.server());
    let mut blocks = vec![Block::Text(format!(
        "{sidecar} in front of {server}. A ratio is the rate on the accelerated port by that on the plain one, measured by turns in \
         the same run: above 1 {sidecar} is faster, below 1 it costs. Lines behind a mark reach from the lowest to the highest round."
    ))];
    let unmeasured = unmeasured(bench, rows);
    if !unmeasured.is_empty() {
        let names: Vec<String> = unmeasured.iter().map(|name| format!("`{name}`")).collect();
        blocks.push(Block::Warning(format!("Not measured in this run: {}.", names.join(", "))));
    }
    let comparing = [
        ratios(bench, rows),
        hit_shares(bench, rows),
        latencies(bench, rows),
        rates(bench, rows),
        cpu(bench, rows),
    ];
    blocks.push(Block::Plots(comparing.into_iter().flatten().collect()));
    if bench == Bench::Kv {
        blocks.push(Block::Text(break_even(rows)));
    }
    let in_full: Vec<Plot> = rows
        .iter()
        .filter(|row| IN_FULL.contains(&row.workload.as_str()))
        .filter_map(|row| distribution(bench, row))
        .collect();
    blocks.push(if in_full.is_empty() {
        Block::Warning("This result has no distributions of latencies: none is shown.".to_owned())
    } else {
        Block::Plots(in_full)
    });
    blocks.push(Block::Table(table(bench, rows)));
    blocks.extend(notes(rows));
    Section { name: bench.name().to_owned(), heading: format!("{sidecar} in front of {server}"), blocks }
}

/// Sides of a row that were measured: their part in the comparison, who it was, and its figures.
fn sides(bench: Bench, row: &ServiceRow) -> Vec<(Side, String, &Figures)> {
    let (server, sidecar) = (bench.server(), bench.sidecar());
    let is_reflector = row.workload.starts_with("reflector");
    let (plain, kernel) = match row.workload.as_str() {
        "plain-port-hooked" => (format!("{server} without hooks"), format!("{server} under the hooks")),
        _ if is_reflector => (server.to_owned(), "bare reflector".to_owned()),
        _ => (server.to_owned(), format!("{sidecar}, kernel path")),
    };
    let in_stack = if is_reflector { Side::Bare } else { Side::Kernel };
    let all = [
        (Side::Plain, plain, &row.plain),
        (in_stack, kernel, &row.kernel),
        (Side::User, format!("{sidecar}, user path"), &row.user),
        (Side::Other, "HAProxy".to_owned(), &row.haproxy),
    ];
    all.into_iter().filter_map(|(side, who, figures)| Some((side, who, figures.as_ref()?))).collect()
}

/// Ratio of a side's rate by the plain port's, and the same of each round.
fn ratio_of(row: &ServiceRow, side: Side) -> Option<(f64, &[f64])> {
    match side {
        Side::Kernel | Side::Bare => Some((row.ratio_rps?, &row.ratio_rps_each)),
        Side::User => Some((row.ratio_rps_user?, &row.ratio_rps_user_each)),
        Side::Plain | Side::Other => None,
    }
}

fn unmeasured(bench: Bench, rows: &[ServiceRow]) -> Vec<&'static str> {
    let is_there = |name: &str| rows.iter().any(|row| row.workload == name && !sides(bench, row).is_empty());
    bench.workloads().into_iter().filter(|name| !is_there(name)).collect()
}

/// One row of marks for each workload, with the sides of which `of` knows a value.
fn marked(
    bench: Bench,
    rows: &[ServiceRow],
    of: impl Fn(&ServiceRow, Side, &Figures) -> Option<(f64, Option<(f64, f64)>)>,
) -> Vec<marks::Row> {
    let row = |row: &ServiceRow| {
        let mark = |(side, who, figures): (Side, String, &Figures)| {
            let (value, range) = of(row, side, figures)?;
            Some(Mark { side, who, value, range })
        };
        let marks: Vec<Mark> = sides(bench, row).into_iter().filter_map(mark).collect();
        (!marks.is_empty()).then(|| marks::Row { name: row.workload.clone(), marks })
    };
    rows.iter().filter_map(row).collect()
}

fn ratios(bench: Bench, rows: &[ServiceRow]) -> Option<Plot> {
    marks::plot(&Marks {
        name: &format!("{}-ratio", bench.name()),
        title: &format!("{} by {}: rate", bench.sidecar(), bench.server()),
        caption: "Right of the line the accelerated port serves more than the plain one. Ranges: the rounds, each by the plain port's of the same turn.",
        axis: "ratio of requests a second (logarithmic)",
        kind: Kind::Logarithmic,
        reference: Some(1.0),
        write: ratio,
        rows: marked(bench, rows, |row, side, _| {
            ratio_of(row, side).map(|(value, each)| (value, range(each)))
        }),
    })
}

fn rates(bench: Bench, rows: &[ServiceRow]) -> Option<Plot> {
    marks::plot(&Marks {
        name: &format!("{}-rate", bench.name()),
        title: "Requests a second",
        caption: "Medians of the rounds; ranges from the lowest to the highest.",
        axis: "requests a second (logarithmic)",
        kind: Kind::Logarithmic,
        reference: None,
        write: whole,
        rows: marked(bench, rows, |_, _, figures| {
            let each: Vec<f64> = figures.each.iter().map(|round| round.rps).collect();
            Some((figures.rps, range(&each)))
        }),
    })
}

fn latencies(bench: Bench, rows: &[ServiceRow]) -> Option<Plot> {
    marks::plot(&Marks {
        name: &format!("{}-latency", bench.name()),
        title: "Latency, from the median to 99 %",
        caption: "The mark is the median, the line reaches to what 99 % of the requests do not exceed.",
        axis: "µs (logarithmic)",
        kind: Kind::Logarithmic,
        reference: None,
        write: duration,
        rows: marked(bench, rows, |_, _, figures| {
            Some((figures.p50_us, Some((figures.p50_us, figures.p99_us))))
        }),
    })
}

fn cpu(bench: Bench, rows: &[ServiceRow]) -> Option<Plot> {
    marks::plot(&Marks {
        name: &format!("{}-cpu", bench.name()),
        title: "CPU time of the whole machine by request",
        caption: "Client, server, kernel and sidecar together: work that only moves elsewhere does not vanish.",
        axis: "µs of CPU time a request",
        kind: Kind::Linear,
        reference: None,
        write: duration,
        rows: marked(bench, rows, |_, _, figures| {
            let each: Vec<f64> = figures.each.iter().map(|round| round.cpu_us_per_request).collect();
            Some((figures.cpu_us_per_request, range(&each)))
        }),
    })
}

/// Points of the rows that differ in nothing but their hits, in the order of these.
fn points(rows: &[ServiceRow], side: Side) -> Vec<Point> {
    let point = |row: &ServiceRow| {
        let share = if side == Side::User { row.hit_share_user? } else { row.hit_share? };
        let (ratio, each) = ratio_of(row, side)?;
        Some(Point { share, ratio, range: range(each) })
    };
    let mut points: Vec<Point> =
        rows.iter().filter(|row| row.workload.starts_with("hit-share-")).filter_map(point).collect();
    points.sort_by(|one, other| one.share.total_cmp(&other.share));
    points
}

fn hit_shares(bench: Bench, rows: &[ServiceRow]) -> Option<Plot> {
    if bench != Bench::Kv {
        return None;
    }
    let sides: Vec<(Side, String, Vec<Point>)> =
        [(Side::Kernel, "kv-cache, kernel path"), (Side::User, "kv-cache, user path")]
            .into_iter()
            .map(|(side, who)| (side, who.to_owned(), points(rows, side)))
            .filter(|(_, _, points)| points.len() > 1)
            .collect();
    sweep::plot(
        "kv-hit-share",
        "kv-cache by Redis, over the share of hits",
        "GETs of 64 bytes, 50 connections, 2 client threads; only the share of keys that are cached differs.",
        &sides,
    )
}

fn break_even(rows: &[ServiceRow]) -> String {
    let points = points(rows, Side::Kernel);
    if points.len() < 2 {
        return "At which share of hits the kernel path breaks even is not known from this result: it takes two rows \
                `hit-share-…` at least."
            .to_owned();
    }
    let between = "by a straight line between the measured points beside it";
    match sweep::break_even(&points) {
        Some(BreakEven::At(share)) => {
            format!("The kernel path pays from a share of {} hits on, {between}.", percent(share))
        }
        Some(BreakEven::Always) => {
            "The kernel path pays at every share of hits that was measured.".to_owned()
        }
        _ => "The kernel path does not pay at any share of hits that was measured.".to_owned(),
    }
}

fn distribution(bench: Bench, row: &ServiceRow) -> Option<Plot> {
    let curve = |(side, who, figures)| {
        let figures: &Figures = figures;
        (!figures.quantiles_us.is_empty()).then(|| Curve { side, who, quantiles_us: &figures.quantiles_us })
    };
    let curves: Vec<Curve<'_>> = sides(bench, row).into_iter().filter_map(curve).collect();
    let caption = "Further down is faster. Medians of the rounds; each step to the right halves the requests that are left.";
    percentiles::plot(
        &format!("{}-latencies-{}", bench.name(), row.workload),
        &format!("Latencies, {}", row.workload),
        caption,
        &curves,
    )
}

fn table(bench: Bench, rows: &[ServiceRow]) -> Table {
    let mut head =
        vec!["workload", "served by", "requests/s", "spread", "rounds", "p50 µs", "p99 µs", "CPU µs/request"];
    head.push(if bench == Bench::Kv { "hits" } else { "flood/s" });
    head.extend(["ratio of rates", "of the rounds"]);
    let mut table = Table::new(&format!("All figures of `bench {}`", bench.name()), 2, &head);
    for row in rows {
        let mut name = row.workload.as_str();
        for (side, who, figures) in sides(bench, row) {
            let ratios = ratio_of(row, side);
            let own = match (bench, side) {
                (Bench::Kv, Side::Kernel) => row.hit_share.map(fine_percent),
                (Bench::Kv, Side::User) => row.hit_share_user.map(fine_percent),
                (Bench::Kv, _) => None,
                _ => figures.flood_rps.map(whole),
            };
            let each = ratios.and_then(|(_, each)| range(each));
            table.line([
                name.to_owned(),
                who,
                whole(figures.rps),
                percent(figures.spread),
                figures.rounds.to_string(),
                duration(figures.p50_us),
                duration(figures.p99_us),
                duration(figures.cpu_us_per_request),
                own.unwrap_or_else(|| NONE.to_owned()),
                ratios.map_or_else(|| NONE.to_owned(), |(value, _)| ratio(value)),
                each.map_or_else(
                    || NONE.to_owned(),
                    |(low, high)| format!("{} … {}", ratio(low), ratio(high)),
                ),
            ]);
            name = "";
        }
    }
    table
}

/// What a reader must know of rows.
fn notes(rows: &[ServiceRow]) -> Option<Block> {
    let mut terms = Vec::new();
    for row in rows {
        let haproxy = [(row.ratio_rps_haproxy, "accelerated"), (row.ratio_rps_user_haproxy, "user path")];
        let by_haproxy = haproxy
            .into_iter()
            .filter_map(|(value, who)| value.map(|value| format!("{who} by HAProxy: {}", ratio(value))));
        let offered = row
            .flood_offered_rps
            .map(|rate| format!("a flood of {} requests/s is offered to each side", whole(rate)));
        let said: Vec<String> = by_haproxy.chain(offered).chain(row.note.clone()).collect();
        if !said.is_empty() {
            terms.push((format!("`{}`", row.workload), said.join("; ")));
        }
    }
    (!terms.is_empty()).then_some(Block::Terms(terms))
}
