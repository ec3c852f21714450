//! What passes reaches Nginx from the client's own address, what is refused does not (G1), and its connection stays where that
//! is possible (G4).

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::{ACCELERATED, CLIENT_V4, CLIENT_V6, Lab, PAGE, SERVER_V4, SERVER_V6};
use crate::until;

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
burst = 2

[[rule]]
name = "closed"
path = "/closed"
action = "close"

[[rule]]
name = "silent"
path = "/silent"
action = "drop"
"#;

/// How long an end may take.
const SOON: Duration = Duration::from_secs(5);

/// Checks that Nginx's log has a line of this client, and none with `refused`.
fn logged(lab: &Lab, client: impl std::fmt::Display, line: &str, refused: &[&str]) -> Result<()> {
    let line = format!("{client} {line}");
    let log = until("a line of Nginx's log", || {
        let log = lab.access_log()?;
        Ok(log.lines().any(|other| other == line).then_some(log))
    })
    .with_context(|| line.clone())?;
    for text in refused {
        ensure!(!log.contains(text), "{text} reached Nginx:\n{log}");
    }
    Ok(())
}

#[test]
fn what_may_pass_comes_from_its_own_client() {
    Lab::run(RULES, |lab| {
        for (server, client) in [(SERVER_V4, CLIENT_V4), (SERVER_V6, CLIENT_V6)] {
            let mut fast = lab.connect(server, ACCELERATED)?;
            for _ in 0..3 {
                let response = fast.get("/index.html")?;
                ensure!(response.status == 200 && response.body == PAGE, "{response:?}");
            }
            logged(lab, client, "GET /index.html HTTP/1.1 200", &[])?;
        }
        let status = lab.status()?;
        ensure!((status.requests_total, status.passed_total) == (6, 6), "{status}");
        Ok(())
    });
}

#[test]
fn a_refused_request_is_answered_and_its_connection_stays() {
    Lab::run(RULES, |lab| {
        for server in [SERVER_V4, SERVER_V6] {
            let mut fast = lab.connect(server, ACCELERATED)?;
            for path in ["/private/a", "/x/../private/b", "//private/%61"] {
                let refused = fast.get(path)?;
                ensure!(refused.status == 403, "{refused:?}");
                ensure!(refused.field("connection") != Some("close"), "{refused:?}");
                ensure!(refused.field("date").is_some_and(|date| date.ends_with("GMT")), "{refused:?}");
                let passed = fast.get("/index.html")?;
                ensure!(passed.status == 200 && passed.body == PAGE, "{passed:?}");
            }
        }
        logged(lab, CLIENT_V4, "GET /index.html HTTP/1.1 200", &["private"])?;
        let status = lab.status()?;
        let rule = status.rules.iter().find(|rule| rule.name == "private").context("the rule")?;
        ensure!((rule.rejected, rule.matched, status.replies_total) == (6, 6, 6), "{status}");
        ensure!((status.refused_total, status.passed_total) == (6, 6), "{status}");
        let metrics = lab.metrics()?;
        let line = "http_guard_rule_requests_total{rule=\"private\",status=\"rejected\"} 6";
        ensure!(metrics.lines().any(|other| other == line), "{metrics}");
        let top = until("a report", || {
            let top = lab.top()?;
            Ok((top.refused == 6).then_some(top))
        })?;
        ensure!(top.clients.iter().any(|client| client.address == CLIENT_V4.to_string()), "{top}");
        ensure!(top.clients[0].causes[0].name == "private", "{top}");
        Ok(())
    });
}

#[test]
fn what_is_too_often_is_told_when_to_come_again() {
    Lab::run(RULES, |lab| {
        let mut fast = lab.client()?;
        for _ in 0..2 {
            ensure!(fast.get("/limited")?.status == 404, "Nginx has no such page");
        }
        let refused = fast.get("/limited")?;
        ensure!(refused.status == 429, "{refused:?}");
        let seconds: u64 = refused.field("retry-after").context("Retry-After")?.parse()?;
        ensure!((1..=60).contains(&seconds), "{refused:?}");
        ensure!(fast.get("/index.html")?.status == 200, "the connection is usable");
        // Another connection of the same client.
        ensure!(lab.client()?.get("/limited")?.status == 429, "the same bucket");
        let log = lab.access_log()?;
        ensure!(log.matches("/limited").count() == 2, "{log}");
        Ok(())
    });
}

