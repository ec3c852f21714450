//! kv-cache beside one node of a cluster: slots come and go by commands and by messages between nodes, which nobody sees. No
//! value is served for a slot that the node does not answer for, beyond the bound.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::support::{
    ACCELERATED, Client, Lab, Options, PLAIN, Peer, Place, SERVER_V4, Side, connect_from, info, shown, until,
};

/// `coherence.max_staleness`.
const BOUND: Duration = Duration::from_secs(1);
const NODE: [&str; 4] = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
/// Ports of the other nodes; the last one has no slots.
const OTHERS: [u16; 3] = [7001, 7002, 7003];
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

fn options() -> Options {
    let redis = [&NODE[..], &["--cluster-config-file", "nodes-6379.conf", "--repl-diskless-sync-delay", "0"]]
        .concat();
    Options { settings: vec!["coherence.mode=bounded"], redis, state: "bounded", ..Options::default() }
}

/// The other nodes: two masters, and one that is a replica of the first one or nothing yet.
fn cluster(lab: &Lab) -> Result<Vec<Peer>> {
    let start = |port: u16| {
        let file = format!("nodes-{port}.conf");
        Peer::start(lab, Side::Server, port, &[&NODE[..], &["--cluster-config-file", &file]].concat())
    };
    let others = OTHERS.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut first = lab.client(PLAIN)?;
    for (epoch, (from, to)) in (1..).zip(SLOTS) {
        let mut node = if epoch == 1 { lab.client(PLAIN)? } else { others[epoch - 2].client()? };
        node.check(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}"), "+OK\r\n")?;
        node.check(&format!("CLUSTER ADDSLOTSRANGE {from} {to}"), "+OK\r\n")?;
    }
    for other in &others {
        first.check(&format!("CLUSTER MEET {} {}", other.address.ip(), other.address.port()), "+OK\r\n")?;
    }
    for mut node in others.iter().map(Peer::client).chain([lab.client(PLAIN)]).collect::<Result<Vec<_>>>()? {
        until("the cluster", || {
            let state = String::from_utf8_lossy(&node.command("CLUSTER INFO")?).into_owned();
            Ok((state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:4")).then_some(()))
        })?;
    }
    until("tracking", || Ok(lab.status()?.coherence.tracking.starts_with("connected").then_some(())))?;
    Ok(others)
}

fn text(client: &mut Client, line: &str) -> Result<String> {
    let reply = String::from_utf8_lossy(&client.command(line)?).into_owned();
    Ok(reply.split("\r\n").nth(usize::from(reply.starts_with('$'))).unwrap_or_default().to_owned())
}

fn slot_of(client: &mut Client, key: &str) -> Result<u16> {
    text(client, &format!("CLUSTER KEYSLOT {key}"))?.trim_start_matches(':').parse().context("a slot")
}

/// A word whose slot is of the node with this number.
fn tag_of(client: &mut Client, node: usize, from: usize) -> Result<String> {
    for i in from.. {
        let tag = format!("tag{i}");
        let (first, last) = SLOTS[node];
        if (first..=last).contains(&slot_of(client, &tag)?) {
            return Ok(tag);
        }
    }
    bail!("no such word")
}

/// `client` gets this kind of error for `key`, and from Redis itself.
fn refused(lab: &Lab, client: &mut Client, key: &str, error: &str) -> Result<()> {
    lab.expect_hits(0, || {
        for _ in 0..100 {
            let reply = client.command(&format!("GET {key}"))?;
            ensure!(reply.starts_with(error.as_bytes()), "GET {key}: {}, expected {error}", shown(&reply));
        }
        Ok(())
    })
}

/// Redis comes to refuse `key` by itself; from then on kv-cache must, within the bound.
fn refused_within_the_bound(lab: &Lab, key: &str, error: &str) -> Result<()> {
    let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
    let get = format!("GET {key}");
    until(&format!("{error} from Redis"), || {
        Ok(plain.command(&get)?.starts_with(error.as_bytes()).then_some(()))
    })?;
    let changed = Instant::now();
    loop {
        let asked = changed.elapsed();
        if client.command(&get)?.starts_with(error.as_bytes()) {
            break;
        }
        ensure!(asked < BOUND, "{key} is served to who asks {asked:?} after Redis says {error}");
    }
    // A single request may have passed before as a sign of life (T9).
    thread::sleep(BOUND.saturating_sub(changed.elapsed()));
    refused(lab, &mut client, key, error)
}

#[test]
fn what_redis_says_of_other_slots_passes() {
    Lab::run(options(), |lab| {
        let others = cluster(lab)?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        let (own, foreign) = (tag_of(&mut plain, 0, 0)?, tag_of(&mut plain, 1, 0)?);
        client.set(&own, "value")?;
        lab.warm(&mut client, &own, "value")?;
        let moved = format!("-MOVED {} {SERVER_V4}:{}\r\n", slot_of(&mut plain, &foreign)?, OTHERS[0]);
        refused(lab, &mut client, &foreign, &moved)?;
        client.check(&format!("SET {foreign} value"), &moved)?;
        ensure!(client.command(&format!("MGET {own} {foreign}"))?.starts_with(b"-CROSSSLOT"));
        ensure!(client.command("SELECT 1")?.starts_with(b"-ERR"));
        lab.warm(&mut client, &own, "value")?;
        // Questions about the cluster, which clients ask often, take nobody's hits.
        let flushes = || Ok::<_, anyhow::Error>(lab.status()?.agent["flushes"]);
        let before = flushes()?;
        for _ in 0..50 {
            plain.command("CLUSTER SLOTS")?;
            plain.command("CLUSTER NODES")?;
            client.holds(&own, "value")?;
        }
        ensure!(flushes()? == before, "questions made kv-cache look at the server again");
        lab.warm(&mut client, &own, "value")?;
        // ASKING holds for the next request, so that one must reach Redis too.
        for _ in 0..20 {
            client.check("ASKING", "+OK\r\n")?;
            lab.expect_hits(0, || client.holds(&own, "value"))?;
            lab.warm(&mut client, &own, "value")?;
        }
        // A write is seen as ever, whichever port it comes by.
        for round in 0..200 {
            plain.set(&own, round.to_string())?;
            client.holds(&own, round.to_string())?;
        }
        lab.warm(&mut client, &own, "199")?;
        let causes = lab.status()?.coherence.causes;
        ensure!(causes.iter().any(|cause| cause.starts_with("cluster: ")), "{causes:?}");
        // Without the other masters it answers for nothing.
        for other in others {
            other.kill()?;
        }
        refused_within_the_bound(lab, &own, "-CLUSTERDOWN")
    });
}

#[test]
fn strict_mode_serves_no_node() {
    let options = Options { settings: vec![], state: "off", ..options() };
    Lab::run(options, |lab| {
        until("the cause", || {
            let causes = lab.status()?.coherence.causes;
            Ok(causes.iter().any(|cause| cause.starts_with("cluster: ")).then_some(()))
        })?;
        let mut client = lab.client(ACCELERATED)?;
        refused(lab, &mut client, "key", "-CLUSTERDOWN")
    });
}

#[test]
fn a_slot_that_migrates_takes_its_entries_along() {
    Lab::run(options(), |lab| {
        let others = cluster(lab)?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        let mut target = others[0].client()?;
        let (own_id, target_id) = (text(&mut plain, "CLUSTER MYID")?, text(&mut target, "CLUSTER MYID")?);
        let tag = tag_of(&mut plain, 0, 0)?;
        let slot = slot_of(&mut plain, &tag)?;
        let key = |name: &str| format!("{name}{{{tag}}}");
        let (stays, goes, never) = (key("stays"), key("goes"), key("never"));
        client.set(&stays, "one")?;
        client.set(&goes, "two")?;
        lab.warm(&mut client, &stays, "one")?;
        lab.warm(&mut client, &goes, "two")?;
        lab.warm_missing(&mut client, &never)?;
        target.check(&format!("CLUSTER SETSLOT {slot} IMPORTING {own_id}"), "+OK\r\n")?;
        plain.check(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"), "+OK\r\n")?;
        // What is not here may be there: at once, since the command was seen.
        let ask = format!("-ASK {slot} {}\r\n", others[0].address);
        refused(lab, &mut client, &never, &ask)?;
        // What is here is served from here, whoever writes it.
        lab.warm(&mut client, &goes, "two")?;
        plain.set(&goes, "three")?;
        client.holds(&goes, "three")?;
        lab.warm(&mut client, &goes, "three")?;
        let port = others[0].address.port();
        plain.check(&format!("MIGRATE {SERVER_V4} {port} {goes} 0 5000"), "+OK\r\n")?;
        refused(lab, &mut client, &goes, &ask)?;
        target.check("ASKING", "+OK\r\n")?;
        target.set(&goes, "four")?;
        refused(lab, &mut client, &goes, &ask)?;
        lab.warm(&mut client, &stays, "one")?;
        plain.check(&format!("MIGRATE {SERVER_V4} {port} {stays} 0 5000"), "+OK\r\n")?;
        // The node hears of its loss from the other one.
        target.check(&format!("CLUSTER SETSLOT {slot} NODE {target_id}"), "+OK\r\n")?;
        refused_within_the_bound(lab, &stays, "-MOVED")?;
        // And back, kv-cache's node being the one that imports.
        plain.check(&format!("CLUSTER SETSLOT {slot} IMPORTING {target_id}"), "+OK\r\n")?;
        target.check(&format!("CLUSTER SETSLOT {slot} MIGRATING {own_id}"), "+OK\r\n")?;
        target.check(&format!("MIGRATE {SERVER_V4} {PLAIN} {goes} 0 5000"), "+OK\r\n")?;
        refused(lab, &mut client, &goes, "-MOVED")?;
        lab.expect_hits(0, || {
            (0..50).try_for_each(|_| {
                client.check("ASKING", "+OK\r\n")?;
                client.holds(&goes, "four")
            })
        })?;
        refused(lab, &mut client, &goes, "-MOVED")?;
        target.check(&format!("MIGRATE {SERVER_V4} {PLAIN} {stays} 0 5000"), "+OK\r\n")?;
        plain.check(&format!("CLUSTER SETSLOT {slot} NODE {own_id}"), "+OK\r\n")?;
        lab.warm(&mut client, &goes, "four")?;
        lab.warm(&mut client, &stays, "one")
    });
}

#[test]
fn a_slot_that_is_taken_without_a_command_is_given_up_within_the_bound() {
    Lab::run(options(), |lab| {
        let others = cluster(lab)?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        let mut taker = others[1].client()?;
        let taker_id = text(&mut taker, "CLUSTER MYID")?;
        for round in 0..3 {
            let tag = tag_of(&mut plain, 0, round * 1000)?;
            let slot = slot_of(&mut plain, &tag)?;
            client.set(&tag, "value")?;
            lab.warm(&mut client, &tag, "value")?;
            let kept = tag_of(&mut plain, 0, round * 1000 + 500)?;
            client.set(&kept, "kept")?;
            // Its keys stay behind: an administrator's mistake, or the repair of one.
            taker.check(&format!("CLUSTER SETSLOT {slot} NODE {taker_id}"), "+OK\r\n")?;
            ensure!(taker.command("CLUSTER BUMPEPOCH")?.starts_with(b"+"));
            taker.set(&tag, "another")?;
            refused_within_the_bound(lab, &tag, "-MOVED")?;
            lab.warm(&mut client, &kept, "kept")?;
        }
        Ok(())
    });
}

#[test]
fn a_node_that_is_replaced_gives_up_all() {
    Lab::run(options(), |lab| {
        let others = cluster(lab)?;
        let (mut plain, mut client) = (lab.client(PLAIN)?, lab.client(ACCELERATED)?);
        let (replica, tag) = (&others[2], tag_of(&mut plain, 0, 0)?);
        let mut theirs = replica.client()?;
        theirs.check(&format!("CLUSTER REPLICATE {}", text(&mut plain, "CLUSTER MYID")?), "+OK\r\n")?;
        for how in ["CLUSTER FAILOVER", "CLUSTER FAILOVER TAKEOVER"] {
            until("the replica", || Ok((info(&mut theirs, "master_link_status")? == "up").then_some(())))?;
            client.set(&tag, how)?;
            lab.warm(&mut client, &tag, how)?;
            // Between nodes only.
            take_over(&mut theirs, how)?;
            until(
                "a write",
                || Ok((theirs.command(&format!("SET {tag} new"))? == b"+OK\r\n").then_some(())),
            )?;
            refused_within_the_bound(lab, &tag, "-MOVED")?;
            until("the old master's data", || {
                Ok((info(&mut plain, "master_link_status")? == "up").then_some(()))
            })?;
            // As a replica it answers whom it may, and nobody else.
            client.check("READONLY", "+OK\r\n")?;
            lab.expect_hits(0, || client.holds(&tag, "new"))?;
            client.check("READWRITE", "+OK\r\n")?;
            refused(lab, &mut client, &tag, "-MOVED")?;
            // The command on this node itself is seen.
            take_over(&mut plain, "CLUSTER FAILOVER")?;
            lab.warm(&mut client, &tag, "new")?;
        }
        Ok(())
    });
}

/// Tells a replica to become the master until it is: nodes that do not know yet whose replica it is do not vote for it.
fn take_over(replica: &mut Client, how: &str) -> Result<()> {
    until(how, || {
        let said = replica.command(how)?;
        // One that has become the master since it was asked whether it is refuses the command.
        if said != b"+OK\r\n" {
            ensure!(info(replica, "role")? == "master", "{how}: {}", shown(&said));
            return Ok(Some(()));
        }
        thread::sleep(Duration::from_secs(1));
        Ok((info(replica, "role")? == "master").then_some(()))
    })
}

/// What the clients of the reshard share.
struct Load {
    place: Place,
    stop: AtomicBool,
    /// The last value of each key that was acknowledged.
    written: Vec<AtomicU64>,
    reads: AtomicU64,
}

/// A client of the cluster, to the first node through XPS.
struct Router {
    load: Arc<Load>,
    nodes: HashMap<SocketAddr, Client>,
    /// Where a key was last.
    places: HashMap<usize, SocketAddr>,
}

impl Router {
    fn new(load: &Arc<Load>) -> Self {
        Self { load: Arc::clone(load), nodes: HashMap::new(), places: HashMap::new() }
    }

    fn node(&mut self, at: SocketAddr) -> Result<&mut Client> {
        if !self.nodes.contains_key(&at) {
            self.nodes.insert(at, connect_from(&self.load.place, at)?);
        }
        self.nodes.get_mut(&at).context("a connection")
    }

    /// Asks whoever has the key now.
    fn ask(&mut self, key: usize, line: &str) -> Result<Vec<u8>> {
        let first = SocketAddr::new(SERVER_V4, ACCELERATED);
        for _ in 0..1000 {
            let at = *self.places.entry(key).or_insert(first);
            let reply = self.node(at)?.command(line)?;
            let text = String::from_utf8_lossy(&reply).into_owned();
            let mut words = text.split_whitespace();
            match words.next() {
                Some("-MOVED") => {
                    self.places.insert(key, there(words.last())?);
                }
                Some("-ASK") => {
                    let node = self.node(there(words.last())?)?;
                    node.check("ASKING", "+OK\r\n")?;
                    let reply = node.command(line)?;
                    if !reply.starts_with(b"-") {
                        return Ok(reply);
                    }
                }
                Some("-TRYAGAIN" | "-CLUSTERDOWN") => thread::sleep(Duration::from_millis(5)),
                _ => return Ok(reply),
            }
        }
        bail!("key {key} is nowhere")
    }

    fn write(mut self, keys: std::ops::Range<usize>) -> Result<()> {
        for number in 1.. {
            for key in keys.clone() {
                if self.load.stop.load(Ordering::Acquire) {
                    return Ok(());
                }
                let reply = self.ask(key, &format!("SET key:{key} {number}"))?;
                ensure!(reply == b"+OK\r\n", "SET: {}", shown(&reply));
                self.load.written[key].store(number, Ordering::Release);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn read(mut self) -> Result<()> {
        let keys = self.load.written.len();
        for key in (0..keys).cycle() {
            if self.load.stop.load(Ordering::Acquire) {
                break;
            }
            let written = self.load.written[key].load(Ordering::Acquire);
            let reply = self.ask(key, &format!("GET key:{key}"))?;
            let text = String::from_utf8_lossy(&reply).into_owned();
            let got: u64 = text.split("\r\n").nth(1).and_then(|value| value.parse().ok()).unwrap_or(0);
            ensure!(got >= written, "key {key} is {} after {written} was acknowledged", shown(&reply));
            self.load.reads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn there(address: Option<&str>) -> Result<SocketAddr> {
    let mut address: SocketAddr = address.context("an address")?.parse()?;
    if address.port() == PLAIN {
        address.set_port(ACCELERATED);
    }
    Ok(address)
}

#[test]
fn resharding_under_load_loses_and_delays_nothing() {
    Lab::run(options(), |lab| {
        let others = cluster(lab)?;
        let mut plain = lab.client(PLAIN)?;
        let own_id = text(&mut plain, "CLUSTER MYID")?;
        let target_id = text(&mut others[0].client()?, "CLUSTER MYID")?;
        let load = Arc::new(Load {
            place: lab.place(Side::Client).clone(),
            stop: AtomicBool::new(false),
            written: (0..300).map(|_| AtomicU64::new(0)).collect(),
            reads: AtomicU64::new(0),
        });
        let mut clients: Vec<JoinHandle<Result<()>>> = Vec::new();
        for i in 0..2 {
            let router = Router::new(&load);
            clients.push(thread::spawn(move || router.write(i * 150..(i + 1) * 150)));
        }
        for _ in 0..3 {
            let router = Router::new(&load);
            clients.push(thread::spawn(move || router.read()));
        }
        let result = (|| {
            let before = lab.hits()?;
            until("hits", || Ok((lab.hits()? > before + 300).then_some(())))?;
            for (from, to) in [(&own_id, &target_id), (&target_id, &own_id)] {
                let node = format!("{SERVER_V4}:{}", OTHERS[1]);
                let mut reshard = lab.place(Side::Server).command("redis-cli");
                reshard.args(["--cluster", "reshard", &node, "--cluster-from", from, "--cluster-to", to]);
                reshard.args(["--cluster-slots", "1500", "--cluster-yes"]);
                let output = reshard.output()?;
                let words = String::from_utf8_lossy(&output.stdout);
                ensure!(output.status.success(), "redis-cli: {}", words.lines().last().unwrap_or_default());
                let before = (lab.hits()?, load.reads.load(Ordering::Relaxed));
                until("hits after it", || Ok((lab.hits()? > before.0 + 300).then_some(())))?;
                ensure!(load.reads.load(Ordering::Relaxed) > before.1);
            }
            Ok(())
        })();
        load.stop.store(true, Ordering::Release);
        for client in clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        result
    });
}
