//! The nodes of this host, as the tables of both paths have them.
//!
//! What a table holds of a node is one value, of which the lease, the detector and the configuration each know a part: here
//! they are put together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use heartbeat_fastpath::keys::Keys;
use heartbeat_fastpath::peer::Rate;
use heartbeat_fastpath::respond::{Node, WhenLapsed};
use heartbeat_fastpath::wire::{ClusterId, Incarnation, NodeId};
use xps_runtime::lock::lock;

use crate::members::OPERATORS;
use crate::path::{Answers, TableError};

/// What is known of one of them.
#[derive(Clone, Copy, Debug)]
struct Known {
    incarnation: Incarnation,
    lease_until_ns: u64,
    when_lapsed: WhenLapsed,
    rate: Rate,
}

impl Known {
    const fn node(&self) -> Node {
        Node::new(self.incarnation, self.when_lapsed, self.rate).alive_until(self.lease_until_ns)
    }
}

/// The nodes of this host.
pub struct Nodes {
    cluster: ClusterId,
    tables: Vec<Arc<dyn Answers>>,
    known: Mutex<BTreeMap<NodeId, Known>>,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Nodes {
    /// No nodes yet. Whatever is known of them is written to all `tables`.
    #[must_use]
    pub fn new(cluster: ClusterId, tables: Vec<Arc<dyn Answers>>) -> Self {
        Self { cluster, tables, known: Mutex::default() }
    }

    /// From now on these keys hold.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub fn set_keys(&self, keys: Keys) -> Result<(), TableError> {
        self.tables.iter().try_for_each(|tables| tables.set_keys(keys))
    }

    /// A node is here, or is configured otherwise; its lease stays. Whoever has a key may ask it by `heartbeat probe`.
    ///
    /// # Errors
    /// If a table has no place.
    pub fn set(
        &self,
        id: NodeId,
        incarnation: Incarnation,
        when_lapsed: WhenLapsed,
        rate: Rate,
    ) -> Result<(), TableError> {
        let mut nodes = lock(&self.known);
        let lease_until_ns = nodes.get(&id).map_or(0, |known| known.lease_until_ns);
        let known = Known { incarnation, lease_until_ns, when_lapsed, rate };
        nodes.insert(id, known);
        self.write(id, &known)?;
        OPERATORS.filter_map(NodeId::new).try_for_each(|operator| self.add_peer(id, operator))
    }

    /// A node is here no more.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub fn remove(&self, id: NodeId) -> Result<(), TableError> {
        if lock(&self.known).remove(&id).is_none() {
            return Ok(());
        }
        self.tables.iter().try_for_each(|tables| tables.remove_node(self.cluster, id))?;
        OPERATORS.filter_map(NodeId::new).try_for_each(|operator| self.remove_peer(id, operator))
    }

    /// Its application is alive until then. Of a node that is not here, nothing becomes.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub fn set_lease(&self, id: NodeId, until_ns: u64) -> Result<(), TableError> {
        self.change(id, |known| known.lease_until_ns = until_ns)
    }

    /// It answers under this incarnation from now on.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub fn set_incarnation(&self, id: NodeId, incarnation: Incarnation) -> Result<(), TableError> {
        self.change(id, |known| known.incarnation = incarnation)
    }

    /// Whether its application is alive at that time. One that is not here has none.
    #[must_use]
    pub fn is_alive(&self, id: NodeId, now_ns: u64) -> bool {
        lock(&self.known).get(&id).is_some_and(|known| now_ns < known.lease_until_ns)
    }

    /// Whether it does not answer at that time, since its application has not given a sign of life.
    #[must_use]
    pub fn is_silent(&self, id: NodeId, now_ns: u64) -> bool {
        let nodes = lock(&self.known);
        nodes
            .get(&id)
            .is_none_or(|known| known.when_lapsed == WhenLapsed::Silent && now_ns >= known.lease_until_ns)
    }

    fn change(&self, id: NodeId, change: impl FnOnce(&mut Known)) -> Result<(), TableError> {
        // Written under the lock: of two changes the later one stays.
        let mut nodes = lock(&self.known);
        let Some(known) = nodes.get_mut(&id) else { return Ok(()) };
        change(known);
        let known = *known;
        self.write(id, &known)
    }

    fn write(&self, id: NodeId, known: &Known) -> Result<(), TableError> {
        self.tables.iter().try_for_each(|tables| tables.set_node(self.cluster, id, known.node()))
    }

    /// A peer may probe a node. What is remembered of it stays.
    ///
    /// # Errors
    /// If a table has no place.
    pub fn add_peer(&self, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.tables.iter().try_for_each(|tables| tables.add_peer(self.cluster, node, peer))
    }

    /// A peer may no longer probe a node.
    ///
    /// # Errors
    /// If a table cannot be written.
    pub fn remove_peer(&self, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.tables.iter().try_for_each(|tables| tables.remove_peer(self.cluster, node, peer))
    }
}

