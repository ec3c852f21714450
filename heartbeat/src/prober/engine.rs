//! What is done with datagrams and with time, for all nodes of this host.
//!
//! The stack has answered the probes that it saw; what it does not see, or where there is no program, is answered here by the
//! same function over tables of this process. Everything else that has a right tag goes to the detector of the node that it is for,
//! and asks and claims only once: the stack's windows are for probes.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use heartbeat_detector::config::{Config, ConfigError};
use heartbeat_detector::detector::{Detector, Identity, Output};
use heartbeat_fastpath::peer::Rate;
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::replay::Window;
use heartbeat_fastpath::respond::{Outcome, Tables, Verdict, WhenLapsed, respond};
use heartbeat_fastpath::wire::{Body, ClusterId, Incarnation, MESSAGE_BYTES, Message, NodeId};

use super::counts::Counts;
use super::event::{Event, Member, State};
use super::incarnation;
use crate::keys::Ring;
use crate::members::Members;
use crate::nodes::Nodes;
use crate::path::TableError;
use crate::path::user::UserTables;

/// A node of this host, as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Its number.
    pub id: NodeId,
    /// What it does when its application's lease has lapsed.
    pub when_lapsed: WhenLapsed,
    /// How often a peer may probe it.
    pub rate: Rate,
    /// The incarnation that it is known to have had before.
    pub before: Option<Incarnation>,
}

/// A datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub to: SocketAddr,
    /// Its payload.
    pub bytes: [u8; MESSAGE_BYTES],
}

/// What the engine makes known.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this.
    Send(Outgoing),
    /// A member is seen differently.
    Changed(Event),
}

/// When it is, on both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// By the clock that does not jump, in nanoseconds.
    pub ns: u64,
    /// Since 1970, in nanoseconds.
    pub real_ns: u64,
}

/// What a node of this host has of its own.
#[derive(Debug)]
struct Node {
    detector: Detector,
    /// Asks and claims that have been seen, by who sent them.
    windows: HashMap<NodeId, Window>,
    /// When each member was last seen differently, in milliseconds since 1970.
    since: HashMap<NodeId, u64>,
}

/// The nodes of this host, and what they know.
#[derive(Debug)]
pub struct Engine {
    cluster: ClusterId,
    ring: Ring,
    probing: Config,
    tables: Arc<UserTables>,
    shared: Arc<Nodes>,
    counts: Counts,
    nodes: BTreeMap<NodeId, Node>,
    members: Members,
    effects: Vec<Effect>,
}

impl Engine {
    /// Without nodes and members. `tables` are those of this process, and among those that `shared` writes.
    ///
    /// # Errors
    /// If a table cannot be written, or the configuration of probing is wrong.
    pub fn new(
        cluster: ClusterId,
        ring: Ring,
        probing: Config,
        tables: Arc<UserTables>,
        shared: Arc<Nodes>,
        counts: Counts,
    ) -> Result<Self, EngineError> {
        probing.check()?;
        shared.set_keys(ring.keys)?;
        let (nodes, members, effects) = (BTreeMap::new(), Members::new(), Vec::new());
        Ok(Self { cluster, ring, probing, tables, shared, counts, nodes, members, effects })
    }

