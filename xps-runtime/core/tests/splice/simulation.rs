//! Two ends, the programs between them, and links that treat packets badly.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use smoltcp::socket::tcp::State;
use smoltcp::wire::{IpAddress, Ipv6Address};
use xps_core::flow::FlowKey;
use xps_core::host::{Checksum, Frame};
use xps_core::packet::mapped;
use xps_core::path::Socket;
use xps_core::splice::flag;
use xps_core::verdict::Reason;

use crate::client::Client;
use crate::end::{End, Manners, set_clock};
use crate::gate::{ACCELERATED, Gate, Side};
use crate::handler::Values;
use crate::protocol::KEYS;
use crate::random::Random;
use crate::server::Server;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closes when it has all replies.
    ClientFirst,
    /// The client closes its side with its last request; the replies come after.
    HalfClose,
    /// The server closes behind its last reply.
    ServerFirst,
    /// The client closes with its last request, behind whose reply the server closes.
    Both,
    /// The client resets the connection at some time.
    ClientAborts,
    /// The server does.
    ServerAborts,
    /// The stack ends it for a request that must not reach the server, and says so.
    LastWords,
    /// Likewise, with a reset on both sides.
    Reset,
    /// Likewise; the client is told nothing, and gives up.
    Silence,
}

impl Ending {
    fn is_refusal(self) -> bool {
        matches!(self, Self::LastWords | Self::Reset | Self::Silence)
    }
}

const ENDINGS: [Ending; 12] = [
    Ending::ClientFirst,
    Ending::ClientFirst,
    Ending::HalfClose,
    Ending::HalfClose,
    Ending::ServerFirst,
    Ending::Both,
    Ending::ClientAborts,
    Ending::ServerAborts,
    Ending::LastWords,
    Ending::LastWords,
    Ending::Reset,
    Ending::Silence,
];

/// How soon a server is reset when the stack has ended its connection, if no packet is lost.
const RESET_WITHIN_US: u64 = 1_000_000;
/// After which time a client that is told nothing gives up.
const GIVES_UP_US: u64 = 30_000_000;
/// After which time a server whose reset was lost closes, as servers do: so it is met again.
const PATIENCE_US: u64 = 60_000_000;
/// How long after the stack has ended a connection both sides may need to be done with it.
const LEFT_ALONE_US: u64 = 5_000_000_000;

/// What a link does to packets, in 1000 of them; delays in microseconds.
#[derive(Clone, Copy, Debug)]
struct Link {
    loss: u64,
    repeats: u64,
    delay: u64,
    jitter: u64,
}

impl Link {
    fn random(random: &Random) -> Self {
        Self {
            loss: random.pick(&[0, 0, 10, 50, 150, 250]),
            repeats: random.pick(&[0, 0, 10, 100, 300]),
            delay: random.pick(&[10, 100, 1000, 20_000]),
            jitter: random.pick(&[0, 0, 50, 1000, 30_000]),
        }
    }
}

/// What was seen in a run; for the sum over all seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub requests: u64,
    pub replied: u64,
    pub resent: u64,
    pub raced: u64,
    pub contended: u64,
    pub stale: u64,
    pub acknowledged: u64,
    pub reused: u64,
    pub stalled: u64,
    /// Connections that ended since a repetition could not be compared (T2).
    pub cut: u64,
    /// Connections that ended with last words, with a reset, silently.
    pub ended: [u64; 3],
    /// Of those with last words, how many clients have got them.
    pub told: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.replied += other.replied;
        self.resent += other.resent;
        self.raced += other.raced;
        self.contended += other.contended;
        self.stale += other.stale;
        self.acknowledged += other.acknowledged;
        self.reused += other.reused;
        self.stalled += other.stalled;
        self.cut += other.cut;
        for (sum, other) in self.ended.iter_mut().zip(other.ended) {
            *sum += other;
        }
        self.told += other.told;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    GateFrom(Side),
    End(Side),
}

