//! The tables of the programs in the stack.
//!
//! Programs read them at any time. Values are replaced as a whole, so each datagram meets an old one or a new one; those of
//! `PEERS`, which programs change, are made and removed here but never written.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use heartbeat_fastpath::abi::{ADDRESSES_MAX, CLUSTERS_MAX, ECHO_PEERS_MAX, NODES_MAX, PEERS_MAX, map};
use heartbeat_fastpath::echo::{EchoKey, EchoOutcome, EchoPeer};
use heartbeat_fastpath::keys::Keys;
use heartbeat_fastpath::peer::Peer;
use heartbeat_fastpath::respond::{Node, NodeKey, Outcome, PeerKey};
use heartbeat_fastpath::wire::{ClusterId, Incarnation, NodeId};
use xps_runtime::address_table::{AddressTable, key_of};
use xps_runtime::install::InstallError;
use xps_runtime::lock::lock;

use super::{Answers, TableError};

/// `BPF_NOEXIST`: only if the key is not there yet.
const NO_EXIST: u64 = 1;
/// `BPF_EXIST`: only if the key is there already.
const EXIST: u64 = 2;

/// Plain bytes of a `T`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
struct Plain<T>(T);

// SAFETY: only used with the types of the maps' ABI, which are integers without gaps.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

/// A hash map, and what is said when it is full.
struct Table<K: Copy + 'static, V: Copy + 'static> {
    name: &'static str,
    entries: usize,
    of: &'static str,
    advice: &'static str,
    map: Mutex<HashMap<MapData, Plain<K>, Plain<V>>>,
}

impl<K: Copy + 'static, V: Copy + 'static> Table<K, V> {
    fn map(&self) -> MutexGuard<'_, HashMap<MapData, Plain<K>, Plain<V>>> {
        lock(&self.map)
    }

    fn refused(&self, source: MapError) -> TableError {
        match errno(&source) {
            Some(libc::E2BIG) => {
                TableError::Full { name: self.name, entries: self.entries, of: self.of, advice: self.advice }
            }
            _ => TableError::Refused { name: self.name, source },
        }
    }

    /// The entry is this one from now on.
    fn set(&self, key: K, value: V) -> Result<(), TableError> {
        self.map().insert(Plain(key), Plain(value), 0).map_err(|source| self.refused(source))
    }

    /// Makes the entry, unless it is there.
    fn add(&self, key: K, value: V) -> Result<(), TableError> {
        match self.map().insert(Plain(key), Plain(value), NO_EXIST) {
            Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
            other => other.map_err(|source| self.refused(source)),
        }
    }

    /// Changes the entry, if it is there. Whether it is.
    fn change(&self, key: K, change: impl FnOnce(V) -> V) -> Result<bool, TableError> {
        let mut map = self.map();
        let changed = map.get(&Plain(key), 0).and_then(|Plain(value)| {
            // Another process might have removed it meanwhile, and it must not come back.
            map.insert(Plain(key), Plain(change(value)), EXIST)
        });
        match changed {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(source) => Err(self.refused(source)),
        }
    }

    /// Removes the entry, if it is there.
    fn remove(&self, key: K) -> Result<(), TableError> {
        match self.map().remove(&Plain(key)) {
            Err(error) if is_missing(&error) => Ok(()),
            other => other.map_err(|source| self.refused(source)),
        }
    }

    /// Removes all entries but those whose keys are to stay.
    fn retain(&self, stays: impl Fn(&K) -> bool) -> Result<(), TableError> {
        self.keys()?.into_iter().filter(|key| !stays(key)).try_for_each(|key| self.remove(key))
    }

    /// All keys.
    fn keys(&self) -> Result<Vec<K>, TableError> {
        let keys = self.map().keys().map(|key| key.map(|Plain(key)| key)).collect::<Result<_, _>>();
        keys.map_err(|source| self.refused(source))
    }
}

