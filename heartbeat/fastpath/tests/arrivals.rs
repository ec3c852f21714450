//! The table of packets on the host; the kernel's programs run the same (`heartbeat/tests/kernel/arrivals.rs`).

use std::collections::BTreeSet;

use heartbeat_fastpath::datagram::Action;
use heartbeat_fastpath::echo::EchoOutcome;
use heartbeat_fastpath::host::arrivals::{ADDRESSES, CLUSTER, Fate, PORT, arrivals, keys, nodes, peer};
use heartbeat_fastpath::host::echoes::{DEVICE, echo_peers, echoes};
use heartbeat_fastpath::host::packet::{Hook, Machine};
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::Outcome;

fn machine(port: u16) -> Machine {
    let machine =
        Machine { addresses: ADDRESSES.to_vec(), port, now_ns: 1_000_000_000_000, ..Machine::default() };
    machine.memory.set_keys(keys());
    for (id, node) in nodes() {
        machine.memory.set_node(CLUSTER, id, node);
        machine.memory.add_peer(CLUSTER, id, peer());
    }
    machine
}

fn counts(machine: &Machine) -> Vec<u64> {
    let refusals = Refusal::ALL.iter().map(|refusal| Outcome::Dropped(*refusal));
    let others = [Outcome::Answered, Outcome::AnsweredDegraded, Outcome::Passed];
    refusals.chain(others).map(|outcome| machine.memory.counted(outcome)).collect()
}

#[test]
fn each_packet_meets_its_fate() {
    for hook in [Hook::Xdp, Hook::Tcx] {
        let machine = machine(PORT);
        for arrived in arrivals() {
            let fate = if hook == Hook::Tcx && arrived.tagged { Fate::Foreign } else { arrived.fate };
            let mut expected = counts(&machine);
            if let Some(outcome) = fate.outcome() {
                expected[outcome.index()] += 1;
            }
            let (action, bytes) = machine.run(hook, &arrived.bytes);
            let (wanted, left) = match fate {
                Fate::Foreign | Fate::Passed => (Action::Next, arrived.bytes),
                Fate::Dropped(_) => (Action::Drop, arrived.bytes),
                Fate::Replied(reply, _) => (Action::Back, reply),
            };
            assert_eq!(action, wanted, "{hook:?}: {}", arrived.name);
            assert_eq!(bytes, left, "{hook:?}: {}", arrived.name);
            assert_eq!(counts(&machine), expected, "{hook:?}: {}", arrived.name);
        }
    }
}

#[test]
fn without_a_port_nothing_is_ours() {
    let machine = machine(0);
    for arrived in arrivals() {
        assert_eq!(machine.run(Hook::Xdp, &arrived.bytes), (Action::Next, arrived.bytes), "{}", arrived.name);
    }
    assert!(counts(&machine).iter().all(|count| *count == 0));
}

#[test]
fn the_table_has_each_outcome() {
    let seen: BTreeSet<usize> =
        arrivals().iter().filter_map(|arrived| Some(arrived.fate.outcome()?.index())).collect();
    assert_eq!(seen.len(), Outcome::COUNT, "{seen:?}");
}

#[test]
fn each_echo_packet_meets_its_fate() {
    for hook in [Hook::Xdp, Hook::Tcx] {
        let machine = Machine { device: DEVICE, ..machine(PORT) };
        for (key, peer) in echo_peers() {
            machine.echoes.add(key, peer);
        }
        let mut seen = BTreeSet::new();
        for echo in echoes() {
            let outcome = if hook == Hook::Tcx && echo.tagged { None } else { echo.outcome };
            let mut expected = machine.echoes.counts();
            if let Some(outcome) = outcome {
                expected[outcome as usize] += 1;
                seen.insert(outcome as usize);
            }
            let wanted = match outcome {
                Some(EchoOutcome::Reflected) => (Action::Back, echo.becomes),
                Some(EchoOutcome::TooFast) => (Action::Drop, echo.bytes.clone()),
                Some(EchoOutcome::Stranger | EchoOutcome::Returned) | None => {
                    (Action::Next, echo.bytes.clone())
                }
            };
            assert_eq!(machine.run(hook, &echo.bytes), wanted, "{hook:?}: {}", echo.name);
            assert_eq!(machine.echoes.counts(), expected, "{hook:?}: {}", echo.name);
        }
        assert_eq!(seen.len(), EchoOutcome::ALL.len());
        assert!(counts(&machine).iter().all(|count| *count == 0));
    }
}

#[test]
fn while_nobody_may_no_echo_packet_is_ours() {
    let machine = machine(PORT);
    for echo in echoes() {
        assert_eq!(machine.run(Hook::Xdp, &echo.bytes), (Action::Next, echo.bytes), "{}", echo.name);
    }
    assert_eq!(machine.echoes.counts(), [0; EchoOutcome::ALL.len()]);
}
