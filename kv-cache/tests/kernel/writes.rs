//! Writes of every kind, from both ports, are seen at once.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, shown};

/// What changes `key` (which holds `old`), and what `GET key` gives then (`None`: Redis decides).
const WRITES: [(&str, Option<&str>); 34] = [
    ("SET key new", Some("$3\r\nnew\r\n")),
    ("SET key new EX 100", Some("$3\r\nnew\r\n")),
    ("SETEX key 100 new", Some("$3\r\nnew\r\n")),
    ("PSETEX key 100000 new", Some("$3\r\nnew\r\n")),
    ("GETSET key new", Some("$3\r\nnew\r\n")),
    ("MSET other 1 key new third 3", Some("$3\r\nnew\r\n")),
    ("SETRANGE key 1 XY", Some("$3\r\noXY\r\n")),
    ("APPEND key er", Some("$5\r\nolder\r\n")),
    ("SETBIT key 7 0", Some("$3\r\nnld\r\n")),
    ("BITFIELD key SET u8 0 65", Some("$3\r\nAld\r\n")),
    ("BITOP NOT key other", None),
    ("DEL key", Some("$-1\r\n")),
    ("DEL other key", Some("$-1\r\n")),
    ("UNLINK key", Some("$-1\r\n")),
    ("GETDEL key", Some("$-1\r\n")),
    ("GETEX key PXAT 1", Some("$-1\r\n")),
    ("EXPIRE key -1", Some("$-1\r\n")),
    ("EXPIRE key 0", Some("$-1\r\n")),
    ("PEXPIREAT key 1", Some("$-1\r\n")),
    ("RENAME key gone", Some("$-1\r\n")),
    ("RENAME source key", Some("$3\r\nsrc\r\n")),
    ("COPY source key REPLACE", Some("$3\r\nsrc\r\n")),
    ("MOVE key 1", Some("$-1\r\n")),
    ("SORT numbers STORE key", None),
    ("SUNIONSTORE key set", None),
    ("ZADD key 1 a", Some("$3\r\nold\r\n")),
    ("LPUSH key a", Some("$3\r\nold\r\n")),
    ("EVAL redis.call('set',KEYS[1],'lua') 1 key", Some("$3\r\nlua\r\n")),
    ("EVAL redis.call('set','key','lua') 0", Some("$3\r\nlua\r\n")),
    ("EVAL redis.call('del','key') 0", Some("$-1\r\n")),
    ("SWAPDB 0 1", None),
    ("FLUSHDB", Some("$-1\r\n")),
    ("FLUSHALL", Some("$-1\r\n")),
    ("FLUSHALL ASYNC", Some("$-1\r\n")),
];

/// What makes a key of another type, for each of which GET has an error.
const MAKES: [&str; 12] = [
    "LPUSH {} a",
    "RPUSH {} a",
    "LMOVE numbers {} LEFT LEFT",
    "RPOPLPUSH numbers {}",
    "BLMOVE numbers {} LEFT LEFT 0",
    "SADD {} a",
    "SMOVE set {} a",
    "ZADD {} 1 a",
    "GEOADD {} 1 1 a",
    "HINCRBY {} field 1",
    "XADD {} * field value",
    "XGROUP CREATE {} group $ MKSTREAM",
];

fn prepare(plain: &mut Client) -> Result<()> {
    plain.check("FLUSHALL", "+OK\r\n")?;
    plain.check("SET key old", "+OK\r\n")?;
    plain.check("SET source src", "+OK\r\n")?;
    plain.check("SET other bits", "+OK\r\n")?;
    plain.check("RPUSH numbers 3 1 2", ":3\r\n")?;
    plain.check("SADD set a", ":1\r\n")
}

#[test]
fn every_kind_of_write_from_both_ports_is_seen_at_once() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut writer) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
        let (mut plain, mut twin) = (lab.client(PLAIN)?, lab.client(PLAIN)?);
        for (write, after) in WRITES {
            for through_fast in [true, false] {
                let told = || format!("{write}, accelerated port: {through_fast}");
                prepare(&mut plain)?;
                lab.warm(&mut fast, "key", "old").with_context(told)?;
                let by = if through_fast { &mut writer } else { &mut twin };
                let reply = by.command(write)?;
                let wrong_type = reply.starts_with(b"-WRONGTYPE");
                ensure!(!reply.starts_with(b"-") || wrong_type, "{}: {}", told(), shown(&reply));
                let got = fast.command("GET key")?;
                let truth = plain.command("GET key")?;
                ensure!(got == truth, "{}: got {}, Redis has {}", told(), shown(&got), shown(&truth));
                if let Some(after) = after {
                    ensure!(got == after.as_bytes(), "{}: got {}", told(), shown(&got));
                }
            }
        }
        // Nothing is left pending: hits come back.
        prepare(&mut plain)?;
        lab.warm(&mut fast, "key", "old")
    });
}

