//! The responder's tables in this process: they grow as they must, so nothing is ever refused.

use heartbeat_fastpath::host::Memory;
use heartbeat_fastpath::keys::Keys;
use heartbeat_fastpath::respond::{Node, NodeKey, PeerKey};
use heartbeat_fastpath::wire::{ClusterId, NodeId};

use super::{Answers, TableError};

/// The tables of the user path.
#[derive(Debug, Default)]
pub struct UserTables {
    memory: Memory,
}

impl UserTables {
    /// What [`heartbeat_fastpath::respond::respond`] decides over.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A cluster has no node here any more.
    pub fn remove_keys(&self, cluster: ClusterId) {
        self.memory.remove_keys(cluster);
    }

    /// The nodes that are answered for.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeKey> {
        self.memory.nodes()
    }

    /// Who may probe whom.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerKey> {
        self.memory.peers()
    }
}

impl Answers for UserTables {
    fn set_keys(&self, keys: Keys) -> Result<(), TableError> {
        self.memory.set_keys(keys);
        Ok(())
    }

    fn set_node(&self, cluster: ClusterId, id: NodeId, node: Node) -> Result<(), TableError> {
        self.memory.set_node(cluster, id, node);
        Ok(())
    }

    fn remove_node(&self, cluster: ClusterId, id: NodeId) -> Result<(), TableError> {
        self.memory.remove_node(cluster, id);
        Ok(())
    }

    fn add_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.memory.add_peer(cluster, node, peer);
        Ok(())
    }

    fn remove_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.memory.remove_peer(cluster, node, peer);
        Ok(())
    }

    fn counts(&self) -> Vec<u64> {
        self.memory.counts().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_fastpath::host::arrivals::{CLUSTER, encoded, keys, nodes, peer, probe};
    use heartbeat_fastpath::refusal::Refusal;
    use heartbeat_fastpath::respond::{Outcome, Verdict, respond};

    #[test]
    fn what_is_told_is_what_is_answered_by() {
        let tables = UserTables::default();
        let decide = |sequence| respond(tables.memory(), &encoded(&probe(sequence)), 1);
        assert_eq!(decide(1), Verdict::Drop(Refusal::WrongCluster));
        tables.set_keys(keys()).unwrap();
        assert_eq!(decide(1), Verdict::Drop(Refusal::UnknownReceiver));
        let (id, alive) = nodes()[0];
        tables.set_node(CLUSTER, id, alive).unwrap();
        assert_eq!(decide(1), Verdict::Drop(Refusal::UnknownSender));
        tables.add_peer(CLUSTER, id, peer()).unwrap();
        assert!(matches!(decide(1), Verdict::Reply(_)));
        // Told again: the window stays.
        tables.add_peer(CLUSTER, id, peer()).unwrap();
        assert_eq!(decide(1), Verdict::Drop(Refusal::Replayed));
        assert_eq!(tables.nodes(), [NodeKey::new(CLUSTER, id)]);
        assert_eq!(tables.peers(), [PeerKey::new(CLUSTER, id, peer())]);
        assert_eq!(tables.counts()[Outcome::Answered.index()], 1);
        tables.remove_peer(CLUSTER, id, peer()).unwrap();
        assert_eq!(decide(2), Verdict::Drop(Refusal::UnknownSender));
        tables.remove_node(CLUSTER, id).unwrap();
        assert_eq!(decide(2), Verdict::Drop(Refusal::UnknownReceiver));
        tables.remove_keys(CLUSTER);
        assert_eq!(decide(2), Verdict::Drop(Refusal::WrongCluster));
        assert_eq!((tables.nodes(), tables.peers()), (vec![], vec![]));
    }
}
