//! The table of packets on the host.

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::host::segment::{ACCELERATED_PORT, PLAIN_PORT, client, server};
use xps_core::host::table::{Becomes, Step, cases};
use xps_core::host::{Checksum, Frame, Machine, Outcome};
use xps_core::path::{Action, Socket, Target};
use xps_core::verdict::{Reason, Verdict};

/// `PING\n` is answered with `PONG\n`, anything else goes to the server.
struct Line;

/// The answer, readable up to a whole word.
const PONG: [u8; 8] = *b"PONG\n\0\0\0";

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
}

impl Handler for Line {
    type State = Connection;
    type Scratch = Lines;

    fn begin(&self, _: &FlowKey, lines: &mut Lines) {
        *lines = Lines { all: 0, pings: 0 };
    }

    fn request(&self, window: &mut Window, state: &mut Connection, lines: &mut Lines) -> Scan {
        while let Some(byte) = window.next() {
            if let Some(at) = state.line.get_mut(state.column as usize) {
                *at = byte;
            }
            state.column += 1;
            if byte == b'\n' {
                lines.all += 1;
                lines.pings += u32::from(state.column == 5 && state.line == *b"PING\n");
                state.column = 0;
            }
        }
        Scan::More
    }

    fn answer(&self, state: &mut Connection, lines: &mut Lines, reply: &mut Reply, room: u32) -> Verdict {
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

    fn opaque(&self, _: &mut Connection) {}

    fn ended(&self, _: &mut Connection) -> bool {
        true
    }

    fn requests(&self, lines: &Lines) -> u32 {
        lines.all
    }
}

fn run(checksum: Checksum, linear: u32) {
    let form = |mut frame: Frame| {
        if checksum == Checksum::Partial && frame.check().is_ok() {
            frame.make_partial();
        }
        frame
    };
    for case in cases() {
        let machine = Machine::new(Line, ACCELERATED_PORT, PLAIN_PORT);
        machine.set_linear(linear);
        for (nth, step) in case.steps.iter().enumerate() {
            let at = format!("{}, step {nth}", case.name);
            match step.clone() {
                Step::Socket(socket) => {
                    for v6 in [false, true] {
                        machine.set_socket(client(0, 0, b"").over(v6).key(), socket);
                    }
                }
                Step::LeaseLapses => machine.set_control(|control| control.lease_deadline_ns = 0),
                Step::FlowsMax(flows) => machine.set_control(|control| control.flows_max = flows),
                Step::Packet { from_server, frame, becomes, mut counts } => {
                    machine.reset_counters();
                    let frame = form(frame);
                    let Outcome { action, frame, target, .. } =
                        if from_server { machine.egress(frame) } else { machine.ingress(frame) };
                    let (frame, expected) = match (becomes, action, target) {
                        (Becomes::Dropped, Action::Drop, _) => (None, None),
                        (Becomes::Next(expected), Action::Next, _)
                        | (Becomes::Reply(expected), Action::Redirected(_), Some(Target::Client))
                        | (Becomes::Acknowledgement(expected), Action::Redirected(_), Some(Target::Server)) => {
                            (Some(frame.bytes), Some(form(expected).bytes))
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

/// Not in the table: the kernel runs no test with a packet of that size.
#[test]
fn a_packet_longer_than_its_length_field_can_tell() {
    for v6 in [false, true] {
        let machine = Machine::new(Line, ACCELERATED_PORT, PLAIN_PORT);
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
            // From the port that the client knows, and the next one is in order.
            assert!(outcome.frame.bytes == partial(text.port(ACCELERATED_PORT).frame()).bytes);
        }
        assert_eq!(machine.counters().iter().filter(|(reason, _)| *reason == Reason::OutOfOrder).count(), 0);
    }
}
