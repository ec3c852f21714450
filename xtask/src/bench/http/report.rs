//! The result, for readers and for programs.

use super::run::Turns;
use crate::bench::measure::Figures;
use crate::bench::note::Note;
use crate::bench::{self, table};
use crate::machine::Machine;
use serde::Serialize;

/// All that was measured in one run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) machine: Machine,
}

/// One workload. A side that was not measured is null.
#[derive(Default, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    /// The path that http-guard said it took while it was measured first; what is called accelerated is of this path.
    pub(crate) path: Option<String>,
    pub(crate) rps_plain: Option<f64>,
    pub(crate) rps_accelerated: Option<f64>,
    /// Accelerated against plain; above 1 http-guard is faster.
    pub(crate) ratio_rps: Option<f64>,
    /// Accelerated against plain; below 1 http-guard is faster.
    pub(crate) ratio_p50: Option<f64>,
    /// Accelerated against plain; below 1 http-guard is faster.
    pub(crate) ratio_p99: Option<f64>,
    /// Accelerated against HAProxy with the same rules; above 1 http-guard is faster.
    pub(crate) ratio_rps_haproxy: Option<f64>,
    /// User path against plain, measured by turns with it; above 1 the user path is faster.
    pub(crate) ratio_rps_user: Option<f64>,
    /// Accelerated against plain, round by round in the order of the turns: how sure [`Self::ratio_rps`] is.
    pub(crate) ratio_rps_each: Vec<f64>,
    /// The same for the user path.
    pub(crate) ratio_rps_user_each: Vec<f64>,
    /// User path against plain; below 1 the user path is faster.
    pub(crate) ratio_p99_user: Option<f64>,
    /// User path against HAProxy with the same rules; above 1 the user path is faster.
    pub(crate) ratio_rps_user_haproxy: Option<f64>,
    /// How many requests a second the flood has offered to each side, if it was paced: as many as Nginx can refuse at the most
    /// when it has nothing else to do, measured before with the same generator. What came of it is each side's `flood_rps`.
    pub(crate) flood_offered_rps: Option<f64>,
    /// Nginx itself.
    pub(crate) plain: Option<Figures>,
    /// HAProxy with the same rules, in the rows that compare with it.
    pub(crate) haproxy: Option<Figures>,
    pub(crate) kernel: Option<Figures>,
    pub(crate) user: Option<Figures>,
    pub(crate) note: Note,
}

impl Row {
    /// Nothing measured yet.
    pub(crate) fn new(workload: &'static str) -> Self {
        Self { workload, ..Self::default() }
    }

    /// Files what was measured by turns.
    pub(super) fn keep(&mut self, turns: Turns) {
        let Turns { path, plain, haproxy, accelerated } = turns;
        let rps = accelerated.ratio(&plain, |figures| figures.rps);
        let each = accelerated.rps_ratios(&plain);
        let p50 = accelerated.ratio(&plain, |figures| figures.p50_us);
        let p99 = accelerated.ratio(&plain, |figures| figures.p99_us);
        let by_haproxy = haproxy.as_ref().and_then(|base| accelerated.ratio(base, |figures| figures.rps));
        for (side, figures) in
            [("plain", Some(&plain)), ("haproxy", haproxy.as_ref()), (&*path, Some(&accelerated))]
        {
            if let Some(late) = figures.map(|figures| figures.late).filter(|late| *late > 0) {
                self.note.remark(&format!("{side}: {late} responses came too late for p50 and p99"));
            }
        }
        if path == "user" {
            (self.ratio_rps_user, self.ratio_p99_user) = (rps, p99);
            self.ratio_rps_user_haproxy = by_haproxy;
            self.ratio_rps_user_each.clone_from(&each);
            self.user = Some(accelerated.clone());
        } else {
            self.kernel = Some(accelerated.clone());
        }
        // The first turns are the row's; those of the user path after the kernel path's are only compared.
        if self.path.is_none() {
            self.path = Some(path);
            (self.rps_plain, self.rps_accelerated) = (Some(plain.rps), Some(accelerated.rps));
            (self.ratio_rps, self.ratio_p50, self.ratio_p99) = (rps, p50, p99);
            (self.ratio_rps_haproxy, self.ratio_rps_each) = (by_haproxy, each);
            (self.plain, self.haproxy) = (Some(plain), haproxy);
        }
    }

