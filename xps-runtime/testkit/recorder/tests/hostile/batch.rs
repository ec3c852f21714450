//! Connections side by side: a burst of segments of each, then all that came of it is looked at.
//!
//! One thread on one processor sends frames, accepts, reads and judges. Frames that it sends are handed over in order, so
//! the reply to an ICMP echo says that all before it were looked at: nothing waits for a time to pass.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xps_core::flow::FlowKey;
use xps_core::splice::tcp_flag;
use xps_core::verdict::Reason;
use xps_recorder::record::kind;
use xps_testkit::heard::{Heard, Segment, echo_request};
use xps_testkit::peer::Peer;
use xps_testkit::plan::{Client, Move, Opening, Plan};

use crate::connection::{Connection, Difference, Reading, Served};
use crate::lab::{self, ASKER, LINK, Lab, Ports, SERVER_V4};

/// How long the reply to an echo may take before it is asked for again, and how often it is.
const ECHO: (Duration, usize) = (Duration::from_millis(500), 20);

/// Clients' ports.
const PORTS_EACH: u64 = 60_000;

/// A batch that runs.
pub(crate) struct Batch<'l, 'p> {
    lab: &'l mut Lab,
    pub(crate) connections: Vec<Connection<'p>>,
    by_client: HashMap<(IpAddr, u16), usize>,
    by_key: HashMap<FlowKey, usize>,
    answers: bool,
    /// Segments of connections that the programs do not know, before the batch.
    foreign: u64,
}

/// Numbers of connections and echoes; no two of a laboratory are the same.
#[derive(Default)]
pub(crate) struct Numbers {
    connections: u64,
    echoes: u16,
}

