//! Redis and kv-cache in networks as they are: routers, narrow links, firewalls, other programs. On the plain port and
//! on the accelerated one the outcome must be the same, on both paths. The situations are those of all services
//! (`xps-runtime/tests/support/laboratory/situations`); what only a cache can do wrong stands here.

#[path = "../../../../xps-runtime/tests/support/laboratory/everywhere.rs"]
mod everywhere;
mod mtu;
mod other_programs;
mod redirects;
mod shaping;
mod strangers;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::support::laboratory;
use crate::support::laboratory::{Network, Plan, SERVER_V4, Service, Talk, Way};
use crate::support::{ACCELERATED, Client, Lab, Options, PLAIN, Side, bulk, request};

/// A key whose value is in the cache; its reply is nearly a segment.
const CACHED: &str = "network:cached";
/// Bytes of it, the most that are cached unless the configuration says otherwise.
const CACHED_BYTES: usize = 1400;
/// A key whose value never is.
const LARGE: &str = "network:large";
/// Bytes of it, and of what is sent.
const LARGE_BYTES: usize = 150_000;

/// Runs a test in a network, on the kernel path.
pub(crate) fn on_the_kernel_path(network: Plan, test: impl Fn(&Lab) -> Result<()>) {
    run(Options { network, ..Options::default() }, test);
}

/// Runs a test in a network, on the kernel path and Redis's own port.
pub(crate) fn in_place(network: Plan, test: impl Fn(&Lab) -> Result<()>) {
    run(Options { network, in_place: true, ..Options::default() }, test);
}

/// Runs a test in a network, on the user path.
pub(crate) fn on_the_user_path(network: Plan, test: impl Fn(&Lab) -> Result<()>) {
    run(Options { network, ..Options::user() }, test);
}

/// Runs a test with the keys that connections ask for.
fn run(options: Options, test: impl Fn(&Lab) -> Result<()>) {
    Lab::run(options, |lab| {
        let own = |port| lab.connect(Side::Server, SocketAddr::new(SERVER_V4, port));
        own(ACCELERATED)?.set(LARGE, large())?;
        own(ACCELERATED)?.set(CACHED, cached())?;
        lab.warm(&mut own(ACCELERATED)?, CACHED, cached())?;
        test(lab)
    });
}

fn cached() -> Vec<u8> {
    (0..CACHED_BYTES).map(|i| b'a' + (i % 23) as u8).collect()
}

fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|i| b'a' + (i % 25) as u8).collect()
}

impl Service for Lab {
    fn ports(&self) -> [u16; 2] {
        [PLAIN, self.accelerated_port()]
    }

    fn network(&self) -> &Network {
        self.network()
    }

    fn open(&self, way: Way<'_>) -> Result<Box<dyn Talk>> {
        let client = Client::of(way.open()?)?;
        client.stream().set_read_timeout(Some(way.limit))?;
        Ok(Box::new(Session { client, asked: 0 }))
    }

    fn answered(&self) -> Result<u64> {
        self.hits()
    }
}

/// A client of Redis.
struct Session {
    client: Client,
    asked: u64,
}

impl Talk for Session {
    fn ask_server(&mut self) -> Result<()> {
        self.asked += 1;
        self.client.ask(&format!("SET network:{} {}", self.client.address()?.port(), self.asked))
    }

    fn hear_server(&mut self) -> Result<()> {
        self.client.expect(b"+OK\r\n")
    }

    fn ask_stack(&mut self) -> Result<()> {
        self.client.ask(&format!("GET {CACHED}"))
    }

    fn hear_stack(&mut self) -> Result<()> {
        self.client.expect(&bulk(cached()))
    }

    fn receive_much(&mut self) -> Result<()> {
        self.client.ask(&format!("GET {LARGE}"))?;
        self.client.expect(&bulk(large()))
    }

    fn send_much(&mut self) -> Result<()> {
        self.client.send(&request(&[b"SET".as_slice(), b"network:sent", &large()]))?;
        self.client.expect(b"+OK\r\n")
    }

    fn set_patience(&self, limit: Duration) -> Result<()> {
        Ok(self.client.stream().set_read_timeout(Some(limit))?)
    }
}
