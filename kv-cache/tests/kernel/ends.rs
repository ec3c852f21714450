//! Connections that end in every way, and a server that is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::{ACCELERATED, Lab, Options, PLAIN, bulk, request, signal, until};

/// Waits until the table holds no flow of a client through the accelerated port but `left`.
fn flows_are(lab: &Lab, left: u64) -> Result<()> {
    until(&format!("{left} flows"), || Ok((lab.status()?.flows.accelerated == left).then_some(())))
}

#[test]
fn the_reply_and_the_end_arrive_after_a_half_close() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        drop(fast);
        for round in 0..30 {
            let mut client = lab.client(ACCELERATED)?;
            // With an offset, or without one.
            (0..round % 3).try_for_each(|_| client.holds("key", "value"))?;
            let (line, reply) = match round % 5 {
                0 => ("GET key", bulk("value")),
                1 => ("GET none", b"$-1\r\n".to_vec()),
                2 => ("SET own x", b"+OK\r\n".to_vec()),
                3 => ("ECHO x", bulk("x")),
                _ => ("STRLEN key", b":5\r\n".to_vec()),
            };
            client.ask(line)?;
            client.half_close()?;
            client.expect(&reply).with_context(|| line.to_owned())?;
            client.expect_end().with_context(|| line.to_owned())?;
        }
        flows_are(lab, 0)?;
        // Redis closes first: those flows stay as long as its sockets, which wait for old segments.
        for with_hits in [true, false] {
            let mut client = lab.client(ACCELERATED)?;
            if with_hits {
                client.holds("key", "value")?;
            }
            client.check("QUIT", "+OK\r\n")?;
            client.expect_end()?;
        }
        let mut fast = lab.client(ACCELERATED)?;
        lab.warm(&mut fast, "key", "value")
    });
}

#[test]
fn clients_that_vanish_leave_nothing_pending() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        for round in 0..40 {
            let mut client = lab.client(if round % 8 == 7 { PLAIN } else { ACCELERATED })?;
            (0..round % 3).try_for_each(|_| client.holds("key", "value"))?;
            match round % 4 {
                0 => client.send(&request(&["GET", "key"]).repeat(10))?,
                1 => client.send(&request(&["SET", "key", "value"]).repeat(50))?,
                2 => client.ask("BLPOP none 0")?,
                _ => {
                    // In the middle of a request, with a transaction open.
                    client.send(b"MULTI\r\nSET key value\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$100\r\nabc")?;
                }
            }
            client.reset()?;
        }
        flows_are(lab, 1)?;
        lab.warm(&mut fast, "key", "value")?;
        // A huge reply that the client does not wait for.
        plain.set("huge", vec![b'h'; 8 << 20])?;
        for _ in 0..3 {
            let mut client = lab.client(ACCELERATED)?;
            client.ask("GET huge")?;
            client.reset()?;
        }
        flows_are(lab, 1)?;
        lab.warm(&mut fast, "key", "value")
    });
}

#[test]
fn a_killed_server_comes_back_with_its_own_data() {
    Lab::run(Options::default(), |lab| {
        let mut plain = lab.client(PLAIN)?;
        plain.set("key", "saved")?;
        plain.set("gone", "")?;
        plain.check("DEL gone", ":1\r\n")?;
        plain.check("SAVE", "+OK\r\n")?;
        for round in 0..3 {
            let (mut fast, mut idle) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
            let mut plain = lab.client(PLAIN)?;
            // What is not saved is gone when the server is; the stack never sees that happen.
            let newer = format!("not saved {round}");
            plain.set("key", &newer)?;
            plain.set("gone", &newer)?;
            lab.warm(&mut fast, "key", &newer)?;
            lab.warm(&mut fast, "gone", &newer)?;
            lab.warm(&mut idle, "key", &newer)?;
            idle.ask("BLPOP none 0")?;
            // Until Redis has read it; unread, it would make the end a reset.
            idle.expect_silence(Duration::from_millis(50))?;
            lab.kill_redis()?;
            fast.expect_end().context("the end after hits")?;
            idle.expect_end().context("the end of a blocked connection")?;
            ensure!(lab.client(PLAIN).is_err(), "something else listens on Redis's port");
            lab.start_redis()?;
            let mut fast = until("a connection", || Ok(lab.client(ACCELERATED).ok()))?;
            (0..50).try_for_each(|_| {
                fast.holds("key", "saved")?;
                fast.check("GET gone", "$-1\r\n")
            })?;
            // Hits come back, with the right value.
            lab.warm(&mut fast, "key", "saved")?;
            lab.expect_hits(20, || (0..20).try_for_each(|_| fast.holds("key", "saved")))?;
        }
        Ok(())
    });
}

#[test]
fn what_a_dead_server_held_is_given_back_before_there_is_another() {
    Lab::run(Options::default(), |lab| {
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "value")?;
        lab.warm(&mut client, "key", "value")?;
        // A write that the server dies with.
        signal(lab.redis_id()?, "STOP")?;
        client.ask("SET key lost")?;
        std::thread::sleep(Duration::from_millis(50));
        lab.kill_redis()?;
        client.everything()?;
        flows_are(lab, 0)?;
        lab.start_redis()?;
        let mut client = lab.client(ACCELERATED)?;
        ensure!(client.get("key")?.is_none());
        client.set("key", "new")?;
        lab.warm(&mut client, "key", "new")
    });
}
