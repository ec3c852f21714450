//! The user path with its cache: the same handler between two sockets.

use std::time::Duration;

use anyhow::ensure;

use crate::bounded::becomes;
use crate::support::{ACCELERATED, Lab, Options, PLAIN, bulk, request, until};

#[test]
fn hits_and_every_write_through_it_are_seen_at_once() {
    Lab::run(Options::user(), |lab| {
        let (mut reader, mut writer) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
        writer.set("key", "value")?;
        lab.warm(&mut reader, "key", "value")?;
        lab.expect_hits(100, || (0..100).try_for_each(|_| reader.holds("key", "value")))?;
        for round in 0..300 {
            let value = round.to_string();
            match round % 5 {
                0 => writer.check(
                    &format!("EVAL return(redis.call('set',KEYS[1],ARGV[1])) 1 key {value}"),
                    "+OK\r\n",
                )?,
                1 => writer.check(&format!("MSET other x key {value}"), "+OK\r\n")?,
                2 => {
                    writer.set("staging", &value)?;
                    writer.check("RENAME staging key", "+OK\r\n")?;
                }
                _ => writer.set("key", &value)?,
            }
            reader.holds("key", &value)?;
        }
        lab.warm(&mut reader, "key", "299")?;
        writer.check("FLUSHALL", "+OK\r\n")?;
        ensure!(reader.get("key")?.is_none());
        lab.warm_missing(&mut reader, "key")?;
        writer.set("key", "again")?;
        reader.holds("key", "again")?;
        let status = lab.status()?;
        ensure!(status.flows.relayed == 2 && status.path == "user", "{status}");
        Ok(())
    });
}

#[test]
fn streams_keep_their_order_however_they_are_cut() {
    Lab::run(Options::user(), |lab| {
        let mut client = lab.client(ACCELERATED)?;
        let large = "x".repeat(3_000_000);
        client.set("a", "1")?;
        client.set("b", "2")?;
        client.set("large", &large)?;
        lab.warm(&mut client, "a", "1")?;
        lab.warm(&mut client, "b", "2")?;
        let get = |key: &str| request(&["GET", key]);
        // A pipeline of hits is answered as one.
        let pipeline = [get("a"), get("b"), get("a")].concat();
        client.send(&pipeline)?;
        lab.expect_hits(0, || client.expect(b"$1\r\n1\r\n$1\r\n2\r\n$1\r\n1\r\n"))?;
        // A hit never overtakes a reply that is on its way.
        for _ in 0..20 {
            client.send(&[get("large"), get("a")].concat())?;
            client.send(&get("b"))?;
            client.expect(&[bulk(&large), bulk("1"), bulk("2")].concat())?;
        }
        for byte in [get("a"), request(&["SET", "a", "3"]), get("a")].concat() {
            client.send(&[byte])?;
        }
        client.expect(b"$1\r\n1\r\n+OK\r\n$1\r\n3\r\n")?;
        client.send(b"GET a\r\nPING\r\n")?;
        client.expect(b"$1\r\n3\r\n+PONG\r\n")?;
        client.half_close()?;
        client.expect_end()
    });
}

#[test]
fn sessions_are_what_redis_makes_of_them() {
    Lab::run(Options::user(), |lab| {
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "zero")?;
        lab.warm(&mut client, "key", "zero")?;
        client.check("SELECT 1", "+OK\r\n")?;
        ensure!(client.get("key")?.is_none());
        client.check("SELECT 0", "+OK\r\n")?;
        client.check("MULTI", "+OK\r\n")?;
        client.check("GET key", "+QUEUED\r\n")?;
        client.check("EXEC", "*1\r\n$4\r\nzero\r\n")?;
        client.ask("CLIENT REPLY OFF")?;
        client.ask("GET key")?;
        client.check("CLIENT REPLY ON", "+OK\r\n")?;
        let mut blocked = lab.client(ACCELERATED)?;
        blocked.ask("BLPOP list 0")?;
        let mut other = lab.client(ACCELERATED)?;
        lab.warm(&mut other, "key", "zero")?;
        other.check("LPUSH list x", ":1\r\n")?;
        blocked.expect(b"*2\r\n$4\r\nlist\r\n$1\r\nx\r\n")?;
        let mut admin = lab.client(PLAIN)?;
        admin.check("ACL SETUSER bob on >b ~b:* +@all", "+OK\r\n")?;
        other.check("AUTH bob b", "+OK\r\n")?;
        ensure!(other.command("GET key")?.starts_with(b"-NOPERM"));
        Ok(())
    });
}

#[test]
fn writes_that_bypass_it_show_within_the_bound() {
    Lab::run(Options { redis: vec!["--unixsocket", "redis.sock"], ..Options::user() }, |lab| {
        until("tracking", || Ok(lab.status()?.coherence.tracking.starts_with("connected").then_some(())))?;
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "one")?;
        lab.warm(&mut client, "key", "one")?;
        let bound = Duration::from_secs(1);
        becomes(lab, "key", Some("two"), bound, "SET key two")?;
        becomes(lab, "key", None, bound, "FLUSHALL")?;
        client.set("key", "three")?;
        lab.warm(&mut client, "key", "three")?;
        becomes(lab, "key", None, bound, "SWAPDB 0 1")
    });
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    Lab::run(Options::user(), |lab| {
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "value")?;
        for round in 0..50 {
            let mut other = lab.client(ACCELERATED)?;
            // A write without a reader for its reply, half a write, and one that is blocked.
            match round % 3 {
                0 => other.send(&request(&["SET", "key", "value"]))?,
                1 => other.send(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nval")?,
                _ => other.ask("BLMOVE none key LEFT LEFT 0")?,
            }
            other.reset()?;
        }
        lab.warm(&mut client, "key", "value")?;
        until("the connections' end", || Ok((lab.status()?.flows.relayed == 1).then_some(())))?;
        // Redis goes, and comes back with nothing.
        lab.kill_redis()?;
        client.expect_end()?;
        lab.start_redis()?;
        let mut client = lab.client(ACCELERATED)?;
        ensure!(client.get("key")?.is_none());
        client.set("key", "new")?;
        lab.warm(&mut client, "key", "new")
    });
}

#[test]
fn strict_mode_relays_and_says_so() {
    Lab::run(Options { settings: vec![], state: "off", ..Options::user() }, |lab| {
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "value")?;
        lab.expect_hits(0, || (0..200).try_for_each(|_| client.holds("key", "value")))?;
        until("the cause", || {
            let causes = lab.status()?.coherence.causes;
            Ok(causes.iter().any(|cause| cause.starts_with("user_path: ")).then_some(()))
        })
    });
}
