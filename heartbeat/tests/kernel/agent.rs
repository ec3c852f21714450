//! The agent's installation at a place, without the agent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heartbeat::path::addresses::here;
use heartbeat::path::kernel::{Interface, Kernel};
use heartbeat::path::{Answers, Settings, take};
use heartbeat_fastpath::host::arrivals::{CLUSTER, PORT, encoded, keys, nodes, peer, probe};
use heartbeat_fastpath::respond::Outcome;
use tempfile::TempDir;
use xps_runtime::addresses;
use xps_runtime::plan::{Mode, Wishes};
use xps_runtime::xdp::Wish;

use crate::lab::PATIENCE;
use crate::namespace::{BpfMount, Place};

/// Everywhere.
pub(crate) const ANY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// A BPF file system to pin in.
pub(crate) struct Pins {
    mount: BpfMount,
    _folder: TempDir,
}

impl Pins {
    /// Makes one.
    pub(crate) fn create() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { mount: BpfMount::create(folder.path().join("bpf"))?, _folder: folder })
    }

    /// What the configuration of an agent says.
    pub(crate) fn settings(&self, name: &str, xdp: Wish) -> Settings {
        let wishes = Wishes { mode: Mode::Kernel, xdp, ..Wishes::default() };
        Settings { wishes, pin_directory: self.mount.path().join(name), port: PORT }
    }

    /// Everything that is pinned for an agent.
    pub(crate) fn left(&self, name: &str) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.mount.path().join(name))?;
        Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
    }
}

/// An agent's start at `place`. Nothing is in its tables.
pub(crate) fn start(place: &Place, settings: &Settings) -> Result<Arc<Kernel>> {
    place.run(|| take(settings)?.kernel.context("the kernel path"))
}

/// Tells an agent what the probes of the packets' table want.
pub(crate) fn fill(place: &Place, kernel: &Kernel) -> Result<()> {
    kernel.set_keys(keys())?;
    for (id, node) in nodes() {
        kernel.set_node(CLUSTER, id, node)?;
        kernel.add_peer(CLUSTER, id, peer())?;
    }
    let of_host = place.run(|| Ok(addresses::list()?.addresses()))?;
    Ok(kernel.maps.set_addresses(&here(&ANY, &of_host))?)
}

/// A probe to which nobody listens: the sender is told so.
pub(crate) fn refused(socket: &UdpSocket, sequence: u64) -> Result<()> {
    socket.send(&encoded(&probe(sequence)))?;
    let error = socket.recv(&mut [0; 128]).err().context("something came back")?;
    ensure!(error.kind() == std::io::ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}

/// How often that became of a datagram.
pub(crate) fn counted(kernel: &Kernel, outcome: Outcome) -> u64 {
    kernel.counts()[outcome.index()]
}

/// Waits until that is true.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(start.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// An interface that the agent knows.
pub(crate) fn interface(kernel: &Kernel, name: &str) -> Option<Interface> {
    kernel.interfaces().into_iter().find(|interface| interface.name == name)
}
