//! The detector: its state, what goes in and what comes out.

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

use heartbeat_fastpath::wire::{Body, ClusterId, Health, Incarnation, Message, NodeId, SendTime, Sequence};

use crate::config::{Config, ConfigError};
use crate::hear::Relay;
use crate::local::LocalHealth;
use crate::member::Member;
#[cfg(feature = "mistakes")]
use crate::mistake::Mistake;
use crate::phi;
use crate::random::Random;

/// What a detector wants done, or makes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to its receiver.
    Send(Message),
    /// A peer is seen differently now.
    Changed(Change),
    /// A peer has answered a probe.
    Answered {
        /// The peer.
        node: NodeId,
        /// How long that took.
        round_trip_ns: u64,
    },
    /// This node contradicts from now on under this incarnation: whoever answers probes for it must use it, too.
    Incarnation(Incarnation),
}

/// How a peer was seen, and is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The peer.
    pub node: NodeId,
    /// Its incarnation, as far as it is known.
    pub incarnation: Incarnation,
    /// How it was seen.
    pub from: Health,
    /// How it is seen now.
    pub to: Health,
}

/// A peer, as the detector sees it now.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its number.
    pub node: NodeId,
    /// Its incarnation, as far as it is known.
    pub incarnation: Incarnation,
    /// How it is.
    pub health: Health,
    /// The suspicion against it (phi).
    pub phi: f64,
    /// How long it takes to answer, if it ever has.
    pub round_trip_ns: Option<u64>,
}

/// Who a detector is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Its incarnation; greater than in its lives before, if that is known.
    pub incarnation: Incarnation,
    /// The number of its first message; greater than all before.
    pub sequence: Sequence,
}

/// Probes peers, and judges which of them have failed.
///
/// Times are those of a clock that does not go back. After each call the outputs are to be drained, and [`Self::tick`] is to
/// be called when [`Self::next_deadline_ns`] has come.
#[derive(Debug)]
pub struct Detector {
    pub(crate) identity: Identity,
    pub(crate) config: Config,
    /// Where the configured phi lies, in standard deviations.
    pub(crate) deviations: f64,
    pub(crate) random: Random,
    pub(crate) now_ns: u64,
    /// In the order of their numbers.
    pub(crate) members: Vec<Member>,
    /// Their numbers again, close together: to search among the members themselves would touch one after the other.
    ids: Vec<NodeId>,
    /// A member stands here at [`Member::queued_ns`], which may be too early; other entries are old.
    pub(crate) timers: BinaryHeap<Reverse<(u64, NodeId)>>,
    pub(crate) local: LocalHealth,
    /// When somebody last answered a message of this detector.
    pub(crate) answered_ns: Option<u64>,
    /// Where in an interval the next turn is put, as a fraction of 2^64.
    pub(crate) phase: u64,
    /// Of whom something is to be told, each once.
    pub(crate) rumours: VecDeque<NodeId>,
    /// How often its own incarnation will still be told.
    pub(crate) own_tells: u32,
    pub(crate) relays: VecDeque<Relay>,
    pub(crate) outputs: VecDeque<Output>,
    #[cfg(feature = "mistakes")]
    pub(crate) mistake: Option<Mistake>,
}