#[cfg(test)]
mod tests {
    use heartbeat_fastpath::keys::{Key, KeyId};
    use heartbeat_fastpath::respond::{Verdict, respond};
    use heartbeat_fastpath::wire::{Body, Message, SendTime, Sequence};

    use super::*;
    use crate::path::user::UserTables;

    const CLUSTER: ClusterId = ClusterId(5);

    fn id(number: u32) -> NodeId {
        NodeId::new(number).expect("not 0")
    }

    /// What both tables say to a probe: the incarnation and whether it is degraded, or nothing.
    fn ask(tables: &UserTables, key: &Key, sequence: u64, now_ns: u64) -> Option<(u32, Body)> {
        let probe = Message {
            cluster: CLUSTER,
            sender: id(OPERATORS.start().to_owned()),
            incarnation: Incarnation(0),
            receiver: id(1),
            sequence: Sequence(sequence),
            sent: SendTime(0),
            body: Body::Probe,
        };
        match respond(tables.memory(), &probe.encode(key), now_ns) {
            Verdict::Reply(bytes) => {
                let reply = Message::decode(&bytes, &Keys::new(CLUSTER, *key)).expect("a reply");
                Some((reply.incarnation.0, reply.body))
            }
            Verdict::Pass | Verdict::Drop(_) => None,
        }
    }

    #[test]
    fn lease_incarnation_and_configuration_do_not_undo_each_other() {
        let key = Key::new(KeyId::new(1).expect("not 0"), [3; 16]);
        let both = [Arc::new(UserTables::default()), Arc::new(UserTables::default())];
        let nodes = Nodes::new(CLUSTER, both.iter().map(|t| Arc::clone(t) as Arc<dyn Answers>).collect());
        let rate = Rate::new(1, 1000).expect("a rate");
        nodes.set_keys(Keys::new(CLUSTER, key)).expect("a table");
        nodes.set_lease(id(1), 50).expect("no node");
        nodes.set(id(1), Incarnation(1), WhenLapsed::Silent, rate).expect("a table");
        let all = |sequence, now_ns| both.each_ref().map(|tables| ask(tables, &key, sequence, now_ns));
        assert_eq!(all(1, 10), [None, None]);
        nodes.set_lease(id(1), 100).expect("a table");
        let alive = Body::Reply { degraded: false };
        assert_eq!(all(2, 10), [Some((1, alive)); 2]);
        nodes.set_incarnation(id(1), Incarnation(7)).expect("a table");
        assert_eq!(all(3, 99), [Some((7, alive)); 2]);
        assert_eq!(all(4, 100), [None, None]);
        nodes.set(id(1), Incarnation(7), WhenLapsed::Degraded, rate).expect("a table");
        assert_eq!(all(5, 99), [Some((7, alive)); 2]);
        assert_eq!(all(6, 100), [Some((7, Body::Reply { degraded: true })); 2]);
        nodes.remove(id(1)).expect("a table");
        assert_eq!(all(7, 10), [None, None]);
    }
}
