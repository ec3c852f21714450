//! `heartbeat probe`: probes a node and tells how long its answers take, as `ping` does for hosts.
//!
//! It probes under one of the numbers that belong to no member ([`OPERATORS`]), so it does not disturb what the node remembers of
//! its peers. Sequences are the time, so that each run's are newer than those before.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use heartbeat_fastpath::wire::{Body, Incarnation, Message, NodeId, SendTime, Sequence};
use serde::{Deserialize, Serialize};
use xps_runtime::command;
use xps_runtime::control::{monotonic_ns, realtime_ns};
use xps_runtime::endpoint::Endpoint;

use crate::config::Config;
use crate::members::{Members, OPERATORS};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where the node is.
    pub host: String,
    /// Its number, if it is given.
    pub node: Option<u32>,
    /// Probes to send.
    pub count: u32,
    /// Time from one to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether each answer is told as it comes.
    pub told: bool,
}

/// What came of it. Times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Where the node is.
    pub address: String,
    /// Its number.
    pub node: u32,
    /// Probes that were sent.
    pub sent: u32,
    /// Those that were answered in time.
    pub answered: u32,
    /// Of these, those by a node whose application's lease had lapsed.
    pub degraded: u32,
    /// Shortest round trip.
    pub min_us: f64,
    /// Half were shorter.
    pub p50_us: f64,
    /// Nine of ten were shorter.
    pub p90_us: f64,
    /// 99 of 100 were shorter.
    pub p99_us: f64,
    /// Longest round trip.
    pub max_us: f64,
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.sent - self.answered;
        let share = 100.0 * f64::from(lost) / f64::from(self.sent.max(1));
        writeln!(
            f,
            "node {} at {}: {} probes, {} answered, {lost} lost ({share:.1} %)",
            self.node, self.address, self.sent, self.answered
        )?;
        if self.degraded != 0 {
            writeln!(
                f,
                "{} answers said that the application has not given a sign of life (degraded)",
                self.degraded
            )?;
        }
        if self.answered != 0 {
            let Self { min_us, p50_us, p90_us, p99_us, max_us, .. } = self;
            writeln!(
                f,
                "round trip min/p50/p90/p99/max {min_us:.1}/{p50_us:.1}/{p90_us:.1}/{p99_us:.1}/{max_us:.1} us"
            )?;
        }
        Ok(())
    }
}

/// Probes it.
///
/// # Errors
/// If it cannot be found, or nothing can be sent.
pub fn ask(config: &Config, ask: &Ask) -> Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let (address, node) = runtime.block_on(find(config, ask))?;
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).context("no socket")?;
    socket.connect(address).with_context(|| format!("{address} cannot be reached"))?;
    // Two that ask at once, under the same number, would take each other's probes for old ones.
    let [random] = xps_runtime::random::bytes().context("no random bytes")?;
    let operator = OPERATORS.start() + u32::from(random) % (OPERATORS.end() - OPERATORS.start() + 1);
    let mut asking = Asking {
        config,
        socket,
        operator: NodeId::new(operator).context("no number to ask under")?,
        node,
        round_trips: Vec::new(),
        answers: Answers { address: address.to_string(), node: node.number(), ..Answers::default() },
        told: ask.told,
    };
    let start = Instant::now();
    for i in 0..ask.count {
        asking.send().with_context(|| format!("nothing can be sent to {address}"))?;
        let last = i + 1 == ask.count;
        let until = if last { Instant::now() + ask.timeout } else { start + ask.interval * (i + 1) };
        asking.listen(until, last)?;
    }
    Ok(asking.sum_up())
}

async fn find(config: &Config, ask: &Ask) -> Result<(SocketAddr, NodeId)> {
    let with_port = || format!("{}:{}", ask.host, config.port);
    let bare = ask.host.parse().map(|ip| SocketAddr::new(ip, config.port)).map(Endpoint::Address);
    let endpoint = bare.ok().or_else(|| ask.host.parse().ok()).or_else(|| with_port().parse().ok());
    let endpoint = endpoint.with_context(|| format!("\"{}\" is neither an address nor a name", ask.host))?;
    let address = *endpoint.resolve().await?.first().context("it has no address")?;
    if let Some(number) = ask.node {
        return Ok((address, NodeId::new(number).context("there is no node 0")?));
    }
    let found = config.members.look(&Members::new()).await;
    let mut at = found.members.iter().filter(|(_, member)| **member == Some(address)).map(|(id, _)| *id);
    match (at.next(), at.next()) {
        (Some(node), None) => Ok((address, node)),
        (Some(_), Some(_)) => bail!("several members are at {address}; give the number of one with --node"),
        (None, _) => bail!("no member is known at {address}; give its number with --node"),
    }
}

/// Probes under way.
struct Asking<'a> {
    config: &'a Config,
    socket: UdpSocket,
    operator: NodeId,
    node: NodeId,
    /// In microseconds.
    round_trips: Vec<f64>,
    answers: Answers,
    told: bool,
}

impl Asking<'_> {
    fn send(&mut self) -> io::Result<()> {
        let probe = Message {
            cluster: self.config.cluster,
            sender: self.operator,
            incarnation: Incarnation(0),
            receiver: self.node,
            sequence: Sequence(realtime_ns()),
            sent: SendTime(monotonic_ns()),
            body: Body::Probe,
        };
        self.answers.sent += 1;
        match self.socket.send(&probe.encode(&self.config.ring.sending)) {
            // That nothing listened there for an earlier probe: this one may be answered in the stack.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// Takes answers in until then; behind the `last` probe no longer than until all are there.
    fn listen(&mut self, until: Instant, last: bool) -> Result<()> {
        let mut buffer = [0; 128];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || last && self.answers.answered == self.answers.sent {
                return Ok(());
            }
            self.socket.set_read_timeout(Some(left)).context("no time-out")?;
            match self.socket.recv(&mut buffer) {
                Ok(len) => self.hear(&buffer[..len], monotonic_ns())?,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("nothing can be received"),
            }
        }
    }

    fn hear(&mut self, payload: &[u8], at_ns: u64) -> Result<()> {
        let Ok(message) = Message::decode(payload, &self.config.ring.keys) else { return Ok(()) };
        let Body::Reply { degraded } = message.body else { return Ok(()) };
        if message.sender != self.node || message.receiver != self.operator {
            return Ok(());
        }
        let round_trip_us = at_ns.saturating_sub(message.sent.0) as f64 / 1e3;
        self.round_trips.push(round_trip_us);
        self.answers.answered += 1;
        self.answers.degraded += u32::from(degraded);
        if self.told {
            let health = if degraded { "degraded" } else { "alive" };
            command::print(&format!(
                "{} bytes from {}: node {} {health}, incarnation {}, {round_trip_us:.1} us\n",
                payload.len(),
                self.answers.address,
                self.node.number(),
                message.incarnation.0
            ))?;
        }
        Ok(())
    }

    fn sum_up(mut self) -> Answers {
        self.round_trips.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (self.round_trips.len() as f64 * share).ceil() as usize;
            self.round_trips.get(place.saturating_sub(1)).copied().unwrap_or_default()
        };
        Answers {
            min_us: at(0.0),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: at(1.0),
            ..self.answers
        }
    }
}
