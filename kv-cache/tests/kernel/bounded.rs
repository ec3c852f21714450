//! Bounded coherence: writes that no program sees, through a unix socket, are known by Redis's own invalidations.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::support::{ACCELERATED, Lab, Options, Side, until};

const SOCKET: &str = "redis.sock";

fn bounded(settings: Vec<&'static str>) -> Options {
    let settings = [vec!["coherence.mode=bounded"], settings].concat();
    Options { settings, redis: vec!["--unixsocket", SOCKET], state: "bounded", ..Options::default() }
}

/// A command that no program sees.
fn unseen(lab: &Lab, line: &str) -> Result<()> {
    let mut command = lab.place(Side::Server).command("redis-cli");
    command.arg("-s").arg(lab.folder().join(SOCKET)).args(line.split(' '));
    let output = command.output()?;
    ensure!(output.status.success(), "{line}: {output:?}");
    Ok(())
}

/// Waits until tracking is in this state.
fn tracking(lab: &Lab, state: &str) -> Result<()> {
    until(&format!("tracking {state}"), || {
        Ok(lab.status()?.coherence.tracking.starts_with(state).then_some(()))
    })
}

/// `change` happens unseen; `value` must be served within the bound, and from the cache again.
pub(crate) fn becomes(
    lab: &Lab,
    key: &str,
    value: Option<&str>,
    bound: Duration,
    change: &str,
) -> Result<()> {
    let mut client = lab.client(ACCELERATED)?;
    unseen(lab, change)?;
    let changed = Instant::now();
    loop {
        // What is asked for within the bound may be answered whenever this thread comes to read it.
        let asked = changed.elapsed();
        if client.get(key)?.as_deref() == value.map(str::as_bytes) {
            break;
        }
        ensure!(asked < bound, "{key} is stale for who asks {asked:?} after {change}");
    }
    match value {
        Some(value) => lab.warm(&mut client, key, value),
        None => lab.warm_missing(&mut client, key),
    }
}

#[test]
fn unseen_writes_show_within_the_bound() {
    Lab::run(bounded(vec![]), |lab| {
        tracking(lab, "connected")?;
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "one")?;
        lab.warm(&mut client, "key", "one")?;
        let bound = Duration::from_secs(1);
        becomes(lab, "key", Some("two"), bound, "SET key two")?;
        becomes(lab, "key", None, bound, "DEL key")?;
        becomes(lab, "key", Some("three"), bound, "SET key three EX 1000")?;
        becomes(lab, "key", None, bound, "FLUSHALL")?;
        client.set("key", "four")?;
        lab.warm(&mut client, "key", "four")?;
        becomes(lab, "key", None, bound, "SWAPDB 0 1")?;
        // A write that is seen is never late.
        for round in 0..200 {
            client.set("key", round.to_string())?;
            client.holds("key", round.to_string())?;
        }
        lab.warm(&mut client, "key", "199")
    });
}

#[test]
fn without_a_beat_there_are_no_hits_after_the_bound() {
    Lab::run(bounded(vec!["coherence.max_staleness=500ms"]), |lab| {
        tracking(lab, "connected")?;
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "value")?;
        lab.warm(&mut client, "key", "value")?;
        // Redis hangs: for a moment nobody can know.
        signal(lab, "-STOP")?;
        let result = (|| {
            lab.expect_hits(1, || client.holds("key", "value"))?;
            std::thread::sleep(Duration::from_millis(700));
            client.send(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n")?;
            lab.expect_hits(0, || {
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            })
        })();
        signal(lab, "-CONT")?;
        result?;
        ensure!(client.reply()? == b"$5\r\nvalue\r\n", "another value");
        tracking(lab, "connected")?;
        lab.warm(&mut client, "key", "value")
    });
}

fn signal(lab: &Lab, signal: &str) -> Result<()> {
    let status = Command::new("kill").args([signal, &lab.redis_id()?.to_string()]).status()?;
    ensure!(status.success(), "kill {signal}");
    Ok(())
}

#[test]
fn tracking_that_breaks_comes_back() {
    Lab::run(bounded(vec![]), |lab| {
        tracking(lab, "connected")?;
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "one")?;
        lab.warm(&mut client, "key", "one")?;
        for round in 0..3 {
            let value = round.to_string();
            unseen(lab, "CLIENT KILL TYPE normal SKIPME yes")?;
            unseen(lab, &format!("SET key {value}"))?;
            let mut client = lab.client(ACCELERATED)?;
            until("the new value", || {
                Ok((client.get("key")?.as_deref() == Some(value.as_bytes())).then_some(()))
            })?;
            tracking(lab, "connected")?;
            lab.warm(&mut client, "key", &value)?;
        }
        Ok(())
    });
}

#[test]
fn without_tracking_entries_live_for_the_bound() {
    let options = bounded(vec!["coherence.tracking=off", "coherence.max_staleness=400ms"]);
    Lab::run(options, |lab| {
        tracking(lab, "unavailable")?;
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "one")?;
        lab.warm(&mut client, "key", "one")?;
        let bound = Duration::from_millis(400);
        becomes(lab, "key", Some("two"), bound, "SET key two")?;
        becomes(lab, "key", None, bound, "FLUSHALL")
    });
}
