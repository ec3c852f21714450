//! Loads the keys that are read, and reads them until the sidecar has them.

use super::request::{self, Expected, KEYS};
use crate::lab::{Lab, Redis, Sidecar};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const READERS: u64 = 4;
const BATCH: u64 = 250;
const WARM_LIMIT: Duration = Duration::from_secs(45);

/// Empties Redis and loads all keys with values of one size.
pub(crate) fn load(lab: &Lab<Redis>, value_bytes: usize) -> Result<()> {
    let server = lab.address(lab.ports().plain);
    lab.client().run(|| {
        let mut client = Client::connect(server)?;
        client.request(&[b"FLUSHALL"]);
        client.exchange(&[Expected::Ok])?;
        for first in (0..KEYS).step_by(BATCH as usize) {
            for key in first..first + BATCH {
                client.request(&[
                    b"SET",
                    request::key_name(key).as_bytes(),
                    &request::value(key, value_bytes),
                ]);
            }
            client.exchange(&[Expected::Ok; BATCH as usize])?;
        }
        Ok(())
    })
}

/// Reads all keys through the accelerated port, again and again, until the sidecar has (nearly) all of them. Returns
/// the number it has.
pub(crate) fn warm(lab: &Lab<Redis>, sidecar: &Sidecar, value_bytes: usize) -> Result<u64> {
    let server = lab.address(lab.ports().accelerated);
    let start = Instant::now();
    loop {
        read_all(lab, server, value_bytes)?;
        // Fills are asynchronous; a moment decides nothing.
        std::thread::sleep(Duration::from_millis(50));
        let entries = sidecar.status()?.entries()?;
        if entries >= KEYS * 995 / 1000 || start.elapsed() > WARM_LIMIT {
            return Ok(entries);
        }
    }
}

fn read_all(lab: &Lab<Redis>, server: SocketAddr, value_bytes: usize) -> Result<()> {
    let place = lab.client();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let place = &place;
                scope.spawn(move || {
                    place.run(|| {
                        let mut client = Client::connect(server)?;
                        for key in (reader..KEYS).step_by(READERS as usize) {
                            client.request(&[b"GET", request::key_name(key).as_bytes()]);
                            client.exchange(&[Expected::Value { key, bytes: value_bytes }])?;
                        }
                        Ok(())
                    })
                })
            })
            .collect();
        for reader in readers {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}

/// A blocking client that checks replies.
struct Client {
    stream: TcpStream,
    output: Vec<u8>,
}

impl Client {
    fn connect(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, output: Vec::new() })
    }

    fn request(&mut self, words: &[&[u8]]) {
        request::append(&mut self.output, words);
    }

    fn exchange(&mut self, replies: &[Expected]) -> Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        let mut input = Vec::new();
        let mut replies = replies.iter();
        let mut due = replies.next();
        let mut chunk = [0; 16 * 1024];
        while let Some(expected) = due {
            match expected.check(&input).map_err(anyhow::Error::msg)? {
                Some(length) => {
                    input.drain(..length);
                    due = replies.next();
                }
                None => match self.stream.read(&mut chunk).context("no reply")? {
                    0 => bail!("the server closed the connection"),
                    count => input.extend_from_slice(&chunk[..count]),
                },
            }
        }
        Ok(())
    }
}