struct Simulation<const GUARDS: bool> {
    now_us: u64,
    random: Random,
    gate: Rc<Gate<GUARDS>>,
    client: End,
    server: End,
    outer: Link,
    inner: Link,
    checksums: [Checksum; 2],
    flying: BinaryHeap<Reverse<(u64, u64)>>,
    packets: std::collections::HashMap<u64, (Place, Frame)>,
    number: u64,
    key: FlowKey,
    trace: bool,
    /// When an end last sent something that asks for an answer.
    urged_us: u64,
    stalled: u64,
    told: u64,
}

/// Runs a seed to its end.
pub fn run(seed: u64, trace: bool) -> Result<Totals, String> {
    if Random::new(seed ^ 3).chance(500) { run_as::<true>(seed, trace) } else { run_as::<false>(seed, trace) }
}

fn run_as<const GUARDS: bool>(seed: u64, trace: bool) -> Result<Totals, String> {
    let random = Random::new(seed);
    let longest = 1300;
    let values = Rc::new(Values {
        versions: [const { Cell::new(0) }; KEYS],
        hits: random.pick(&[0, 500, 800, 950, 1000]),
        longest,
        random: Random::new(seed ^ 1),
        preempt: RefCell::new(None),
    });
    let v6 = random.chance(300);
    let manners = || Manners {
        mss: random.pick(&[536, 1240, 1460, 1460, 4000]),
        // With less, this TCP can forget to probe a closed window.
        receive_buffer: random.pick(&[1000, 2000, 8000, 64_000, 200_000]),
        send_buffer: random.pick(&[300, 2000, 30_000]),
        timestamps: random.chance(700),
        delayed_ack: random.chance(600),
        nagle: random.chance(300),
        keep_alive: random.chance(300),
    };
    let (of_client, of_server) = (manners(), manners());
    let address = |last: u16| {
        if v6 {
            IpAddress::Ipv6(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, last))
        } else {
            IpAddress::v4(10, 0, 0, last as u8)
        }
    };
    let raw = |address: IpAddress| match address {
        IpAddress::Ipv4(v4) => mapped(v4.octets()),
        IpAddress::Ipv6(v6) => v6.octets(),
    };
    let outer = Link::random(&random);
    let mut inner = Link { loss: 0, repeats: 0, delay: random.pick(&[1, 10, 1000]), jitter: 0 };
    if random.chance(400) {
        inner.loss = random.pick(&[0, 50, 200]);
        inner.repeats = random.pick(&[0, 10, 100]);
        inner.jitter = random.pick(&[0, 50, 2000]);
    }
    let preemption = random.pick(&[0, 20, 100]);
    let failures = random.pick(&[0, 0, 0, 10]);
    let forms = [Checksum::Partial, Checksum::Complete];
    let mut simulation = Simulation::<GUARDS> {
        now_us: 1,
        gate: Gate::new(&values, Random::new(seed ^ 2), preemption, failures, trace),
        client: End::new(address(1), of_client, random.next()),
        server: End::new(address(2), of_server, random.next()),
        outer,
        inner,
        checksums: [random.pick(&forms), random.pick(&forms)],
        flying: BinaryHeap::new(),
        packets: std::collections::HashMap::new(),
        number: 0,
        key: FlowKey {
            client: raw(address(1)),
            server: raw(address(2)),
            client_port: 40_000,
            server_port: ACCELERATED,
            padding: 0,
        },
        random,
        trace,
        urged_us: 0,
        stalled: 0,
        told: 0,
    };
    simulation.gate.key.set(Some(simulation.key));
    simulation.gate.machine.set_linear(simulation.random.pick(&[0, 14, 54, 2000]));
    // What longer replies do not fit into, leaves in pieces.
    simulation.gate.machine.set_mss(simulation.random.pick(&[500, 900, u16::MAX, u16::MAX]));
    if trace {
        println!(
            "{of_client:?}\n{of_server:?}\n{outer:?}\n{inner:?}\nhits {} preemption {preemption} failures {failures}",
            values.hits
        );
    }
    let connections = simulation.random.between(1, 2);
    let mut totals = Totals::default();
    for nth in 0..connections {
        // What is not read cannot be refused, so only a guard's clients try.
        let endings = if GUARDS { &ENDINGS[..] } else { &ENDINGS[..8] };
        let ending = simulation.random.pick(endings);
        if trace {
            println!("connection {nth}: {ending:?}");
        }
        let result = simulation.connection(&values, ending, address(2));
        if simulation.gate.machine.counted(Reason::OtherBytes) > 0 {
            return Err("a repetition of the same bytes was taken for other ones".into());
        }
        match result {
            Ok(requests) => totals.requests += requests,
            // What was lost behind the programs came again, cut as this TCP likes and Linux never does.
            Err(_) if simulation.gate.machine.counted(Reason::OtherCuts) > 0 => {
                totals.cut += 1;
                break;
            }
            Err(what) => return Err(what),
        }
        totals.reused += nth;
        if simulation.stalled > 0 {
            break;
        }
        if matches!(ending, Ending::ClientAborts | Ending::ServerAborts) {
            break;
        }
    }
    let counted = |reason| simulation.gate.machine.counted(reason);
    totals.stalled = simulation.stalled;
    totals.replied = counted(Reason::Replied);
    totals.resent = counted(Reason::Resent);
    totals.raced = counted(Reason::Raced);
    totals.contended = counted(Reason::Contended);
    totals.stale = counted(Reason::StaleServerSegment);
    totals.ended = [counted(Reason::Closed), counted(Reason::WasReset), counted(Reason::Silenced)];
    totals.told = simulation.told;
    totals.acknowledged = counted(Reason::ServerAcknowledged);
    simulation.gate.machine.set_preempt(None);
    *values.preempt.borrow_mut() = None;
    Ok(totals)
}

