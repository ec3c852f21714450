//! Redis sees the keys and connections that are in use, though hits do not reach it (C10).

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, until};

#[test]
fn a_connection_that_only_hits_is_not_idle() {
    let redis = vec!["--timeout", "2"];
    Lab::run(Options { redis, ..Options::default() }, |lab| {
        let (mut busy, mut seldom) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
        let mut silent = lab.client(ACCELERATED)?;
        busy.set("key", "value")?;
        lab.warm(&mut busy, "key", "value")?;
        lab.warm(&mut silent, "key", "value")?;
        seldom.holds("key", "value")?;
        ensure!(lab.status()?.redis.idle_timeout_seconds == 2);
        let (start, hits) = (Instant::now(), lab.hits()?);
        let (mut requests, mut last) = (0, Instant::now());
        while start.elapsed() < Duration::from_secs(10) {
            busy.holds("key", "value").with_context(|| format!("after {:?}", start.elapsed()))?;
            requests += 1;
            if last.elapsed() > Duration::from_millis(1_300) {
                last = Instant::now();
                seldom.holds("key", "value").context("of a client that asks seldom")?;
            }
            sleep(Duration::from_millis(10));
        }
        let hits = lab.hits()? - hits;
        println!("{hits} of {requests} requests were hits; {} passed to be seen", lab.counted("presence")?);
        ensure!(hits * 10 > requests * 8, "only {hits} of {requests} requests were hits");
        // Without it, Redis would have closed the connection after some two seconds.
        ensure!(lab.counted("presence")? >= 10);
        // Whoever really is idle is closed, as by Redis alone.
        ensure!(silent.get("key").is_err(), "a silent connection is still open");

        // Without a timeout nothing passes for its sake.
        busy.check("CONFIG SET timeout 0", "+OK\r\n")?;
        until("no timeout", || Ok((lab.status()?.redis.idle_timeout_seconds == 0).then_some(())))?;
        sleep(Duration::from_millis(600));
        lab.warm(&mut busy, "key", "value")?;
        lab.expect_hits(100, || (0..100).try_for_each(|_| busy.holds("key", "value")))
    });
}

/// Seconds since Redis last saw a use of `key`, after hits for `time`. Redis answers to something else meanwhile, so that no
/// request for the key has to pass as a sign of life (T9).
fn unseen_after_hits(lab: &Lab, fast: &mut Client, key: &str, time: Duration) -> Result<u64> {
    let (hits, start) = (lab.hits()?, Instant::now());
    let mut requests = 0_u64;
    while start.elapsed() < time {
        fast.holds(key, "value")?;
        requests += 1;
        if requests.is_multiple_of(50) {
            fast.check("PING", "+PONG\r\n")?;
        }
        sleep(Duration::from_millis(5));
    }
    let hits = lab.hits()? - hits;
    ensure!(hits == requests, "{} requests reached Redis, which shows it the key", requests - hits);
    let reply = lab.client(PLAIN)?.command(&format!("OBJECT IDLETIME {key}"))?;
    let text = String::from_utf8_lossy(&reply).into_owned();
    text.trim_start_matches(':').trim().parse().with_context(|| text.clone())
}

#[test]
fn keys_that_are_hit_are_touched_where_redis_evicts_by_use() {
    let redis = vec!["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"];
    // A long bound, so that nothing reaches Redis for want of a lease.
    let settings = vec!["coherence.mode=bounded", "coherence.max_staleness=1m", "lease.duration=20s"];
    let file = "[cache]\ntouches_per_second = 0\n";
    Lab::run(Options { redis, settings, file, state: "bounded", ..Options::default() }, |lab| {
        let (mut fast, mut other) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
        until("tracking", || Ok(lab.status()?.coherence.tracking.starts_with("connected").then_some(())))?;
        other.check("SELECT 3", "+OK\r\n")?;
        fast.set("key", "value")?;
        other.set("third", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        lab.warm(&mut other, "third", "value")?;
        let time = Duration::from_millis(4_500);
        ensure!(lab.status()?.redis.touches.starts_with("off: "), "{:?}", lab.status()?.redis);
        let unseen = unseen_after_hits(lab, &mut fast, "key", time)?;
        ensure!(unseen >= 3, "Redis saw the key {unseen} s ago, though nothing shows it");

        lab.write_file("[cache]\ntouches_per_second = 100\n")?;
        lab.act("reload")?;
        let unseen = unseen_after_hits(lab, &mut fast, "key", time)?;
        ensure!(unseen <= 2, "Redis saw the key {unseen} s ago");
        let status = lab.status()?;
        ensure!(status.redis.touches.starts_with("active: "), "{:?}", status.redis);
        ensure!(status.agent["touches"] > 0, "{:?}", status.agent);
        // By another database's number.
        let touches = status.agent["touches"];
        until("a touch in another database", || {
            other.holds("third", "value")?;
            Ok((lab.status()?.agent["touches"] > touches).then_some(()))
        })?;

        fast.check("ACL SETUSER default -touch", "+OK\r\n")?;
        until("a refusal that is named", || {
            fast.holds("key", "value")?;
            Ok(lab.status()?.redis.touches.starts_with("refused: ").then_some(()))
        })?;
        lab.warm(&mut fast, "key", "value")
    });
}
