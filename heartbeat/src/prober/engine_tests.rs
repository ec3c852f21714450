//! Two hosts and whoever else sends to them, without sockets and clocks.

use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::wire::{Health, SendTime, Sequence, Subject};

use super::*;
use crate::path::Answers;

const CLUSTER: ClusterId = ClusterId(5);
const MS: u64 = 1_000_000;
/// When the tests begin, on both clocks.
const START: Now = Now { ns: 1_000_000_000, real_ns: 1_800_000_000_000_000_000 };

fn id(number: u32) -> NodeId {
    NodeId::new(number).expect("not 0")
}

fn key(number: u8) -> Key {
    Key::new(KeyId::new(number).expect("not 0"), [number; 16])
}

fn ring(number: u8) -> Ring {
    Ring { keys: Keys::new(CLUSTER, key(number)), sending: key(number) }
}

fn address(host: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8], 7946))
}

fn later(by_ms: u64) -> Now {
    Now { ns: START.ns + by_ms * MS, real_ns: START.real_ns + by_ms * MS }
}

/// A host with one node, whose lease stands until it is said otherwise.
struct Host {
    engine: Engine,
    nodes: Arc<Nodes>,
    tables: Arc<UserTables>,
    counts: Counts,
    events: Vec<Event>,
}

impl Host {
    fn new(number: u32, members: &[u32]) -> Self {
        let tables = Arc::<UserTables>::default();
        let nodes = Arc::new(Nodes::new(CLUSTER, vec![Arc::clone(&tables) as Arc<dyn Answers>]));
        let counts = Counts::new().expect("metrics");
        let probing = Config::with_interval(10 * MS);
        let engine =
            Engine::new(CLUSTER, ring(1), probing, Arc::clone(&tables), Arc::clone(&nodes), counts.clone());
        let mut engine = engine.expect("an engine");
        engine.set_members(START, listed(members)).expect("members");
        engine.set_nodes(START, &[local(number)], 7).expect("a node");
        nodes.set_lease(id(number), u64::MAX).expect("a lease");
        Self { engine, nodes, tables, counts, events: Vec::new() }
    }

    /// What is sent, to whom.
    fn sent(&mut self) -> Vec<Outgoing> {
        let mut sent = Vec::new();
        for effect in self.engine.effects() {
            match effect {
                Effect::Send(outgoing) => sent.push(outgoing),
                Effect::Changed(event) => self.events.push(event),
            }
        }
        sent
    }

    fn state(&self, of: u32, now: Now) -> State {
        let members = self.engine.view(now);
        members.iter().find(|member| member.node == of).expect("a member").state
    }

    fn dropped(&self, refusal: Refusal) -> u64 {
        self.tables.memory().counted(Outcome::Dropped(refusal))
    }
}

fn local(number: u32) -> Local {
    let rate = Rate::new(1, 1_000_000).expect("a rate");
    Local { id: id(number), when_lapsed: WhenLapsed::Silent, rate, before: None }
}

fn listed(members: &[u32]) -> Members {
    members.iter().map(|&number| (id(number), Some(address(number)))).collect()
}

/// Lets hosts 1 and 2 speak with each other for so many milliseconds, from `from` on; what `lost` says is lost.
fn speak(hosts: &mut [Host; 2], from: u64, for_ms: u64, lost: impl Fn(usize) -> bool) {
    for ms in from..from + for_ms {
        let now = later(ms);
        hosts.iter_mut().for_each(|host| host.engine.tick(now));
        // Answers of answers come in the same millisecond.
        for _ in 0..4 {
            for from in 0..2 {
                for outgoing in hosts[from].sent() {
                    let to = 1 - from;
                    if lost(from) || outgoing.to != address(to as u32 + 1) {
                        continue;
                    }
                    let reply = hosts[to].engine.receive(now, &outgoing.bytes, address(from as u32 + 1));
                    if let Some(reply) = reply
                        && !lost(to)
                    {
                        assert_eq!(reply.to, address(from as u32 + 1));
                        hosts[from].engine.receive(now, &reply.bytes, outgoing.to);
                    }
                }
            }
        }
    }
}

fn pair() -> [Host; 2] {
    [Host::new(1, &[1, 2]), Host::new(2, &[1, 2])]
}

#[test]
fn who_lives_is_alive_and_who_falls_silent_has_failed() {
    let mut hosts = pair();
    speak(&mut hosts, 0, 200, |_| false);
    assert_eq!(hosts.each_ref().map(|host| host.events.len()), [0, 0]);
    assert!(hosts[0].counts.round_trips.get_sample_count() > 10);
    // The application of node 2 hangs: its lease lapses, whatever its agent does.
    hosts[1].nodes.set_lease(id(2), later(200).ns).expect("a lease");
    speak(&mut hosts, 200, 200, |_| false);
    assert_eq!(hosts[0].state(2, later(400)), State::Failed);
    assert_eq!(hosts[1].state(1, later(400)), State::Alive);
    let seen: Vec<_> = hosts[0].events.iter().map(|event| (event.node, event.from, event.to)).collect();
    assert_eq!(seen, [(2, State::Alive, State::Suspect), (2, State::Suspect, State::Failed)]);
    assert!(hosts[1].dropped(Refusal::Lapsed) > 0);
    hosts[1].nodes.set_lease(id(2), u64::MAX).expect("a lease");
    speak(&mut hosts, 400, 300, |_| false);
    assert_eq!(hosts[0].state(2, later(700)), State::Alive);
    assert_eq!((hosts[0].counts.recoveries.get(), hosts[0].counts.suspicions_refuted.get()), (1, 0));
}

