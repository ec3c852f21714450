//! slowhttptest: clients that send as slowly as they may, to have all of a server's connections.

use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::{on_both, tool, url};
use crate::lab::Mode;
use crate::until;

/// Slow connections.
const CONNECTIONS: u64 = 40;

/// Runs it with these arguments, and a client beside it that behaves well.
fn slow_ones_are_closed(arguments: &[&str], counter: &str) {
    let timeouts = "[connections]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n";
    on_both(timeouts, |lab, mode| {
        let counter = if mode == Mode::Kernel { counter } else { "slow_proxied" };
        let (lab, count, url) = (&*lab, CONNECTIONS.to_string(), url("/up"));
        // It goes on for so many seconds, or until all its connections are closed.
        let all = [arguments, &["-c", &count, "-r", &count, "-l", "60", "-u", &url]].concat();
        let said = std::thread::scope(|scope| {
            let slow = scope.spawn(|| tool(lab, "slowhttptest", &all));
            let mut served = 0;
            while !slow.is_finished() {
                let response = lab.client()?.get("/index.html")?;
                ensure!(response.status == 200, "{response:?}");
                served += 1;
                sleep(Duration::from_millis(20));
            }
            ensure!(served != 0, "nobody else came");
            slow.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        ensure!(said.contains("No open connections left"), "{said}");
        until(counter, || Ok((lab.status()?.agent[counter] == CONNECTIONS).then_some(())))?;
        until("no connections", || Ok((lab.status()?.connections == 0).then_some(())))
    });
}

#[test]
fn slow_heads_are_closed_and_others_are_served_meanwhile() {
    slow_ones_are_closed(&["-H", "-i", "3"], "slow_heads");
}

#[test]
fn slow_bodies_are_closed_and_others_are_served_meanwhile() {
    slow_ones_are_closed(&["-B", "-i", "3", "-s", "8192", "-x", "10"], "slow_bodies");
}
