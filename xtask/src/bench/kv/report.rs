//! The result, for readers and for programs.

use crate::bench;
use crate::bench::measure::{Figures, rounded};
use crate::bench::note::Note;
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
        let ratio = |field: fn(&Figures) -> f64| {
            let (plain, kernel) = (self.plain.as_ref()?, self.kernel.as_ref()?);
            (field(plain) > 0.0).then(|| rounded(field(kernel) / field(plain)))
        };
        (self.ratio_rps, self.ratio_p50) = (ratio(|figures| figures.rps), ratio(|figures| figures.p50_us));
    }

    /// Fills in what follows from the user path's figures and those of the plain port beside them.
    pub(crate) fn compare_user(&mut self, plain: &Figures) {
        let user = self.user.as_ref().filter(|_| plain.rps > 0.0);
        self.ratio_rps_user = user.map(|user| rounded(user.rps / plain.rps));
        self.ratio_rps_haproxy =
            user.zip(self.haproxy.as_ref()).map(|(user, relay)| rounded(user.rps / relay.rps));
    }
}

impl bench::Report for Report {
    fn print(&self) {
        let machine = &self.machine;
        println!(
            "\n{}, {} cores, Linux {}, Redis {}, load before {:.2}",
            machine.cpu, machine.cores, machine.kernel, machine.redis, machine.load_before
        );
        println!(
            "{:<22} {:<7} {:>10} {:>7} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9}",
            "workload",
            "path",
            "req/s",
            "spread",
            "p50 µs",
            "p99 µs",
            "CPU µs/r",
            "hits",
            "ratio r/s",
            "ratio p50"
        );
        for row in &self.rows {
            row.print();
        }
        println!(
            "\nMedians of alternating rounds. CPU: busy time of the whole machine by request, client included. \
             Ratios: by plain port, measured in the same turns."
        );
    }
}

impl Row {
    fn print(&self) {
        let sides = [
            ("plain", &self.plain),
            ("kernel", &self.kernel),
            ("haproxy", &self.haproxy),
            ("user", &self.user),
        ];
        let mut name = self.workload;
        for (path, figures) in sides {
            let Some(figures) = figures else { continue };
            let text = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
            let (ratio_rps, ratio_p50, hits) = match path {
                "kernel" => (self.ratio_rps, self.ratio_p50, self.hit_share),
                "user" => (self.ratio_rps_user, None, self.hit_share_user),
                _ => (None, None, None),
            };
            println!(
                "{name:<22} {path:<7} {:>10.0} {:>6.0}% {:>9.1} {:>9.1} {:>9.2} {:>6} {:>9} {:>9}",
                figures.rps,
                figures.spread * 100.0,
                figures.p50_us,
                figures.p99_us,
                figures.cpu_us_per_request,
                hits.map_or_else(String::new, |share| format!("{:.1}%", share * 100.0)),
                text(ratio_rps),
                text(ratio_p50),
            );
            name = "";
        }
        if self.plain.is_none() && self.kernel.is_none() && self.user.is_none() {
            println!("{name:<22} not measured");
        }
        if let Some(ratio) = self.ratio_rps_haproxy {
            println!("{:<22} (user path by HAProxy's relay: {ratio:.2})", "");
        }
        print!("{}", self.note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rps: f64, p50_us: f64) -> Figures {
        Figures {
            rps,
            p50_us,
            p99_us: 1.0,
            cpu_us_per_request: 1.0,
            spread: 0.0,
            rounds: 1,
            late: 0,
            flood_rps: None,
        }
    }

    #[test]
    fn ratios_are_kernel_by_plain_and_null_without_one() {
        let mut row = Row::new("x");
        row.plain = Some(figures(100.0, 80.0));
        row.compare();
        assert_eq!((row.ratio_rps, row.ratio_p50), (None, None));
        row.kernel = Some(figures(200.0, 20.0));
        row.compare();
        assert_eq!((row.ratio_rps, row.ratio_p50), (Some(2.0), Some(0.25)));
        let json = serde_json::to_value(&row).unwrap();
        assert!(json["user"].is_null() && json["kernel"]["cpu_us_per_request"].is_number());
    }
}
