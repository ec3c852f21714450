//! A Redis whose data comes from a master, or that changes its role: bounded as long as it is a replica, no hit that strict
//! coherence forbids.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::support::{ACCELERATED, CLIENT_V4, Client, Lab, Options, PLAIN, Peer, Side, info, until};

const MASTER: u16 = 6390;
/// `coherence.max_staleness`.
const BOUND: Duration = Duration::from_secs(1);

/// Redis is a replica of what will listen on [`MASTER`].
fn replica() -> Options {
    Options {
        settings: vec!["coherence.mode=bounded"],
        redis: vec!["--replicaof", "10.78.0.2 6390"],
        state: "bounded",
        ..Options::default()
    }
}

fn master(lab: &Lab) -> Result<Peer> {
    Peer::start(lab, Side::Client, MASTER, &[])
}

fn replicaof(peer: &Peer) -> String {
    format!("REPLICAOF {} {}", peer.address.ip(), peer.address.port())
}

/// Waits until `client`'s server has its master's data.
fn in_sync(client: &mut Client) -> Result<()> {
    until("the master's data", || Ok((info(client, "master_link_status")? == "up").then_some(())))
}

/// Waits until kv-cache says that this is its state.
fn state(lab: &Lab, state: &str) -> Result<()> {
    until(&format!("state {state}"), || Ok((lab.status()?.coherence.state == state).then_some(())))
}

fn tracking(lab: &Lab) -> Result<()> {
    until("tracking", || Ok(lab.status()?.coherence.tracking.starts_with("connected").then_some(())))
}

/// Redis comes to hold `value`, however that comes about; from then on it must show within the bound, and from the cache
/// again.
fn shows(lab: &Lab, key: &str, value: Option<&str>) -> Result<()> {
    let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
    let value = value.map(str::as_bytes);
    until(&format!("{key} in Redis"), || {
        // While it is loading there is an error.
        let reply = plain.command(&format!("GET {key}"))?;
        let got = if reply.starts_with(b"-") { None } else { Some(value_in(&reply)) };
        Ok((got == Some(value.map(<[u8]>::to_vec))).then_some(()))
    })?;
    let changed = Instant::now();
    loop {
        let asked = changed.elapsed();
        if client.get(key)?.as_deref() == value {
            break;
        }
        ensure!(asked < BOUND, "{key} is stale for who asks {asked:?} after Redis changed");
    }
    match value {
        Some(value) => lab.warm(&mut client, key, value),
        None => lab.warm_missing(&mut client, key),
    }
}

fn value_in(reply: &[u8]) -> Option<Vec<u8>> {
    let start = reply.iter().position(|byte| *byte == b'\n')? + 1;
    (reply != b"$-1\r\n").then(|| reply[start..reply.len() - 2].to_vec())
}

#[test]
fn what_the_master_does_shows_within_the_bound() {
    Lab::run(replica(), |lab| {
        let peer = master(lab)?;
        let mut writer = peer.client()?;
        in_sync(&mut lab.client(PLAIN)?)?;
        tracking(lab)?;
        let mut client = lab.client(ACCELERATED)?;
        writer.set("key", "one")?;
        shows(lab, "key", Some("one"))?;
        for (command, value) in [
            ("SET key two", Some("two")),
            ("DEL key", None),
            ("SET key three EX 1000", Some("three")),
            ("APPEND key -and-more", Some("three-and-more")),
            ("RENAME key other", None),
            ("RENAME other key", Some("three-and-more")),
            ("FLUSHALL", None),
            ("SET key four", Some("four")),
            ("SWAPDB 0 1", None),
            ("SWAPDB 0 1", Some("four")),
            ("EVAL return(redis.call('set','key','five')) 0", Some("five")),
            ("FLUSHDB", None),
        ] {
            let reply = writer.command(command)?;
            ensure!(!reply.starts_with(b"-"), "{command}: {}", String::from_utf8_lossy(&reply));
            shows(lab, "key", value).context(command)?;
        }
        // A replica takes no writes, and says so itself.
        ensure!(client.command("SET key mine")?.starts_with(b"-READONLY"));
        ensure!(lab.status()?.coherence.causes.iter().any(|cause| cause.starts_with("replica: ")));
        Ok(())
    });
}