/// The number of a refused system call.
fn errno(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn is_missing(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || errno(error) == Some(libc::ENOENT)
}

/// The tables.
pub struct Maps {
    addresses: AddressTable<u32>,
    keys: Table<u64, Keys>,
    nodes: Table<NodeKey, Node>,
    peers: Table<PeerKey, Peer>,
    echo_peers: Table<EchoKey, EchoPeer>,
    counts: PerCpuArray<MapData, u64>,
    echo_counts: PerCpuArray<MapData, u64>,
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

/// The counters of a CPU each that `open` gives by their name.
fn counters(
    open: &impl Fn(&str) -> Result<Map, InstallError>,
    name: &str,
) -> Result<PerCpuArray<MapData, u64>, InstallError> {
    PerCpuArray::try_from(open(name)?).map_err(|source| InstallError::Map { name: name.into(), source })
}

impl Maps {
    /// The maps that `open` gives by their names, whoever filled them.
    ///
    /// # Errors
    /// If they are not what this agent expects.
    pub fn of(open: impl Fn(&str) -> Result<Map, InstallError>) -> Result<Self, InstallError> {
        Ok(Self {
            keys: table(&open, map::KEYS, CLUSTERS_MAX, "clusters", "run the nodes of fewer clusters here")?,
            nodes: table(&open, map::NODES, NODES_MAX, "nodes", "run fewer nodes here")?,
            peers: table(
                &open,
                map::PEERS,
                PEERS_MAX,
                "peers of all nodes here",
                "run fewer nodes here, or let their clusters have fewer members",
            )?,
            // SAFETY: any word is a value.
            addresses: unsafe { AddressTable::of(open(map::ADDRESSES)?, map::ADDRESSES)? },
            echo_peers: table(
                &open,
                map::ECHO_PEERS,
                ECHO_PEERS_MAX,
                "systems whose echo packets are sent back",
                "hold fewer BFD sessions here",
            )?,
            counts: counters(&open, map::COUNTS)?,
            echo_counts: counters(&open, map::ECHO_COUNTS)?,
        })
    }

    /// Datagrams to these addresses are for this host, and those to no other.
    ///
    /// # Errors
    /// If there is no room for all of them, or the kernel refuses; then those that there is room for are in it.
    pub fn set_addresses(&self, addresses: &[IpAddr]) -> Result<(), TableError> {
        let wanted = addresses.iter().map(|address| (key_of(*address), 0)).collect();
        match self.addresses.set(&wanted) {
            Ok(0) => Ok(()),
            Ok(_) => Err(TableError::Full {
                name: map::ADDRESSES,
                entries: ADDRESSES_MAX,
                of: "addresses",
                advice: "name those to listen at in the configuration",
            }),
            Err(source) => Err(TableError::Refused { name: map::ADDRESSES, source }),
        }
    }

    /// These may be sent their echo packets, and nobody else.
    ///
    /// # Errors
    /// If there is no room for all of them, or the kernel refuses; then those that there is room for are in it.
    pub fn set_echo_peers(&self, peers: &[(EchoKey, EchoPeer)]) -> Result<(), TableError> {
        self.echo_peers.retain(|key| peers.iter().any(|(wanted, _)| wanted == key))?;
        peers.iter().try_for_each(|(key, peer)| {
            // Programs change entries, so one is not overwritten but made anew.
            self.echo_peers.remove(*key)?;
            self.echo_peers.add(*key, *peer)
        })
    }

    /// How often what became of an echo packet, by [`heartbeat_fastpath::echo::EchoOutcome`].
    #[must_use]
    pub fn echo_counts(&self) -> Vec<u64> {
        (0..EchoOutcome::ALL.len() as u32)
            .map(|index| self.echo_counts.get(&index, 0).map_or(0, |counts| counts.iter().sum()))
            .collect()
    }

    /// A cluster has no node here any more; that it had none is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_keys(&self, cluster: ClusterId) -> Result<(), TableError> {
        self.keys.remove(cluster.0)
    }

    /// Until when a node's application is alive, `CLOCK_MONOTONIC` in nanoseconds. Whether there is such a node.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_lease(&self, cluster: ClusterId, id: NodeId, until_ns: u64) -> Result<bool, TableError> {
        self.nodes.change(NodeKey::new(cluster, id), |node| node.alive_until(until_ns))
    }

    /// The nodes that are answered for, also those that an agent before has entered.
    ///
    /// # Errors
    /// The kernel's.
    pub fn nodes(&self) -> Result<Vec<NodeKey>, TableError> {
        self.nodes.keys()
    }

    /// Under which incarnation each of a cluster's nodes is answered for, also as an agent before has entered it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn incarnations(&self, cluster: ClusterId) -> Result<BTreeMap<NodeId, Incarnation>, TableError> {
        let map = self.nodes.map();
        let all = map.iter().map(|entry| entry.map(|(Plain(key), Plain(node))| (key, node.incarnation())));
        let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|source| self.nodes.refused(source))?;
        let own = all.into_iter().filter(|(key, _)| key.cluster() == cluster);
        Ok(own.filter_map(|(key, incarnation)| Some((key.node()?, incarnation))).collect())
    }

    /// Who may probe whom, also as an agent before has entered it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn peers(&self) -> Result<Vec<PeerKey>, TableError> {
        self.peers.keys()
    }

    /// Removes what an agent before has entered for nodes that are not on this host any more: the nodes, what they remember of
    /// their peers, and the keys of clusters of which none is here.
    ///
    /// # Errors
    /// The kernel's.
    pub fn retain_nodes(&self, here: &HashSet<NodeKey>) -> Result<(), TableError> {
        self.nodes.retain(|node| here.contains(node))?;
        self.peers.retain(|peer| here.contains(&peer.probed()))?;
        self.keys.retain(|&cluster| here.iter().any(|node| node.cluster().0 == cluster))
    }
}

impl Answers for Maps {
    fn set_keys(&self, keys: Keys) -> Result<(), TableError> {
        self.keys.set(keys.cluster().0, keys)
    }

    fn set_node(&self, cluster: ClusterId, id: NodeId, node: Node) -> Result<(), TableError> {
        self.nodes.set(NodeKey::new(cluster, id), node)
    }

    fn remove_node(&self, cluster: ClusterId, id: NodeId) -> Result<(), TableError> {
        self.nodes.remove(NodeKey::new(cluster, id))
    }

    fn add_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.peers.add(PeerKey::new(cluster, node, peer), Peer::EMPTY)
    }

    fn remove_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.peers.remove(PeerKey::new(cluster, node, peer))
    }

    fn counts(&self) -> Vec<u64> {
        let count = |index| self.counts.get(&index, 0).map(|counts| counts.iter().sum());
        (0..Outcome::COUNT as u32)
            .map(|index| {
                count(index).unwrap_or_else(|error| {
                    tracing::warn!(%error, "a counter cannot be read");
                    0
                })
            })
            .collect()
    }
}

/// The map `name` as a table.
fn table<K: Copy + 'static, V: Copy + 'static>(
    open: impl Fn(&str) -> Result<Map, InstallError>,
    name: &'static str,
    entries: usize,
    of: &'static str,
    advice: &'static str,
) -> Result<Table<K, V>, InstallError> {
    let map = HashMap::try_from(open(name)?);
    let map = map.map_err(|source| InstallError::Map { name: name.into(), source })?;
    Ok(Table { name, entries, of, advice, map: Mutex::new(map) })
}
