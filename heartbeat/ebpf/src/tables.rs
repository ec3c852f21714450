//! The responder's tables as maps.

use aya_ebpf::bindings::bpf_spin_lock as kernel_lock;
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::btf_map;
use heartbeat_fastpath::abi::{
    self, ADDRESSES_MAX, CLUSTERS_MAX, ECHO_PEERS_MAX, NODES_MAX, PEERS_MAX, Settings,
};
use heartbeat_fastpath::datagram::Host;
use heartbeat_fastpath::echo::{EchoKey, EchoOutcome, EchoPeer, Echoes};
use heartbeat_fastpath::keys::Keys;
use heartbeat_fastpath::peer::{Peer, Rate};
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::{Node, NodeKey, Outcome, PeerKey, Tables};
use heartbeat_fastpath::wire::{ClusterId, Sequence};
use xps_core::abi::{DEVICES_MAX, Device, Redirect};

const NO_PREALLOC: usize = 1;
const MAPPABLE: usize = 1 << 10;

#[btf_map]
static SETTINGS: Array<Settings, 1, MAPPABLE> = Array::new();
#[btf_map]
static ADDRESSES: HashMap<[u8; 16], u32, ADDRESSES_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
static KEYS: HashMap<u64, Keys, CLUSTERS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
static NODES: HashMap<NodeKey, Node, NODES_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
static PEERS: HashMap<PeerKey, Peer, PEERS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
static COUNTS: PerCpuArray<u64, { Outcome::COUNT }> = PerCpuArray::new();
#[btf_map]
static ECHO_PEERS: HashMap<EchoKey, EchoPeer, ECHO_PEERS_MAX, NO_PREALLOC> = HashMap::new();
#[btf_map]
static ECHO_COUNTS: PerCpuArray<u64, { EchoOutcome::ALL.len() }> = PerCpuArray::new();
#[btf_map]
static DEVICES: HashMap<u32, Device, { DEVICES_MAX as usize }> = HashMap::new();

/// The maps.
pub(crate) struct Maps;

impl Host for Maps {
    #[inline(always)]
    fn port(&self) -> u16 {
        let Some(settings) = SETTINGS.get_ptr(0) else { return 0 };
        // SAFETY: words of the map, aligned.
        let (version, port) = unsafe {
            ((&raw const (*settings).version).read_volatile(), (&raw const (*settings).port).read_volatile())
        };
        if version == abi::VERSION { port as u16 } else { 0 }
    }

    #[inline(always)]
    fn is_here(&self, address: &[u8; 16]) -> bool {
        ADDRESSES.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { helper::bpf_ktime_get_ns() }
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn keys(&self, cluster: ClusterId) -> Option<Keys> {
        // SAFETY: the agent replaces values as a whole; this one stays while the program runs.
        KEYS.get_ptr(&cluster.0).map(|keys| unsafe { *keys })
    }

    #[inline(always)]
    fn node(&self, key: &NodeKey) -> Option<Node> {
        // SAFETY: as above.
        NODES.get_ptr(key).map(|node| unsafe { *node })
    }

    #[inline(always)]
    fn admit(
        &self,
        key: &PeerKey,
        sequence: Sequence,
        rate: Rate,
        now_ns: u64,
    ) -> Option<Result<(), Refusal>> {
        let peer = PEERS.get_ptr_mut(key)?;
        // SAFETY: the value stays while the program runs; its lock is taken and given back here, and nothing in between
        // calls anything.
        unsafe {
            let lock = (&raw mut (*peer).lock).cast::<kernel_lock>();
            helper::bpf_spin_lock(lock);
            let admitted = (*peer).admit(sequence, rate, now_ns);
            helper::bpf_spin_unlock(lock);
            Some(admitted)
        }
    }

    #[inline(always)]
    fn count(&self, outcome: Outcome) {
        if let Some(count) = COUNTS.get_ptr_mut(outcome.index() as u32) {
            // SAFETY: this CPU's counter.
            unsafe { *count += 1 };
        }
    }
}

impl Echoes for Maps {
    #[inline(always)]
    fn reflects(&self) -> bool {
        let Some(settings) = SETTINGS.get_ptr(0) else { return false };
        // SAFETY: words of the map, aligned.
        let (version, reflects) = unsafe {
            (
                (&raw const (*settings).version).read_volatile(),
                (&raw const (*settings).reflects).read_volatile(),
            )
        };
        version == abi::VERSION && reflects != 0
    }

    #[inline(always)]
    fn admit_echo(&self, key: &EchoKey, now_ns: u64) -> Option<bool> {
        let peer = ECHO_PEERS.get_ptr_mut(key)?;
        // SAFETY: as in `admit`.
        unsafe {
            let lock = (&raw mut (*peer).lock).cast::<kernel_lock>();
            helper::bpf_spin_lock(lock);
            let admitted = (*peer).admit(now_ns);
            helper::bpf_spin_unlock(lock);
            Some(admitted)
        }
    }

    #[inline(always)]
    fn count_echo(&self, outcome: EchoOutcome) {
        if let Some(count) = ECHO_COUNTS.get_ptr_mut(outcome as u32) {
            // SAFETY: this CPU's counter.
            unsafe { *count += 1 };
        }
    }
}

/// How packets leave a device: a [`Redirect`].
#[inline(always)]
pub(crate) fn way(device: u32) -> u32 {
    match DEVICES.get_ptr(&device) {
        // SAFETY: a map's value.
        Some(device) => unsafe { (*device).redirect },
        None => Redirect::Egress as u32,
    }
}