#[test]
fn who_is_accused_answers_under_a_new_incarnation() {
    let mut hosts = pair();
    speak(&mut hosts, 0, 100, |_| false);
    let before = incarnation(&hosts[0]);
    speak(&mut hosts, 100, 100, |from| from == 1);
    assert_eq!(hosts[0].state(2, later(200)), State::Failed);
    speak(&mut hosts, 200, 300, |_| false);
    assert_eq!(hosts[0].state(2, later(500)), State::Alive);
    assert!(hosts[1].counts.accusations.get() > 0);
    assert!(incarnation(&hosts[0]) > before, "the stack's tables have it, too");
}

/// Under which incarnation node 2 has answered host 1.
fn incarnation(host: &Host) -> u32 {
    host.engine.view(later(1000)).iter().find(|member| member.node == 2).expect("a member").incarnation
}

#[test]
fn asks_and_claims_are_heard_once_and_only_from_members() {
    let mut host = Host::new(1, &[1, 2, 3]);
    let ask = |sender: u32, sequence| {
        let subject = Subject { node: id(3), incarnation: Incarnation(0) };
        let message = Message {
            cluster: CLUSTER,
            sender: id(sender),
            incarnation: Incarnation(1),
            receiver: id(1),
            sequence: Sequence(sequence),
            sent: SendTime(0),
            body: Body::Ask { subject },
        };
        message.encode(&key(1))
    };
    let mut heard = |sender, sequence| {
        assert_eq!(host.engine.receive(START, &ask(sender, sequence), address(sender)), None);
        host.sent().len()
    };
    // That it is asked is told, and the subject probed.
    assert_eq!(heard(2, 5), 2);
    assert_eq!([heard(2, 5), heard(9, 6), heard(1, 7)], [0, 0, 0]);
    assert_eq!(heard(2, 4), 2);
    assert_eq!((host.dropped(Refusal::Replayed), host.dropped(Refusal::UnknownSender)), (1, 2));
}

#[test]
fn a_claim_that_is_repeated_changes_nothing() {
    let mut host = Host::new(1, &[1, 2, 3]);
    let subject = Subject { node: id(1), incarnation: Incarnation(u32::MAX - 5) };
    let claim = Message {
        cluster: CLUSTER,
        sender: id(2),
        incarnation: Incarnation(1),
        receiver: id(1),
        sequence: Sequence(5),
        sent: SendTime(0),
        body: Body::Claim { subject, health: Health::Failed },
    };
    let claim = claim.encode(&key(1));
    for _ in 0..3 {
        host.engine.receive(START, &claim, address(2));
    }
    assert_eq!((host.counts.accusations.get(), host.dropped(Refusal::Replayed)), (1, 2));
}

#[test]
fn keys_are_changed_without_a_moment_of_silence() {
    let mut hosts = pair();
    let both = Ring { keys: ring(1).keys.and(key(2)).expect("another number"), sending: key(1) };
    let mut at = 0;
    let mut go_on = |hosts: &mut [Host; 2]| {
        speak(hosts, at, 100, |_| false);
        at += 100;
    };
    go_on(&mut hosts);
    for (host, ring) in
        [(0, both), (1, both), (0, Ring { sending: key(2), ..both }), (1, ring(2)), (0, ring(2))]
    {
        hosts[host].engine.set_ring(ring).expect("keys");
        go_on(&mut hosts);
    }
    assert_eq!(hosts.each_ref().map(|host| host.events.len()), [0, 0]);
    assert_eq!(hosts.each_ref().map(|host| host.dropped(Refusal::UnknownKey)), [0, 0]);
    hosts[0].engine.set_ring(ring(1)).expect("keys");
    go_on(&mut hosts);
    assert!(hosts[0].dropped(Refusal::UnknownKey) > 0);
    assert_eq!(hosts[0].state(2, later(600)), State::Failed);
}

#[test]
fn members_and_nodes_come_and_go() {
    let mut host = Host::new(1, &[1, 2]);
    assert_eq!(host.engine.view(START).len(), 1);
    host.engine.set_members(START, listed(&[1, 3, 4])).expect("members");
    let members: Vec<_> = host.engine.view(START).iter().map(|member| member.node).collect();
    assert_eq!(members, [3, 4]);
    host.engine.set_nodes(START, &[local(1), local(3)], 7).expect("nodes");
    let seen: Vec<_> = host.engine.view(START).iter().map(|member| (member.observer, member.node)).collect();
    assert_eq!(seen, [(1, 3), (1, 4), (3, 1), (3, 4)]);
    host.engine.set_nodes(START, &[local(3)], 7).expect("nodes");
    let seen: Vec<_> = host.engine.view(START).iter().map(|member| (member.observer, member.node)).collect();
    assert_eq!(seen, [(3, 1), (3, 4)]);
    // A member without an address is one nevertheless.
    let mut members = listed(&[3, 4]);
    members.insert(id(5), None);
    host.engine.set_members(START, members).expect("members");
    for ms in 0..200 {
        host.engine.tick(later(ms));
    }
    assert_eq!(host.state(5, later(200)), State::Failed);
    assert!(host.counts.unsent.with_label_values(&["unresolved"]).get() > 0);
}

#[test]
fn the_next_deadline_is_that_of_the_earliest_node() {
    let mut host = Host::new(1, &[1, 2]);
    let first = host.engine.next_deadline_ns().expect("a turn");
    assert!(first < later(20).ns);
    host.engine.set_members(START, listed(&[1])).expect("members");
    for ms in 0..100 {
        host.engine.tick(later(ms));
    }
    assert_eq!(host.sent(), []);
}
