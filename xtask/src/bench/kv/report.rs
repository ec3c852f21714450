//! The result, for readers and for programs.

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

/// One workload. A path that was not measured, or was not the one that the sidecar said it took, is null.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) plain: Option<Figures>,
    pub(crate) kernel: Option<Figures>,
    pub(crate) user: Option<Figures>,
    /// HAProxy's TCP relay, in its own row.
    pub(crate) haproxy: Option<Figures>,
    /// Kernel against plain; above 1 the kernel path is faster.
    pub(crate) ratio_rps: Option<f64>,
    /// Kernel against plain; below 1 the kernel path is faster.
    pub(crate) ratio_p50: Option<f64>,
    /// User path against the plain port, measured by turns with it; above 1 the user path is faster.
    pub(crate) ratio_rps_user: Option<f64>,
    /// Kernel against plain, round by round in the order of the turns: how sure [`Self::ratio_rps`] is.
    pub(crate) ratio_rps_each: Vec<f64>,
    /// User path against the plain port, likewise.
    pub(crate) ratio_rps_user_each: Vec<f64>,
    /// User path against HAProxy's relay, measured by turns with it; above 1 the user path is faster.
    pub(crate) ratio_rps_haproxy: Option<f64>,
    /// Share of the requests on the user path that the sidecar counted as hits.
    pub(crate) hit_share_user: Option<f64>,
    /// Share of the requests on the accelerated port that the sidecar counted as hits.
    pub(crate) hit_share: Option<f64>,
    /// The path that the sidecar said it took while the first accelerated side was measured.
    pub(crate) path: Option<String>,
    pub(crate) note: Note,
}

impl Row {
    /// Nothing measured yet.
    pub(crate) fn new(workload: &'static str) -> Self {
        Self {
            workload,
            plain: None,
            kernel: None,
            user: None,
            haproxy: None,
            ratio_rps: None,
            ratio_p50: None,
            ratio_rps_user: None,
            ratio_rps_each: Vec::new(),
            ratio_rps_user_each: Vec::new(),
            ratio_rps_haproxy: None,
            hit_share_user: None,
            hit_share: None,
            path: None,
            note: Note::default(),
        }
    }

    /// Fills in what follows from the figures.
    pub(crate) fn compare(&mut self) {
        let sides = self.kernel.as_ref().zip(self.plain.as_ref());
        self.ratio_rps = sides.and_then(|(kernel, plain)| kernel.ratio(plain, |figures| figures.rps));
        self.ratio_rps_each = sides.map_or_else(Vec::new, |(kernel, plain)| kernel.rps_ratios(plain));
        self.ratio_p50 = sides.and_then(|(kernel, plain)| kernel.ratio(plain, |figures| figures.p50_us));
    }

    /// Fills in what follows from the user path's figures and those of the plain port beside them.
    pub(crate) fn compare_user(&mut self, plain: &Figures) {
        let ratio = |base| self.user.as_ref()?.ratio(base, |figures| figures.rps);
        let each = self.user.as_ref().map_or_else(Vec::new, |user| user.rps_ratios(plain));
        let (by_plain, by_relay) = (ratio(plain), self.haproxy.as_ref().and_then(ratio));
        (self.ratio_rps_user, self.ratio_rps_haproxy) = (by_plain, by_relay);
        self.ratio_rps_user_each = each;
    }

    fn print(&self) {
        let sides = [
            ("plain", &self.plain),
            ("kernel", &self.kernel),
            ("haproxy", &self.haproxy),
            ("user", &self.user),
        ];
        let is_measured = table::print_sides(self.workload, &sides, |path, _| {
            let (rps, p50, hits) = match path {
                "kernel" => (self.ratio_rps, self.ratio_p50, self.hit_share),
                "user" => (self.ratio_rps_user, None, self.hit_share_user),
                _ => (None, None, None),
            };
            let hits = hits.map(|share| format!("{:.1}%", share * 100.0));
            [hits, table::ratio(rps), table::ratio(p50)]
        });
        if !is_measured {
            println!("{}", table::text_line(self.workload, "not measured"));
        }
        if let Some(ratio) = self.ratio_rps_haproxy {
            println!("{}", table::text_line("", &format!("(user path by HAProxy's relay: {ratio:.2})")));
        }
        print!("{}", self.note);
    }
}

impl bench::Report for Report {
    const BENCH: &'static str = "kv";

    fn print(&self) {
        let servers = format!("Redis {}", self.machine.redis);
        table::print_head(&self.machine, &servers, &["hits", "ratio r/s", "ratio p50"]);
        self.rows.iter().for_each(Row::print);
        table::print_legend("Ratios: by plain port, measured in the same turns.");
    }
}

/// A printed result in which nothing is null, and in which most workloads were left out.
#[cfg(test)]
pub(crate) fn example() -> String {
    let row = |workload, plain: f64, kernel: f64, share: f64| {
        let mut row = Row::new(workload);
        row.plain = Some(Figures::of(plain, 300.5, 2111.0));
        row.kernel = Some(Figures::of(kernel, 80.25, 391.0));
        row.user = Some(Figures::of(plain / 2.0, 800.0, 1951.5));
        row.haproxy = Some(Figures::of(plain / 3.0, 631.0, 1839.0));
        row.compare();
        row.compare_user(&Figures::of(plain, 300.5, 2111.0));
        (row.hit_share, row.hit_share_user) = (Some(share), Some(share / 2.0));
        row.path = Some("kernel".to_owned());
        row.note.remark("a note with <marks> & \"quotes\"");
        row
    };
    let rows = vec![
        row("get-hit-64B-c50-t2", 78_452.44, 196_625.89, 1.0),
        row("hit-share-0", 100_000.0, 90_000.0, 0.0),
        row("hit-share-50", 100_000.0, 130_000.0, 0.512),
    ];
    bench::printed(Report { rows, machine: crate::machine::describe() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_kernel_by_plain_and_null_without_one() {
        let mut row = Row::new("x");
        row.plain = Some(Figures::of(100.0, 80.0, 1.0));
        row.compare();
        assert_eq!((row.ratio_rps, row.ratio_p50), (None, None));
        row.kernel = Some(Figures::of(200.0, 20.0, 1.0));
        row.compare();
        assert_eq!((row.ratio_rps, row.ratio_p50), (Some(2.0), Some(0.25)));
        assert_eq!(row.ratio_rps_each, [2.0]);
        let json = serde_json::to_value(&row).unwrap();
        assert!(json["user"].is_null() && json["kernel"]["cpu_us_per_request"].is_number());
    }
}
