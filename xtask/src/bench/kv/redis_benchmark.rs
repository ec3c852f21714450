//! redis-benchmark, the client that everybody knows.

use crate::bench::measure::Outcome;
use crate::lab::Place;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::process::Stdio;

/// Sends `requests` requests with these arguments.
pub(super) fn run(place: &Place, server: SocketAddr, arguments: &[String], requests: u64) -> Result<Outcome> {
    let program =
        workspace::find("redis-benchmark").context("redis-benchmark is missing; run `cargo xtask setup`")?;
    let mut command = place.command(program);
    command.args([
        "-h",
        &server.ip().to_string(),
        "-p",
        &server.port().to_string(),
        "--csv",
        "--precision",
        "3",
    ]);
    command.args(["-n", &requests.to_string()]).args(arguments).stdin(Stdio::null());
    parse(&workspace::output(&mut command)?, requests)
}

fn parse(csv: &str, requests: u64) -> Result<Outcome> {
    let mut lines = csv.lines().filter(|line| line.starts_with('"'));
    let (Some(header), Some(row), None) = (lines.next(), lines.next(), lines.next()) else {
        bail!("redis-benchmark gave no table of one row: {}", workspace::tail(csv, 5));
    };
    // From the right: the first column is the command, which may hold anything.
    let names: Vec<&str> = header.rsplit(',').map(|name| name.trim_matches('"')).collect();
    let values: Vec<&str> = row.rsplit(',').map(|value| value.trim_matches('"')).collect();
    let field = |name: &str| {
        let index = names.iter().position(|candidate| *candidate == name);
        let value = index.and_then(|index| values.get(index)).and_then(|value| value.parse::<f64>().ok());
        value.with_context(|| format!("redis-benchmark's table has no number for {name}"))
    };
    Ok(Outcome {
        requests,
        rps: field("rps")?,
        p50_us: field("p50_latency_ms")? * 1000.0,
        p99_us: field("p99_latency_ms")? * 1000.0,
        late: 0,
        flood_rps: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#""test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms""#;

    #[test]
    fn reads_the_table() {
        let csv = format!(
            "{HEADER}\n\"SET a,b\",\"79872.20\",\"0.5\",\"0.1\",\"0.470\",\"0.9\",\"1.250\",\"3.0\"\n"
        );
        let expected =
            Outcome { requests: 5, rps: 79872.20, p50_us: 470.0, p99_us: 1250.0, late: 0, flood_rps: None };
        assert_eq!(parse(&csv, 5).unwrap(), expected);
        assert!(parse("Could not connect to Redis\n", 5).is_err());
    }
}
