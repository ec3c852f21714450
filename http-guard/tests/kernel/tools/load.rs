//! What makes load: wrk, ab, h2load.

use anyhow::{Result, ensure};

use super::{RULES, judged, logged, number, on_both, tool, url};
use crate::lab::Lab;
use crate::until;

/// Requests of one run.
const REQUESTS: u64 = 600;

#[test]
fn wrk_gets_all_that_passes_and_is_refused_all_else() {
    on_both(RULES, |lab, _| {
        let run = |path: &str| {
            tool(lab, "wrk", &["-t", "2", "-c", "20", "-d", "1s", "--timeout", "60s", &url(path)])
        };
        let said = run("/index.html")?;
        let served = number(&said, "\n", "requests in")?;
        ensure!(served != 0 && !said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
        // What is under way at its end it does not count.
        let passed = lab.status()?.passed_total;
        ensure!((served..=served + 20).contains(&passed), "{passed}: {said}");
        let said = run("/private/a")?;
        let refused = number(&said, "\n", "requests in")?;
        ensure!(refused != 0 && !said.contains("Socket errors"), "{said}");
        ensure!(number(&said, "Non-2xx or 3xx responses:", "")? == refused, "{said}");
        let status = lab.status()?;
        ensure!(status.passed_total == passed, "{status}");
        ensure!((refused..=refused + 20).contains(&status.refused_total), "{refused}: {status}");
        ensure!(!lab.access_log()?.contains("private"), "what is refused reached Nginx");
        Ok(())
    });
}

#[test]
fn ab_gets_all_that_passes_and_is_refused_all_else() {
    on_both(RULES, |lab, _| {
        let count = REQUESTS.to_string();
        let run = |keep: &[&str], path: &str| {
            tool(lab, "ab", &[&["-q", "-n", &count, "-c", "10", "-s", "60"], keep, &[&url(path)]].concat())
        };
        for (i, keep) in [&[][..], &["-k"]].into_iter().enumerate() {
            let runs = i as u64;
            let said = run(keep, "/index.html")?;
            ensure!(number(&said, "Complete requests:", "")? == REQUESTS, "{said}");
            ensure!(number(&said, "Failed requests:", "")? == 0 && !said.contains("Non-2xx"), "{said}");
            if !keep.is_empty() {
                ensure!(number(&said, "Keep-Alive requests:", "")? == REQUESTS, "{said}");
            }
            judged(lab, REQUESTS * (runs + 1), REQUESTS * runs)?;
            let said = run(keep, "/private/a")?;
            ensure!(number(&said, "Complete requests:", "")? == REQUESTS, "{said}");
            ensure!(number(&said, "Non-2xx responses:", "")? == REQUESTS, "{said}");
            judged(lab, REQUESTS * (runs + 1), REQUESTS * (runs + 1))?;
        }
        all_in_log(lab, 2 * REQUESTS)
    });
}

#[test]
fn h2load_gets_all_that_passes_and_is_refused_all_else() {
    on_both(RULES, |lab, _| {
        let count = REQUESTS.to_string();
        // It sends several requests on a connection before the first one is answered.
        for (i, pipelined) in ["1", "4"].into_iter().enumerate() {
            let runs = i as u64;
            for (path, class) in [("/index.html", "2xx"), ("/private/a", "4xx")] {
                let arguments = ["--h1", "-n", &count, "-c", "10", "-m", pipelined, &url(path)];
                let said = tool(lab, "h2load", &arguments)?;
                ensure!(number(&said, "started,", "done")? == REQUESTS, "{said}");
                ensure!(said.contains(" 0 errored, 0 timeout"), "{said}");
                ensure!(
                    number(&said, if class == "2xx" { "codes:" } else { "3xx," }, class)? == REQUESTS,
                    "{said}"
                );
            }
            judged(lab, REQUESTS * (runs + 1), REQUESTS * (runs + 1))?;
        }
        all_in_log(lab, 2 * REQUESTS)
    });
}

/// Checks that Nginx's log has so many requests, all served, and none that was refused.
fn all_in_log(lab: &Lab, requests: u64) -> Result<()> {
    until("the log's last line", || {
        Ok((logged(lab, " /index.html HTTP/1.")? as u64 == requests).then_some(()))
    })?;
    ensure!(logged(lab, " 200")? as u64 == requests, "some were not served");
    ensure!(!lab.access_log()?.contains("private"), "what is refused reached Nginx");
    Ok(())
}
