//! What is read of a bench's result. The benches' own types only write; here everything may be missing, since results of
//! earlier versions are read, too.

use super::source::Bench;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

/// A bench's result, as it was printed.
pub(super) struct Saved {
    pub(super) bench: Bench,
    /// The command that made it.
    pub(super) command: Option<String>,
    /// When it began, as RFC 3339 writes it.
    pub(super) began: Option<String>,
    pub(super) seconds: Option<f64>,
    pub(super) machine: Machine,
    pub(super) rows: Rows,
}

/// What was measured.
pub(super) enum Rows {
    Service(Vec<ServiceRow>),
    Heartbeat { rows: Vec<HeartbeatRow>, stack: Option<Stack> },
}

/// See `bench::Common::report` and `machine::Machine`.
#[derive(Deserialize)]
struct Head {
    bench: Option<String>,
    command: Option<String>,
    began: Option<String>,
    seconds: Option<f64>,
    machine: Machine,
}

/// See `machine::Machine`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: u64,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    pub(super) redis: String,
    pub(super) nginx: String,
    pub(super) haproxy: String,
    pub(super) wrk: String,
    pub(super) xps: String,
    pub(super) load_before: Option<f64>,
    pub(super) stolen_percent: Option<f64>,
}

/// See `bench::kv::report::Row` and `bench::http::report::Row`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceRow {
    pub(super) workload: String,
    pub(super) path: Option<String>,
    pub(super) plain: Option<Figures>,
    pub(super) kernel: Option<Figures>,
    pub(super) user: Option<Figures>,
    pub(super) haproxy: Option<Figures>,
    pub(super) ratio_rps: Option<f64>,
    pub(super) ratio_rps_each: Vec<f64>,
    pub(super) ratio_p50: Option<f64>,
    pub(super) ratio_p99: Option<f64>,
    pub(super) ratio_rps_user: Option<f64>,
    pub(super) ratio_rps_user_each: Vec<f64>,
    pub(super) ratio_rps_haproxy: Option<f64>,
    pub(super) ratio_rps_user_haproxy: Option<f64>,
    pub(super) hit_share: Option<f64>,
    pub(super) hit_share_user: Option<f64>,
    pub(super) flood_offered_rps: Option<f64>,
    pub(super) note: Option<String>,
}

/// See `bench::measure::Figures`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Figures {
    pub(super) rps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) cpu_us_per_request: f64,
    pub(super) spread: f64,
    pub(super) rounds: u64,
    pub(super) quantiles_us: Vec<f64>,
    pub(super) each: Vec<Round>,
    pub(super) flood_rps: Option<f64>,
}

/// See `bench::measure::Round`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Round {
    pub(super) rps: f64,
    pub(super) cpu_us_per_request: f64,
}

/// See `bench::heartbeat::report::Row`.
#[derive(Deserialize)]
pub(super) struct HeartbeatRow {
    pub(super) workload: String,
    pub(super) kernel: Option<HeartbeatFigures>,
    pub(super) user: Option<HeartbeatFigures>,
    pub(super) echo: Option<HeartbeatFigures>,
    pub(super) ratio_p999_user: Option<f64>,
    pub(super) ratio_p999_echo: Option<f64>,
    pub(super) note: Option<String>,
}

/// See `bench::heartbeat::report::Figures`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum HeartbeatFigures {
    Replies {
        probes: u64,
        lost: u64,
        p50_us: f64,
        p99_us: f64,
        p999_us: f64,
        max_us: f64,
        busy_percent: f64,
        #[serde(default)]
        quantiles_us: Vec<f64>,
    },
    Detection {
        trials: u64,
        p50_ms: f64,
        min_ms: f64,
        max_ms: f64,
        bound_ms: f64,
    },
    FalseAlarms {
        seconds: f64,
        alarms: u64,
        alarms_per_hour: f64,
        suspected: Option<u64>,
        failed: Option<u64>,
    },
}

/// See `bench::heartbeat::stack::Stack`.
#[derive(Deserialize)]
pub(super) struct Stack {
    #[serde(default)]
    pub(super) costs: Vec<Cost>,
    pub(super) heartbeat: Option<Rate>,
    pub(super) bare: Option<Rate>,
    pub(super) ratio: Option<f64>,
}

/// See `bench::heartbeat::stack::Cost`.
#[derive(Deserialize)]
pub(super) struct Cost {
    pub(super) hook: String,
    pub(super) heartbeat_ns: f64,
    pub(super) replayed_ns: f64,
    pub(super) foreign_ns: f64,
    pub(super) bare_ns: f64,
}

/// See `bench::heartbeat::stack::Rate`.
#[derive(Deserialize)]
pub(super) struct Rate {
    pub(super) per_core_second: f64,
    pub(super) rps: f64,
    pub(super) busy_percent: f64,
    pub(super) spread: f64,
}

impl Saved {
    /// From what a bench prints with `--json`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text).context("no JSON")?;
        let Head { bench, command, began, seconds, machine } =
            Head::deserialize(&json).context("nothing of the machine")?;
        let rows = json.get("rows").context("no rows")?;
        let bench = bench.as_deref().map_or_else(|| Ok(guess(&json)), named)?;
        let rows = if bench == Bench::Heartbeat {
            let stack = json.get("stack").map(Option::<Stack>::deserialize).transpose()?.flatten();
            Rows::Heartbeat { rows: Deserialize::deserialize(rows)?, stack }
        } else {
            Rows::Service(Deserialize::deserialize(rows)?)
        };
        Ok(Self { bench, command, began, seconds, machine, rows })
    }

    /// The rows, if it is of a service.
    pub(super) fn service(&self) -> &[ServiceRow] {
        match &self.rows {
            Rows::Service(rows) => rows,
            Rows::Heartbeat { .. } => &[],
        }
    }
}

fn named(name: &str) -> Result<Bench> {
    let found = Bench::ALL.into_iter().find(|bench| bench.name() == name);
    found.with_context(|| format!("there is no bench named {name:?}"))
}

/// Results of earlier versions do not say whose they are.
fn guess(json: &Value) -> Bench {
    let has = |key: &str| json["rows"].get(0).is_some_and(|row| row.get(key).is_some());
    match () {
        () if json.get("stack").is_some() => Bench::Heartbeat,
        () if has("rps_plain") => Bench::Http,
        () => Bench::Kv,
    }
}
