//! Clients on many keys, more than the cache has room for: entries come and go while a soak lasts.
//!
//! A key's value follows from the key, so what is read is right or missing, whoever flushes or swaps in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::support::{
    ACCELERATED, Client, Lab, Place, Random, SERVER_V4, Side, bulk, connect_from, is_lost, request, shown,
};

const CLIENTS: u64 = 2;
const KEYS: usize = 20_000;

/// What a crowd has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// `GET`s that were answered.
    pub(crate) gets: u64,
    /// `GET`s of which that is not known.
    pub(crate) gets_unknown: u64,
    /// Requests of any kind of which it is not known whether Redis saw them.
    pub(crate) unknown: u64,
}

/// A crowd at work.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Tally>>>,
}

impl Crowd {
    /// Sends a crowd in.
    pub(crate) fn start(lab: &Lab, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..CLIENTS).map(|own| {
            let (stop, place) = (Arc::clone(&stop), lab.place(Side::Client).clone());
            thread::spawn(move || {
                work(&stop, &place, Random(seed.wrapping_mul(31) + own)).context("a crowd's client")
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }

    /// Calls it back.
    pub(crate) fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for thread in self.threads {
            let one = thread.join().map_err(|_| anyhow!("a crowd's client panicked"))??;
            all.gets += one.gets;
            all.gets_unknown += one.gets_unknown;
            all.unknown += one.unknown;
        }
        Ok(all)
    }
}

fn value(key: usize) -> Vec<u8> {
    let length = 16 + key * 7919 % 1300;
    format!("{key}:").into_bytes().into_iter().cycle().take(length).collect()
}

fn work(stop: &AtomicBool, place: &Place, mut random: Random) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut open: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(client) = &mut open else {
            match connect_from(place, SocketAddr::new(SERVER_V4, ACCELERATED)) {
                Ok(client) => open = Some(client),
                Err(error) if is_lost(&error) => sleep(Duration::from_millis(10)),
                Err(error) => return Err(error),
            }
            continue;
        };
        // Most want the same few.
        let range = [KEYS / 100, KEYS / 10, KEYS][random.below(3)];
        let key = random.below(range);
        let asked = ask(client, key, &mut tally);
        match asked {
            Ok(()) => {}
            Err(error) if is_lost(&error) => {
                tally.unknown += 1;
                open = None;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(tally)
}

/// `GET`, and `SET` if there is nothing.
fn ask(client: &mut Client, key: usize, tally: &mut Tally) -> Result<()> {
    let name = format!("crowd:{key}");
    tally.gets_unknown += 1;
    let reply = client.command(&format!("GET {name}"))?;
    tally.gets_unknown -= 1;
    tally.gets += 1;
    if reply == b"$-1\r\n" {
        client.send(&request(&[b"SET", name.as_bytes(), &value(key)]))?;
        let reply = client.reply()?;
        ensure!(reply == b"+OK\r\n", "SET {name}: {}", shown(&reply));
        return Ok(());
    }
    ensure!(reply == bulk(value(key)), "{name} holds {}", shown(&reply));
    Ok(())
}