impl<'l, 'p> Batch<'l, 'p> {
    /// Runs `plans` to their ends. The server answers lines if `answers`; with `trace` what is sent and heard is written down.
    pub(crate) fn run(
        lab: &'l mut Lab,
        numbers: &mut Numbers,
        plans: &'p [Plan],
        answers: bool,
        trace: bool,
    ) -> Result<Vec<Connection<'p>>> {
        let foreign = lab.counted(Reason::Foreign)?;
        let connections: Vec<_> = plans.iter().map(|plan| connection(plan, numbers, trace)).collect();
        let by_client = connections.iter().enumerate().map(|(i, one)| (one.client.peer.client, i)).collect();
        let by_key = connections.iter().enumerate().map(|(i, one)| (one.key, i)).collect();
        let mut batch = Self { lab, connections, by_client, by_key, answers, foreign };
        batch.open(numbers)?;
        while batch.connections.iter().any(|connection| !connection.is_over()) {
            batch.burst()?;
            batch.look(numbers)?;
        }
        batch.close(numbers)?;
        ensure!(batch.lab.counted(Reason::EventLost)? == 0, "records were lost");
        Ok(batch.connections)
    }

    fn open(&mut self, numbers: &mut Numbers) -> Result<()> {
        for connection in &mut self.connections {
            let frames = connection.client.open(&connection.plan.opening);
            if connection.plan.opening != Opening::Honest {
                connection.hostile += frames.len() as u64;
            }
            for frame in frames {
                note(connection, "->", &frame);
                self.lab.link.send(&frame)?;
            }
        }
        self.wait(numbers)
    }

    /// The next moves of each connection, up to a pause.
    fn burst(&mut self) -> Result<()> {
        for connection in &mut self.connections {
            while !connection.is_over() {
                let step = &connection.plan.moves[connection.at];
                connection.at += 1;
                match step {
                    Move::Sync => break,
                    Move::Hold => connection.held = true,
                    Move::Say(len) => {
                        connection.served.say(&vec![b's'; usize::from(*len)]);
                    }
                    Move::Segment { .. } | Move::Fill(_) => {
                        let frames = connection.client.frames(step);
                        if !step.is_honest() {
                            connection.hostile += frames.len() as u64;
                        }
                        for frame in frames {
                            note(connection, "->", &frame);
                            self.lab.link.send(&frame)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at what came of a burst.
    fn look(&mut self, numbers: &mut Numbers) -> Result<()> {
        self.wait(numbers)?;
        self.accept()?;
        let mut said = false;
        for connection in &mut self.connections {
            // The reader goes on when all is sent.
            connection.held &= connection.at < connection.plan.moves.len();
            if !connection.held {
                said |= connection.served.turn(self.answers);
            }
        }
        if said {
            self.wait(numbers)?;
        }
        self.records()?;
        self.judge(numbers)?;
        for connection in &mut self.connections {
            if connection.served.socket.is_some() && !connection.held {
                let taken = connection.served.bytes.len() as u32 + connection.reading.consumed;
                connection.client.follow(taken, connection.served.fin);
            }
        }
        Ok(())
    }

    fn judge(&mut self, numbers: &mut Numbers) -> Result<()> {
        let open =
            |connection: &Connection<'_>| connection.difference.is_none() && connection.excuse.is_none();
        let strange = |connection: &Connection<'_>| open(connection) && connection.compare().is_some();
        if !self.connections.iter().any(strange) {
            return Ok(());
        }
        // What the server has taken it acknowledges with the next thing that it says: by then the programs know.
        for connection in self.connections.iter_mut().filter(|connection| strange(connection)) {
            connection.served.say(b"?");
        }
        self.wait(numbers)?;
        for connection in &mut self.connections {
            connection.served.turn(false);
        }
        self.records()?;
        let foreign = self.lab.counted(Reason::Foreign)? > self.foreign;
        for connection in self.connections.iter_mut().filter(|connection| open(connection)) {
            let Some(difference) = connection.compare() else { continue };
            let flags = self.lab.flows.get(&connection.key)?.map(|flow| flow.splice.flags);
            connection.excuse = connection.excuse(difference, flags, foreign);
            if connection.excuse.is_none() {
                connection.difference = Some(difference);
            }
        }
        Ok(())
    }

    fn records(&mut self) -> Result<()> {
        let (connections, by_key) = (&mut self.connections, &self.by_key);
        let mut complete = true;
        self.lab.records(|record| {
            let Some(&i) = by_key.get(&record.key) else { return };
            let Connection { reading, served, .. } = &mut connections[i];
            complete &= reading.take(record);
            if record.head.kind == kind::OPENED && served.failed.is_some() {
                // A flow of a connection that is over: nothing of it can reach the server.
                served.bytes.clear();
            }
        })?;
        ensure!(complete, "a record is missing, or one is of another kind");
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        for listener in &self.lab.listeners {
            loop {
                match listener.accept() {
                    Ok((socket, from)) => {
                        let from = (from.ip().to_canonical(), from.port());
                        let Some(&i) = self.by_client.get(&from) else { continue };
                        socket.set_nonblocking(true)?;
                        socket.set_nodelay(true)?;
                        let connection = &mut self.connections[i];
                        if connection.opened {
                            // Another connection of the same ports, after a reset.
                            connection.reading = Reading::default();
                        }
                        connection.served = Served { socket: Some(socket), ..Served::default() };
                        connection.opened = true;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                    Err(error) => return Err(error).context("cannot accept"),
                }
            }
        }
        Ok(())
    }

    /// Ends all connections and forgets their flows.
    fn close(&mut self, numbers: &mut Numbers) -> Result<()> {
        for connection in &mut self.connections {
            if let Some(socket) = connection.served.socket.take() {
                // Nothing of it stays, not even in TIME_WAIT.
                socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
            } else {
                let mut packet = connection.client.peer.packet();
                packet.seq = connection.client.peer.isn.wrapping_add(1);
                packet.flags |= u16::from(tcp_flag::RST);
                for frame in packet.frames() {
                    self.lab.link.send(&frame)?;
                }
            }
        }
        self.wait(numbers)?;
        self.lab.records(|_| {})?;
        for connection in &self.connections {
            self.lab.flows.remove(&connection.key)?;
        }
        Ok(())
    }

    /// Waits until all that was sent so far was looked at, and hears what came.
    fn wait(&mut self, numbers: &mut Numbers) -> Result<()> {
        for _ in 0..ECHO.1 {
            numbers.echoes = numbers.echoes.wrapping_add(1);
            self.lab.link.send(&echo_request(LINK, ASKER, SERVER_V4, numbers.echoes))?;
            let deadline = Instant::now() + ECHO.0;
            while let Some(heard) = self.lab.link.wait(deadline)? {
                match heard {
                    Heard::Echo(number) if number == numbers.echoes => return Ok(()),
                    Heard::Tcp(segment) => self.hear(&segment),
                    _ => {}
                }
            }
        }
        bail!("the server's host does not answer an ICMP echo")
    }

    fn hear(&mut self, segment: &Segment) {
        let Some(&i) = self.by_client.get(&segment.client) else { return };
        let connection = &mut self.connections[i];
        if segment.server == connection.client.peer.server {
            connection.client.peer.hear(segment);
            if let Some(trace) = &mut connection.trace {
                trace.push(shown(connection.client.peer.isn, "<-", segment));
            }
        }
    }
}

fn connection<'p>(plan: &'p Plan, numbers: &mut Numbers, trace: bool) -> Connection<'p> {
    let number = numbers.connections;
    numbers.connections += 1;
    let from = lab::client(plan.v6, (number / PORTS_EACH) as u16);
    let from = SocketAddr::new(from, 1024 + (number % PORTS_EACH) as u16);
    let (server, ports) = (lab::server(plan.v6), Ports::of(plan));
    let port = if plan.accelerated { ports.accelerated } else { ports.plain };
    let peer = Peer::new(from.ip(), from.port(), server, port, plan.isn, LINK[0], LINK[1]);
    Connection {
        plan,
        client: Client::new(plan, peer),
        key: lab::key(from, server, port),
        at: 0,
        served: Served::default(),
        reading: Reading::default(),
        opened: false,
        held: false,
        hostile: 0,
        excuse: None,
        difference: None::<Difference>,
        trace: trace.then(Vec::new),
    }
}

/// Writes a frame of the client down.
fn note(connection: &mut Connection<'_>, arrow: &str, frame: &[u8]) {
    let Some(trace) = &mut connection.trace else { return };
    trace.push(match xps_testkit::heard::read(frame) {
        Heard::Tcp(segment) => shown(connection.client.peer.isn, arrow, &segment),
        _ => format!("{arrow} a frame of {} bytes", frame.len()),
    });
}

/// A segment with the client's numbers from its SYN on.
fn shown(isn: u32, arrow: &str, segment: &Segment) -> String {
    let letters: String =
        "FSRPAUEC".chars().enumerate().filter(|(i, _)| segment.flags >> i & 1 != 0).map(|(_, c)| c).collect();
    let number = |number: u32| number.wrapping_sub(isn).cast_signed();
    let (seq, ack) = if arrow == "->" {
        (number(segment.seq), i64::from(segment.ack))
    } else {
        (segment.seq.cast_signed(), i64::from(number(segment.ack)))
    };
    let stamp = segment.options.timestamp.map_or(String::new(), |stamp| format!(" ts {stamp}"));
    let (window, len) = (segment.window, segment.payload.len());
    format!(
        "{arrow} {letters:5} seq {seq} ack {ack} win {window}{stamp} {len} bytes {}",
        segment.payload.escape_ascii()
    )
}