#[test]
fn a_missing_key_that_becomes_one_of_another_type_is_seen_at_once() {
    Lab::run(Options::default(), |lab| {
        let mut fast = lab.client(ACCELERATED)?;
        let (mut writer, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        prepare(&mut plain)?;
        let key = |i: usize| format!("none{i}");
        // A key that does not exist becomes an entry when it is asked for again a second later.
        for i in 0..MAKES.len() {
            ensure!(fast.get(&key(i))?.is_none(), "there is {}", key(i));
        }
        sleep(Duration::from_millis(1100));
        for (i, make) in MAKES.into_iter().enumerate() {
            lab.warm_missing(&mut fast, &key(i)).with_context(|| make)?;
            let reply = writer.command(&make.replace("{}", &key(i)))?;
            ensure!(!reply.starts_with(b"-"), "{make}: {}", shown(&reply));
            let got = fast.command(&format!("GET {}", key(i)))?;
            ensure!(got.starts_with(b"-WRONGTYPE"), "{make}: got {}", shown(&got));
        }
        Ok(())
    });
}

#[test]
fn readers_on_each_port_see_writes_of_the_other() {
    Lab::run(Options::default(), |lab| {
        let mut fast = [lab.client(ACCELERATED)?, lab.client(ACCELERATED)?];
        let mut plain = [lab.client(PLAIN)?, lab.client(PLAIN)?];
        let before = lab.hits()?;
        for i in 0..300 {
            let value = format!("value {i}");
            if i % 2 == 0 {
                fast[0].set("key", &value)?
            } else {
                plain[0].set("key", &value)?
            };
            for round in 0..4 {
                fast[1].holds("key", &value)?;
                plain[1].holds("key", &value)?;
                fast[0].holds("key", &value)?;
                if round == 1 && i % 10 == 0 {
                    lab.warm(&mut fast[1], "key", &value)?;
                }
            }
        }
        let hits = lab.hits()? - before;
        ensure!(hits > 100, "only {hits} hits between the writes");
        // A write is seen by a pipeline behind it in the same segment, and by others as soon as it has its reply.
        for i in 0..100 {
            fast[0].send(format!("SET key {i}\r\nGET key\r\nINCR key\r\nGET key\r\n").as_bytes())?;
            let length = i.to_string().len();
            let next = (i + 1).to_string();
            fast[0].expect(format!("+OK\r\n${length}\r\n{i}\r\n:{next}\r\n").as_bytes())?;
            fast[0].expect(format!("${}\r\n{next}\r\n", next.len()).as_bytes())?;
            fast[1].holds("key", &next)?;
        }
        Ok(())
    });
}

#[test]
fn a_set_on_its_way_refreshes_the_entry_of_its_key() {
    Lab::run(Options::default(), |lab| {
        let (mut fast, mut plain) = (lab.client(ACCELERATED)?, lab.client(PLAIN)?);
        plain.set("key", "value 0")?;
        lab.warm(&mut fast, "key", "value 0")?;
        for round in 1..=20 {
            let value = format!("value {}", round % 10);
            let writer = if round % 2 == 0 { &mut fast } else { &mut plain };
            writer.set("key", &value)?;
            // The first one: without a miss the agent asks for nothing.
            lab.expect_hits(1, || fast.holds("key", &value))?;
        }
        // What Redis refuses is not served, nor what a transaction was not carried out of.
        plain.check("CONFIG SET maxmemory 1", "+OK\r\n")?;
        lab.warm(&mut fast, "key", "value 0")?;
        let refusal = plain.command("SET key refused")?;
        ensure!(refusal.starts_with(b"-OOM"), "{}", shown(&refusal));
        fast.holds("key", "value 0")?;
        plain.check("CONFIG SET maxmemory 0", "+OK\r\n")?;
        lab.warm(&mut fast, "key", "value 0")?;
        plain.check("MULTI", "+OK\r\n")?;
        plain.check("SET key queued", "+QUEUED\r\n")?;
        plain.check("DISCARD", "+OK\r\n")?;
        fast.holds("key", "value 0")
    });
}
