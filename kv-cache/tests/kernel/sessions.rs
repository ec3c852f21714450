//! Connections in a state of their own: transactions, subscriptions, blocked commands, other databases.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::{ACCELERATED, Lab, Options, PLAIN, bulk, request, shown, until};

#[test]
fn transactions_are_seen_when_they_are_carried_out() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        let mut reader = lab.client(ACCELERATED)?;
        plain.set("key", "old")?;
        lab.warm(&mut reader, "key", "old")?;
        for through_fast in [true, false] {
            let client = if through_fast { &mut fast } else { &mut plain };
            for round in 0..20 {
                client.check("SET key old", "+OK\r\n")?;
                lab.warm(&mut reader, "key", "old")?;
                client.check("MULTI", "+OK\r\n")?;
                client.check("GET key", "+QUEUED\r\n")?;
                client.check("SET key new", "+QUEUED\r\n")?;
                client.check("GET key", "+QUEUED\r\n")?;
                reader.holds("key", "old")?;
                if round % 3 == 2 {
                    client.check("DISCARD", "+OK\r\n")?;
                    reader.holds("key", "old")?;
                    client.holds("key", "old")?;
                } else {
                    client.check(
                        "EXEC",
                        [b"*3\r\n".to_vec(), bulk("old"), b"+OK\r\n".to_vec(), bulk("new")].concat(),
                    )?;
                    reader.holds("key", "new")?;
                    client.holds("key", "new")?;
                }
            }
            // WATCH: a write between it and EXEC, whoever makes it, stops the transaction; a hit must not hide it.
            client.check("SET key old", "+OK\r\n")?;
            client.check("WATCH key", "+OK\r\n")?;
            client.holds("key", "old")?;
            reader.set("key", "changed")?;
            client.holds("key", "changed")?;
            client.check("MULTI", "+OK\r\n")?;
            client.check("SET key mine", "+QUEUED\r\n")?;
            let reply = client.command("EXEC")?;
            ensure!(reply == b"*-1\r\n", "EXEC after a change: {}", shown(&reply));
            reader.holds("key", "changed")?;
            client.check("WATCH key", "+OK\r\n")?;
            client.check("MULTI", "+OK\r\n")?;
            client.check("SET key mine", "+QUEUED\r\n")?;
            client.check("EXEC", "*1\r\n+OK\r\n")?;
            reader.holds("key", "mine")?;
            client.check("MULTI", "+OK\r\n")?;
            let refused = client.command("NOSUCH")?;
            ensure!(refused.starts_with(b"-ERR unknown command"), "{}", shown(&refused));
            let aborted = client.command("EXEC")?;
            ensure!(aborted.starts_with(b"-EXECABORT"), "{}", shown(&aborted));
        }
        // And after it all there are hits on the same connection.
        lab.warm(&mut fast, "key", "mine")
    });
}

#[test]
fn a_transaction_in_one_segment() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut reader) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
        fast.set("key", "old")?;
        lab.warm(&mut fast, "key", "old")?;
        for i in 0..50 {
            fast.send(
                format!("GET key\r\nMULTI\r\nGET key\r\nSET key {i}\r\nEXEC\r\nGET key\r\n").as_bytes(),
            )?;
            let old = reader_value(i);
            fast.expect(&bulk(&old))?;
            fast.expect(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n")?;
            fast.expect(&[bulk(&old), b"+OK\r\n".to_vec(), bulk(i.to_string())].concat())?;
            reader.holds("key", i.to_string())?;
        }
        lab.warm(&mut reader, "key", "49")
    });
}

fn reader_value(i: u32) -> String {
    i.checked_sub(1).map_or("old".to_owned(), |before| before.to_string())
}

