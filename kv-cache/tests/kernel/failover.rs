//! Failover by Sentinel, under load: clients follow Sentinel, kv-cache stays beside its Redis. No value is read that is
//! older than a write that was acknowledged and that Redis itself kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::support::{
    ACCELERATED, Client, Lab, Options, PLAIN, Peer, Place, SERVER_V4, Side, connect_from, info, signal, until,
};

const OTHER: u16 = 6390;
const SENTINEL: u16 = 26379;
const KEYS: usize = 8;
const READERS: usize = 3;
const WRITERS: usize = 2;
/// A key that is written once on each server, so that no write is pending on it when the first one is lost.
const STILL: usize = KEYS - 1;
/// How long a client waits for a reply before it asks Sentinel again.
const REPLY_LIMIT: Duration = Duration::from_millis(300);

/// What the clients share.
struct Shared {
    place: Place,
    sentinel: SocketAddr,
    stop: AtomicBool,
    /// The last value of each key that Redis has kept for sure.
    kept: [AtomicU64; KEYS],
    /// Reads and kept writes on the first server and on the second.
    reads: [AtomicU64; 2],
    writes: [AtomicU64; 2],
    /// How many clients have come to the second server.
    moved: AtomicUsize,
}

/// A client that follows Sentinel.
struct Follower {
    shared: Arc<Shared>,
    /// The master's connection; whether it is the second server's.
    master: Option<(Client, usize)>,
    moved: bool,
}

impl Follower {
    /// The master as Sentinel has it now, through XPS if that is beside it.
    fn follow(&mut self) -> Result<&mut (Client, usize)> {
        if self.master.is_none() {
            let mut address = master(&self.shared)?;
            let second = usize::from(address.port() == OTHER);
            if second == 0 {
                address.set_port(ACCELERATED);
            }
            let client = connect_from(&self.shared.place, address)?;
            client.stream().set_read_timeout(Some(REPLY_LIMIT))?;
            self.master = Some((client, second));
        }
        self.master.as_mut().context("a connection")
    }

