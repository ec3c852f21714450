//! The server's own port, accelerated in place: what is not taken is an observer's to count and a guard's to stop.

use xps_core::abi::Local;
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::host::segment::{ACCELERATED_PORT, Text, client, server};
use xps_core::host::{Machine, Outcome};
use xps_core::path::{Action, Socket};
use xps_core::splice::flag;
use xps_core::splice::tcp_flag::{ACK, FIN};
use xps_core::verdict::{Reason, Verdict};

/// Answers nothing.
struct Quiet<const GUARDS: bool>;

impl<const GUARDS: bool> Handler for Quiet<GUARDS> {
    type State = u32;
    type Scratch = u32;

    const READS_ALL: bool = GUARDS;
    const OBSERVES: bool = !GUARDS;

    fn begin(&self, _: &FlowKey, _: &mut u32) {}
    fn request(&self, window: &mut Window, _: &mut u32, _: &mut u32) -> Scan {
        window.at = window.len;
        Scan::More
    }
    fn answer(&self, _: &mut u32, _: &mut u32, _: &mut Reply, _: u32) -> Verdict {
        Verdict::Pass(Reason::NotServed)
    }
    fn passed(&self, _: &mut u32, _: &mut u32) {}
    fn response(&self, window: &mut Window, _: &mut u32, _: &mut u32) -> Scan {
        window.at = window.len;
        Scan::More
    }
    fn opaque(&self, _: &mut u32) {}
    fn ended(&self, _: &FlowKey, _: &mut u32) -> bool {
        true
    }
    fn requests(&self, _: &u32) -> u32 {
        0
    }
}

fn machine<const GUARDS: bool>(socket: Socket) -> Machine<Quiet<GUARDS>> {
    let machine = Machine::new(Quiet, ACCELERATED_PORT, ACCELERATED_PORT);
    machine.set_socket(key(), socket);
    machine
}

fn key() -> FlowKey {
    client(0, 0, b"").key()
}

fn action(outcome: &Outcome) -> Action {
    outcome.action
}

/// What becomes of a client's packet, and the counters that it changes.
fn sent<const GUARDS: bool>(machine: &Machine<Quiet<GUARDS>>, text: &Text) -> (Action, Vec<(Reason, u64)>) {
    machine.reset_counters();
    let outcome = machine.ingress(text.frame());
    (action(&outcome), machine.counters())
}

/// A handshake. The flags of the flow, if it has one.
fn opened<const GUARDS: bool>(machine: &Machine<Quiet<GUARDS>>) -> Option<u32> {
    machine.ingress(client(999, 0, b"").opening().frame());
    machine.egress(server(1999, 1000, b"").opening().frame());
    machine.set_socket(key(), Socket::Opening);
    machine.ingress(client(1000, 2000, b"").frame());
    machine.set_socket(key(), Socket::Live);
    machine.flow_state(&key()).map(|(splice, _)| splice.flags)
}

#[test]
fn a_client_is_accelerated_and_the_agent_is_observed() {
    let taken = opened(&machine::<false>(Socket::Free)).expect("a flow");
    assert_eq!(taken & flag::ACCELERATED, flag::ACCELERATED);
    let machine = machine::<false>(Socket::Free);
    machine.set_own(key(), true);
    let own = opened(&machine).expect("a flow");
    assert_eq!(own & flag::ACCELERATED, 0);
    // What was decided at the SYN stays.
    machine.set_own(key(), false);
    assert_eq!(machine.flow_state(&key()).expect("a flow").0.flags & flag::ACCELERATED, 0);
}

#[test]
fn bytes_of_a_connection_without_a_flow_are_counted_and_not_stopped_by_an_observer() {
    let foreign = vec![(Reason::Foreign, 1)];
    let data = client(1000, 2000, b"A\n");
    for (socket, cookies, counts) in [
        (Socket::Live, false, foreign.clone()),
        (Socket::Opening, false, foreign.clone()),
        (Socket::Free, true, foreign),
        (Socket::Free, false, vec![]),
        (Socket::Absent, false, vec![]),
    ] {
        let machine = machine::<false>(socket);
        machine.set_cookies(cookies);
        assert_eq!(sent(&machine, &data), (Action::Next, counts.clone()), "{socket:?}");
        assert_eq!(machine.foreign_len(), counts.len() as u64);
        assert_eq!(sent(&machine, &client(1000, 2000, b"")), (Action::Next, vec![]), "{socket:?}");
    }
}

#[test]
fn the_server_s_bytes_on_a_connection_without_a_flow_are_counted() {
    for (socket, count) in [(Socket::Live, 1), (Socket::Free, 0), (Socket::Absent, 0)] {
        let machine = machine::<false>(socket);
        let outcome = machine.egress(server(2000, 1000, b"+OK\r\n").frame());
        assert_eq!((action(&outcome), machine.foreign_len()), (Action::Next, count), "{socket:?}");
        machine.egress(server(2005, 1000, b"").frame());
        assert_eq!(machine.foreign_len(), count, "{socket:?}: no bytes");
    }
}