    fn print(&self) {
        let sides = [
            ("plain", &self.plain),
            ("haproxy", &self.haproxy),
            ("kernel", &self.kernel),
            ("user", &self.user),
        ];
        table::print_sides(self.workload, &sides, |path, figures| {
            let (rps, p99, by_haproxy) = match path {
                "kernel" => (self.ratio_rps, self.ratio_p99, self.ratio_rps_haproxy),
                "user" => (self.ratio_rps_user, self.ratio_p99_user, self.ratio_rps_user_haproxy),
                _ => (None, None, None),
            };
            let flood = figures.flood_rps.map(|rate| format!("{rate:.0}"));
            [flood, table::ratio(rps), table::ratio(p99), table::ratio(by_haproxy)]
        });
        if let Some(rate) = self.flood_offered_rps {
            println!("{}", table::text_line("", &format!("(flood offered to each side: {rate:.0}/s)")));
        }
        print!("{}", self.note);
    }
}

impl bench::Report for Report {
    const BENCH: &'static str = "http";

    fn print(&self) {
        let servers = format!("Nginx {}, HAProxy {}", self.machine.nginx, self.machine.haproxy);
        table::print_head(&self.machine, &servers, &["flood/s", "ratio r/s", "ratio p99", "r/HAProxy"]);
        self.rows.iter().for_each(Row::print);
        table::print_legend(
            "Ratios: by plain (Nginx itself, with the same rules where requests are refused) and by HAProxy, measured in \
             the same turns. flood/s: refusals a second beside; the other figures of those rows are of the clients that \
             are served.\n\
             flood-goodput: every side is offered the same flood, by the clock: as much as Nginx refuses when nobody else \
             asks (the median of five tries with the same connections, each asking again once it is refused); what is due \
             while all 50 connections wait for an answer is never sent.\n\
             flood-closed-loop: who was refused asks again at once, so a side that refuses faster is asked more.",
        );
    }
}

/// A printed result in which nothing is null, and in which most workloads were left out.
#[cfg(test)]
pub(crate) fn example() -> String {
    let turns = |path: &str, accelerated| Turns {
        path: path.to_owned(),
        plain: Figures { flood_rps: Some(90_909.1), late: 3, ..Figures::of(19_600.25, 390.0, 1500.0) },
        haproxy: Some(Figures::of(15_000.0, 500.0, 1700.0)),
        accelerated: Figures::of(accelerated, 140.0, 600.0),
    };
    let mut row = Row::new("flood-goodput");
    row.keep(turns("kernel", 51_100.0));
    row.keep(turns("user", 12_345.6));
    row.flood_offered_rps = Some(115_700.0);
    bench::printed(Report { rows: vec![row], machine: crate::machine::describe() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(path: &str, plain: f64, haproxy: Option<f64>, accelerated: f64) -> Turns {
        Turns {
            path: path.to_owned(),
            plain: Figures::of(plain, 1.0, 100.0),
            haproxy: haproxy.map(|rps| Figures::of(rps, 1.0, 100.0)),
            accelerated: Figures::of(accelerated, 1.0, 50.0),
        }
    }

    #[test]
    fn the_first_turns_are_the_row() {
        let mut row = Row::new("x");
        row.keep(turns("kernel", 100.0, Some(150.0), 300.0));
        row.keep(turns("user", 110.0, Some(100.0), 55.0));
        let json = serde_json::to_value(&row).unwrap();
        for (key, value) in [
            ("rps_plain", 100.0),
            ("rps_accelerated", 300.0),
            ("ratio_rps", 3.0),
            ("ratio_p50", 1.0),
            ("ratio_p99", 0.5),
            ("ratio_rps_haproxy", 2.0),
            ("ratio_rps_user", 0.5),
            ("ratio_rps_user_haproxy", 0.55),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!((&json["ratio_rps_each"][0], &json["ratio_rps_user_each"][0]), (&3.0.into(), &0.5.into()));
        assert_eq!((&json["path"], &json["user"]["rps"]), (&"kernel".into(), &55.0.into()));
    }

    #[test]
    fn without_a_kernel_path_the_user_path_is_what_is_accelerated() {
        let mut row = Row::new("x");
        row.keep(turns("user", 100.0, None, 50.0));
        assert_eq!((row.ratio_rps, row.ratio_rps_user, row.ratio_rps_haproxy), (Some(0.5), Some(0.5), None));
        assert!(row.kernel.is_none() && row.path.as_deref() == Some("user"));
    }
}
