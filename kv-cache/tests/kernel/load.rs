//! Clients at work while something else happens: each checks every byte that it gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::support::{ACCELERATED, Client, Lab, PLAIN, Random, bulk, request, shown};

/// Keys that all read and nobody writes.
const SHARED: usize = 8;

fn shared(i: usize) -> (String, String) {
    (format!("shared:{i}"), format!("value of {i} ").repeat(i * i + 1))
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts `count` clients on the accelerated port, each of which works on keys of its own, and reads keys that they
    /// share.
    pub(crate) fn start(lab: &Lab, count: u64) -> Result<Self> {
        let clients = (0..count).map(|_| lab.client(ACCELERATED)).collect::<Result<_>>()?;
        Self::of(lab, clients)
    }

    /// Likewise with these clients.
    pub(crate) fn of(lab: &Lab, clients: Vec<Client>) -> Result<Self> {
        let mut plain = lab.client(PLAIN)?;
        for (key, value) in (0..SHARED).map(shared) {
            plain.set(&key, value)?;
        }
        // An earlier load on the same server may have left some.
        for seed in 1..=clients.len() {
            plain.command(&format!("DEL own:{seed}"))?;
        }
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = clients.into_iter().zip(1..).map(|(client, seed)| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            thread::spawn(move || {
                let mut worker =
                    Worker { client, random: Random(seed), own: format!("own:{seed}"), value: None };
                while !stop.load(Ordering::Relaxed) {
                    worker.work().with_context(|| {
                        stop.store(true, Ordering::Relaxed);
                        format!("client {seed}, {:?}", worker.client.stream())
                    })?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let threads = threads.collect();
        Ok(Self { stop, done, threads })
    }

    /// Lets them work for a while. Returns early with their error.
    pub(crate) fn run_for(&self, time: Duration) -> Result<u64> {
        let before = self.done.load(Ordering::Relaxed);
        thread::sleep(time);
        let done = self.done.load(Ordering::Relaxed) - before;
        if self.stop.load(Ordering::Relaxed) {
            bail!("a client has failed");
        }
        ensure!(done > 0, "the clients stand still");
        Ok(done)
    }

    /// Stops them, and gives what they have done, or what went wrong.
    pub(crate) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let results: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        for result in results {
            result.map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

struct Worker {
    client: Client,
    random: Random,
    own: String,
    value: Option<Vec<u8>>,
}

impl Worker {
    fn own_reply(&self) -> Vec<u8> {
        self.value.as_ref().map_or_else(|| b"$-1\r\n".to_vec(), bulk)
    }

    /// One request or pipeline, with the bytes that must come back.
    fn work(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        let mut replies = Vec::new();
        let count = if self.random.below(4) == 0 { 1 + self.random.below(8) } else { 1 };
        for _ in 0..count {
            match self.random.below(20) {
                0 => {
                    let size = [1, 64, 700, 1400, 1500, 5_000, 16_384][self.random.below(7)];
                    let start = self.random.below(200);
                    let value: Vec<u8> = (start..start + size).map(|i| (i % 251) as u8).collect();
                    bytes.extend(request(&[b"SET", self.own.as_bytes(), &value]));
                    replies.extend(b"+OK\r\n");
                    self.value = Some(value);
                }
                1 => {
                    bytes.extend(request(&["APPEND", &self.own, "x"]));
                    let value = self.value.get_or_insert_default();
                    value.push(b'x');
                    replies.extend(format!(":{}\r\n", value.len()).into_bytes());
                }
                2 => {
                    bytes.extend(request(&["GETDEL", &self.own]));
                    replies.extend(self.own_reply());
                    self.value = None;
                }
                3..8 => {
                    bytes.extend(request(&["GET", &self.own]));
                    replies.extend(self.own_reply());
                }
                _ => {
                    let (key, value) = shared(self.random.below(SHARED));
                    bytes.extend(request(&["GET", &key]));
                    replies.extend(bulk(value));
                }
            }
        }
        if self.random.below(8) == 0 {
            let cut = 1 + self.random.below(bytes.len() - 1);
            self.client.send(&bytes[..cut])?;
            thread::yield_now();
            self.client.send(&bytes[cut..])?;
        } else {
            self.client.send(&bytes)?;
        }
        self.client.expect(&replies).with_context(|| format!("asked {}", shown(&bytes)))
    }
}