#[test]
fn a_guard_lets_nothing_through_that_has_no_flow() {
    let unseen = (Action::Drop, vec![(Reason::HandshakeUnseen, 1)]);
    let passed = (Action::Next, vec![]);
    let (data, bare) = (client(1000, 2000, b"A\n"), client(1000, 2000, b""));
    let end = client(1000, 2000, b"").flags(FIN | ACK);
    for (socket, cookies, of_data, of_bare) in [
        (Socket::Live, false, &unseen, &passed),
        (Socket::Opening, false, &unseen, &unseen),
        (Socket::Free, true, &unseen, &unseen),
        // Nobody wants it: the kernel says so to the client.
        (Socket::Free, false, &passed, &passed),
        (Socket::Absent, false, &passed, &passed),
    ] {
        let machine = machine::<true>(socket);
        machine.set_cookies(cookies);
        assert_eq!(&sent(&machine, &data), of_data, "{socket:?}");
        assert_eq!(&sent(&machine, &bare), of_bare, "{socket:?}");
        assert_eq!(&sent(&machine, &end), of_bare, "{socket:?}");
        // Without its agent there is no guard.
        machine.set_control(|control| control.lease_deadline_ns = 0);
        assert_eq!(sent(&machine, &data), passed, "{socket:?}");
    }
}

#[test]
fn a_guard_stops_at_the_syn_what_it_cannot_take() {
    let syn = client(999, 0, b"").opening();
    let full = machine::<true>(Socket::Free);
    full.set_control(|control| control.flows_max = 0);
    assert_eq!(sent(&full, &syn), (Action::Drop, vec![(Reason::FlowTableFull, 1)]));
    let shut = machine::<true>(Socket::Free);
    shut.set_control(|control| control.accept = 0);
    assert_eq!(sent(&shut, &syn), (Action::Drop, vec![(Reason::NotAccepting, 1)]));
    // Data on the SYN could be the server's before anybody has read it (RFC 7413).
    let early = Text { payload: b"A\n".to_vec(), ..syn.clone() };
    assert_eq!(
        sent(&machine::<true>(Socket::Free), &early),
        (Action::Drop, vec![(Reason::NotSpliceable, 1)])
    );
    assert_eq!(sent(&machine::<true>(Socket::Free), &syn), (Action::Next, vec![]));
}

#[test]
fn an_address_that_is_left_out_is_the_server_s_alone() {
    let machine = machine::<true>(Socket::Free);
    let flags = opened(&machine).expect("a flow");
    assert_eq!(flags & flag::ACCELERATED, flag::ACCELERATED);
    // This one was taken before; another one is not looked at, whatever it is.
    let other = client(1000, 2000, b"A\n").over(true);
    let other_key = other.key();
    for address in [key().server, other_key.server] {
        machine.set_local(address, Some(Local { accelerated: 0, ..Local::default() }));
    }
    machine.set_socket(other_key, Socket::Live);
    assert_eq!(sent(&machine, &other), (Action::Next, vec![]));
    assert_eq!(sent(&machine, &client(1000, 2000, b"A\n")).1, vec![(Reason::NotServed, 1)]);
    machine.set_socket(other_key, Socket::Free);
    let syn = client(999, 0, b"").over(true).opening();
    assert_eq!(sent(&machine, &syn), (Action::Next, vec![]));
    assert_eq!(machine.flows_len(), 1);
}

#[test]
fn a_handshake_opens_one_connection() {
    let machine = machine::<false>(Socket::Free);
    opened(&machine).expect("a flow");
    machine.ingress(client(1000, 2000, b"").flags(FIN | ACK).frame());
    machine.egress(server(2000, 1001, b"").flags(FIN | ACK).frame());
    machine.ingress(client(1001, 2001, b"").frame());
    assert_eq!(machine.flows_len(), 0);
    // What has its numbers afterwards is nobody's, and is not read.
    machine.set_socket(key(), Socket::Free);
    assert_eq!(sent(&machine, &client(1000, 2000, b"A\n")), (Action::Next, vec![]));
    assert_eq!(machine.flows_len(), 0);
    // The next handshake opens the next one, also with the same number.
    machine.ingress(client(999, 0, b"").opening().frame());
    machine.egress(server(2999, 1000, b"").opening().frame());
    machine.set_socket(key(), Socket::Opening);
    machine.ingress(client(1000, 3000, b"A\n").frame());
    assert_eq!(machine.flows_len(), 1);
}

#[test]
fn the_same_handshake_again_opens_a_connection_again() {
    let machine = machine::<true>(Socket::Free);
    for _ in 0..2 {
        // With SYN cookies the server's numbers are the same for a while, and there is no socket yet.
        machine.set_socket(key(), Socket::Free);
        machine.ingress(client(999, 0, b"").opening().frame());
        machine.egress(server(1999, 1000, b"").opening().frame());
        machine.ingress(client(1000, 2000, b"").frame());
        assert_eq!(machine.flows_len(), 1);
        machine.set_socket(key(), Socket::Live);
        machine.ingress(client(1000, 2000, b"").flags(FIN | ACK).frame());
        machine.egress(server(2000, 1001, b"").flags(FIN | ACK).frame());
        machine.ingress(client(1001, 2001, b"").frame());
        assert_eq!(machine.flows_len(), 0);
    }
}
