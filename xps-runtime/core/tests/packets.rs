//! The table of packets on the host.

use std::cell::Cell;

use xps_core::abi::Control;
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::host::segment::{ACCELERATED_PORT, PLAIN_PORT, Text, client, server};
use xps_core::host::table::{Becomes, Step, cases};
use xps_core::host::{Checksum, Frame, Machine, Outcome};
use xps_core::outlet::{CE, ECT_0};
use xps_core::path::{Action, Socket, Target};
use xps_core::splice::tcp_flag::{ACK, CWR, ECE, RST, SYN};
use xps_core::verdict::{Reason, Verdict};

/// `PING\n` is answered with `PONG\n`; `QUIT\n`, `ABRT\n` and `HUSH\n` end the connection; anything else goes to the server.
/// `JUNK\n` is not understood, nor may it pass. `GUARDS`: it wants to see all through the accelerated port and nothing else, and admits no client while it is shut.
#[derive(Default)]
struct Line<const GUARDS: bool> {
    shut: Cell<bool>,
    /// How often the handler was told that it sees no more.
    opaque: Cell<u32>,
}

/// The answers, readable up to a whole word.
const PONG: [u8; 8] = *b"PONG\n\0\0\0";
const BYE: [u8; 8] = *b"BYE\n\0\0\0\0";

#[derive(Clone, Copy)]
struct Connection {
    line: [u8; 5],
    column: u32,
    asked: u32,
    answered: u32,
    begun: bool,
}

#[derive(Clone, Copy)]
struct Lines {
    all: u32,
    pings: u32,
    /// The first byte of the line that ends the connection.
    ends: u8,
}

impl<const GUARDS: bool> Handler for Line<GUARDS> {
    type State = Connection;
    type Scratch = Lines;

    const READS_ALL: bool = GUARDS;
    const OBSERVES: bool = !GUARDS;

    fn admits(&self, _: &FlowKey) -> bool {
        !self.shut.get()
    }

    fn begin(&self, _: &FlowKey, lines: &mut Lines) {
        *lines = Lines { all: 0, pings: 0, ends: 0 };
    }

    fn request(&self, window: &mut Window, state: &mut Connection, lines: &mut Lines) -> Scan {
        while let Some(byte) = window.next() {
            if lines.ends != 0 {
                continue;
            }
            if let Some(at) = state.line.get_mut(state.column as usize) {
                *at = byte;
            }
            state.column += 1;
            if byte == b'\n' {
                if state.column == 5 && state.line == *b"JUNK\n" {
                    lines.ends = b'J';
                    return Scan::Opaque;
                }
                lines.all += 1;
                let ends = [*b"QUIT\n", *b"ABRT\n", *b"HUSH\n"].contains(&state.line);
                if state.column == 5 && ends {
                    lines.ends = state.line[0];
                }
                lines.pings += u32::from(state.column == 5 && state.line == *b"PING\n");
                state.column = 0;
            }
        }
        Scan::More
    }

    fn holds(&self, lines: &Lines) -> bool {
        lines.ends != 0
    }

    fn silences(&self, lines: &Lines) -> bool {
        lines.ends == b'H'
    }

    fn answer(&self, state: &mut Connection, lines: &mut Lines, reply: &mut Reply, room: u32) -> Verdict {
        if lines.ends != 0 {
            return Verdict::Close(Reason::Closed);
        }
        if state.column != 0 {
            return Verdict::Pass(Reason::Incomplete);
        }
        if state.asked != state.answered || state.begun {
            return Verdict::Pass(Reason::NotIdle);
        }
        if lines.pings != lines.all {
            return Verdict::Pass(Reason::NotServed);
        }
        if lines.all * 5 > room {
            return Verdict::Pass(Reason::TooLarge);
        }
        for _ in 0..lines.all {
            // SAFETY: eight bytes are readable.
            assert!(unsafe { reply.append(PONG.as_ptr(), 5) });
        }
        Verdict::Reply
    }

    fn last_words(&self, state: &mut Connection, lines: &mut Lines, reply: &mut Reply, room: u32) -> bool {
        let idle = state.asked == state.answered && lines.all == 1;
        // SAFETY: eight bytes are readable.
        lines.ends == b'Q' && idle && room >= 4 && unsafe { reply.append(BYE.as_ptr(), 4) }
    }

    fn passed(&self, state: &mut Connection, lines: &mut Lines) {
        state.asked += lines.all;
        state.begun = state.column != 0;
    }