/// Whether a packet has payload, SYN or FIN.
fn asks(ip: &[u8]) -> bool {
    let tcp = &ip[if ip[0] >> 4 == 6 { 40 } else { 20 }..];
    tcp.len() > usize::from(tcp[12] >> 4) * 4 || tcp[13] & 3 != 0
}

impl<const GUARDS: bool> Simulation<GUARDS> {
    /// How many connections the stack has ended.
    fn ended(&self) -> u64 {
        let reasons = [Reason::Closed, Reason::WasReset, Reason::Silenced];
        reasons.iter().map(|reason| self.gate.machine.counted(*reason)).sum()
    }

    /// One connection from its SYN to its end. The number of requests.
    fn connection(&mut self, values: &Rc<Values>, ending: Ending, to: IpAddress) -> Result<u64, String> {
        self.client.renew();
        self.server.renew();
        self.server.socket().listen(ACCELERATED).map_err(|error| format!("{error:?}"))?;
        let mut client = Client::new(&self.random, values, ending);
        let mut server = Server::new(values, client.refused());
        let handle = self.client.handle;
        self.client
            .sockets
            .get_mut::<smoltcp::socket::tcp::Socket<'_>>(handle)
            .connect(self.client.interface.context(), (to, ACCELERATED), self.key.client_port)
            .map_err(|error| format!("{error:?}"))?;
        let aborts = matches!(ending, Ending::ClientAborts | Ending::ServerAborts);
        let refusal = ending.is_refusal();
        let ended_before = self.ended();
        let mut ended_us = None;
        let mut deadline = self.now_us + 100_000_000_000;
        let mut abort_at = self.random.between(20, 400);
        let mut quiet_until = None;
        let mut idle_turns = 0;
        loop {
            set_clock(self.now_us);
            for _ in 0..2 {
                let now_us = self.now_us;
                self.client.poll(now_us);
                client.step(self.client.socket(), &self.random).map_err(|what| format!("client: {what}"))?;
                self.client.poll(now_us);
                self.collect(Side::Client);
                self.server.poll(now_us);
                server
                    .step(
                        self.server.socket(),
                        &self.random,
                        ended_us.is_some_and(|at| now_us > at + PATIENCE_US),
                    )
                    .map_err(|what| format!("server: {what}"))?;
                self.server.poll(now_us);
                self.collect(Side::Server);
            }
            if self.random.chance(200) {
                values.change();
            }
            if aborts && abort_at > 0 {
                abort_at = abort_at.saturating_sub(1);
                if abort_at == 0 {
                    let end =
                        if ending == Ending::ClientAborts { &mut self.client } else { &mut self.server };
                    end.socket().abort();
                    client.aborted = true;
                    server.aborted = true;
                    quiet_until = Some(self.now_us + 30_000_000);
                }
            }
            if ended_us.is_none() && self.ended() != ended_before {
                ended_us = Some(self.now_us);
                if refusal {
                    deadline = self.now_us + LEFT_ALONE_US;
                }
            }
            if ending == Ending::Silence
                && !client.aborted
                && ended_us.is_some_and(|at| self.now_us > at + GIVES_UP_US)
            {
                client.aborted = true;
                self.client.socket().abort();
            }
            // A server that is reset in its handshake listens again.
            let over = |state| {
                matches!(state, State::Closed | State::TimeWait)
                    || state == State::Listen && ended_us.is_some()
            };
            let states = (self.client.socket().state(), self.server.socket().state());
            if quiet_until.is_none() && over(states.0) && over(states.1) && client.started {
                // Stragglers may still come.
                quiet_until = Some(self.now_us + 15_000_000);
            }
            if quiet_until.is_some_and(|until| self.now_us >= until) {
                break;
            }
            let busy = client.wants_time(self.client.socket()) || server.wants_time();
            let mut next = [
                self.flying.peek().map(|Reverse((at, _))| *at),
                self.client.wakes_at(self.now_us),
                self.server.wakes_at(self.now_us),
                quiet_until,
            ]
            .into_iter()
            .flatten()
            .min();
            // An application that could do something has done it long before so many turns.
            idle_turns = if next.is_some() { 0 } else { idle_turns + 1 };
            if busy && idle_turns < 10_000 {
                let turn = self.now_us + 3000;
                next = Some(next.map_or(turn, |at| at.min(turn)));
            }
            if aborts && quiet_until.is_none() {
                next = next.or(Some(self.now_us + 1000));
            }
            if refusal && quiet_until.is_none() {
                let tick = self.now_us + 1_000_000;
                next = Some(next.map_or(tick, |at| at.min(tick)));
            }
            let clean = self.inner.loss == 0 && self.gate.machine.counted(Reason::WriteFailed) == 0;
            // An old SYN that comes again may open the server's socket once more; nobody answers it.
            let open = !over(states.1) && states.1 != State::SynReceived;
            if clean && ended_us.is_some_and(|at| self.now_us > at + RESET_WITHIN_US) && open {
                return Err(format!("the server is not reset: {states:?}, {}", client.progress()));
            }
            // No event at all is the end of time.
            self.now_us = next.unwrap_or(u64::MAX / 2).max(self.now_us + 1);
            if self.now_us > deadline {
                // The last acknowledgement was lost behind the programs, which had forgotten the flow: then the server's
                // socket waits for its own time-out, which this TCP does not have.
                if self.inner.loss > 0
                    && over(states.0)
                    && matches!(states.1, State::LastAck | State::Closing)
                    && client.check_end().is_ok()
                {
                    break;
                }
                if refusal && ended_us.is_some() {
                    return Err(format!("left alone: {states:?}, {}", client.progress()));
                }
                // This TCP can forget its timers. A stall is the programs' doing only if an end is still trying.
                if self.now_us > self.urged_us + 1_000_000_000 {
                    self.stalled += 1;
                    return Ok(client.requests_len() as u64);
                }
                return Err(format!("not finished in time: {states:?}, {}", client.progress()));
            }
            self.arrive();
        }
        self.told += u64::from(client.told());
        if !aborts {
            client.check_end()?;
            let machine = &self.gate.machine;
            let left = machine.flow_state(&self.key).map(|(splice, _)| splice);
            // A repeated last segment may have made a flow of which only the ports are translated; a reset ends one whose
            // client waits no longer. Both are the agent's to remove.
            let left = left.filter(|splice| splice.has(flag::COMPLETE) && !splice.has(flag::RESET));
            // Where a last acknowledgement can be lost behind the programs, or a helper fail, the agent tidies up.
            let clean = self.inner.loss == 0 && machine.counted(Reason::WriteFailed) == 0;
            if GUARDS && machine.flow_state(&self.key).is_some_and(|(splice, _)| !splice.has(flag::COMPLETE))
            {
                return Err("a connection is not read".to_owned());
            }
            // One that was reset, or told nothing, is the agent's to remove.
            let ends = ending == Ending::ClientFirst || client.told();
            // So is one whose client was done with it before the server's reset arrived.
            let left = left.filter(|splice| !splice.over());
            if clean && ends && left.is_some() {
                return Err(format!("the flow is left: {left:?}"));
            }
        }
        Ok(client.requests_len() as u64)
    }

