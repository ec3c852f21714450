//! What the dashboard shows, row by row. All expressions give series as long as the sidecars run (those of the first row: as long as
//! the load profile runs); `cargo xtask compose` asks for each.

mod agents;
mod comparison;
mod heartbeat;
mod http_guard;
mod kv_cache;

/// A row.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// A panel.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: Kind,
    /// Grafana's name of the unit.
    pub(super) unit: &'static str,
    /// Of 24.
    pub(super) width: u32,
    /// Expressions and what their series are called.
    pub(super) queries: Vec<(String, &'static str)>,
}

/// How a panel looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lines over time.
    Lines,
    /// Numbers of now, with their names.
    Stat,
}

/// Lines over time, a third of a row wide.
fn lines<const N: usize>(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    queries: [(String, &'static str); N],
) -> Panel {
    Panel { title, description, kind: Kind::Lines, unit, width: 8, queries: queries.into() }
}

/// Numbers of now, a quarter of a row wide.
fn stat<const N: usize>(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    queries: [(String, &'static str); N],
) -> Panel {
    Panel { title, description, kind: Kind::Stat, unit, width: 6, queries: queries.into() }
}

/// The path that a service has taken, and why.
fn path(job: &str, description: &'static str, legend: &'static str) -> Panel {
    let chosen = format!(r#"xps_path{{job="{job}",instance=~"$instance"}} == 1"#);
    stat("Path and reason", "none", description, [(chosen, legend)])
}

/// A metric of the chosen instances.
fn of(metric: &str) -> String {
    format!(r#"{metric}{{instance=~"$instance"}}"#)
}

/// How fast it grows, a second.
fn rate(metric: &str) -> String {
    format!("sum(rate({}[$__rate_interval]))", of(metric))
}

/// The same, by labels.
fn rate_by(labels: &str, metric: &str) -> String {
    format!("sum by ({labels}) (rate({}[$__rate_interval]))", of(metric))
}

/// All rows, from above.
pub(super) fn rows() -> Vec<Row> {
    vec![
        Row { title: "Plain against accelerated port (load profile)", panels: comparison::panels() },
        Row { title: "kv-cache", panels: kv_cache::panels() },
        Row { title: "http-guard", panels: http_guard::panels() },
        Row { title: "heartbeat", panels: heartbeat::panels() },
        Row { title: "Agents", panels: agents::panels() },
    ]
}
