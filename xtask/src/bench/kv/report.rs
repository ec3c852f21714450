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
        self.ratio_p50 = sides.and_then(|(kernel, plain)| kernel.ratio(plain, |figures| figures.p50_us));
    }

    /// Fills in what follows from the user path's figures and those of the plain port beside them.
    pub(crate) fn compare_user(&mut self, plain: &Figures) {
        let ratio = |base| self.user.as_ref()?.ratio(base, |figures| figures.rps);
        let (by_plain, by_relay) = (ratio(plain), self.haproxy.as_ref().and_then(ratio));
        (self.ratio_rps_user, self.ratio_rps_haproxy) = (by_plain, by_relay);
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
    fn print(&self) {
        let servers = format!("Redis {}", self.machine.redis);
        table::print_head(&self.machine, &servers, &["hits", "ratio r/s", "ratio p50"]);
        self.rows.iter().for_each(Row::print);
        table::print_legend("Ratios: by plain port, measured in the same turns.");
    }
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
        let json = serde_json::to_value(&row).unwrap();
        assert!(json["user"].is_null() && json["kernel"]["cpu_us_per_request"].is_number());
    }
}
