//! The object in the kernel, with the tables that the packets' table wants.

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use heartbeat::abi::{self, Settings, map, program};
use heartbeat_fastpath::echo::{EchoKey, EchoOutcome, EchoPeer};
use heartbeat_fastpath::host::arrivals::{ADDRESSES, CLUSTER, PORT, keys, nodes, peer};
use heartbeat_fastpath::host::packet::Hook;
use heartbeat_fastpath::peer::Peer;
use heartbeat_fastpath::respond::{NodeKey, Outcome, PeerKey};
use heartbeat_fastpath::wire::NodeId;
use xps_core::abi::{Device, Redirect};

/// A value of a map as the kernel has it.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Plain<T>(T);

// SAFETY: only used with the types of the maps' ABI, which are plain data of a fixed layout.
unsafe impl<T: Copy + 'static> Pod for Plain<T> {}

/// The flag for a value with a lock in it that is new.
const NO_EXIST: u64 = 1;

/// Both programs and their maps.
pub(crate) struct Stack(Ebpf);

impl Stack {
    /// Loads the object, and fills its tables.
    pub(crate) fn load() -> Result<Self> {
        let mut stack = Self(EbpfLoader::new().load(heartbeat::OBJECT)?);
        stack.xdp()?.load()?;
        stack.tcx()?.load()?;
        for address in ADDRESSES {
            stack.table::<[u8; 16], u32>(map::ADDRESSES)?.insert(Plain(address), Plain(0), 0)?;
        }
        stack.table(map::KEYS)?.insert(Plain(CLUSTER.0), Plain(keys()), 0)?;
        for (id, node) in nodes() {
            stack.table(map::NODES)?.insert(Plain(NodeKey::new(CLUSTER, id)), Plain(node), 0)?;
            let key = PeerKey::new(CLUSTER, id, peer());
            stack.table(map::PEERS)?.insert(Plain(key), Plain(Peer::EMPTY), NO_EXIST)?;
        }
        stack.set_port(PORT)?;
        Ok(stack)
    }

    /// Lets the programs look at this port.
    pub(crate) fn set_port(&mut self, port: u16) -> Result<()> {
        self.set(Settings { version: abi::VERSION, port: u32::from(port), reflects: 0 })
    }

    /// From now on echo packets of these are sent back.
    pub(crate) fn reflect(&mut self, peers: &[(EchoKey, EchoPeer)]) -> Result<()> {
        for (key, peer) in peers {
            self.table(map::ECHO_PEERS)?.insert(Plain(*key), Plain(*peer), NO_EXIST)?;
        }
        self.set(Settings { version: abi::VERSION, port: u32::from(PORT), reflects: 1 })
    }

    /// Echo packets are sent back no longer.
    pub(crate) fn stop_reflecting(&mut self) -> Result<()> {
        self.set_port(PORT)
    }

    /// Counters of echo packets.
    pub(crate) fn echo_counts(&self) -> Result<Vec<u64>> {
        let map = self.0.map(map::ECHO_COUNTS).context("counts")?;
        let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        (0..EchoOutcome::ALL.len() as u32).map(|index| Ok(counts.get(&index, 0)?.iter().sum())).collect()
    }

    /// Changes the settings.
    pub(crate) fn set(&mut self, settings: Settings) -> Result<()> {
        let map = self.0.map_mut(map::SETTINGS).context("no settings")?;
        Ok(Array::try_from(map)?.set(0, Plain(settings), 0)?)
    }

    /// A node is alive until then.
    pub(crate) fn set_lease(&mut self, id: NodeId, until_ns: u64) -> Result<()> {
        let (_, node) = nodes().into_iter().find(|(other, _)| *other == id).context("no such node")?;
        let key = NodeKey::new(CLUSTER, id);
        Ok(self.table(map::NODES)?.insert(Plain(key), Plain(node.alive_until(until_ns)), 0)?)
    }

    /// Lets replies leave an interface in this way.
    pub(crate) fn set_device(&mut self, index: u32, redirect: Redirect) -> Result<()> {
        let device = Device { redirect: redirect as u32, mtu: 0, vrf: 0 };
        Ok(self.table(map::DEVICES)?.insert(Plain(index), Plain(device), 0)?)
    }

    fn table<K: Copy + 'static, V: Copy + 'static>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, Plain<K>, Plain<V>>> {
        Ok(HashMap::try_from(self.0.map_mut(name).context("no such map")?)?)
    }

    /// The program at XDP.
    pub(crate) fn xdp(&mut self) -> Result<&mut Xdp> {
        Ok(self.0.program_mut(program::XDP).context("no program")?.try_into()?)
    }

    /// The program at tcx.
    pub(crate) fn tcx(&mut self) -> Result<&mut SchedClassifier> {
        Ok(self.0.program_mut(program::TCX).context("no program")?.try_into()?)
    }

    /// All counters.
    pub(crate) fn counts(&self) -> Result<Vec<u64>> {
        let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(self.0.map(map::COUNTS).context("counts")?)?;
        (0..Outcome::COUNT as u32).map(|index| Ok(counts.get(&index, 0)?.iter().sum())).collect()
    }

    /// Runs one of the programs over a packet, and puts into `out` what that has become.
    pub(crate) fn run(
        &mut self,
        hook: Hook,
        bytes: &[u8],
        out: &mut [u8],
        repeat: u32,
    ) -> Result<TestRunResult> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(bytes);
        options.data_out = Some(out);
        options.repeat = repeat;
        Ok(match hook {
            Hook::Xdp => self.xdp()?.test_run(options)?,
            Hook::Tcx => self.tcx()?.test_run(options)?,
        })
    }
}