impl Detector {
    /// A detector without peers. The seed decides all that is random.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(identity: Identity, config: Config, seed: u64, now_ns: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed);
        Ok(Self {
            identity,
            config,
            deviations: phi::deviations(config.phi),
            now_ns,
            members: Vec::new(),
            ids: Vec::new(),
            timers: BinaryHeap::new(),
            local: LocalHealth::new(config.local_health_max, now_ns),
            answered_ns: None,
            phase: random.below(u64::MAX),
            random,
            rumours: VecDeque::new(),
            own_tells: 0,
            relays: VecDeque::new(),
            outputs: VecDeque::new(),
            #[cfg(feature = "mistakes")]
            mistake: None,
        })
    }

    /// From now on `peer` is a member. It is taken for alive until it has had time to answer.
    pub fn add(&mut self, now_ns: u64, peer: NodeId) {
        let now_ns = self.arrive(now_ns);
        let Err(place) = self.ids.binary_search(&peer) else { return };
        if peer == self.identity.node {
            return;
        }
        self.ids.insert(place, peer);
        self.members.insert(place, Member::new(peer, now_ns, &self.config));
        self.take_turn_within(place, now_ns, self.config.period_ns(self.members.len()));
        self.schedule(place);
    }

    /// From now on `peer` is no member: nothing is sent to it, and what it says is not heard.
    pub fn remove(&mut self, now_ns: u64, peer: NodeId) {
        self.arrive(now_ns);
        if let Some(i) = self.find(peer) {
            self.ids.remove(i);
            self.members.remove(i);
            self.rumours.retain(|&node| node != peer);
        }
    }

    /// When [`Self::tick`] is to be called, if there are peers. It may find nothing to do then.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.timers.peek().map(|&Reverse((at_ns, _))| at_ns)
    }

    /// What is to be done since this was last asked, in order.
    pub fn outputs(&mut self) -> impl Iterator<Item = Output> + '_ {
        self.outputs.drain(..)
    }

    /// The peers, in the order of their numbers.
    pub fn peers(&self, now_ns: u64) -> impl Iterator<Item = Peer> + '_ {
        self.members.iter().map(move |member| self.view(member, now_ns))
    }

    /// One peer.
    #[must_use]
    pub fn peer(&self, now_ns: u64, node: NodeId) -> Option<Peer> {
        Some(self.view(&self.members[self.find(node)?], now_ns))
    }

    fn view(&self, member: &Member, now_ns: u64) -> Peer {
        Peer {
            node: member.id,
            incarnation: member.incarnation,
            health: member.health,
            phi: member.phi(now_ns, &self.config),
            round_trip_ns: member.round_trip.smoothed_ns(),
        }
    }

    /// How much it doubts itself: 0 if it is well. See [`Config::bound_ns`].
    #[must_use]
    pub fn local_health(&self) -> u32 {
        self.local.score()
    }

    /// The incarnation of this node.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.identity.incarnation
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn find(&self, node: NodeId) -> Option<usize> {
        self.ids.binary_search(&node).ok()
    }

    /// How often each peer is probed now.
    pub(crate) fn period_ns(&self) -> u64 {
        self.config.period_ns(self.members.len())
    }

    /// Sends a message of its own; its number.
    pub(crate) fn say(&mut self, receiver: NodeId, body: Body) -> u64 {
        let sequence = self.identity.sequence;
        self.identity.sequence.0 += 1;
        self.send(receiver, sequence, SendTime(self.now_ns), body);
        sequence.0
    }

    pub(crate) fn send(&mut self, receiver: NodeId, sequence: Sequence, sent: SendTime, body: Body) {
        let Identity { cluster, node: sender, incarnation, .. } = self.identity;
        let message = Message { cluster, sender, incarnation, receiver, sequence, sent, body };
        self.outputs.push_back(Output::Send(message));
    }

    /// Sees a member so from now on, and makes it known.
    pub(crate) fn change(&mut self, i: usize, to: Health) {
        let Member { id: node, incarnation, health: from, .. } = self.members[i];
        if from != to {
            self.members[i].health = to;
            self.outputs.push_back(Output::Changed(Change { node, incarnation, from, to }));
        }
    }

    /// Some members, other than `but` and different from each other, that are up.
    pub(crate) fn pick(&mut self, count: u32, but: NodeId) -> Vec<NodeId> {
        let mut picked = Vec::new();
        for _ in 0..count {
            let first = self.random.below(self.members.len() as u64) as usize;
            let (before, from) = self.members.split_at(first);
            let mut ids = from.iter().chain(before).filter(|member| member.is_up()).map(|member| member.id);
            picked.extend(ids.find(|id| *id != but && !picked.contains(id)));
        }
        picked
    }
}
