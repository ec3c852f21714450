//! The responder (H1): answers probes for the nodes of this host, whatever the rest of the host is busy with.
//!
//! [`respond`] decides over [`Tables`]: maps in the kernel, a process's memory elsewhere. It changes nothing before the tag
//! is right. Whatever it does is counted. What is not a probe goes up to the agent's socket once its tag is right; the agent
//! checks it again, since it also runs where no stack does this for it.
//!
//! A node whose application has not renewed its lease does not look alive: it is silent, or says so ([`WhenLapsed`]). The
//! agent renews leases only when applications do, so a dead agent's nodes are silent, too.

use crate::keys::Keys;
use crate::peer::Rate;
use crate::refusal::Refusal;
use crate::wire::{Body, ClusterId, Incarnation, MESSAGE_BYTES, Message, NodeId, Sequence, Unverified};

/// Which node of this host.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeKey {
    cluster: u64,
    node: u32,
    padding: u32,
}

impl NodeKey {
    /// This node of that cluster.
    #[inline(always)]
    #[must_use]
    pub const fn new(cluster: ClusterId, node: NodeId) -> Self {
        Self { cluster: cluster.0, node: node.number(), padding: 0 }
    }

    /// The node's cluster.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster)
    }

    /// The node. `None` in a key that [`Self::new`] has not made.
    #[must_use]
    pub const fn node(&self) -> Option<NodeId> {
        NodeId::new(self.node)
    }
}

/// Which peer of which node of this host.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    cluster: u64,
    node: u32,
    peer: u32,
}

impl PeerKey {
    /// What `node` knows of `peer`.
    #[inline(always)]
    #[must_use]
    pub const fn new(cluster: ClusterId, node: NodeId, peer: NodeId) -> Self {
        Self { cluster: cluster.0, node: node.number(), peer: peer.number() }
    }

    /// The node that is probed.
    #[must_use]
    pub const fn probed(&self) -> NodeKey {
        NodeKey { cluster: self.cluster, node: self.node, padding: 0 }
    }

    /// The one that probes it. `None` in a key that [`Self::new`] has not made.
    #[must_use]
    pub const fn peer(&self) -> Option<NodeId> {
        NodeId::new(self.peer)
    }
}

/// What a node does when its application has not renewed its lease.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenLapsed {
    /// It does not answer.
    Silent = 0,
    /// It answers that it is degraded.
    Degraded = 1,
}

/// A node of this host.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Until when its application is alive: what it promised when it renewed its lease.
    lease_until_ns: u64,
    rate: Rate,
    incarnation: u32,
    /// [`WhenLapsed`]; any other number is silent.
    when_lapsed: u32,
}

impl Node {
    /// A node that is probed by each peer at `rate`, whose lease has lapsed.
    #[must_use]
    pub const fn new(incarnation: Incarnation, when_lapsed: WhenLapsed, rate: Rate) -> Self {
        Self { lease_until_ns: 0, rate, incarnation: incarnation.0, when_lapsed: when_lapsed as u32 }
    }

    /// The same, alive until then.
    #[must_use]
    pub const fn alive_until(self, lease_until_ns: u64) -> Self {
        Self { lease_until_ns, ..self }
    }

    /// Under which incarnation it answers.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation)
    }

    /// What it says of itself; `None` if it says nothing.
    #[inline(always)]
    const fn health(&self, now_ns: u64) -> Option<Body> {
        if now_ns < self.lease_until_ns {
            Some(Body::Reply { degraded: false })
        } else if self.when_lapsed == WhenLapsed::Degraded as u32 {
            Some(Body::Reply { degraded: true })
        } else {
            None
        }
    }
}

/// What the responder needs of the world. The agent may change it at any time; each answer is of one moment.
pub trait Tables {
    /// The keys of a cluster of which nodes are on this host.
    fn keys(&self, cluster: ClusterId) -> Option<Keys>;
    /// A node of this host.
    fn node(&self, key: &NodeKey) -> Option<Node>;
    /// [`crate::peer::Peer::admit`] for this peer, under its lock. `None` if the node has no such peer.
    fn admit(
        &self,
        key: &PeerKey,
        sequence: Sequence,
        rate: Rate,
        now_ns: u64,
    ) -> Option<Result<(), Refusal>>;
    /// Counts what became of a datagram.
    fn count(&self, outcome: Outcome);
}

