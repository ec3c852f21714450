//! The sessions of BFD as the rest of the agent sees them: held where there are some, with the stack sending echo packets back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use heartbeat_fastpath::wire::NodeId;
use tokio::sync::{broadcast, watch};
use xps_runtime::control::monotonic_ns;

use crate::bfd::reflect::echo_peers;
use crate::bfd::{self, Handle, SessionChange, SessionView};
use crate::config::{Config, Current};
use crate::nodes::Nodes;
use crate::path::kernel::Kernel;

/// The sessions.
#[derive(Debug)]
pub struct Sessions {
    handle: Handle,
    kernel: Option<Arc<Kernel>>,
    current: Arc<Current>,
}

impl Sessions {
    /// Holds the sessions of the configuration, if there are some, until `stop` turns true.
    ///
    /// # Errors
    /// If there is no thread or no socket for them.
    pub fn start(
        current: &Arc<Current>,
        kernel: Option<Arc<Kernel>>,
        nodes: Arc<Nodes>,
        stop: watch::Receiver<bool>,
    ) -> Result<Option<Arc<Self>>> {
        let config = current.read();
        if config.bfd.is_empty() {
            return Ok(None);
        }
        let is_alive = move |node| NodeId::new(node).is_some_and(|id| nodes.is_alive(id, monotonic_ns()));
        let handle = bfd::start(config.sessions(kernel.is_some()), stop, is_alive)?;
        let sessions = Self { handle, kernel, current: Arc::clone(current) };
        sessions.reflect(&config)?;
        Ok(Some(Arc::new(sessions)))
    }

    /// From now on the sessions are those of this configuration. Those that stay do not go down over it.
    ///
    /// # Errors
    /// If a socket cannot be opened, or a table has no place.
    pub async fn configure(&self, config: &Config) -> Result<()> {
        self.handle.configure(config.sessions(self.kernel.is_some())).await.context("BFD's sessions")?;
        self.reflect(config)
    }

    /// Interfaces have come or gone, which sessions may name.
    pub fn interfaces_changed(&self) {
        if let Err(error) = self.reflect(&self.current.read()) {
            tracing::error!(%error, "not all echo packets are sent back");
        }
    }

    fn reflect(&self, config: &Config) -> Result<()> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        Ok(kernel.reflect(&echo_peers(&config.sessions(true)))?)
    }

    /// All sessions as they are now.
    pub async fn views(&self) -> Vec<SessionView> {
        self.handle.sessions().await
    }

    /// How many packets to BFD's ports were no session's, by reason.
    pub async fn unclaimed(&self) -> BTreeMap<String, u64> {
        self.handle.unclaimed().await
    }

    /// Holds all sessions with a system down, or no longer (RFC 5880, section 6.8.16). How many there are.
    pub async fn hold_down(&self, peer: IpAddr, held_down: bool) -> usize {
        self.handle.hold_down(peer, held_down).await
    }

    /// Changes of states from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<SessionChange> {
        self.handle.changes()
    }
}
