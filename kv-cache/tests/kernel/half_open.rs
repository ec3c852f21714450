//! Clients that stop in the midst of things: others must not notice.

use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::{
    ACCELERATED, Client, Lab, Options, PLAIN, Side, bulk, request, resident_bytes, rules, until,
};

/// How much the agent may grow by clients that do not read.
const GROWTH_MAX: u64 = 24 << 20;

/// Another client's hits. On the user path tracking may tell of a write once more and take some away.
fn hits_on(lab: &Lab, neighbour: &mut Client, what: &str) -> Result<()> {
    until(&format!("hits beside {what}"), || {
        let keys = || ["a", "b", "c", "d"].iter().cycle().take(40);
        let mut wrong = None;
        let hits = lab.expect_hits(40, || {
            wrong = keys().find_map(|key| neighbour.holds(key, "old").err());
            Ok(())
        });
        wrong.map_or(Ok(hits.ok()), Err)
    })
}

/// Its name, a request, its reply (empty: any), and what `a` holds then (`None`: anything but the old value).
type Half = (&'static str, Vec<u8>, Vec<u8>, Option<&'static str>);

fn halves() -> Vec<Half> {
    let mset: Vec<String> = ["MSET".to_owned(), "a".to_owned(), "new".to_owned()]
        .into_iter()
        .chain((0..100).flat_map(|i| [format!("many:{i}"), i.to_string()]))
        .collect();
    vec![
        ("half a SET", request(&["SET", "a", &"new".repeat(1000)]), b"+OK\r\n".to_vec(), None),
        ("half a SET of one segment", request(&["SET", "a", "new"]), b"+OK\r\n".to_vec(), Some("new")),
        ("half an MSET", request(&mset), b"+OK\r\n".to_vec(), Some("new")),
        ("half a FLUSHALL", request(&["FLUSHALL", "ASYNC"]), b"+OK\r\n".to_vec(), None),
        (
            "half a script",
            request(&["EVAL", "return redis.call('set', KEYS[1], 'new')", "1", "a"]),
            b"+OK\r\n".to_vec(),
            Some("new"),
        ),
        ("half an unknown command", request(&["NOSUCH", "a", "b"]), Vec::new(), Some("old")),
        (
            "half a CONFIG SET",
            request(&["CONFIG", "SET", "maxmemory", "0"]),
            b"+OK\r\n".to_vec(),
            Some("old"),
        ),
        ("half a DEL", request(&["DEL", "b", "c", "a"]), b":3\r\n".to_vec(), None),
        ("half a GET", request(&["GET", "a"]), bulk("old"), Some("old")),
        ("half an inline command", b"SET a new\r\n".to_vec(), b"+OK\r\n".to_vec(), Some("new")),
    ]
}

fn half_a_command_stops_nobody(options: Options) {
    Lab::run(options, |lab| {
        let (mut neighbour, mut writer) = (lab.client(ACCELERATED)?, lab.client(ACCELERATED)?);
        let before = resident_bytes(lab.sidecar_id()?)?;
        for (i, (what, bytes, reply, after)) in halves().into_iter().enumerate() {
            let cut = if i % 2 == 0 { bytes.len() / 2 } else { bytes.len() - 1 };
            for key in ["a", "b", "c", "d"] {
                writer.set(key, "old")?;
                lab.warm(&mut neighbour, key, "old")?;
            }
            let mut half = lab.client(ACCELERATED)?;
            half.send(&bytes[..cut])?;
            for _ in 0..5 {
                hits_on(lab, &mut neighbour, what)?;
            }
            half.send(&bytes[cut..])?;
            let got = half.reply()?;
            ensure!(reply.is_empty() || got == reply, "{what}: {}", got.escape_ascii());
            // Once it is answered everybody sees it.
            if let Some(after) = after {
                neighbour.holds("a", after).with_context(|| format!("after {what}"))?;
            } else {
                let held = neighbour.get("a")?;
                ensure!(held.as_deref() != Some(b"old"), "after {what}: the old value");
            }
            // And one that is never finished.
            let mut half = lab.client(ACCELERATED)?;
            half.send(&bytes[..bytes.len() / 2])?;
            half.reset()?;
        }
        for key in ["a", "b", "c", "d"] {
            writer.set(key, "old")?;
            lab.warm(&mut neighbour, key, "old")?;
        }
        hits_on(lab, &mut neighbour, "what was left unfinished")?;
        let growth = resident_bytes(lab.sidecar_id()?)?.saturating_sub(before);
        ensure!(growth < GROWTH_MAX, "the agent has grown by {growth} bytes");
        Ok(())
    });
}

#[test]
fn half_a_command_stops_nobody_in_the_stack() {
    half_a_command_stops_nobody(Options::default());
}

#[test]
fn half_a_command_stops_nobody_on_the_user_path() {
    half_a_command_stops_nobody(Options::user());
}

fn slow_and_vanished_clients_stop_nobody(options: Options) {
    Lab::run(options, |lab| {
        let mut neighbour = lab.client(ACCELERATED)?;
        let large = "L".repeat(8 << 20);
        for (key, value) in
            [("a", "old"), ("b", "old"), ("c", "old"), ("d", "old"), ("large", large.as_str())]
        {
            neighbour.set(key, value)?;
        }
        for key in ["a", "b", "c", "d"] {
            lab.warm(&mut neighbour, key, "old")?;
        }
        let before = resident_bytes(lab.sidecar_id()?)?;
        // They ask for much and read nothing.
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut client = lab.client(ACCELERATED)?;
            client.send(&[request(&["GET", "large"]).repeat(8), request(&["GET", "a"])].concat())?;
            slow.push(client);
        }
        sleep(Duration::from_millis(300));
        hits_on(lab, &mut neighbour, "slow readers")?;
        let growth = resident_bytes(lab.sidecar_id()?)?.saturating_sub(before);
        ensure!(growth < GROWTH_MAX, "the agent has grown by {growth} bytes");
        // One reads in the end; one goes away with a reset, the others without a word.
        for _ in 0..8 {
            slow[0].expect(&bulk(&large))?;
        }
        slow[0].expect(&bulk("old"))?;
        slow.swap_remove(1).reset()?;
        for client in &slow[1..] {
            vanish(lab, client.stream())?;
        }
        drop(slow);
        let mut gone = lab.client(ACCELERATED)?;
        gone.send(&request(&["SET", "a", "old"])[..12])?;
        vanish(lab, gone.stream())?;
        drop(gone);
        hits_on(lab, &mut neighbour, "vanished clients")?;
        rules(lab.place(Side::Client), "")?;
        hits_on(lab, &mut neighbour, "the end")?;
        lab.client(PLAIN)?.holds("a", "old")
    });
}

/// From now on none of this connection's packets leaves the client.
fn vanish(lab: &Lab, stream: &TcpStream) -> Result<()> {
    let port = stream.local_addr()?.port();
    let table = format!(
        "table inet gone{port} {{\nchain gone {{\ntype filter hook output priority 0;\ntcp sport {port} drop\n}}\n}}"
    );
    lab.place(Side::Client).run_program("nft", &[&table])
}

#[test]
fn slow_and_vanished_clients_stop_nobody_in_the_stack() {
    slow_and_vanished_clients_stop_nobody(Options::default());
}

#[test]
fn slow_and_vanished_clients_stop_nobody_on_the_user_path() {
    slow_and_vanished_clients_stop_nobody(Options::user());
}
