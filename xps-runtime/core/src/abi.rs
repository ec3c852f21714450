//! The maps between the programs and the agent: names, sizes, layouts and their version. Defined here and nowhere else.

use crate::predicate::Predicate;

/// Version of everything in this module and of [`crate::flow`]. A pinned map of another version is not taken over.
pub const VERSION: u32 = 6;

/// Names of the maps in a service's object file.
pub mod map {
    /// One [`super::Control`].
    pub const CONTROL: &str = "CONTROL";
    /// One value of 65536 bytes: per TCP port the index of its predicate.
    pub const PORTS: &str = "PORTS";
    /// [`super::Predicate`]s by index.
    pub const PREDICATES: &str = "PREDICATES";
    /// [`super::Device`] by interface index.
    pub const DEVICES: &str = "DEVICES";
    /// [`super::Local`] by address: 16 bytes, IPv4 as `::ffff:a.b.c.d`.
    pub const LOCALS: &str = "LOCALS";
    /// A byte for each connection that the agent itself opens to the server, by [`crate::flow::FlowKey`]; from before its SYN
    /// until it is open.
    pub const OWN: &str = "OWN";
    /// [`crate::flow::Flow`] by [`crate::flow::FlowKey`].
    pub const FLOWS: &str = "FLOWS";
    /// [`crate::handshake::Mark`]s by slot.
    pub const MARKS: &str = "MARKS";
    /// Per-CPU counters by [`crate::verdict::Reason`].
    pub const STATS: &str = "STATS";
    /// Ring of [`super::Event`]s and the service's own.
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU working memory.
    pub const SCRATCH: &str = "SCRATCH";
    /// One [`super::State`].
    pub const STATE: &str = "STATE";
    /// The server's listening sockets by [`crate::path::listen::ListenerKey`].
    pub const LISTENERS: &str = "LISTENERS";
    /// The programs at tcx ingress by [`crate::path::Stage`].
    pub const STAGES: &str = "STAGES";
}

/// Names of the programs in a service's object file.
pub mod program {
    /// tcx ingress of an Ethernet device or of loopback.
    pub const INGRESS: &str = "xps_ingress";
    /// Goes on from there: [`crate::path::Stage::Open`].
    pub const OPEN: &str = "xps_open";
    /// Likewise: [`crate::path::Stage::Request`].
    pub const REQUEST: &str = "xps_request";
    /// Likewise: [`crate::path::Stage::End`].
    pub const END: &str = "xps_end";
    /// Likewise: [`crate::path::Stage::Error`].
    pub const ERROR: &str = "xps_error";
    /// tcx egress of the same.
    pub const EGRESS: &str = "xps_egress";
    /// Socket lookup in the network namespace.
    pub const LISTEN: &str = "xps_listen";
}

/// Interfaces that can be hooked at once.
pub const DEVICES_MAX: u32 = 256;

/// Addresses at which servers can be found listening at once.
pub const LISTENERS_MAX: u32 = 1024;

/// Addresses that this network namespace can have. A node of Kubernetes has one for each service where IPVS leads to them.
pub const LOCALS_MAX: u32 = 16_384;

/// Connections that the agent can be opening at once.
pub const OWN_MAX: u32 = 64;

/// Bytes of the event ring.
pub const EVENTS_BYTES: u32 = 1 << 20;

/// What the agent tells the programs. Written by the agent only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// [`VERSION`].
    pub version: u32,
    /// Whether new connections to the accelerated port are taken (1) or left to the user path (0).
    pub accept: u32,
    /// Whether handlers answer (1) or everything passes (0).
    pub answer: u32,
    /// Flows at which new connections are left to the user path.
    pub flows_max: u32,
    /// Until when the agent vouches for its tables (S12), `CLOCK_MONOTONIC` in nanoseconds.
    pub lease_deadline_ns: u64,
    /// Key of all hashes of client-chosen bytes.
    pub secret: [u64; 2],
    /// Mark of packets that the programs themselves send to the server; no other packet may carry it.
    pub internal_mark: u32,
    /// Longest reply that may be sent, in bytes; at most [`crate::handler::REPLY_MAX`].
    pub reply_bytes_max: u32,
}