    fn response(&self, window: &mut Window, state: &mut Connection, _: &mut Lines) -> Scan {
        while let Some(byte) = window.next() {
            state.answered += u32::from(byte == b'\n');
        }
        Scan::More
    }

    fn opaque(&self, _: &mut Connection) {
        self.opaque.set(self.opaque.get() + 1);
    }

    fn ended(&self, _: &FlowKey, _: &mut Connection) -> bool {
        true
    }

    fn requests(&self, lines: &Lines) -> u32 {
        lines.all
    }
}

fn run(checksum: Checksum, linear: u32) {
    let form = |mut frame: Frame| {
        let tags = frame.bytes[12..].chunks(4).take_while(|tag| tag.starts_with(&[0x81, 0])).count() * 4;
        let tags: Vec<u8> = frame.bytes.drain(12..12 + tags).collect();
        if checksum == Checksum::Partial && frame.check().is_ok() {
            frame.make_partial();
        }
        frame.bytes.splice(12..12, tags);
        frame
    };
    for case in cases() {
        let machine = Machine::new(Line::<false>::default(), ACCELERATED_PORT, PLAIN_PORT);
        machine.set_linear(linear);
        for (nth, step) in case.steps.iter().enumerate() {
            let at = format!("{}, step {nth}", case.name);
            match step.clone() {
                Step::Socket(socket) => {
                    for v6 in [false, true] {
                        machine.set_socket(client(0, 0, b"").over(v6).key(), socket);
                    }
                }
                Step::Local(address, local) => machine.set_local(address, local),
                Step::LeaseLapses => machine.set_control(|control| control.lease_deadline_ns = 0),
                Step::FlowsMax(flows) => machine.set_control(|control| control.flows_max = flows),
                Step::Packet { from_server, frame, becomes, mut counts } => {
                    machine.reset_counters();
                    let frame = form(frame);
                    let Outcome { action, frame, target, copies, .. } =
                        if from_server { machine.egress(frame) } else { machine.ingress(frame) };
                    let (frame, expected) = match (becomes, action, target) {
                        (Becomes::Dropped, Action::Drop, _) => (None, None),
                        (Becomes::Copies(expected), Action::Drop, _) => {
                            let got = copies.iter().filter(|(target, _)| *target == Target::Client);
                            let got: Vec<_> = got.map(|(_, copy)| copy.bytes.clone()).collect();
                            let expected: Vec<_> = expected.into_iter().map(|one| form(one).bytes).collect();
                            assert!(got == expected, "{at}:\n{got:02x?}\n{expected:02x?} was expected");
                            (None, None)
                        }
                        (Becomes::Next(expected), Action::Next, _)
                        | (Becomes::Reply(expected), Action::Redirected(_), Some(Target::Client))
                        | (Becomes::Acknowledgement(expected), Action::Redirected(_), Some(Target::Server)) =>
                        {
                            assert_eq!(frame.tag, expected.tag, "{at}");
                            (Some(frame.bytes), Some(form(expected).bytes))
                        }
                        (Becomes::Both { client, server }, Action::Redirected(_), Some(Target::Client)) => {
                            let [(Target::Server, copy)] = &copies[..] else { panic!("{at}: {copies:?}") };
                            assert!(copy.bytes == form(server).bytes, "{at}: {copy:02x?}");
                            (Some(frame.bytes), Some(form(client).bytes))
                        }
                        (becomes, ..) => panic!("{at}: {action:?} to {target:?}, not {becomes:?}"),
                    };
                    assert!(frame == expected, "{at}:\n{:02x?}\n{:02x?} was expected", frame, expected);
                    counts.sort();
                    assert_eq!(machine.counters(), counts, "{at}");
                }
            }
            machine.quiesce();
        }
    }
}

#[test]
fn complete_checksums() {
    run(Checksum::Complete, 0);
}

#[test]
fn partial_checksums() {
    run(Checksum::Partial, 66);
}

fn guard() -> Machine<Line<true>> {
    Machine::new(Line::default(), ACCELERATED_PORT, PLAIN_PORT)
}

/// What a packet of the client becomes at a guard, and what is counted.
fn at_guard(machine: &Machine<Line<true>>, text: &Text) -> (Action, Frame, Vec<(Reason, u64)>) {
    machine.reset_counters();
    let outcome = machine.ingress(text.frame());
    // What the programs leave with a packet is for themselves.
    (outcome.action, Frame { seen: 0, ..outcome.frame }, machine.counters())
}