#[test]
fn messages_come_between_hits_of_others() {
    Lab::run(Options::default(), |lab| {
        let mut reader = lab.client(ACCELERATED)?;
        reader.set("key", "value")?;
        lab.warm(&mut reader, "key", "value")?;
        let mut second = lab.client(ACCELERATED)?;
        second.check("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")?;
        let mut third = lab.client(ACCELERATED)?;
        ensure!(third.command("HELLO 3")?.starts_with(b"%"));
        lab.warm(&mut third, "key", "value")?;
        third.check("SUBSCRIBE news", ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")?;
        let mut publisher = lab.client(ACCELERATED)?;
        for i in 0..100 {
            let text = "m".repeat(i * 30 + 1);
            publisher.check(&format!("PUBLISH news {text}"), ":2\r\n")?;
            reader.holds("key", "value")?;
            // In RESP2 a subscribed connection takes few commands, in RESP3 all.
            let message = [b"3\r\n".to_vec(), bulk("message"), bulk("news"), bulk(&text)].concat();
            second.expect(&[b"*", message.as_slice()].concat())?;
            third.expect(&[b">", message.as_slice()].concat())?;
            third.holds("key", "value")?;
            if i % 10 == 0 {
                let refused = second.command("GET key")?;
                ensure!(refused.starts_with(b"-ERR Can't execute 'get'"), "{}", shown(&refused));
            }
        }
        lab.warm(&mut reader, "key", "value")?;
        second.check("UNSUBSCRIBE news", "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n")?;
        second.holds("key", "value")?;
        let mut monitor = lab.client(ACCELERATED)?;
        monitor.check("MONITOR", "+OK\r\n")?;
        publisher.set("key", "seen")?;
        let mut seen = String::new();
        while !seen.contains("\"SET\" \"key\" \"seen\"") {
            seen = String::from_utf8_lossy(&monitor.reply()?).into_owned();
        }
        reader.holds("key", "seen")
    });
}

#[test]
fn blocked_commands_stop_nobody_else() {
    Lab::run(Options::default(), |lab| {
        let (mut reader, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut reader, "key", "value")?;
        let mut blocked = [lab.client(ACCELERATED)?, lab.client(PLAIN)?];
        for (i, client) in blocked.iter_mut().enumerate() {
            client.ask(&format!("BLPOP list:{i} 0"))?;
            client.expect_silence(Duration::from_millis(20))?;
        }
        lab.expect_hits(100, || (0..100).try_for_each(|_| reader.holds("key", "value")))?;
        for (i, client) in blocked.iter_mut().enumerate() {
            // A request behind the blocked one waits its turn, though it could be answered.
            client.ask("GET key")?;
            client.expect_silence(Duration::from_millis(20))?;
            plain.check(&format!("RPUSH list:{i} element"), ":1\r\n")?;
            client.expect(&[b"*2\r\n".to_vec(), bulk(format!("list:{i}")), bulk("element")].concat())?;
            client.expect(&bulk("value"))?;
        }
        lab.warm(&mut blocked[0], "key", "value")?;
        let started = Instant::now();
        blocked[0].check("BLPOP none 0.2", "*-1\r\n").context("a block that times out")?;
        ensure!(started.elapsed() >= Duration::from_millis(190));
        lab.warm(&mut blocked[0], "key", "value")
    });
}

#[test]
fn databases_are_kept_apart() {
    Lab::run(Options::default(), |lab| {
        let (mut zero, mut one) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
        let mut plain = lab.client(PLAIN)?;
        one.check("SELECT 1", "+OK\r\n")?;
        plain.set("key", "in 0")?;
        one.set("key", "in 1")?;
        lab.warm(&mut zero, "key", "in 0")?;
        lab.warm(&mut one, "key", "in 1")?;
        for i in 0..20 {
            zero.holds("key", "in 0")?;
            one.holds("key", if i == 0 { "in 1".to_owned() } else { format!("in 1: {}", i - 1) })?;
            plain.check("SELECT 1", "+OK\r\n")?;
            plain.set("key", format!("in 1: {i}"))?;
            plain.check("SELECT 0", "+OK\r\n")?;
            plain.holds("key", "in 0")?;
        }
        // Selected in the same segment as what it is for, refused, and back again.
        for _ in 0..20 {
            let requests = ["SELECT 1", "GET key", "SELECT 99", "GET key", "SELECT 0", "GET key"];
            zero.send(&requests.map(|line| request(&line.split(' ').collect::<Vec<_>>())).concat())?;
            zero.expect(&[b"+OK\r\n".to_vec(), bulk("in 1: 19")].concat())?;
            zero.expect(b"-ERR DB index is out of range\r\n")?;
            zero.expect(&[bulk("in 1: 19"), b"+OK\r\n".to_vec(), bulk("in 0")].concat())?;
            zero.holds("key", "in 0")?;
        }
        lab.warm(&mut zero, "key", "in 0")?;
        lab.warm(&mut one, "key", "in 1: 19")?;
        plain.check("SWAPDB 0 1", "+OK\r\n")?;
        zero.holds("key", "in 1: 19")?;
        one.holds("key", "in 0")?;
        lab.warm(&mut zero, "key", "in 1: 19")
    });
}

/// Sends a signal to Redis.
fn signal_redis(lab: &Lab, signal: libc::c_int) -> Result<()> {
    let id = lab.redis_id()?.cast_signed();
    // SAFETY: kill has no memory effects; the child is not waited for yet, so its id is still its own.
    ensure!(unsafe { libc::kill(id, signal) } == 0, "no signal {signal} to Redis");
    Ok(())
}

#[test]
fn what_is_selected_while_the_sidecar_starts_is_known() {
    for options in [Options::default(), Options::user()] {
        Lab::run(options, |lab| {
            let mut plain = lab.client(PLAIN)?;
            plain.set("key", "zero")?;
            plain.check("SELECT 1", "+OK\r\n")?;
            plain.set("key", "one")?;
            drop(plain);
            lab.kill_sidecar()?;
            // It cannot learn the commands, and connections come all the same.
            signal_redis(lab, libc::SIGSTOP)?;
            lab.launch_sidecar()?;
            let mut client = until("a connection through the sidecar", || {
                let Ok(client) = lab.client(ACCELERATED) else { return Ok(None) };
                let taken =
                    lab.status().is_ok_and(|status| status.flows.accelerated + status.flows.relayed > 0);
                Ok(taken.then_some(client))
            })?;
            client.ask("SELECT 1")?;
            // Until it has passed the sidecar.
            until("the request", || Ok((lab.status()?.requests_total > 0).then_some(())))?;
            signal_redis(lab, libc::SIGCONT)?;
            lab.sidecar_ready()?;
            client.expect(b"+OK\r\n")?;
            let mut other = lab.client(ACCELERATED)?;
            other.set("key", "zero again")?;
            lab.warm(&mut other, "key", "zero again")?;
            for _ in 0..100 {
                client.holds("key", "one")?;
                other.holds("key", "zero again")?;
            }
            lab.warm(&mut client, "key", "one")
        });
    }
}
