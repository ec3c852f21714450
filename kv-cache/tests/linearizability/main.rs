//! Concurrent readers and writers on both ports against a real Redis, on the kernel path; the history of every key is
//! checked for linearizability. Runs for 30 seconds, or as many as `XPS_LINEARIZE_SECONDS` says.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the other test program; each uses a part")]
mod support;

mod history;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use history::{Operation, Value, check};
use support::{ACCELERATED, Client, Lab, Options, PLAIN, request, shown};

const KEYS: usize = 24;
/// Digits of a value, all the same so that `SETRANGE` replaces one as a whole.
const DIGITS: usize = 12;

/// What all workers share.
struct Run {
    start: Instant,
    stop: AtomicBool,
    /// The last value that was given out.
    last: AtomicU64,
}

impl Run {
    /// `CLOCK_MONOTONIC`, in nanoseconds since just before the start, never 0.
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }

    fn value(&self) -> Value {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// One client, and what it did: key and operation.
struct Worker {
    run: Arc<Run>,
    client: Client,
    random: u64,
    done: Vec<(usize, Operation)>,
}

fn key(index: usize) -> String {
    format!("register:{index}")
}

fn text(value: Value) -> String {
    format!("{value:0width$}", width = DIGITS)
}

fn parse(reply: &[u8]) -> Result<Value> {
    if reply == b"$-1\r\n" {
        return Ok(0);
    }
    let digits = reply.strip_prefix(b"$12\r\n").and_then(|rest| rest.strip_suffix(b"\r\n"));
    let digits = digits.with_context(|| format!("not a value: {}", shown(reply)))?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

impl Worker {
    fn below(&mut self, n: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % n as u64) as usize
    }

    /// A few keys are much in demand, so that readers and writers meet.
    fn key(&mut self) -> usize {
        let range = if self.below(2) == 0 { 4 } else { KEYS };
        self.below(range)
    }

    fn work(&mut self, writes: usize) -> Result<()> {
        while !self.run.stop.load(Ordering::Relaxed) {
            if self.below(100) < writes { self.write()? } else { self.read()? }
        }
        Ok(())
    }

    fn record(&mut self, write: bool, index: usize, value: Value, from: u64) {
        let to = self.run.now();
        self.done.push((index, Operation { write, value, from, to }));
    }

    fn read(&mut self) -> Result<()> {
        if self.below(8) != 0 {
            let index = self.key();
            let from = self.run.now();
            let reply = self.client.command(&format!("GET {}", key(index)))?;
            self.record(false, index, parse(&reply)?, from);
            return Ok(());
        }
        // Several at once: all begin when the first byte is sent.
        let indices: Vec<usize> = (0..2 + self.below(6)).map(|_| self.key()).collect();
        let bytes = indices.iter().map(|index| request(&["GET", &key(*index)])).collect::<Vec<_>>().concat();
        let from = self.run.now();
        self.client.send(&bytes)?;
        for index in indices {
            let reply = self.client.reply()?;
            self.record(false, index, parse(&reply)?, from);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let (index, value) = (self.key(), self.run.value());
        let (name, digits) = (key(index), text(value));
        let kind = self.below(12);
        if kind == 0 {
            // Two keys at once.
            let other = (index + 1) % KEYS;
            let second = self.run.value();
            let line = format!("MSET {name} {digits} {} {}", key(other), text(second));
            let from = self.run.now();
            self.client.check(&line, "+OK\r\n")?;
            self.record(true, index, value, from);
            self.record(true, other, second, from);
            return Ok(());
        }
        if kind == 1 {
            // The transaction reads, too.
            let lines = [
                "MULTI".to_owned(),
                format!("SET {name} {digits}"),
                format!("GET {name}"),
                "EXEC".to_owned(),
            ];
            let requests = lines.map(|line| request(&line.split(' ').collect::<Vec<_>>())).concat();
            let from = self.run.now();
            self.client.send(&requests)?;
            self.client.expect(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n")?;
            ensure!(parse(&self.client.reply()?)? == value, "a transaction reads another's write");
            self.record(true, index, value, from);
            return Ok(());
        }
        if kind == 2 {
            let staging = format!("staging:{digits}");
            self.client.set(&staging, &digits)?;
            let from = self.run.now();
            self.client.check(&format!("RENAME {staging} {name}"), "+OK\r\n")?;
            self.record(true, index, value, from);
            return Ok(());
        }
        let (line, reply) = match kind {
            3 => (format!("EVAL return(redis.call('set',KEYS[1],ARGV[1])) 1 {name} {digits}"), "+OK\r\n"),
            4 => (format!("SETRANGE {name} 0 {digits}"), ":12\r\n"),
            5 => (format!("SET {name} {digits} PX 1000000"), "+OK\r\n"),
            _ => (format!("SET {name} {digits}"), "+OK\r\n"),
        };
        let from = self.run.now();
        self.client.check(&line, reply)?;
        self.record(true, index, value, from);
        Ok(())
    }
}

fn seconds() -> u64 {
    std::env::var("XPS_LINEARIZE_SECONDS").map_or(30, |text| {
        text.parse().unwrap_or_else(|_| panic!("XPS_LINEARIZE_SECONDS must be a number, is {text:?}"))
    })
}

#[test]
fn every_key_is_linearizable() {
    Lab::run(Options::default(), |lab| {
        let run =
            Arc::new(Run { start: Instant::now(), stop: AtomicBool::new(false), last: AtomicU64::new(0) });
        // Port, and how many of a hundred operations are writes.
        let kinds = [
            (ACCELERATED, 0),
            (ACCELERATED, 0),
            (ACCELERATED, 1),
            (ACCELERATED, 5),
            (ACCELERATED, 20),
            (PLAIN, 0),
            (PLAIN, 2),
            (PLAIN, 10),
        ];
        let workers = kinds.into_iter().zip(1u64..).map(|((port, writes), seed)| {
            let run = Arc::clone(&run);
            let mut worker = Worker { run, client: lab.client(port)?, random: seed, done: Vec::new() };
            Ok(thread::spawn(move || {
                let result = worker.work(writes).with_context(|| format!("client {seed} on port {port}"));
                if result.is_err() {
                    worker.run.stop.store(true, Ordering::Relaxed);
                }
                result.map(|()| worker.done)
            }))
        });
        let workers = workers.collect::<Result<Vec<_>>>()?;
        let before = lab.hits()?;
        let end = Instant::now() + Duration::from_secs(seconds());
        while Instant::now() < end && !run.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
        run.stop.store(true, Ordering::Relaxed);
        let mut histories = vec![Vec::new(); KEYS];
        for worker in workers {
            for (index, operation) in worker.join().map_err(|_| anyhow!("a client panicked"))?? {
                histories[index].push(operation);
            }
        }
        let hits = lab.hits()? - before;
        let operations: usize = histories.iter().map(Vec::len).sum();
        let writes = histories.iter().flatten().filter(|operation| operation.write).count();
        let violations: Vec<String> = histories
            .iter()
            .enumerate()
            .filter_map(|(index, history)| {
                check(history).err().map(|error| format!("{}: {error}", key(index)))
            })
            .collect();
        println!(
            "{operations} operations ({writes} writes) on {KEYS} keys, {hits} hits, {} violations",
            violations.len()
        );
        if !violations.is_empty() {
            bail!("{}", violations.join("\n"));
        }
        ensure!(hits as usize > operations / 20, "too few hits to show anything");
        Ok(())
    });
}
