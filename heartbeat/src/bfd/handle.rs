//! What the rest of the agent sees of the sessions.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use xps_runtime::control::monotonic_ns;

use super::peers::Peers;
use super::settings::SessionSettings;
use super::turn;
use super::view::{SessionChange, SessionView};
use crate::priority;

/// How many changes a listener may be behind before it misses some.
const CHANGES: usize = 1024;

/// Why sessions cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread, or none of its parts.
    #[error("BFD's thread cannot start: {0}")]
    Thread(io::Error),
    /// No socket to receive by.
    #[error("BFD cannot receive: {0}; if another BFD daemon runs here, stop it or remove the sessions")]
    Sockets(io::Error),
}

/// What is asked of the thread.
pub(super) enum Command {
    Views(oneshot::Sender<Vec<SessionView>>),
    Unclaimed(oneshot::Sender<BTreeMap<String, u64>>),
    HoldDown(IpAddr, bool, oneshot::Sender<usize>),
    Configure(Vec<SessionSettings>, oneshot::Sender<io::Result<()>>),
}

impl Command {
    pub(super) fn obey(self, peers: &mut Peers, now_ns: u64) {
        // Whoever asked may have gone.
        match self {
            Self::Views(to) => drop(to.send(peers.views(now_ns))),
            Self::Unclaimed(to) => drop(to.send(peers.unclaimed())),
            Self::HoldDown(peer, held_down, to) => drop(to.send(peers.hold_down(now_ns, peer, held_down))),
            Self::Configure(settings, to) => drop(to.send(peers.configure(now_ns, settings))),
        }
    }
}

/// The sessions. When it is dropped they end, as when `stop` turns true: the other sides are told that nothing has failed.
#[derive(Debug)]
pub struct Handle {
    /// Taken only by the destructor.
    commands: Option<mpsc::Sender<Command>>,
    changes: broadcast::Sender<SessionChange>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to hold the sessions, on a thread of their own in this thread's network namespace.
///
/// `is_alive` says whether the application of a node of this host has renewed its lease. It is asked on that thread, 50 times
/// a second, and must not wait.
///
/// # Errors
/// [`StartError`].
pub fn start(
    settings: Vec<SessionSettings>,
    stop: watch::Receiver<bool>,
    is_alive: impl Fn(u32) -> bool + Send + 'static,
) -> Result<Handle, StartError> {
    let (changes, _) = broadcast::channel(CHANGES);
    let (commands, asked) = mpsc::channel(16);
    let runtime = Builder::new_current_thread().enable_io().build().map_err(StartError::Thread)?;
    let mut peers = Peers::new(changes.clone());
    let inside = runtime.enter();
    peers.configure(monotonic_ns(), settings).map_err(StartError::Sockets)?;
    drop(inside);
    let thread = std::thread::Builder::new().name("bfd".to_owned());
    let thread = thread.spawn(move || {
        priority::raise("bfd");
        if let Err(error) = runtime.block_on(turn::run(peers, asked, stop, Box::new(is_alive))) {
            tracing::error!(%error, "BFD sessions are held no longer; restart the agent");
        }
    });
    let thread = Some(thread.map_err(StartError::Thread)?);
    Ok(Handle { commands: Some(commands), changes, thread })
}

impl Handle {
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (to, answer) = oneshot::channel();
        self.commands.as_ref()?.send(command(to)).await.ok()?;
        answer.await.ok()
    }

    /// All sessions as they are now; none once the thread has ended.
    pub async fn sessions(&self) -> Vec<SessionView> {
        self.ask(Command::Views).await.unwrap_or_default()
    }

    /// How many packets were no session's, by reason.
    pub async fn unclaimed(&self) -> BTreeMap<String, u64> {
        self.ask(Command::Unclaimed).await.unwrap_or_default()
    }

    /// The operator holds all sessions with a system down, or no longer does. How many there are.
    pub async fn hold_down(&self, peer: IpAddr, held_down: bool) -> usize {
        self.ask(|to| Command::HoldDown(peer, held_down, to)).await.unwrap_or_default()
    }

    /// These are the sessions from now on. Those that stay do not go down over it.
    ///
    /// # Errors
    /// If a socket cannot be opened; then those before go on.
    pub async fn configure(&self, settings: Vec<SessionSettings>) -> io::Result<()> {
        let ended = || Err(io::Error::other("BFD's thread has ended; restart the agent"));
        self.ask(|to| Command::Configure(settings, to)).await.unwrap_or_else(ended)
    }

    /// Changes of states from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<SessionChange> {
        self.changes.subscribe()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The thread ends when nobody can give commands.
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was told already.
            let _ = thread.join();
        }
    }
}
