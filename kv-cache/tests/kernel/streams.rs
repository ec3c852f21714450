//! Pipelines, requests cut anywhere, inline commands, and what is not RESP at all.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, bulk, request, shown};

/// Long enough for a segment to be on its way before the next is made.
const APART: Duration = Duration::from_micros(300);

fn get(key: &str) -> Vec<u8> {
    request(&["GET", key])
}

#[test]
fn pipelines_keep_their_order_whatever_is_in_them() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        let (mut all, mut replies) = (Vec::new(), Vec::new());
        for i in 0..16 {
            let (key, value) = (format!("p:{i}"), format!("value of {i}"));
            plain.set(&key, &value)?;
            lab.warm(&mut fast, &key, &value)?;
            all.extend(get(&key));
            replies.extend(bulk(&value));
        }
        lab.expect_hits(16 * 50, || {
            for _ in 0..50 {
                fast.send(&all)?;
                fast.expect(&replies)?;
            }
            Ok(())
        })?;
        // More than one segment of hits, sent at once, and replies that do not fit one segment together.
        for _ in 0..5 {
            fast.send(&all.repeat(64))?;
            fast.expect(&replies.repeat(64))?;
        }
        plain.set("large", "L".repeat(1000))?;
        lab.warm(&mut fast, "large", "L".repeat(1000))?;
        for _ in 0..20 {
            fast.send(&get("large").repeat(4))?;
            fast.expect(&bulk("L".repeat(1000)).repeat(4))?;
        }
        // Mixed: hits, misses, writes, counters, errors.
        for i in 0..50 {
            let mut mixed = [get("p:1"), get("none"), request(&["SET", "p:2", &i.to_string()])].concat();
            mixed.extend([get("p:2"), request(&["INCR", "counter"]), get("counter")].concat());
            mixed.extend([request(&["NOSUCH"]), get("p:3"), request(&["ECHO", "x"]), get("p:1")].concat());
            fast.send(&mixed)?;
            fast.expect(&bulk("value of 1"))?;
            fast.expect(b"$-1\r\n+OK\r\n")?;
            fast.expect(&bulk(i.to_string()))?;
            let counter = (i + 1).to_string();
            fast.expect(format!(":{counter}\r\n").as_bytes())?;
            fast.expect(&bulk(&counter))?;
            fast.expect(b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n")?;
            fast.expect(&[bulk("value of 3"), bulk("x"), bulk("value of 1")].concat())?;
        }
        // Many requests without waiting for replies, hits and passes in turn.
        for _ in 0..10 {
            for i in 0..100 {
                let key = format!("p:{}", 4 + i % 12);
                fast.send(&if i % 7 == 3 { request(&["STRLEN", &key]) } else { get(&key) })?;
            }
            for i in 0..100 {
                let value = format!("value of {}", 4 + i % 12);
                let length = format!(":{}\r\n", value.len()).into_bytes();
                fast.expect(&if i % 7 == 3 { length } else { bulk(&value) })
                    .with_context(|| i.to_string())?;
            }
        }
        lab.warm(&mut fast, "p:4", "value of 4")
    });
}

#[test]
fn requests_may_be_cut_anywhere() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        let streams: [(Vec<u8>, Vec<u8>); 5] = [
            (get("key"), bulk("value")),
            (get("key").repeat(2), bulk("value").repeat(2)),
            (
                [request(&["SET", "cut", "a\r\nb"]), get("cut"), get("key")].concat(),
                [b"+OK\r\n".to_vec(), bulk("a\r\nb"), bulk("value")].concat(),
            ),
            (b"GET key\r\nget   key \r\n".to_vec(), bulk("value").repeat(2)),
            ([get("none"), request(&["ECHO", "$3\r\nGET\r\n"])].concat(), {
                [b"$-1\r\n".to_vec(), bulk("$3\r\nGET\r\n")].concat()
            }),
        ];
        for (bytes, replies) in &streams {
            for cut in 1..bytes.len() {
                let told = || format!("{} cut at {cut}", shown(bytes));
                fast.send(&bytes[..cut])?;
                sleep(APART);
                fast.send(&bytes[cut..])?;
                fast.expect(replies).with_context(told)?;
                // Whole again, and in the stack's hands again.
                if cut % 8 == 0 {
                    lab.warm(&mut fast, "key", "value").with_context(told)?;
                }
            }
            for byte in bytes {
                fast.send(&[*byte])?;
                sleep(APART);
            }
            fast.expect(replies)?;
            // A whole request with the beginning of the next behind it.
            for cut in 1..bytes.len() {
                fast.send(&[&get("key"), &bytes[..cut]].concat())?;
                sleep(APART);
                fast.send(&[&bytes[cut..], &get("key")].concat())?;
                fast.expect(&[bulk("value"), replies.clone(), bulk("value")].concat())?;
            }
        }
        lab.warm(&mut fast, "key", "value")
    });
}