#[test]
fn a_guard_lets_nothing_pass_whose_handshake_it_has_not_seen() {
    let machine = guard();
    let key = client(0, 0, b"").key();
    let data = client(1000, 2000, b"A\n");
    // Half-open, and nobody knows whose it is: the first acknowledgement does not reach it.
    machine.set_socket(key, Socket::Opening);
    let ack = client(1000, 2000, b"");
    let unseen = vec![(Reason::HandshakeUnseen, 1)];
    assert_eq!(at_guard(&machine, &ack), (Action::Drop, ack.frame(), unseen));
    assert_eq!(machine.flows_len(), 0);
    // One that has come about without a flow is the user path's.
    machine.set_socket(key, Socket::Live);
    assert_eq!(at_guard(&machine, &data), (Action::Next, data.frame(), vec![]));
}

#[test]
fn a_guard_waits_for_the_segment_that_opens_a_connection() {
    let machine = guard();
    let key = client(0, 0, b"").key();
    machine.set_socket(key, Socket::Free);
    machine.ingress(client(999, 0, b"").opening().frame());
    machine.egress(server(1999, 1000, b"").opening().frame());
    machine.set_socket(key, Socket::Opening);
    let (first, second) = (client(1000, 2000, b"A\n"), client(1002, 2000, b"B\n"));
    let (action, _, counts) = at_guard(&machine, &second);
    assert_eq!((action, counts), (Action::Drop, vec![(Reason::OutOfOrder, 1)]));
    for text in [first, second] {
        let (action, frame, _) = at_guard(&machine, &text);
        assert_eq!((action, frame), (Action::Next, text.frame()));
    }
}

#[test]
fn a_guard_does_not_look_at_the_plain_port() {
    let machine = guard();
    let key = client(0, 0, b"").key();
    let plain = |text: Text| text.port(PLAIN_PORT);
    machine.set_socket(key, Socket::Free);
    let syn = plain(client(999, 0, b"").opening());
    assert_eq!(at_guard(&machine, &syn), (Action::Next, syn.frame(), vec![]));
    let answer = plain(server(1999, 1000, b"").opening());
    assert_eq!(machine.egress(answer.frame()).frame.bytes, answer.frame().bytes);
    machine.set_socket(key, Socket::Live);
    for text in [client(1000, 2000, b""), client(1000, 2000, b"QUIT\n"), client(1005, 2000, b"A\n")] {
        let text = plain(text);
        assert_eq!(at_guard(&machine, &text), (Action::Next, text.frame(), vec![]));
    }
    assert_eq!((machine.flows_len(), machine.foreign_len()), (0, 0));
}

#[test]
fn a_client_that_is_not_admitted_cannot_connect() {
    let machine = guard();
    machine.set_socket(client(0, 0, b"").key(), Socket::Free);
    machine.handler.shut.set(true);
    let syn = client(999, 0, b"").opening();
    let (action, _, counts) = at_guard(&machine, &syn);
    assert_eq!((action, counts), (Action::Drop, vec![(Reason::NotAdmitted, 1)]));
    // It asks again, and is let in; then the same SYN is not asked about any more.
    machine.handler.shut.set(false);
    let to_server = syn.clone().frame();
    assert_eq!(at_guard(&machine, &syn), (Action::Next, to_server.clone(), vec![]));
    machine.handler.shut.set(true);
    assert_eq!(at_guard(&machine, &syn), (Action::Next, to_server, vec![]));
}

#[test]
fn whoever_connects_is_let_in_while_everything_passes() {
    let changes: [fn(&mut Control); 2] =
        [|control| control.answer = 0, |control| control.lease_deadline_ns = 0];
    for change in changes {
        let machine = guard();
        machine.set_socket(client(0, 0, b"").key(), Socket::Free);
        machine.handler.shut.set(true);
        machine.set_control(change);
        let syn = client(999, 0, b"").opening();
        let to_server = syn.clone().frame();
        assert_eq!(at_guard(&machine, &syn), (Action::Next, to_server, vec![]));
    }
}

