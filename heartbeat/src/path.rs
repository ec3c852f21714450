//! Where probes are answered: in the stack, or in this process; and what the agent tells whoever answers.
//!
//! # Layout
//!
//! - [`kernel`]: the kernel path, as the agent's tasks share it; [`maps`]: its tables; [`addresses`]: those that it answers at.
//! - [`user`]: the tables of the user path.

pub mod addresses;
pub mod kernel;
pub mod maps;
pub mod user;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::maps::MapError;
use heartbeat_fastpath::keys::Keys;
use heartbeat_fastpath::respond::Node;
use heartbeat_fastpath::wire::{ClusterId, NodeId};
use xps_runtime::plan::{Links, Wishes};
use xps_runtime::probe::chain;
use xps_runtime::responder::Responder;
use xps_runtime::start::{self, PathError, Taken};

use kernel::Kernel;

/// What the configuration says of the path.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which path, on which interfaces, and where at XDP.
    pub wishes: Wishes,
    /// Where to pin, on a BPF file system.
    pub pin_directory: PathBuf,
    /// The UDP port.
    pub port: u16,
}

/// Takes the path that is possible. Where that is the user path, what an agent that was killed has left in the stack is removed:
/// its programs would refuse probes, since nobody renews leases in its tables, before this agent hears of them.
///
/// # Errors
/// If the configuration demands what is not possible.
pub fn take(settings: &Settings) -> Result<Taken<Arc<Kernel>>, PathError> {
    let wishes = Wishes { links: Links::TcxOrXdp, ..settings.wishes.clone() };
    let taken = start::take(&wishes, settings.pin_directory.clone(), Vec::new(), |plan| {
        kernel::install(settings, plan)
    })?;
    if taken.kernel.is_none() {
        remove_left(&settings.pin_directory);
    }
    Ok(taken)
}

fn remove_left(pin_directory: &Path) {
    match Responder::remove_left(pin_directory) {
        Ok(true) => tracing::info!("removed from the stack what an agent that was killed has left"),
        Ok(false) => {}
        Err(error) => tracing::warn!(
            error = chain(&error),
            "another agent's programs may still be in the stack, and answer or refuse probes before this one hears of them"
        ),
    }
}

/// What answers probes, as the agent sees it: the same on both paths. Each call counts from the next datagram on.
pub trait Answers: Send + Sync {
    /// The keys of a cluster are these from now on.
    ///
    /// # Errors
    /// If there is no room for another cluster, or the kernel refuses.
    fn set_keys(&self, keys: Keys) -> Result<(), TableError>;

    /// A node is on this host, or has changed: its incarnation, its rate, or until when its application is alive.
    ///
    /// # Errors
    /// If there is no room for another node, or the kernel refuses.
    fn set_node(&self, cluster: ClusterId, id: NodeId, node: Node) -> Result<(), TableError>;

    /// A node is no longer on this host; that it was not there is no error. What it remembers of its peers stays.
    ///
    /// # Errors
    /// The kernel's.
    fn remove_node(&self, cluster: ClusterId, id: NodeId) -> Result<(), TableError>;

    /// `peer` may probe `node`. If it might before, what is remembered of it stays: no sequence passes twice.
    ///
    /// # Errors
    /// If there is no room for another peer, or the kernel refuses.
    fn add_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError>;

    /// `peer` may no longer probe `node`; that it might not before is no error.
    ///
    /// # Errors
    /// The kernel's.
    fn remove_peer(&self, cluster: ClusterId, node: NodeId, peer: NodeId) -> Result<(), TableError>;

    /// How often what became of a datagram, by [`heartbeat_fastpath::respond::Outcome::index`].
    fn counts(&self) -> Vec<u64>;
}

/// Why a table is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no room.
    #[error("table {name} is full: it has room for {entries} {of}; {advice}")]
    Full {
        /// The table's name.
        name: &'static str,
        /// How many entries it has room for.
        entries: usize,
        /// What its entries are.
        of: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The kernel refuses.
    #[error("table {name}: {}", chain(.source))]
    Refused {
        /// The table's name.
        name: &'static str,
        /// The kernel's answer.
        source: MapError,
    },
}