#[test]
fn inline_commands_and_resp3_are_understood() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value")?;
        lab.warm(&mut fast, "key", "value")?;
        // Quotes are not for the stack to understand: that connection is Redis's alone from there on, and nobody gets hits
        // until it ends, since it may write anything.
        let mut quoting = lab.client(ACCELERATED)?;
        for line in ["GET key\r\n", "get key\n", "  GET   key \r\n", "\r\nGET key\r\n", "\"GET\" 'key'\r\n"] {
            for _ in 0..3 {
                let client = if line.contains('"') { &mut quoting } else { &mut fast };
                client.send(line.as_bytes())?;
                client.expect(&bulk("value")).with_context(|| line.to_owned())?;
            }
        }
        drop(quoting);
        fast.send(b"SET key inline\r\n")?;
        fast.expect(b"+OK\r\n")?;
        fast.holds("key", "inline")?;
        plain.holds("key", "inline")?;
        lab.warm(&mut fast, "key", "inline")?;

        let mut third = lab.client(ACCELERATED)?;
        let hello = third.command("HELLO 3")?;
        ensure!(hello.starts_with(b"%"), "{}", shown(&hello));
        third.check("GET none", "_\r\n")?;
        third.check("HGETALL none", "%0\r\n")?;
        third.check("SMISMEMBER none a", "*1\r\n:0\r\n")?;
        third.check("ZADD zset 1.5 a", ":1\r\n")?;
        third.check("ZSCORE zset a", ",1.5\r\n")?;
        lab.warm(&mut third, "key", "inline")?;
        lab.expect_hits(20, || (0..20).try_for_each(|_| third.holds("key", "inline")))?;
        ensure!(third.command("HELLO 2")?.starts_with(b"*"));
        third.check("GET none", "$-1\r\n")?;
        lab.warm(&mut third, "key", "inline")
    });
}

#[test]
fn what_is_not_resp_gets_redis_own_answer() {
    Lab::run(Options::default(), |lab| {
        lab.client(PLAIN)?.set("key", "value")?;
        let bad: [&[u8]; 12] = [
            b"*1\r\nX\r\n",
            b"*-5\r\n*1\r\n$4\r\nPING\r\n*99999999999\r\n",
            b"*2\r\n$3\r\nGET\r\n$-1\r\n",
            b"*2\r\n$3\r\nGET\r\n$x\r\nkey\r\n",
            b"*2\r\n$3\r\nGET\r\n$3\r\nkeyXX*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*x\r\n",
            b"*2\r\n$3\r\nGET\r\n:3\r\n",
            b"*1048577\r\n",
            b"GET \"unbalanced\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n*x\r\n",
            b"*2\r\n$3\r\nGET\r\n$999999999999\r\n",
            b"GET key\r\n*0\r\n*-1\r\nGET key\r\n*1\r\n$0\r\n\r\n*1\r\n!\r\n",
        ];
        for bytes in bad {
            let answer = |port| {
                let mut client = lab.client(port)?;
                client.send(bytes)?;
                client.half_close()?;
                client.everything().with_context(|| shown(bytes))
            };
            let (expected, got) = (answer(PLAIN)?, answer(ACCELERATED)?);
            ensure!(got == expected, "{}: {} for {}", shown(bytes), shown(&got), shown(&expected));
        }
        // Others are not disturbed by it, once such a connection is closed; until then the status names it.
        let mut fast: Client = lab.client(ACCELERATED)?;
        lab.warm(&mut fast, "key", "value")?;
        let mut quoting = lab.client(ACCELERATED)?;
        quoting.send(b"\"GET\" key\r\n")?;
        quoting.expect(&bulk("value"))?;
        let status = lab.status()?;
        ensure!(status.flows.opaque == 1, "{:?}", status.flows);
        let named = vec![quoting.address()?.to_string()];
        ensure!(status.coherence.opaque_clients == named, "{:?}", status.coherence);
        let before = lab.hits()?;
        fast.holds("key", "value")?;
        ensure!(lab.hits()? == before, "a hit beside a connection that may write anything");
        drop(quoting);
        lab.warm(&mut fast, "key", "value")
    });
}
