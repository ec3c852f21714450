//! wrk, the HTTP client that everybody knows.

use super::answers::Answers;
use super::workload::Asking;
use crate::bench::quantiles::Quantiles;
use crate::lab::Place;
use crate::workspace;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const CONNECTIONS: u64 = 50;
const THREADS: u64 = 2;
/// Its own table is rounded; this line has what it was made from.
const REPORT: &str = r#"
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"p50_us":%d,"p99_us":%d,"late":%d,"quantiles_us":[',
    latency:percentile(50), latency:percentile(99), errors.timeout))
  for step = 0, 10 do
    io.write(step == 0 and '' or ',', latency:percentile(100 - 100 * 0.5 ^ step))
  end
  io.write('],"answers":{')
  io.write(string.format('"requests":%d,"bytes":%d,"duration_us":%d,"refused":%d,"lost":%d,"statuses":{',
    summary.requests, summary.bytes, summary.duration, errors.status, errors.connect + errors.read + errors.write))
  local separator = ''
  for status = 100, 599 do
    local count = 0
    for _, thread in ipairs(threads) do count = count + (thread:get('status_' .. status) or 0) end
    if count > 0 then
      io.write(string.format('%s"%d":%d', separator, status, count))
      separator = ','
    end
  end
  io.write('}}}\n')
end
threads = {}
"#;
/// Counts each status, which costs a call for each response: not while it is measured.
const COUNT: &str = r"
function setup(thread) table.insert(threads, thread) end
function response(status)
  local name = 'status_' .. status
  _G[name] = (_G[name] or 0) + 1
end
";

/// A query of its own for each request. Threads count from different numbers: where their memory lies.
const DISTINCT: &str = r"
local number = tonumber(tostring({}):match('0x(%x+)'), 16) % 1000000 * 1000000
local first, last
function init()
  first, last = wrk.format(nil, wrk.path .. '?@'):match('^(.-)@(.*)$')
end
function request()
  number = number + 1
  return first .. number .. last
end
";

/// What to ask for.
pub(super) struct Wrk<'a> {
    pub(super) place: &'a Place,
    pub(super) server: SocketAddr,
    pub(super) path: &'a str,
    pub(super) asking: Asking,
    /// Where its scripts lie.
    pub(super) folder: &'a Path,
}

/// What wrk has counted.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Counts {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) quantiles_us: Quantiles,
    /// Responses that came after its limit of two seconds; their latencies are not counted.
    pub(super) late: u64,
    pub(super) answers: Answers,
}

impl Wrk<'_> {
    /// Sends for a time, rounded up to seconds.
    pub(super) fn run(&self, duration: Duration) -> Result<Counts> {
        self.run_with("wrk.lua", REPORT, duration)
    }

    /// The same, with each status counted.
    pub(super) fn run_counting(&self, duration: Duration) -> Result<Counts> {
        self.run_with("wrk-count.lua", &[REPORT, COUNT].concat(), duration)
    }

    fn run_with(&self, name: &str, script: &str, duration: Duration) -> Result<Counts> {
        let more = if self.asking == Asking::Distinct { DISTINCT } else { "" };
        let script = [script, more].concat();
        let program = workspace::find("wrk").context("wrk is missing; run `cargo xtask setup`")?;
        let path = self.folder.join(name);
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = self.place.command(program);
        command.args(["-c", &CONNECTIONS.to_string(), "-t", &THREADS.to_string()]);
        command.args(["-d", &format!("{}s", duration.as_secs_f64().ceil())]).arg("-s").arg(path);
        if self.asking == Asking::OnNewConnections {
            command.args(["-H", "Connection: close"]);
        }
        command.arg(format!("http://{}{}", self.server, self.path)).stdin(Stdio::null());
        parse(&workspace::output(&mut command)?)
    }
}

fn parse(output: &str) -> Result<Counts> {
    let line = output.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("wrk has reported nothing: {}", workspace::tail(output, 5)))?;
    let counts: Counts = serde_json::from_str(line).with_context(|| format!("wrk's report: {line}"))?;
    if counts.answers.requests == 0 {
        bail!("no request of wrk's was answered: {}", workspace::tail(output, 5));
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_line_below_the_table() {
        let table =
            "Running 2s test @ http://10.77.0.1:80/\n  2 threads and 50 connections\nRequests/sec:  5.00\n";
        let line = r#"{"p50_us":300,"p99_us":900,"late":0,"quantiles_us":[90,300,400,500,600,700,800,850,900,950,990],"answers":{"requests":10,"bytes":8500,"duration_us":2000000,"refused":4,"lost":0,"statuses":{"200":6,"429":4}}}"#;
        let counts = parse(&format!("{table}\n{line}\n")).unwrap();
        assert_eq!((counts.quantiles_us[1], counts.quantiles_us[10]), (counts.p50_us, 990.0));
        let answers = counts.answers;
        assert_eq!((answers.rps(), answers.refused, answers.statuses[&429]), (5.0, 4, 4));
        assert!(parse(table).unwrap_err().to_string().contains("Requests/sec"));
        assert!(parse(&line.replace(":10,", ":0,")).is_err());
    }
}
