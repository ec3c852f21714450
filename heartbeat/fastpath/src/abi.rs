//! The maps between the programs and the agent: names, sizes, layouts and their version. Defined here and nowhere else.
//!
//! All padding is zero.

use crate::echo::{EchoKey, EchoPeer};
use crate::keys::Keys;
use crate::peer::Peer;
use crate::respond::{Node, NodeKey, PeerKey};

/// Version of everything in this module and of the types that lie in its maps. Maps of another version are not taken over.
pub const VERSION: u32 = 2;

/// Names of the maps in the object file.
pub mod map {
    /// One [`super::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// Addresses at which datagrams are for this host, as 16 bytes, IPv4 as `::ffff:a.b.c.d`; values are not looked at.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// [`super::Keys`] by the cluster's number.
    pub const KEYS: &str = "KEYS";
    /// [`super::Node`] by [`super::NodeKey`].
    pub const NODES: &str = "NODES";
    /// [`super::Peer`] by [`super::PeerKey`]. Entries are made by the agent, never by what arrives.
    pub const PEERS: &str = "PEERS";
    /// Per-CPU counters by [`crate::respond::Outcome::index`].
    pub const COUNTS: &str = "COUNTS";
    /// [`super::EchoPeer`] by [`super::EchoKey`]. Entries are made by the agent, never by what arrives.
    pub const ECHO_PEERS: &str = "ECHO_PEERS";
    /// Per-CPU counters by [`crate::echo::EchoOutcome`].
    pub const ECHO_COUNTS: &str = "ECHO_COUNTS";
    /// [`xps_core::abi::Device`] by interface index. For interfaces that are not in it, replies leave by the interface.
    pub const DEVICES: &str = "DEVICES";
}

/// Names of the programs in the object file.
pub mod program {
    /// XDP: answers by sending the packet back out.
    pub const XDP: &str = "heartbeat_xdp";
    /// tcx ingress: answers by a redirection.
    pub const TCX: &str = "heartbeat_tcx";
}

/// Addresses of this host.
pub const ADDRESSES_MAX: usize = 1024;
/// Clusters of which nodes are on this host.
pub const CLUSTERS_MAX: usize = 256;
/// Nodes on this host.
pub const NODES_MAX: usize = 4096;
/// Peers of all nodes on this host.
pub const PEERS_MAX: usize = 1 << 16;

/// Systems whose echo packets are sent back.
pub const ECHO_PEERS_MAX: usize = 4096;

/// What the agent tells the programs once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// [`VERSION`]. With any other, nothing is ours.
    pub version: u32,
    /// The UDP port; 0: nothing is ours.
    pub port: u32,
    /// Not 0: echo packets of [`map::ECHO_PEERS`] are sent back.
    pub reflects: u32,
}

const _: () = {
    assert!(size_of::<Settings>() == 12);
    assert!(size_of::<Keys>() == 56);
    assert!(size_of::<Node>() == 32);
    assert!(size_of::<NodeKey>() == 16);
    assert!(size_of::<Peer>() == 32);
    assert!(size_of::<PeerKey>() == 16);
    assert!(size_of::<EchoKey>() == 20);
    assert!(size_of::<EchoPeer>() == 32);
};
