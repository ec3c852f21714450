//! The kernel path as the agent's tasks share it.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use heartbeat_fastpath::abi::{self, map, program};
use heartbeat_fastpath::echo::{EchoKey, EchoPeer};
use heartbeat_fastpath::keys::Keys;
use heartbeat_fastpath::respond::Node;
use heartbeat_fastpath::wire::{ClusterId, NodeId};
use xps_runtime::devices::Hooks;
use xps_runtime::install::InstallError;
use xps_runtime::lock::lock;
use xps_runtime::mapping::Mapping;
use xps_runtime::pins::Runs;
use xps_runtime::plan::{Path, Plan};
use xps_runtime::responder::{Responder, Service};

use super::maps::Maps;
use super::{Answers, Settings, TableError};

/// Handles to an installation.
#[derive(Debug)]
pub struct Kernel {
    /// The installation itself, which follows interfaces.
    pub hooks: Hooks<Responder>,
    /// Its tables.
    pub maps: Maps,
    settings: Mapping,
    port: u16,
}

/// Installs the programs. Those of an agent before go on answering as it let them; otherwise nothing is answered until
/// [`Kernel::open`].
///
/// # Errors
/// What failed and what to do about it.
pub fn install(settings: &Settings, plan: &Plan) -> Result<Arc<Kernel>, InstallError> {
    let service = Service {
        object: crate::OBJECT,
        pin_directory: settings.pin_directory.clone(),
        xdp: program::XDP,
        tcx: program::TCX,
        versioned: map::SETTINGS,
        version: abi::VERSION,
    };
    let installed = Responder::install(plan, &service)?;
    if installed.taken_over() {
        tracing::info!(
            "took over the tables of an agent that was killed, with what has been seen of each peer"
        );
    }
    // On an error the links stay; what they do is removed by whoever takes the user path then.
    let maps = Maps::of(|name| installed.maps().open(name))?;
    let memory = installed.maps().mapping(map::SETTINGS)?;
    let hooks = Hooks::of(installed, plan.skipped.clone());
    Ok(Arc::new(Kernel { hooks, maps, settings: memory, port: settings.port }))
}

/// An interface, and where probes that come to it are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `xdp`, `xdp_generic`, `tcx`, or `user` where it is not hooked.
    pub place: &'static str,
    /// Why not at a place that comes before this one; empty if there is none.
    pub cause: String,
}

impl Kernel {
    /// From now on the stack answers at the configured port, what its tables say.
    pub fn open(&self) {
        self.set_port(self.port);
    }

    /// From now on nothing is answered in the stack, and everything goes up to sockets.
    pub fn close(&self) {
        self.set_port(0);
    }

    /// From now on the stack sends back the echo packets of these, and of nobody else.
    ///
    /// # Errors
    /// If there is no room for all of them, or the kernel refuses; then those that there is room for are sent back.
    pub fn reflect(&self, peers: &[(EchoKey, EchoPeer)]) -> Result<(), TableError> {
        let filled = self.maps.set_echo_peers(peers);
        let reflects = self.settings.u32(offset_of!(abi::Settings, reflects));
        reflects.store(u32::from(!peers.is_empty()), Ordering::Release);
        filled
    }

    /// How often what became of an echo packet, by [`heartbeat_fastpath::echo::EchoOutcome`].
    #[must_use]
    pub fn echo_counts(&self) -> Vec<u64> {
        self.maps.echo_counts()
    }

    fn set_port(&self, port: u16) {
        self.settings.u32(offset_of!(abi::Settings, port)).store(u32::from(port), Ordering::Release);
    }

    /// All interfaces, hooked or not.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Interface> {
        let installed = lock(&self.hooks.installed);
        let hooked = installed.iter().flat_map(Responder::devices).map(|device| Interface {
            name: device.name().to_owned(),
            place: device.place().hook(),
            cause: device.instead().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        });
        let skipped = lock(&self.hooks.skipped);
        let skipped = skipped.iter().map(|skipped| Interface {
            name: skipped.name.clone(),
            place: Path::User.label(),
            cause: skipped.cause.to_string(),
        });
        hooked.chain(skipped).collect()
    }

    /// Instructions that the verifier went through, by program.
    #[must_use]
    pub fn verified_instructions(&self) -> Vec<(&'static str, u32)> {
        lock(&self.hooks.installed).as_ref().map(Responder::verified_instructions).unwrap_or_default()
    }

    /// How often and for how long the programs ran, where the kernel counts that (`kernel.bpf_stats_enabled`); else zeros.
    #[must_use]
    pub fn runs(&self) -> Vec<(&'static str, Runs)> {
        lock(&self.hooks.installed).as_ref().map(Responder::runs).unwrap_or_default()
    }

    /// Memory that each table takes now, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> BTreeMap<String, u64> {
        let installed = lock(&self.hooks.installed);
        installed.as_ref().map(|installed| installed.maps().memory_bytes()).unwrap_or_default()
    }

    /// The end of an orderly stop: answers nothing more, and takes everything out of the stack, also what has been seen of
    /// peers. The second time there is nothing to do.
    ///
    /// # Errors
    /// The first failure; the rest is removed nevertheless.
    pub fn detach(&self) -> Result<(), InstallError> {
        self.close();
        let installed = lock(&self.hooks.installed).take();
        installed.map_or(Ok(()), Responder::detach)
    }
}

impl Answers for Kernel {
    fn set_keys(&self, keys: Keys) -> Result<(), TableError> {
        self.maps.set_keys(keys)
    }

    fn set_node(&self, cluster: ClusterId, id: NodeId, node: Node) -> Result<(), TableError> {
        self.maps.set_node(cluster, id, node)
    }

    fn remove_node(&self, cluster: ClusterId, id: NodeId) -> Result<(), TableError> {
        self.maps.remove_node(cluster, id)
    }

    fn add_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.maps.add_peer(cluster, node, peer)
    }

    fn remove_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError> {
        self.maps.remove_peer(cluster, node, peer)
    }

    fn counts(&self) -> Vec<u64> {
        self.maps.counts()
    }
}
