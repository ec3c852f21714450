//! redis-benchmark, the client that everybody knows.

use crate::bench::measure::Outcome;
use crate::bench::quantiles;
use crate::lab::Place;
use crate::workspace;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::process::Stdio;

/// Sends `requests` requests with these arguments.
pub(super) fn run(place: &Place, server: SocketAddr, arguments: &[String], requests: u64) -> Result<Outcome> {
    let program =
        workspace::find("redis-benchmark").context("redis-benchmark is missing; run `cargo xtask setup`")?;
    let mut command = place.command(program);
    command.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string(), "--precision", "3"]);
    command.args(["-n", &requests.to_string()]).args(arguments).stdin(Stdio::null());
    let output = workspace::output(&mut command)?;
    parse(&output, requests).with_context(|| format!("redis-benchmark said: {}", workspace::tail(&output, 5)))
}

/// Reads its report for people: the one for programs has three percentiles.
fn parse(report: &str, requests: u64) -> Result<Outcome> {
    // It rewrites a line while it runs, which ends with a carriage return.
    let lines = || report.split(['\n', '\r']).map(str::trim);
    let mut distribution = Vec::new();
    let table = lines().skip_while(|line| !line.starts_with("Latency by percentile"));
    for line in table.skip(1).take_while(|line| !line.is_empty()) {
        distribution.push(percentile(line).with_context(|| format!("no percentile: {line}"))?);
    }
    let rate = lines().find_map(|line| line.strip_prefix("throughput summary: "));
    let rps = rate.and_then(|rate| rate.split(' ').next()?.parse().ok()).context("no throughput summary")?;
    let mut summary = lines().skip_while(|line| !line.starts_with("latency summary (msec)")).skip(1);
    let (names, values) = summary.next().zip(summary.next()).context("no latency summary")?;
    let field = |name: &str| {
        let index = names.split_whitespace().position(|candidate| candidate == name);
        let value = index.and_then(|index| values.split_whitespace().nth(index)?.parse::<f64>().ok());
        value.with_context(|| format!("the latency summary has no number for {name}"))
    };
    distribution.last().context("no latency by percentile")?;
    // Percentages are rounded to three decimals.
    let latency_us = |share: f64| {
        let reached = distribution.iter().find(|(percent, _)| *percent >= share * 100.0 - 0.0006);
        reached.or(distribution.last()).map_or(0.0, |(_, ms)| ms * 1000.0)
    };
    Ok(Outcome {
        requests,
        rps,
        p50_us: field("p50")? * 1000.0,
        p99_us: field("p99")? * 1000.0,
        quantiles_us: quantiles::at_each(latency_us),
        late: 0,
        flood_rps: None,
    })
}

/// `50.000% <= 0.255 milliseconds (cumulative count 25092)`: percent and milliseconds.
fn percentile(line: &str) -> Option<(f64, f64)> {
    let (percent, rest) = line.split_once("% <= ")?;
    Some((percent.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "GET: rps=0.0 (overall: nan) avg_msec=nan (overall: nan)\r\
         ====== GET ======\n  50000 requests completed in 0.25 seconds\n  threads: 2\n\n\
         Latency by percentile distribution:\n\
         0.000% <= 0.039 milliseconds (cumulative count 8)\n\
         50.000% <= 0.255 milliseconds (cumulative count 25092)\n\
         75.000% <= 0.351 milliseconds (cumulative count 37704)\n\
         98.438% <= 0.751 milliseconds (cumulative count 49232)\n\
         100.000% <= 4.679 milliseconds (cumulative count 50000)\n\n\
         Cumulative distribution of latencies:\n17.776% <= 0.103 milliseconds (cumulative count 8888)\n\n\
         Summary:\n  throughput summary: 199203.20 requests per second\n  latency summary (msec):\n          \
         avg       min       p50       p95       p99       max\n        \
         0.288     0.032     0.255     0.551     1.071     4.679\n";

    #[test]
    fn reads_rate_latencies_and_their_distribution() {
        let outcome = parse(REPORT, 50_000).unwrap();
        assert_eq!((outcome.rps, outcome.p50_us, outcome.p99_us), (199_203.2, 255.0, 1071.0));
        let [least, half, quarter, eighth, ..] = outcome.quantiles_us;
        assert_eq!((least, half, quarter), (39.0, 255.0, 351.0));
        // What is not listed is at most what is listed next; rounding does not hide a step.
        assert_eq!((eighth, outcome.quantiles_us[6], outcome.quantiles_us[10]), (751.0, 751.0, 4679.0));
    }

    #[test]
    fn a_report_that_lacks_something_is_an_error_that_says_what() {
        for (part, what) in
            [("throughput", "throughput"), ("latency summary", "latency"), ("Latency by", "percentile")]
        {
            let error = parse(&REPORT.replace(part, "x"), 5).unwrap_err().to_string();
            assert!(error.contains(what), "{part}: {error}");
        }
        assert!(parse("Could not connect to Redis\n", 5).is_err());
    }
}