impl Control {
    /// Whether somebody vouches for the tables at this time (S12): else everything passes.
    #[inline(always)]
    #[must_use]
    pub const fn stands(&self, now_ns: u64) -> bool {
        self.answer != 0 && now_ns < self.lease_deadline_ns
    }
}

/// What the programs tell the agent. Counters are changed atomically by the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Flows in the table.
    pub flows: u64,
    /// Counts segments with payload of connections that are not in the table (C8). The agent remembers the count at
    /// which it last found all connections understood.
    pub foreign: u64,
    /// Counts packets of the server that show a way around the programs (T3); `foreign` counts them, too.
    pub unseen: u64,
    /// The last one's connection. Fields may be of several, where several CPUs write.
    pub unseen_key: crate::flow::FlowKey,
    /// What gave it away: a [`Bypass`].
    pub unseen_by: u64,
}

/// What shows that packets reach the server by a way around the programs (T3).
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The server's packets have another port in their header than its socket: netfilter translates it, and so the client's.
    Redirected = 1,
    /// The server answers a SYN that no program has seen.
    SynUnseen = 2,
    /// The server acknowledges bytes that no program has read.
    Unread = 3,
}

impl Bypass {
    /// The one of this number.
    #[must_use]
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Redirected),
            2 => Some(Self::SynUnseen),
            3 => Some(Self::Unread),
            _ => None,
        }
    }
}

/// How a reply leaves through an interface.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// `bpf_redirect(ifindex, 0)`: out of the interface.
    Egress = 0,
    /// `bpf_redirect_peer(ifindex)`: straight into the namespace at the other end of a veth pair.
    Peer = 1,
    /// `bpf_redirect(ifindex, 0)`, to the server too: loopback, where what leaves comes in with its route.
    Loopback = 2,
}

/// An interface that is hooked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// A [`Redirect`].
    pub redirect: u32,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Index of the VRF that it belongs to, 0 for none.
    pub vrf: u32,
}

/// At which interfaces an address is this host's.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// At each: the kernel takes a packet wherever it comes in.
    Host = 0,
    /// At the interface of this index, and at loopback, where what the host sends to itself passes: link-local addresses.
    Interface = 1,
    /// At those in the VRF of this index, 0 for those in none.
    Vrf = 2,
}

/// An address of this network namespace (T4).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Local {
    /// A [`Scope`].
    pub scope: u32,
    /// Index of the interface or VRF.
    pub index: u32,
    /// Whether new connections to the accelerated port are taken at it (1) or left to the user path (0).
    pub accelerated: u32,
}

/// Head of every record in the event ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Which record it is: below 16 the runtime's, from 16 the service's.
    pub kind: u32,
    /// Bytes of the record behind this head.
    pub len: u32,
}

/// First event kind of a service.
pub const EVENT_SERVICE: u32 = 16;

const _: () = {
    assert!(size_of::<Control>() == 48);
    assert!(size_of::<State>() == 72);
    assert!(size_of::<crate::outlet::Outlet>() == 24);
    assert!(size_of::<Device>() == 12);
    assert!(size_of::<Local>() == 12);
    assert!(size_of::<Event>() == 8);
    assert!(size_of::<Predicate>() == 24);
    assert!(size_of::<crate::flow::FlowKey>() == 40);
    assert!(size_of::<crate::handshake::Mark>() == 56);
    assert!(size_of::<crate::path::listen::ListenerKey>() == 24);
    assert!(size_of::<crate::splice::Splice>() == 96);
    assert!(size_of::<crate::handler::Reply>() == 1448);
    assert!(size_of::<crate::handler::Window>() == 272);
};