/// What became of a datagram, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Dropped.
    Dropped(Refusal),
    /// A probe of a node that is alive was answered.
    Answered,
    /// A probe of a node whose application's lease has lapsed was answered.
    AnsweredDegraded,
    /// Something else than a probe went up to the agent.
    Passed,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = Refusal::ALL.len() + 3;

    /// Its place among counters; less than [`Self::COUNT`].
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Dropped(refusal) => refusal as usize,
            Self::Answered => Refusal::ALL.len(),
            Self::AnsweredDegraded => Refusal::ALL.len() + 1,
            Self::Passed => Refusal::ALL.len() + 2,
        }
    }
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send this back to where it came from, in its place. As long as what asked for it.
    Reply([u8; MESSAGE_BYTES]),
    /// Let it go up to the agent's socket.
    Pass,
    /// Drop it.
    Drop(Refusal),
}

/// Decides about a datagram's payload that came at `now_ns`, and counts that.
#[inline(always)]
pub fn respond<T: Tables>(tables: &T, payload: &[u8], now_ns: u64) -> Verdict {
    match payload.try_into() {
        Ok(payload) => respond_exact(tables, payload, now_ns),
        Err(_) => refuse(tables, Refusal::WrongLength),
    }
}

/// The same where the length is right: a program that has copied so many bytes needs no slice of an unknown length.
#[inline(always)]
pub fn respond_exact<T: Tables>(tables: &T, payload: &[u8; MESSAGE_BYTES], now_ns: u64) -> Verdict {
    // Whatever becomes of the datagram, these bytes are something: the verifier reads them where branches meet.
    let mut reply = [0; MESSAGE_BYTES];
    let outcome = match decide(tables, payload, now_ns, &mut reply) {
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::Dropped(refusal),
    };
    tables.count(outcome);
    match outcome {
        Outcome::Answered | Outcome::AnsweredDegraded => Verdict::Reply(reply),
        Outcome::Passed => Verdict::Pass,
        Outcome::Dropped(refusal) => Verdict::Drop(refusal),
    }
}

/// Drops a datagram, and counts that.
#[inline(always)]
pub fn refuse<T: Tables>(tables: &T, refusal: Refusal) -> Verdict {
    tables.count(Outcome::Dropped(refusal));
    Verdict::Drop(refusal)
}

#[inline(always)]
fn decide<T: Tables>(
    tables: &T,
    payload: &[u8; MESSAGE_BYTES],
    now_ns: u64,
    to: &mut [u8; MESSAGE_BYTES],
) -> Result<Outcome, Refusal> {
    let unverified = Unverified::read_exact(payload)?;
    let keys = tables.keys(unverified.cluster()).ok_or(Refusal::WrongCluster)?;
    let (probe, key) = unverified.verify(&keys)?;
    let node = tables.node(&NodeKey::new(probe.cluster, probe.receiver)).ok_or(Refusal::UnknownReceiver)?;
    let Body::Probe = probe.body else { return Ok(Outcome::Passed) };
    let peer = PeerKey::new(probe.cluster, probe.receiver, probe.sender);
    tables.admit(&peer, probe.sequence, node.rate, now_ns).ok_or(Refusal::UnknownSender)??;
    let body = node.health(now_ns).ok_or(Refusal::Lapsed)?;
    let reply = Message {
        sender: probe.receiver,
        incarnation: Incarnation(node.incarnation),
        receiver: probe.sender,
        body,
        ..probe
    };
    // Under the key that the prober used: it has that one, whatever key this host sends with.
    *to = reply.encode(&key);
    Ok(match body {
        Body::Reply { degraded: true } => Outcome::AnsweredDegraded,
        _ => Outcome::Answered,
    })
}

const _: () = assert!(size_of::<NodeKey>() == 16 && size_of::<PeerKey>() == 16 && size_of::<Node>() == 32);
