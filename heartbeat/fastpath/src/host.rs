//! The responder's tables in a process's memory: for the path without a program in the stack, and for tests.

pub mod arrivals;
pub mod datagram;
pub mod echoes;
pub mod packet;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::vec::Vec;

use crate::keys::Keys;
use crate::peer::{Peer, Rate};
use crate::refusal::Refusal;
use crate::respond::{Node, NodeKey, Outcome, PeerKey, Tables};
use crate::wire::{ClusterId, NodeId, Sequence};

/// Tables that several threads may use.
#[derive(Debug, Default)]
pub struct Memory {
    known: RwLock<Known>,
    peers: Mutex<HashMap<PeerKey, Peer>>,
    counts: [AtomicU64; Outcome::COUNT],
}

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<ClusterId, Keys>,
    nodes: HashMap<NodeKey, Node>,
}

impl Memory {
    /// The keys of a cluster are these from now on.
    pub fn set_keys(&self, keys: Keys) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.keys.insert(keys.cluster(), keys);
    }

    /// A cluster has no node here any more: nothing of it is understood.
    pub fn remove_keys(&self, cluster: ClusterId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.keys.remove(&cluster);
    }

    /// A node is on this host, or has changed.
    pub fn set_node(&self, cluster: ClusterId, id: NodeId, node: Node) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.nodes.insert(NodeKey::new(cluster, id), node);
    }

    /// A node is no longer on this host. What it remembers of its peers stays, for when it comes back.
    pub fn remove_node(&self, cluster: ClusterId, id: NodeId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.nodes.remove(&NodeKey::new(cluster, id));
    }

    /// A peer may probe a node. If it might before, what is remembered of it stays.
    pub fn add_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) {
        self.windows().entry(PeerKey::new(cluster, node, peer)).or_default();
    }

    /// A peer may no longer probe a node.
    pub fn remove_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) {
        self.windows().remove(&PeerKey::new(cluster, node, peer));
    }

    /// The nodes of this host.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeKey> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).nodes.keys().copied().collect()
    }

    /// Who may probe whom.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerKey> {
        self.windows().keys().copied().collect()
    }

    /// How often that became of a datagram.
    #[must_use]
    pub fn counted(&self, outcome: Outcome) -> u64 {
        self.counts[outcome.index()].load(Ordering::Relaxed)
    }

    /// The same of all outcomes, by [`Outcome::index`].
    #[must_use]
    pub fn counts(&self) -> [u64; Outcome::COUNT] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<PeerKey, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables for Memory {
    fn keys(&self, cluster: ClusterId) -> Option<Keys> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).keys.get(&cluster).copied()
    }

    fn node(&self, key: &NodeKey) -> Option<Node> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).nodes.get(key).copied()
    }

    fn admit(
        &self,
        key: &PeerKey,
        sequence: Sequence,
        rate: Rate,
        now_ns: u64,
    ) -> Option<Result<(), Refusal>> {
        self.windows().get_mut(key).map(|peer| peer.admit(sequence, rate, now_ns))
    }

    fn count(&self, outcome: Outcome) {
        self.counts[outcome.index()].fetch_add(1, Ordering::Relaxed);
    }
}
