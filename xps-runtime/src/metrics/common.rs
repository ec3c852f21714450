//! What every sidecar tells, whatever it does: its version, its path, and how long its programs run.

use prometheus::{CounterVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{advance, text_of};
use crate::pins::Runs;
use crate::plan::Plan;

/// These metrics, in a registry to which a service adds its own.
#[derive(Clone, Debug)]
pub struct Common {
    registry: Registry,
    path: IntGaugeVec,
    program_runs: IntCounterVec,
    program_seconds: CounterVec,
}

impl Common {
    /// Registers `xps_build_info` of `service` in `version`, whose maps have the layout `abi`, and the others.
    ///
    /// # Errors
    /// If the registry has metrics of these names already.
    pub fn new(registry: Registry, service: &str, version: &str, abi: u32) -> prometheus::Result<Self> {
        let build = IntGaugeVec::new(
            Opts::new("xps_build_info", "Constant 1; the labels say what runs."),
            &["service", "version", "abi"],
        )?;
        build.with_label_values(&[service, version, &abi.to_string()]).set(1);
        let common = Self {
            path: IntGaugeVec::new(
                Opts::new("xps_path", "1 for the path that is taken, with its reason."),
                &["path", "reason"],
            )?,
            program_runs: IntCounterVec::new(
                Opts::new(
                    "xps_program_runs_total",
                    "Runs of a BPF program, while kernel.bpf_stats_enabled is set.",
                ),
                &["program"],
            )?,
            program_seconds: CounterVec::new(
                Opts::new(
                    "xps_program_run_seconds_total",
                    "Time that a BPF program ran, with those that go on from it, while kernel.bpf_stats_enabled is set.",
                ),
                &["program"],
            )?,
            registry,
        };
        common.registry.register(Box::new(build))?;
        common.registry.register(Box::new(common.path.clone()))?;
        common.registry.register(Box::new(common.program_runs.clone()))?;
        common.registry.register(Box::new(common.program_seconds.clone()))?;
        Ok(common)
    }

    /// The registry.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The path that is taken now. Its reasons are those of [`crate::plan::Cause::label`]; the kernel path's is `planned`, or `in_place`
    /// where the server's own port is accelerated.
    pub fn set_path(&self, plan: &Plan) {
        self.path.reset();
        let mut reasons: Vec<_> = plan.causes.iter().map(crate::plan::Cause::label).collect();
        if reasons.is_empty() {
            reasons.push(if plan.in_place { "in_place" } else { "planned" });
        }
        for reason in reasons {
            self.path.with_label_values(&[plan.path.label(), reason]).set(1);
        }
    }

    /// Runs of the programs. Those that the kernel does not count are left out.
    pub fn set_programs(&self, programs: &[(&str, Runs)]) {
        for (program, runs) in programs.iter().filter(|(_, runs)| runs.count != 0) {
            advance(&self.program_runs.with_label_values(&[program]), runs.count);
            let seconds = self.program_seconds.with_label_values(&[program]);
            seconds.reset();
            seconds.inc_by(runs.time_ns as f64 / 1e9);
        }
    }

    /// All metrics of the registry in Prometheus' text format.
    ///
    /// # Errors
    /// If two metrics of the registry contradict each other.
    pub fn text(&self) -> prometheus::Result<String> {
        text_of(&self.registry)
    }
}