#[test]
fn what_is_neither_understood_nor_may_pass_ends_a_connection_on_either_port() {
    for (port, standing) in [ACCELERATED_PORT, PLAIN_PORT].map(|port| [(port, true), (port, false)]).concat()
    {
        let at = |text: Text| text.port(port).frame();
        let machine = Machine::new(Line::<false>::default(), ACCELERATED_PORT, PLAIN_PORT);
        let key = client(0, 0, b"").port(port).key();
        machine.set_socket(key, Socket::Free);
        machine.ingress(at(client(999, 0, b"").opening()));
        machine.egress(at(server(1999, 1000, b"").opening()));
        machine.set_socket(key, Socket::Live);
        machine.ingress(at(client(1000, 2000, b"")));
        if !standing {
            machine.set_control(|control| control.lease_deadline_ns = 0);
        }
        machine.reset_counters();
        let junk = client(1000, 2000, b"A\nJUNK\nB\n");
        let Outcome { action, frame, target, copies, .. } = machine.ingress(at(junk.clone()));
        if !standing {
            assert_eq!((action, frame.bytes), (Action::Next, at(junk).bytes), "{port}");
            assert_eq!(machine.handler.opaque.get(), 1, "{port}");
            continue;
        }
        assert_eq!(machine.counters(), [(Reason::WasReset, 1)], "{port}");
        assert_eq!(machine.handler.opaque.get(), 0, "{port}");
        assert!(
            matches!((action, target), (Action::Redirected(_), Some(Target::Client))),
            "{port}: {action:?}"
        );
        let reset = Text { window: 0, ..server(2000, 1009, b"").flags(RST | ACK) };
        assert_eq!(frame.bytes, at(reset).bytes, "{port}");
        let [(Target::Server, copy)] = &copies[..] else { panic!("{port}: {copies:?}") };
        let reset = Text { window: 0, ..client(1000, 2000, b"").flags(RST | ACK) };
        assert_eq!(copy.bytes, at(reset).bytes, "{port}");
        machine.quiesce();
    }
}

/// Not in the table: the kernel runs no test with a packet of that size.
#[test]
fn a_packet_longer_than_its_length_field_can_tell() {
    for v6 in [false, true] {
        let machine = Machine::new(Line::<false>::default(), ACCELERATED_PORT, PLAIN_PORT);
        let key = client(0, 0, b"").over(v6).key();
        machine.set_socket(key, Socket::Free);
        machine.ingress(client(999, 0, b"").over(v6).opening().frame());
        machine.egress(server(1999, 1000, b"").over(v6).opening().frame());
        machine.set_socket(key, Socket::Live);
        machine.ingress(client(1000, 2000, b"").over(v6).frame());
        let large = server(2000, 1000, &[b'x'; 70_000]).over(v6);
        let after = server(72_000, 1000, b"after\n").over(v6);
        for text in [large, after] {
            let partial = |mut frame: Frame| {
                frame.make_partial();
                frame
            };
            let outcome = machine.egress(partial(text.frame()));
            assert_eq!(outcome.action, Action::Next);
            // The next one is in order.
            assert!(outcome.frame.bytes == partial(text.frame()).bytes);
        }
        assert_eq!(machine.counters().iter().filter(|(reason, _)| *reason == Reason::OutOfOrder).count(), 0);
    }
}

/// Not in the table, which does not look at what the client is sent beside a packet that goes on.
#[test]
fn an_acknowledgement_that_was_held_back_tells_of_congestion() {
    let machine = Machine::new(Line::<false>::default(), ACCELERATED_PORT, PLAIN_PORT);
    let key = client(0, 0, b"").key();
    machine.set_socket(key, Socket::Free);
    machine.ingress(client(999, 0, b"").opening().flags(SYN | ECE | CWR).frame());
    machine.egress(server(1999, 1000, b"").opening().flags(SYN | ACK | ECE).frame());
    machine.set_socket(key, Socket::Live);
    machine.ingress(client(1000, 2000, b"").frame());
    let reply = machine.ingress(client(1000, 2000, b"PING\n").service(CE).frame());
    assert_eq!(reply.target, Some(Target::Client));
    // It would cover the request before the client has the reply.
    machine.ingress(client(1005, 2000, b"A\n").service(ECT_0).frame());
    machine.egress(server(2000, 1002, b"").frame());
    let outcome = machine.ingress(client(1007, 2005, b"").frame());
    assert_eq!(outcome.action, Action::Next);
    let [(Target::Client, told)] = &outcome.copies[..] else { panic!("{:?}", outcome.copies) };
    assert!(told.bytes == server(2005, 1007, b"").flags(ACK | ECE).frame().bytes, "{told:02x?}");
}
