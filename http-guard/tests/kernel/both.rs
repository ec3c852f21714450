//! Connections in the stack and, opened with MPTCP, through the proxy: one and the same client has one and the same limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_guard::telling::status::Rule;

use crate::client::Client;
use crate::lab::{ACCELERATED, Lab, PAGE, SERVER_V4, SERVER_V6};
use crate::{PATIENCE, until};

/// How long a limit is tried.
const TIME: Duration = Duration::from_secs(3);

/// How long an end may take.
const SOON: Duration = Duration::from_secs(10);

const RULES: &str = r#"
[[rule]]
name = "private"
path_prefix = "/private/"
action = "deny"

[[rule]]
name = "limited"
path = "/limited"
action = "limit"
rate = "1/min"
burst = 4

[[rule]]
name = "keyed"
path = "/keyed"
action = "limit"
rate = "1/min"
key = ["address", "host", "header:X-Api-Key"]
"#;

const BLOCKING: &str = r#"
[[rule]]
name = "limited"
path = "/limited"
action = "limit"
rate = "1/h"
block_after = "2/h"
block_time = "1h"
"#;

/// A connection through the proxy.
fn proxied(lab: &Lab) -> Result<Client> {
    lab.connect_to_proxy(SERVER_V4)
}

/// Whether the proxy lets in another connection. Its reset may come before the client has sent anything.
fn admits(lab: &Lab) -> bool {
    proxied(lab).and_then(|mut client| client.get("/index.html")).is_ok()
}

/// One in the stack and one through the proxy, both in use.
fn both(lab: &Lab) -> Result<[Client; 2]> {
    let mut clients = [lab.client()?, proxied(lab)?];
    for client in &mut clients {
        ensure!(client.get("/index.html")?.body == PAGE, "the page");
    }
    let status = lab.status()?;
    ensure!((status.connections, status.connections_proxied) == (2, 1), "{status}");
    Ok(clients)
}

fn rule(lab: &Lab, name: &str) -> Result<Rule> {
    let status = lab.status()?;
    status
        .rules
        .iter()
        .find(|rule| rule.name == name)
        .cloned()
        .with_context(|| format!("no {name}: {status}"))
}

#[test]
fn a_bucket_is_shared() {
    Lab::run(RULES, |lab| {
        let [mut fast, mut slow] = both(lab)?;
        for expected in [404, 404, 429] {
            for client in [&mut slow, &mut fast] {
                let response = client.get("/limited")?;
                ensure!(response.status == expected, "{response:?}");
            }
        }
        let log = lab.access_log()?;
        ensure!(log.matches("/limited").count() == 4, "{log}");
        let keyed = |client: &mut Client, key: &str| {
            client.send(&format!("GET /keyed HTTP/1.1\r\nHost: guard.test\r\nX-Api-Key: {key}\r\n\r\n"))?;
            Ok::<_, anyhow::Error>(client.response()?.status)
        };
        ensure!(keyed(&mut fast, "a")? == 404 && keyed(&mut slow, "a")? == 429, "the same key");
        ensure!(keyed(&mut slow, "b")? == 404 && keyed(&mut fast, "b")? == 429, "the other way round");
        for (name, passed, rejected) in [("limited", 4, 2), ("keyed", 2, 2)] {
            let rule = rule(lab, name)?;
            ensure!((rule.passed, rule.rejected) == (passed, rejected), "{rule:?}");
            let line =
                format!("http_guard_rule_requests_total{{rule=\"{name}\",status=\"rejected\"}} {rejected}");
            let metrics = lab.metrics()?;
            ensure!(metrics.lines().any(|other| other == line), "{metrics}");
        }
        // Clients of IPv6 are so by their prefix.
        let mut slow = lab.connect_to_proxy(SERVER_V6)?;
        let mut fast = lab.connect(SERVER_V6, ACCELERATED)?;
        ensure!(keyed(&mut slow, "a")? == 404 && keyed(&mut fast, "a")? == 429, "by IPv6");
        Ok(())
    });
}

#[test]
fn a_bucket_is_shared_across_reloads_and_agents() {
    Lab::run(RULES, |lab| {
        let [mut fast, mut slow] = both(lab)?;
        for client in [&mut slow, &mut fast] {
            ensure!(client.get("/limited")?.status == 404, "within the burst");
        }
        let first = "[[rule]]\nname = \"first\"\npath = \"/first\"\naction = \"deny\"\n";
        lab.write_file(&[first, RULES].concat())?;
        lab.act("reload")?;
        for client in [&mut slow, &mut fast] {
            ensure!(client.get("/first")?.status == 403, "the new rules hold");
            ensure!(client.get("/limited")?.status == 404, "within the burst");
        }
        lab.kill_sidecar()?;
        lab.start_sidecar()?;
        ensure!(proxied(lab)?.get("/limited")?.status == 429, "the bucket is as empty as before");
        ensure!(fast.get("/limited")?.status == 429, "for both");
        Ok(())
    });
}