    /// What an end has sent goes to the programs.
    fn collect(&mut self, from: Side) {
        let (end, macs, form) = match from {
            Side::Client => (&mut self.client, (1, 2), self.checksums[0]),
            Side::Server => (&mut self.server, (2, 1), self.checksums[1]),
        };
        let sent: Vec<_> = end.queue.sent.drain(..).collect();
        for packet in sent {
            let mut frame = Frame::of_ip(&packet, [2, 0, 0, 0, 0, macs.0], [2, 0, 0, 0, 0, macs.1], form);
            frame.seal();
            if asks(frame.ip()) {
                self.urged_us = self.now_us;
            }
            self.fly(
                if from == Side::Client { self.outer } else { self.inner },
                Place::GateFrom(from),
                frame,
            );
        }
    }

    fn fly(&mut self, link: Link, to: Place, frame: Frame) {
        let copies = if self.random.chance(link.repeats) { 2 } else { 1 };
        for _ in 0..copies {
            if self.random.chance(link.loss) {
                continue;
            }
            let delay = link.delay + self.random.below(link.jitter + 1);
            self.number += 1;
            self.flying.push(Reverse((self.now_us + delay, self.number)));
            self.packets.insert(self.number, (to, frame.clone()));
        }
    }

    /// What is due arrives. The programs' CPUs also see what comes within the time that they take.
    fn arrive(&mut self) {
        let mut later = Vec::new();
        let window_us = self.random.pick(&[0, 100, 2000]);
        while let Some(Reverse((at, number))) = self.flying.peek().copied() {
            if at > self.now_us + window_us {
                break;
            }
            self.flying.pop();
            let (to, _) = self.packets[&number];
            match to {
                Place::GateFrom(side) => {
                    let (_, frame) = self.packets.remove(&number).expect("it was looked at");
                    self.gate.pending.borrow_mut().push((side, frame));
                }
                Place::End(_) if at > self.now_us => later.push(Reverse((at, number))),
                Place::End(side) => {
                    let (_, frame) = self.packets.remove(&number).expect("it was looked at");
                    let end = if side == Side::Client { &mut self.client } else { &mut self.server };
                    end.queue.received.push_back(frame.ip().to_vec());
                }
            }
        }
        self.flying.extend(later);
        let state = match self.server.socket().state() {
            State::Listen | State::TimeWait | State::Closed => Socket::Free,
            State::SynReceived => Socket::Opening,
            _ => Socket::Live,
        };
        self.gate.machine.set_socket(self.key, state);
        self.gate.machine.set_now_ns(self.now_us * 1000);
        if self.trace && !self.gate.pending.borrow().is_empty() {
            println!("-- {} us", self.now_us);
        }
        self.gate.work();
        let sent: Vec<_> = self.gate.sent.borrow_mut().drain(..).collect();
        for (to, frame) in sent {
            self.fly(if to == Side::Client { self.outer } else { self.inner }, Place::End(to), frame);
        }
    }
}