#[test]
fn with_a_body_or_cut_a_refused_request_ends_its_connection() {
    Lab::run(RULES, |lab| {
        let mut fast = lab.client()?;
        fast.send("POST /private/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")?;
        // All of it is there, so the connection may stay; if not, it ends with the answer.
        let refused = fast.response()?;
        ensure!(refused.status == 403, "{refused:?}");
        let mut fast = lab.client()?;
        fast.send("POST /private/a HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nhello")?;
        let refused = fast.last_response(SOON)?.context("an answer")?;
        ensure!(refused.status == 403 && refused.field("connection") == Some("close"), "{refused:?}");
        for cut in [1, 6, 12, 30] {
            let request = "GET /private/a HTTP/1.1\r\nHost: a\r\n\r\n";
            let mut fast = lab.client()?;
            fast.send(&request[..cut])?;
            sleep(Duration::from_millis(100));
            fast.send(&request[cut..])?;
            let refused = fast.last_response(SOON).with_context(|| format!("cut at {cut}"))?;
            ensure!(refused.is_none_or(|refused| refused.status == 403), "cut at {cut}");
        }
        ensure!(lab.client()?.get("/index.html")?.status == 200, "others go on");
        logged(lab, CLIENT_V4, "GET /index.html HTTP/1.1 200", &[])?;
        // Of a head that was cut behind its first line Nginx has that line, and notes that no more came.
        let log = lab.access_log()?;
        let whole = log.lines().find(|line| line.contains("private") && !line.ends_with(" 400"));
        ensure!(whole.is_none(), "{log}");
        Ok(())
    });
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_closed() {
    Lab::run(RULES, |lab| {
        for (request, status) in [
            (
                "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
            ),
            ("GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET /a HTTP/1.1\nHost: a\n\n", 400),
            ("GET /a HTTP/3.0\r\nHost: a\r\n\r\n", 505),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ] {
            let mut fast = lab.client()?;
            fast.send(request)?;
            let refused = fast.last_response(SOON)?.with_context(|| format!("an answer to {request:?}"))?;
            ensure!(refused.status == status, "{request:?}: {refused:?}");
            ensure!(refused.field("connection") == Some("close"), "{request:?}: {refused:?}");
        }
        let status = lab.status()?;
        ensure!(status.refusals["length_and_encoding"] == 1, "{:?}", status.refusals);
        ensure!(status.refused_total == 5, "{status}");
        ensure!(lab.client()?.get("/index.html")?.status == 200, "others go on");
        logged(lab, CLIENT_V4, "GET /index.html HTTP/1.1 200", &["/a"])
    });
}

#[test]
fn connections_are_closed_or_left_without_a_word() {
    Lab::run(RULES, |lab| {
        let mut fast = lab.client()?;
        fast.send("GET /closed HTTP/1.1\r\nHost: a\r\n\r\n")?;
        ensure!(fast.last_response(SOON)?.is_none(), "no answer");
        let mut fast = lab.client()?;
        fast.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")?;
        ensure!(fast.ended(Duration::from_secs(1)).is_err(), "an end that nobody was to hear of");
        ensure!(lab.client()?.get("/index.html")?.status == 200, "others go on");
        logged(lab, CLIENT_V4, "GET /index.html HTTP/1.1 200", &["closed", "silent"])
    });
}

#[test]
fn the_operator_can_let_everything_pass() {
    Lab::run(RULES, |lab| {
        lab.act("disable")?;
        ensure!(lab.client()?.get("/private/a")?.status == 404, "Nginx has no such page");
        ensure!(lab.status()?.disabled, "the status tells it");
        lab.act("enable")?;
        ensure!(lab.client()?.get("/private/a")?.status == 403, "judged again");
        Ok(())
    });
}

#[test]
fn connections_that_the_table_has_no_room_for_are_judged_too() {
    let file = format!("[limits]\nflows_max = 1\n{RULES}");
    Lab::run(&file, |lab| {
        let mut clients = [lab.client()?, lab.client()?];
        for client in &mut clients {
            ensure!(client.get("/private/a")?.status == 403, "refused");
            let passed = client.get("/index.html")?;
            ensure!(passed.status == 200 && passed.body == PAGE, "{passed:?}");
        }
        let status = lab.status()?;
        ensure!((status.connections, status.connections_proxied) == (2, 1), "{status}");
        ensure!(status.segments["flow_table_full"] > 0, "{status}");
        let rule = status.rules.iter().find(|rule| rule.name == "private").context("the rule")?;
        ensure!(rule.rejected == 2, "both are counted: {status}");
        Ok(())
    });
}