    /// From now on these keys are taken, and the ring's own is sent with.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub fn set_ring(&mut self, ring: Ring) -> Result<(), TableError> {
        self.shared.set_keys(ring.keys)?;
        self.ring = ring;
        Ok(())
    }

    /// From now on these are the nodes of this host. Those that stay go on as they are; `seed` decides what is random.
    ///
    /// # Errors
    /// If a table has no place.
    pub fn set_nodes(&mut self, now: Now, locals: &[Local], seed: u64) -> Result<(), EngineError> {
        let gone: Vec<_> =
            self.nodes.keys().filter(|id| locals.iter().all(|local| local.id != **id)).copied().collect();
        for id in gone {
            self.nodes.remove(&id);
            self.shared.remove(id)?;
            self.members.keys().try_for_each(|peer| self.shared.remove_peer(id, *peer))?;
        }
        for (local, seed) in locals.iter().zip(seed..) {
            let Local { id, when_lapsed, rate, before } = *local;
            let incarnation = match self.nodes.get(&id) {
                Some(node) => node.detector.incarnation(),
                None => {
                    let (incarnation, sequence) = incarnation::first(now.real_ns, before);
                    let identity = Identity { cluster: self.cluster, node: id, incarnation, sequence };
                    let mut detector = Detector::new(identity, self.probing, seed, now.ns)?;
                    for &peer in self.members.keys() {
                        detector.add(now.ns, peer);
                    }
                    let since = self.members.keys().map(|peer| (*peer, now.real_ns / 1_000_000)).collect();
                    let node = Node { detector, windows: HashMap::new(), since };
                    self.nodes.insert(id, node);
                    incarnation
                }
            };
            self.shared.set(id, incarnation, when_lapsed, rate)?;
            self.members
                .keys()
                .filter(|peer| **peer != id)
                .try_for_each(|peer| self.shared.add_peer(id, *peer))?;
        }
        Ok(())
    }

    /// From now on these are the members. What is known of those that stay, stays.
    ///
    /// # Errors
    /// If a table has no place.
    pub fn set_members(&mut self, now: Now, members: Members) -> Result<(), TableError> {
        let before = std::mem::replace(&mut self.members, members);
        for (&id, node) in &mut self.nodes {
            for &peer in before.keys().filter(|peer| !self.members.contains_key(peer)) {
                node.detector.remove(now.ns, peer);
                node.windows.remove(&peer);
                node.since.remove(&peer);
                self.shared.remove_peer(id, peer)?;
            }
            for &peer in self.members.keys().filter(|peer| **peer != id && !before.contains_key(peer)) {
                self.shared.add_peer(id, peer)?;
                node.detector.add(now.ns, peer);
                node.since.insert(peer, now.real_ns / 1_000_000);
            }
        }
        Ok(())
    }

    /// Takes a datagram in that came at `now` from there.
    pub fn receive(&mut self, now: Now, payload: &[u8], from: SocketAddr) -> Option<Outgoing> {
        match respond(self.tables.memory(), payload, now.ns) {
            Verdict::Reply(bytes) => return Some(Outgoing { to: from, bytes }),
            Verdict::Drop(_) => return None,
            Verdict::Pass => {}
        }
        // Only what can be decoded passes.
        let Ok(message) = Message::decode(payload, &self.ring.keys) else { return None };
        if let Err(refusal) = self.hear(now, &message) {
            self.tables.memory().count(Outcome::Dropped(refusal));
        }
        None
    }

    fn hear(&mut self, now: Now, message: &Message) -> Result<(), Refusal> {
        let node = self.nodes.get_mut(&message.receiver).ok_or(Refusal::UnknownReceiver)?;
        if message.sender == message.receiver || !self.members.contains_key(&message.sender) {
            return Err(Refusal::UnknownSender);
        }
        let once = matches!(message.body, Body::Ask { .. } | Body::Claim { .. });
        if once && !node.windows.entry(message.sender).or_default().take(message.sequence.0) {
            return Err(Refusal::Replayed);
        }
        // That it has failed is right, as long as its application is not alive: its agent must not contradict for it.
        let of_itself =
            matches!(message.body, Body::Claim { subject, .. } if subject.node == message.receiver);
        if of_itself && self.shared.is_silent(message.receiver, now.ns) {
            return Ok(());
        }
        node.detector.handle(now.ns, message);
        self.drain(message.receiver, now);
        Ok(())
    }

    /// Does what has become due. Everything that has come before is to be taken in first: an answer that waited to be read is
    /// one.
    pub fn tick(&mut self, now: Now) {
        let mut next = self.nodes.first_entry().map(|node| *node.key());
        while let Some(id) = next {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.detector.tick(now.ns);
            }
            self.drain(id, now);
            next = self.nodes.range((Bound::Excluded(id), Bound::Unbounded)).next().map(|(id, _)| *id);
        }
        let worst = self.nodes.values().map(|node| node.detector.local_health()).max();
        self.counts.local_health.set(worst.unwrap_or(0).into());
    }

    /// When [`Self::tick`] is to be called next.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.nodes.values().filter_map(|node| node.detector.next_deadline_ns()).min()
    }

    /// What is to be done and made known, since this was last asked.
    pub fn effects(&mut self) -> std::vec::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// All members as all nodes of this host see them.
    #[must_use]
    pub fn view(&self, now: Now) -> Vec<Member> {
        let of = |(&id, node): (&NodeId, &Node)| {
            let peers = node.detector.peers(now.ns).map(|peer| Member {
                observer: id.number(),
                node: peer.node.number(),
                address: self.members.get(&peer.node).copied().flatten(),
                state: peer.health.into(),
                since_unix_ms: node.since.get(&peer.node).copied().unwrap_or_default(),
                incarnation: peer.incarnation.0,
                phi: peer.phi,
                round_trip_us: peer.round_trip_ns.map(|ns| ns as f64 / 1e3),
            });
            peers.collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(of).collect()
    }

    /// Does what the detector of a node wants done.
    fn drain(&mut self, id: NodeId, now: Now) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        for output in node.detector.outputs() {
            match output {
                Output::Send(message) => match self.members.get(&message.receiver).copied().flatten() {
                    Some(to) => {
                        let bytes = message.encode(&self.ring.sending);
                        self.effects.push(Effect::Send(Outgoing { to, bytes }));
                    }
                    None => self.counts.unsent.with_label_values(&["unresolved"]).inc(),
                },
                Output::Changed(change) => {
                    let (from, to) = (State::from(change.from), State::from(change.to));
                    self.counts.changed(from, to);
                    let at_unix_ms = now.real_ns / 1_000_000;
                    node.since.insert(change.node, at_unix_ms);
                    self.effects.push(Effect::Changed(Event {
                        observer: id.number(),
                        node: change.node.number(),
                        address: self.members.get(&change.node).copied().flatten(),
                        from,
                        to,
                        incarnation: change.incarnation.0,
                        at_ns: now.ns,
                        at_unix_ms,
                    }));
                }
                Output::Answered { round_trip_ns, .. } => {
                    self.counts.round_trips.observe(round_trip_ns as f64 / 1e9);
                }
                Output::Incarnation(incarnation) => {
                    self.counts.accusations.inc();
                    if let Err(error) = self.shared.set_incarnation(id, incarnation) {
                        tracing::error!(%error, node = id.number(), "the stack answers under an old incarnation");
                    }
                }
            }
        }
    }
}

/// Why nodes cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A table cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The configuration of probing is wrong.
    #[error("[probe]: {0}")]
    Probing(#[from] ConfigError),
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
