//! The nodes of this host as they run: each with its detector, its leases, and its number, which may be that of an address.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use heartbeat_fastpath::respond::NodeKey;
use heartbeat_fastpath::wire::{ClusterId, Incarnation, NodeId};
use tokio::sync::watch;

use crate::config::Config;
use crate::config::node::Number;
use crate::lease::{LeaseView, Leases, RenewError, Settings};
use crate::members::follow::Directory;
use crate::nodes::Nodes;
use crate::prober::Prober;
use crate::prober::engine::Local;

/// The nodes of this host.
#[derive(Debug)]
pub struct Here {
    leases: Leases,
    /// Incarnations of nodes that an agent before this one has left in the stack.
    before: BTreeMap<NodeId, Incarnation>,
}

impl Here {
    /// Starts the nodes of a configuration. Until `stop` turns true, their leases are renewed by whatever renews them.
    ///
    /// # Errors
    /// If a table has no place, or an application cannot be listened to.
    pub async fn start(
        config: &Config,
        prober: &Prober,
        directory: &Directory,
        nodes: Arc<Nodes>,
        before: BTreeMap<NodeId, Incarnation>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self> {
        let (locals, leased) = numbered(config, directory, &before)?;
        prober.set_nodes(locals, seed()?).await?;
        let sink = move |node: NodeId, until_ns| {
            if let Err(error) = nodes.set_lease(node, until_ns) {
                tracing::error!(%error, node = node.number(), "a lease is not known where probes are answered");
            }
        };
        let leases = Leases::start(leased, config.lease_socket.as_deref(), Arc::new(sink), stop)?;
        Ok(Self { leases, before })
    }

    /// From now on the nodes are those of this configuration. Those that stay go on, with their leases.
    ///
    /// # Errors
    /// If a table has no place, or an application cannot be listened to.
    pub async fn set(&self, config: &Config, prober: &Prober, directory: &Directory) -> Result<()> {
        let (locals, leased) = numbered(config, directory, &self.before)?;
        prober.set_nodes(locals, seed()?).await?;
        Ok(self.leases.change(leased)?)
    }

    /// An application calls.
    ///
    /// # Errors
    /// If it is none of this host's, or is asked otherwise.
    pub fn renew(&self, node: NodeId) -> Result<(), RenewError> {
        self.leases.renew(node, None)
    }

    /// The nodes, as the tables name them.
    #[must_use]
    pub fn keys(&self, cluster: ClusterId) -> HashSet<NodeKey> {
        let ids = self.leases.views().into_iter().filter_map(|lease| NodeId::new(lease.node));
        ids.map(|id| NodeKey::new(cluster, id)).collect()
    }

    /// How the leases stand.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseView> {
        self.leases.views()
    }

    /// Datagrams that renewed nothing.
    #[must_use]
    pub fn calls_refused(&self) -> u64 {
        self.leases.calls_refused()
    }
}

type Numbered = (Vec<Local>, Vec<(NodeId, Settings)>);

/// The nodes of a configuration with their numbers.
fn numbered(
    config: &Config,
    directory: &Directory,
    before: &BTreeMap<NodeId, Incarnation>,
) -> Result<Numbered> {
    let (mut locals, mut leased) = (Vec::new(), Vec::new());
    for node in &config.nodes {
        let id = match node.id {
            Number::Given(id) => id,
            Number::OfAddress => directory.own_number().with_context(|| {
                let failures = directory.now_failing().join("; ");
                format!(
                    "node.id is \"address\", but members.dns leads to no address of this host ({failures}); give it a number, or \
                     wait until the name is served"
                )
            })?,
        };
        let when_lapsed = node.lease.when_lapsed;
        locals.push(Local { id, when_lapsed, rate: node.rate, before: before.get(&id).copied() });
        leased.push((id, node.lease.clone()));
    }
    Ok((locals, leased))
}

fn seed() -> Result<u64> {
    let bytes = xps_runtime::random::bytes().context("no random bytes")?;
    Ok(u64::from_ne_bytes(bytes))
}