#[test]
fn who_is_blocked_by_one_is_blocked_by_the_other() {
    for first in [0, 1] {
        Lab::run(BLOCKING, |lab| {
            let mut clients = both(lab)?;
            let offender = &mut clients[first];
            for expected in [404, 429, 429] {
                ensure!(offender.get("/limited")?.status == expected, "{expected} was expected");
            }
            ensure!(offender.get("/limited").is_err(), "blocked: the connection ends");
            until("a block", || Ok((lab.status()?.blocked_clients == 1).then_some(())))?;
            ensure!(clients[1 - first].get("/index.html").is_err(), "the other connection ends, too");
            ensure!(!admits(lab), "a new one through the proxy");
            std::thread::scope(|scope| {
                let fast = scope.spawn(|| lab.client()?.get("/index.html"));
                until("a SYN that goes nowhere", || {
                    Ok((lab.status()?.segments["not_admitted"] != 0).then_some(()))
                })?;
                ensure!(!fast.is_finished(), "a new one in the stack");
                lab.act("disable")?;
                let response = fast.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                ensure!(response.status == 200, "everything passes");
                ensure!(proxied(lab)?.get("/limited")?.status == 404, "through the proxy, too");
                Ok(())
            })
        });
    }
}

#[test]
fn connections_are_counted_together() {
    Lab::run("[connections]\nper_client_max = 2\n", |lab| {
        let [fast, slow] = both(lab)?;
        let refused_by_proxy = || Ok::<_, anyhow::Error>(lab.status()?.closes["over_connections"]);
        ensure!(!admits(lab), "a third one through the proxy");
        ensure!(refused_by_proxy()? == 1, "it is counted");
        // The agent compares the counts with the connections that there are, more than once.
        std::thread::sleep(Duration::from_secs(4));
        ensure!(!admits(lab), "still a third one");
        std::thread::scope(|scope| {
            let third = scope.spawn(|| {
                let mut third = lab.client()?;
                ensure!(third.get("/index.html")?.status == 200, "once one has ended");
                Ok(third)
            });
            until("a refused SYN", || Ok((lab.status()?.segments["not_admitted"] != 0).then_some(())))?;
            ensure!(!third.is_finished(), "a third one in the stack");
            drop(slow);
            let third = third.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            ensure!(!admits(lab), "there are two again");
            drop((fast, third));
            Ok(())
        })?;
        until("a place", || Ok(admits(lab).then_some(())))?;
        // An agent that is killed counts off nothing.
        let two = |lab: &Lab| {
            let mut clients = [proxied(lab)?, proxied(lab)?];
            clients.iter_mut().try_for_each(|client| client.get("/index.html").map(drop))?;
            Ok::<_, anyhow::Error>(clients)
        };
        let left = until("two places", || Ok(two(lab).ok()))?;
        ensure!(!admits(lab), "a third one");
        lab.kill_sidecar()?;
        drop(left);
        lab.start_sidecar()?;
        until("two places", || Ok(two(lab).ok().map(drop)))
    });
}

#[test]
fn what_the_operator_switches_holds_for_both() {
    Lab::run(RULES, |lab| {
        let [_, mut slow] = both(lab)?;
        for (action, status) in [("enable", 403), ("disable", 404), ("enable", 403)] {
            lab.act(action)?;
            ensure!(lab.status()?.disabled == (action == "disable"), "{action}: the status tells it");
            for client in [&mut lab.client()?, &mut slow] {
                let response = client.get("/private/a")?;
                ensure!(response.status == status, "{action}: {response:?}");
            }
        }
        // Nginx takes it, the guard does not. Nor does the proxy pass unread what it must tell whose it is.
        let unreadable = "GET /index.html HTTP/1.1\nHost: a\n\n";
        for (action, statuses) in [("disable", [200, 400]), ("enable", [400, 400])] {
            lab.act(action)?;
            for (mut client, status) in [lab.client()?, proxied(lab)?].into_iter().zip(statuses) {
                client.send(unreadable)?;
                let response = client.response()?;
                ensure!(response.status == status, "{action}: {response:?}");
                if status == 400 {
                    client.ended(SOON)?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn never_more_than_the_limit_passes() {
    let (rate, burst) = (50.0, 20);
    let file =
        format!("[[rule]]\nname = \"limited\"\naction = \"limit\"\nrate = \"{rate}/s\"\nburst = {burst}\n");
    Lab::run(&file, |lab| {
        let lab = &*lab;
        let counts: [[AtomicU64; 2]; 2] = Default::default();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|thread| {
                    let counts = &counts[thread % 2];
                    scope.spawn(move || {
                        let mut client = if thread % 2 == 0 { lab.client()? } else { proxied(lab)? };
                        let refused = || counts[1].load(Ordering::Relaxed) != 0;
                        while begun.elapsed() < TIME || !refused() && begun.elapsed() < PATIENCE {
                            let status = client.get("/index.html")?.status;
                            ensure!(status == 200 || status == 429, "{status}");
                            counts[usize::from(status == 429)].fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(())
                    })
                })
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let time = begun.elapsed();
        let [[fast, fast_refused], [slow, slow_refused]] =
            counts.map(|counts| counts.map(AtomicU64::into_inner));
        let most = burst + (rate * time.as_secs_f64()) as u64;
        println!(
            "{fast} + {slow} of at most {most} passed in {time:?}, {fast_refused} + {slow_refused} did not"
        );
        ensure!(fast + slow <= most, "{fast} + {slow} passed in {time:?}, {most} may");
        ensure!(fast_refused != 0 && slow_refused != 0, "both were over the limit");
        let rule = rule(lab, "limited")?;
        ensure!((rule.passed, rule.rejected) == (fast + slow, fast_refused + slow_refused), "{rule:?}");
        let status = lab.status()?;
        ensure!(status.connections_proxied_total == 3, "{status}");
        Ok(())
    });
}