#[test]
fn a_swap_is_not_hidden_by_counts_that_are_reset() {
    let options =
        Options { settings: vec!["coherence.mode=bounded", "coherence.max_staleness=3s"], ..replica() };
    Lab::run(options, |lab| {
        let peer = master(lab)?;
        let (mut writer, mut plain) = (peer.client()?, lab.client(PLAIN)?);
        in_sync(&mut plain)?;
        tracking(lab)?;
        for round in 0..5 {
            writer.set("key", round.to_string())?;
            shows(lab, "key", Some(&round.to_string()))?;
            // Both between two beats, the beats being 750 ms apart.
            writer.check("SWAPDB 0 1", "+OK\r\n")?;
            until("the swap", || Ok(plain.get("key")?.is_none().then_some(())))?;
            plain.check("CONFIG RESETSTAT", "+OK\r\n")?;
            let mut client = lab.client(ACCELERATED)?;
            until("the swap through XPS", || Ok(client.get("key")?.is_none().then_some(())))?;
            writer.check("FLUSHALL", "+OK\r\n")?;
        }
        Ok(())
    });
}

#[test]
fn nothing_outlives_its_time_on_a_replica() {
    Lab::run(replica(), |lab| {
        let peer = master(lab)?;
        let (mut writer, mut plain) = (peer.client()?, lab.client(PLAIN)?);
        let mut client = lab.client(ACCELERATED)?;
        in_sync(&mut plain)?;
        tracking(lab)?;
        // The master deletes nothing by itself: replicas go by their clocks alone.
        writer.check("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n")?;
        // In the first second after a flush there is no room for entries.
        writer.set("first", "value")?;
        shows(lab, "first", Some("value"))?;
        for round in 0..20 {
            let key = format!("key:{round}");
            writer.check(&format!("SET {key} value PX 400"), "+OK\r\n")?;
            until("the key", || Ok(plain.get(&key)?.map(drop)))?;
            let before = lab.hits()?;
            loop {
                // Redis is asked first: what it calls gone must not come from the cache afterwards.
                let gone = plain.get(&key)?.is_none();
                let got = client.get(&key)?;
                if gone {
                    ensure!(got.is_none(), "{key} is served after its time");
                    break;
                }
            }
            ensure!(lab.hits()? > before, "{key} was never served from the cache");
            ensure!(client.get(&key)?.is_none());
        }
        // Keys that are gone for the replica are still there for commands of its master.
        let key = "key:19";
        lab.warm_missing(&mut client, key)?;
        writer.check(&format!("SET {key} again"), "+OK\r\n")?;
        shows(lab, key, Some("again"))?;
        writer.check(&format!("PEXPIRE {key} 300"), ":1\r\n")?;
        shows(lab, key, None)
    });
}

#[test]
fn a_full_resync_with_other_data_shows_within_the_bound() {
    for load in ["disabled", "swapdb"] {
        let redis = vec!["--replicaof", "10.78.0.2 6390", "--repl-diskless-load", load];
        Lab::run(Options { redis, ..replica() }, |lab| {
            for round in 0..2 {
                let peer = master(lab)?;
                let mut writer = peer.client()?;
                // Before the replica comes, so that it is loaded and not replicated.
                writer.set("key", round.to_string())?;
                for i in 0..5_000 {
                    writer.send(format!("SET other:{i} {i}\r\n").as_bytes())?;
                }
                for _ in 0..5_000 {
                    writer.expect(b"+OK\r\n")?;
                }
                if round == 0 {
                    writer.set("first", "only")?;
                }
                shows(lab, "key", Some(&round.to_string()))
                    .with_context(|| format!("round {round}, {load}"))?;
                shows(lab, "first", (round == 0).then_some("only"))?;
                peer.kill()?;
            }
            Ok(())
        });
    }
}

#[test]
fn a_replica_without_a_master_answers_as_it_is_told() {
    Lab::run(replica(), |lab| {
        let peer = master(lab)?;
        lab.client(PLAIN)?.check("CONFIG SET replica-serve-stale-data no", "+OK\r\n")?;
        peer.client()?.set("key", "value")?;
        in_sync(&mut lab.client(PLAIN)?)?;
        tracking(lab)?;
        shows(lab, "key", Some("value"))?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        peer.kill()?;
        until("a refusal", || Ok(plain.command("GET key")?.starts_with(b"-MASTERDOWN").then_some(())))?;
        let down = Instant::now();
        loop {
            let asked = down.elapsed();
            if client.command("GET key")?.starts_with(b"-MASTERDOWN") {
                break;
            }
            ensure!(asked < BOUND, "a hit for who asks {asked:?} after Redis refuses to answer");
        }
        lab.expect_hits(0, || {
            (0..200).try_for_each(|_| {
                ensure!(client.command("GET key")?.starts_with(b"-MASTERDOWN"));
                Ok(())
            })
        })?;
        let peer = master(lab)?;
        peer.client()?.set("key", "new")?;
        shows(lab, "key", Some("new"))?;
        lab.client(PLAIN)?.check("CONFIG SET replica-serve-stale-data yes", "+OK\r\n")
    });
}

