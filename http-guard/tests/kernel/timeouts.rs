//! Clients that are slow, too many, or do not heed their refusals.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::lab::{Lab, SERVER_V4};
use crate::until;

#[test]
fn slow_heads_and_bodies_are_closed() {
    let file = "[connections]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n";
    Lab::run(file, |lab| {
        for (start, counter) in [
            ("GET /index.html HT", "slow_heads"),
            ("POST /index.html HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello", "slow_bodies"),
        ] {
            let begun = Instant::now();
            let mut slow = lab.client()?;
            slow.send(start)?;
            // Nginx may answer a request whose body is still to come.
            let _ = slow.last_response(Duration::from_secs(10));
            ensure!(begun.elapsed() > Duration::from_millis(900), "{counter}: closed too early");
            until(counter, || Ok((lab.status()?.agent[counter] == 1).then_some(())))?;
        }
        let mut fast = lab.client()?;
        ensure!(fast.get("/index.html")?.status == 200, "others go on");
        std::thread::sleep(Duration::from_secs(3));
        ensure!(fast.get("/index.html")?.status == 200, "who asks for nothing is not slow");
        Ok(())
    });
}

#[test]
fn a_body_that_trickles_is_closed_where_its_rate_counts() {
    let file = "[connections]\nbody_timeout = \"1s\"\nbody_rate_min = 1000\n";
    Lab::run(file, |lab| {
        let head = "POST /index.html HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        let (mut slow, mut fast) = (lab.client()?, lab.client()?);
        slow.send(head)?;
        fast.send(head)?;
        until("its end", || {
            // Who is closed cannot send.
            let _ = slow.send("x");
            fast.send(&"x".repeat(200))?;
            std::thread::sleep(Duration::from_millis(80));
            Ok((lab.status()?.agent["slow_bodies"] == 1).then_some(()))
        })?;
        ensure!(slow.last_response(Duration::from_secs(10)).is_ok(), "the slow one ends");
        fast.send("x")
    });
}

#[test]
fn who_does_not_heed_refusals_is_blocked_for_a_time() {
    let file = r#"
        [[rule]]
        name = "limited"
        action = "limit"
        rate = "1/min"
        block_after = "2/min"
        block_time = "3s"
    "#;
    Lab::run(file, |lab| {
        let mut fast = lab.client()?;
        ensure!(fast.get("/index.html")?.status == 200, "the first one passes");
        for _ in 0..2 {
            ensure!(fast.get("/index.html")?.status == 429, "refused");
        }
        ensure!(fast.get("/index.html").is_err(), "blocked: the connection ends");
        until("a block", || Ok((lab.status()?.blocked_clients == 1).then_some(())))?;
        until("its end", || Ok((lab.status()?.blocked_clients == 0).then_some(())))?;
        lab.client().map(drop)
    });
}

#[test]
fn a_client_opens_no_more_connections_than_it_may() {
    Lab::run("[connections]\nper_client_max = 2\n", |lab| {
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut fast = lab.client()?;
            ensure!(fast.get("/index.html")?.status == 200, "within the limit");
            open.push(fast);
        }
        std::thread::scope(|scope| {
            let third = scope.spawn(|| lab.client()?.get("/index.html"));
            until("a refused SYN", || Ok((lab.status()?.closes["not_admitted"] != 0).then_some(())))?;
            ensure!(!third.is_finished(), "a third connection");
            // Its SYN comes again, and finds a place.
            open.pop();
            let response = third.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            ensure!(response.status == 200, "once one has ended");
            Ok(())
        })?;
        drop(open);
        until("no connections", || Ok((lab.status()?.connections == 0).then_some(())))?;
        ensure!(lab.client()?.get("/index.html")?.status == 200, "all of them have ended");
        Ok(())
    });
}

#[test]
fn flows_leave_the_table() {
    let file = "[[rule]]\nname = \"closed\"\npath = \"/closed\"\naction = \"close\"\n";
    Lab::run(file, |lab| {
        for path in ["/index.html", "/closed", "/index.html", "/closed"] {
            let mut fast = lab.connect(SERVER_V4, 8080)?;
            let _ = fast.get(path);
        }
        until("an empty table", || Ok((lab.status()?.connections == 0).then_some(())))
    });
}