    /// Asks until there is an answer; `None` once it is time to stop.
    fn ask<T>(&mut self, ask: impl Fn(&mut Client, usize) -> Result<T>) -> Option<(T, usize)> {
        while !self.shared.stop.load(Ordering::Acquire) {
            let answer = self.follow().and_then(|(client, second)| Ok((ask(client, *second)?, *second)));
            match answer {
                Ok((answer, second)) => {
                    if second == 1 && !self.moved {
                        self.moved = true;
                        self.shared.moved.fetch_add(1, Ordering::Release);
                    }
                    return Some((answer, second));
                }
                // Whatever it is: the connection is of no more use, and its server maybe neither.
                Err(_) => self.master = None,
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

/// The master as Sentinel has it now.
fn master(shared: &Shared) -> Result<SocketAddr> {
    let mut sentinel = connect_from(&shared.place, shared.sentinel)?;
    let reply = sentinel.command("SENTINEL get-master-addr-by-name main")?;
    let text = String::from_utf8_lossy(&reply).into_owned();
    let fields: Vec<&str> = text.split("\r\n").collect();
    let (ip, port) = (fields.get(2).context("an address")?, fields.get(4).context("a port")?);
    Ok(SocketAddr::new(ip.parse()?, port.parse()?))
}

/// Writes ever larger numbers to its keys.
fn write(shared: Arc<Shared>, keys: std::ops::Range<usize>) -> Result<()> {
    let mut follower = Follower { shared: Arc::clone(&shared), master: None, moved: false };
    for number in 1.. {
        for key in keys.clone() {
            let written = follower.ask(|client, second| {
                client.set(&format!("key:{key}"), number.to_string())?;
                // The first server's writes are lost with it if the second one does not have them.
                Ok(second == 1 || client.command("WAIT 1 200")? == b":1\r\n")
            });
            let Some((kept, second)) = written else { return Ok(()) };
            if kept {
                shared.kept[key].store(number, Ordering::Release);
                shared.writes[second].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// Reads all keys; no value may be older than what was kept before the question.
fn read(shared: Arc<Shared>) -> Result<()> {
    let mut follower = Follower { shared: Arc::clone(&shared), master: None, moved: false };
    loop {
        for key in 0..KEYS {
            let read = follower.ask(|client, _| {
                let kept = shared.kept[key].load(Ordering::Acquire);
                Ok((kept, number_of(client, key)?))
            });
            let Some(((kept, got), second)) = read else { return Ok(()) };
            ensure!(got >= kept, "server {second} said {got} for key {key}, after {kept} was acknowledged");
            shared.reads[second].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the key that is not written, where the master was at first, whatever Sentinel says, until there is no answer any
/// more.
fn stay(shared: Arc<Shared>) -> Result<()> {
    let mut client = connect_from(&shared.place, SocketAddr::new(SERVER_V4, ACCELERATED))?;
    client.stream().set_read_timeout(Some(REPLY_LIMIT * 20))?;
    loop {
        let kept = shared.kept[STILL].load(Ordering::Acquire);
        let Ok(got) = number_of(&mut client, STILL) else { return Ok(()) };
        ensure!(got >= kept, "the old master's cache said {got} after {kept} was acknowledged");
    }
}

fn number_of(client: &mut Client, key: usize) -> Result<u64> {
    match client.get(&format!("key:{key}"))? {
        None => Ok(0),
        Some(value) => Ok(String::from_utf8(value)?.parse()?),
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow!("a client panicked"))?
}

/// Waits until both reads and kept writes of this server have gone on for a while.
fn at_work(shared: &Shared, second: usize) -> Result<()> {
    let counts = || [&shared.reads, &shared.writes].map(|counts| counts[second].load(Ordering::Relaxed));
    let before = counts();
    until(&format!("work on server {second}"), || {
        let now = counts();
        Ok((now[0] > before[0] + 500 && now[1] > before[1] + 100).then_some(()))
    })
}

/// What becomes of the master.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It hangs, and goes on later.
    Hangs,
    /// It is killed, and started again later, empty.
    Dies,
}

fn failover(lab: &mut Lab, fate: Fate) -> Result<()> {
    let first = SocketAddr::new(SERVER_V4, PLAIN);
    let replicaof = format!("{} {}", first.ip(), first.port());
    let other = Peer::start(lab, Side::Client, OTHER, &["--replicaof", &replicaof])?;
    let mut theirs = other.client()?;
    until("the replica", || Ok((info(&mut theirs, "master_link_status")? == "up").then_some(())))?;
    let sentinel = Peer::sentinel(lab, SENTINEL, first)?;
    let mut asked = sentinel.client()?;
    until("Sentinel to know the replica", || {
        let known = String::from_utf8_lossy(&asked.command("SENTINEL replicas main")?).into_owned();
        Ok(known.contains(&OTHER.to_string()).then_some(()))
    })?;
    let shared = Arc::new(Shared {
        place: lab.place(Side::Client).clone(),
        sentinel: sentinel.address,
        stop: AtomicBool::new(false),
        kept: Default::default(),
        reads: Default::default(),
        writes: Default::default(),
        moved: AtomicUsize::new(0),
    });
    let spawn = |work: fn(Arc<Shared>) -> Result<()>| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || work(shared))
    };
    let mut clients =
        vec![spawn(|shared| write(shared, 0..KEYS / 2)), spawn(|shared| write(shared, KEYS / 2..STILL))];
    clients.extend((0..READERS).map(|_| spawn(read)));
    let result = fail_over(lab, fate, &shared, &other, || spawn(stay));
    shared.stop.store(true, Ordering::Release);
    // A violation that a client saw says more than what it led to.
    clients.into_iter().try_for_each(join)?;
    result?;
    // Once the old master has the new one's data, it is what its clients get.
    let mut client = lab.client(ACCELERATED)?;
    for key in 0..KEYS {
        let kept = shared.kept[key].load(Ordering::Acquire);
        until("the last write on the replica", || Ok((number_of(&mut client, key)? >= kept).then_some(())))?;
    }
    Ok(())
}

fn fail_over(
    lab: &mut Lab,
    fate: Fate,
    shared: &Shared,
    other: &Peer,
    stay: impl Fn() -> JoinHandle<Result<()>>,
) -> Result<()> {
    let still = format!("key:{STILL}");
    let mut client = lab.client(ACCELERATED)?;
    client.set(&still, "1")?;
    client.check("WAIT 1 0", ":1\r\n")?;
    shared.kept[STILL].store(1, Ordering::Release);
    at_work(shared, 0)?;
    lab.warm(&mut client, &still, "1")?;
    let before = lab.hits()?;
    until("hits before the failover", || Ok((lab.hits()? > before + 100).then_some(())))?;
    let mut stubborn = Vec::new();
    match fate {
        Fate::Hangs => {
            stubborn.extend((0..2).map(|_| stay()));
            thread::sleep(Duration::from_millis(100));
            signal(lab.redis_id()?, "STOP")?;
        }
        Fate::Dies => lab.kill_redis()?,
    }
    let failed_over = promoted(other).and_then(|mut theirs| {
        theirs.set(&still, "2")?;
        shared.kept[STILL].store(2, Ordering::Release);
        // Who still waits for the old master would read from it, which does not know yet that it is none.
        until("all clients to follow", || {
            Ok((shared.moved.load(Ordering::Acquire) == READERS + WRITERS).then_some(()))
        })?;
        let hits = lab.hits()?;
        at_work(shared, 1)?;
        ensure!(lab.hits()? == hits, "hits beside a server that was replaced");
        Ok(())
    });
    stubborn.into_iter().try_for_each(join)?;
    if fate == Fate::Hangs {
        signal(lab.redis_id()?, "CONT")?;
    }
    failed_over?;
    if fate == Fate::Dies {
        lab.start_redis()?;
    }
    // Sentinel makes it a replica.
    until("the old master's new role", || {
        let Ok(mut old) = lab.client(PLAIN) else { return Ok(None) };
        // Sentinel cuts all connections when it changes the role.
        let Ok(role) = info(&mut old, "role") else { return Ok(None) };
        Ok((role == "slave" && info(&mut old, "master_link_status")? == "up").then_some(()))
    })?;
    until("the cause", || {
        let causes = lab.status()?.coherence.causes;
        Ok(causes.iter().any(|cause| cause.starts_with("replica: ")).then_some(()))
    })?;
    let hits = lab.hits()?;
    at_work(shared, 1)?;
    let mut client = lab.client(ACCELERATED)?;
    for key in 0..KEYS {
        if number_of(&mut client, key)? == 0 {
            bail!("the new master's data is not there");
        }
    }
    ensure!(lab.hits()? == hits, "hits on a replica in strict mode");
    Ok(())
}

/// Waits until this server is the master. Sentinel cuts all connections when it changes the role, some a moment later.
fn promoted(other: &Peer) -> Result<Client> {
    until("the new master", || {
        let mut client = other.client()?;
        Ok(info(&mut client, "role").is_ok_and(|role| role == "master").then_some(()))
    })?;
    thread::sleep(Duration::from_millis(100));
    other.client()
}

fn options() -> Options {
    // Less than Sentinel's down-after-milliseconds.
    let redis = vec!["--repl-diskless-sync-delay", "0"];
    Options { settings: vec!["lease.duration=500ms"], redis, ..Options::default() }
}

#[test]
fn a_master_that_hangs_is_replaced() {
    Lab::run(options(), |lab| failover(lab, Fate::Hangs));
}

#[test]
fn a_master_that_dies_is_replaced() {
    Lab::run(options(), |lab| failover(lab, Fate::Dies));
}

#[test]
fn a_server_that_hangs_is_not_answered_for() {
    Lab::run(options(), |lab| {
        let mut client = lab.client(ACCELERATED)?;
        client.set("key", "value")?;
        lab.warm(&mut client, "key", "value")?;
        for _ in 0..3 {
            signal(lab.redis_id()?, "STOP")?;
            thread::sleep(Duration::from_millis(700));
            let silent = lab.expect_hits(0, || {
                client.ask("GET key")?;
                client.expect_silence(Duration::from_millis(200))
            });
            signal(lab.redis_id()?, "CONT")?;
            silent?;
            client.expect(b"$5\r\nvalue\r\n")?;
            lab.warm(&mut client, "key", "value")?;
        }
        Ok(())
    });
}