#[test]
fn a_promoted_replica_is_strict() {
    Lab::run(replica(), |lab| {
        let peer = master(lab)?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        in_sync(&mut plain)?;
        for round in 0..3 {
            peer.client()?.set("key", "theirs")?;
            shows(lab, "key", Some("theirs"))?;
            plain.check("REPLICAOF NO ONE", "+OK\r\n")?;
            plain.set("key", "mine")?;
            client.holds("key", "mine")?;
            state(lab, "strict")?;
            lab.warm(&mut client, "key", "mine")?;
            for i in 0..200 {
                plain.set("key", format!("{round} {i}"))?;
                client.holds("key", format!("{round} {i}"))?;
            }
            plain.check(&replicaof(&peer), "+OK\r\n")?;
            state(lab, "bounded")?;
        }
        Ok(())
    });
}

/// `client` reads `key` from Redis itself.
fn passes(lab: &Lab, client: &mut Client) -> Result<()> {
    lab.expect_hits(0, || (0..200).try_for_each(|_| client.get("key").map(drop)))
}

#[test]
fn a_demoted_master_gives_no_hits_in_strict_mode() {
    Lab::run(Options::default(), |lab| {
        let peer = master(lab)?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        for how in ["REPLICAOF", "MULTI"] {
            plain.set("key", "value")?;
            lab.warm(&mut client, "key", "value")?;
            peer.client()?.set("key", "theirs")?;
            if how == "MULTI" {
                // As Sentinel does it.
                plain.check("MULTI", "+OK\r\n")?;
                plain.check(&replicaof(&peer).replace("REPLICAOF", "SLAVEOF"), "+QUEUED\r\n")?;
                plain.check("CLIENT KILL TYPE pubsub", "+QUEUED\r\n")?;
                ensure!(plain.command("EXEC")?.starts_with(b"*2\r\n+OK"));
            } else {
                plain.check(&replicaof(&peer), "+OK\r\n")?;
            }
            passes(lab, &mut client)?;
            in_sync(&mut plain)?;
            state(lab, "off")?;
            client.holds("key", "theirs")?;
            passes(lab, &mut client)?;
            let causes = lab.status()?.coherence.causes;
            ensure!(causes.iter().any(|cause| cause.starts_with("replica: ")), "{causes:?}");
            plain.check("REPLICAOF NO ONE", "+OK\r\n")?;
            lab.warm(&mut client, "key", "theirs")?;
        }
        Ok(())
    });
}

#[test]
fn a_master_that_hands_over_gives_no_hits_meanwhile() {
    let redis = vec!["--repl-diskless-sync-delay", "0"];
    Lab::run(Options { redis, ..Options::default() }, |lab| {
        let peer = master(lab)?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        let mut theirs = peer.client()?;
        theirs.check(&format!("REPLICAOF {} {PLAIN}", crate::support::SERVER_V4), "+OK\r\n")?;
        in_sync(&mut theirs)?;
        plain.set("key", "value")?;
        // A replica that listens takes nothing from its master's hits.
        lab.warm(&mut client, "key", "value")?;
        // As long as the replica hangs the handing over waits: its only command was answered long before it happens.
        peer.signal("STOP")?;
        plain.set("key", "unseen by the replica")?;
        let failover = format!("FAILOVER TO {CLIENT_V4} {MASTER}");
        plain.check(&failover, "+OK\r\n")?;
        passes(lab, &mut client)?;
        until("its cause", || {
            let causes = lab.status()?.coherence.causes;
            Ok(causes.iter().any(|cause| cause.starts_with("failing_over: ")).then_some(()))
        })?;
        passes(lab, &mut client)?;
        plain.check("FAILOVER ABORT", "+OK\r\n")?;
        lab.warm(&mut client, "key", "unseen by the replica")?;
        plain.check(&failover, "+OK\r\n")?;
        peer.signal("CONT")?;
        until("the new master", || Ok((info(&mut theirs, "role")? == "master").then_some(())))?;
        theirs.set("key", "theirs")?;
        lab.expect_hits(0, || {
            until("the new master's data", || {
                Ok((client.get("key")?.as_deref() == Some(b"theirs".as_slice())).then_some(()))
            })
        })?;
        ensure!(info(&mut plain, "role")? == "slave");
        passes(lab, &mut client)
    });
}
