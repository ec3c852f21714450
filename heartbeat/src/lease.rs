//! Leases of applications (H1): how the agent knows that an application is alive, and until when it may say so.
//!
//! A lease is an absolute time on `CLOCK_MONOTONIC`, in nanoseconds, which the programs compare with their own clock
//! (`heartbeat_fastpath::respond::Node::alive_until`). Nobody has to notice that an application hangs, and no dead agent is
//! answered for: what is not renewed lapses by itself.
//!
//! | `lease_by` | what renews it | what it shows |
//! | --- | --- | --- |
//! | `always` | the agent, from its thread for leases | that the host and the agent run; no application is asked |
//! | `shared` | the application touches a word of memory (`heartbeat-lease`) | that the loop with the touch goes round |
//! | `call` | the application calls, by HTTP or with a datagram | the same, for a system call or two |
//! | `tcp` | a connection to its port | only that something listens: the kernel accepts for a process that is stopped |
//! | `http` | an answer to GET, 200 to 399 | that it answers |
//! | `redis` | `+PONG` to PING | that it answers, and is not loading or busy |
//! | `command` | a command that ends with 0 | what the command shows |
//!
//! What renews, renews from the moment of which it speaks: a check's success counts from when the check began, since the
//! application may have hung right after it answered. A failure ends no lease; the lease lapses if nothing renews it. So one
//! check that is lost does no harm where `lease_interval` is a third of the lease.
//!
//! # Layout
//!
//! - [`settings`]: what is configured for a node.
//! - `kept`: one node's lease; whatever renews it does so there.
//! - `watch`: the thread that looks at shared words, and `always` renews; `file`: the files with those words; `promise`: what
//!   is believed of them.
//! - `check`: what the agent asks an application itself; `place`: where that listens; `secret`: what it is asked with.
//! - `calls`: the socket for datagrams.
//! - [`view`]: what is told of leases; `error`: what may go wrong with them.

mod calls;
mod check;
mod error;
mod file;
mod kept;
mod place;
mod promise;
mod secret;
pub mod settings;
pub mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_fastpath::wire::NodeId;
use tokio::runtime::Handle;
use tokio::sync::watch as signal;
use tokio::task::AbortHandle;

pub use error::{FileError, LeaseError, RenewError};
use file::LeaseFile;
use kept::Kept;
pub use kept::Sink;
pub use settings::Settings;
use settings::{By, Way};
pub use view::LeaseView;
use watch::{Source, Watch, Watched};

/// How often it is looked what there is to be logged.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// The leases of this host's nodes. They are renewed until the signal to stop, or until this is dropped.
#[derive(Debug)]
pub struct Leases {
    inner: Arc<Inner>,
    /// What listens for calls and for the signal.
    tasks: Vec<AbortHandle>,
}

struct Inner {
    nodes: Mutex<BTreeMap<NodeId, Leased>>,
    watch: Watch,
    sink: Sink,
    runtime: Handle,
    calls_refused: AtomicU64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Leased {
    settings: Settings,
    kept: Arc<Kept>,
    check: Option<Check>,
}

/// A task that checks; it ends with this.
#[derive(Debug)]
struct Check(AbortHandle);

impl Drop for Check {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Leases {
    /// Begins to renew. `sink` is told until when a node is alive (`CLOCK_MONOTONIC`, in nanoseconds), each time that this
    /// changes, from any thread, and for one node never twice at once; it must be quick. Datagrams are taken at `socket`.
    ///
    /// # Errors
    /// If a file, the socket or the thread cannot be had; the error says what to do.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        nodes: Vec<(NodeId, Settings)>,
        socket: Option<&Path>,
        sink: Sink,
        stop: signal::Receiver<bool>,
    ) -> Result<Self, LeaseError> {
        let inner = Arc::new(Inner {
            nodes: Mutex::default(),
            watch: Watch::start().map_err(LeaseError::Thread)?,
            sink,
            runtime: Handle::current(),
            calls_refused: AtomicU64::new(0),
        });
        let mut leases = Self { inner, tasks: Vec::new() };
        leases.change(nodes)?;
        if let Some(path) = socket {
            let calls =
                calls::listen(path).map_err(|source| LeaseError::Socket { path: path.to_owned(), source })?;
            leases.spawn(calls::serve(calls, Arc::clone(&leases.inner)));
        }
        leases.spawn(tell(Arc::clone(&leases.inner)));
        leases.spawn(stop_at(stop, Arc::clone(&leases.inner)));
        Ok(leases)
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(self.inner.runtime.spawn(task).abort_handle());
    }

    /// From now on these nodes are on this host, as after a reload. One that was there keeps its lease, as long as it may be
    /// now; for one that is gone the sink is not called any more. Files of nodes that are gone stay: whoever has one open
    /// goes on with it when the node comes back.
    ///
    /// # Errors
    /// If a file cannot be had, or nodes contradict each other; then nothing has changed. An agent that stops changes nothing
    /// either.
    pub fn change(&self, nodes: Vec<(NodeId, Settings)>) -> Result<(), LeaseError> {
        self.inner.change(nodes)
    }

    /// A call of the node's application: it is alive for `promise` from now on, or for the configured lease if that is less
    /// or nothing is said. What was promised before is not shortened, but a promise of nothing ends the lease.
    ///
    /// # Errors
    /// If the node is not on this host, or something else renews its lease.
    pub fn renew(&self, node: NodeId, promise: Option<Duration>) -> Result<(), RenewError> {
        self.inner.renew(node, promise)
    }

    /// How the leases stand, by number of the node.
    #[must_use]
    pub fn views(&self) -> Vec<LeaseView> {
        self.inner
            .nodes()
            .iter()
            .map(|(node, leased)| leased.kept.view(*node, leased.settings.way.by()))
            .collect()
    }

    /// How many datagrams renewed nothing: not understood, for unknown nodes, or for nodes that are kept alive otherwise.
    #[must_use]
    pub fn calls_refused(&self) -> u64 {
        self.inner.calls_refused.load(Ordering::Relaxed)
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.inner.close();
    }
}

impl Inner {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Leased>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self, node: NodeId, promise: Option<Duration>) -> Result<(), RenewError> {
        let nodes = self.nodes();
        let leased = nodes.get(&node).ok_or(RenewError::Unknown(node))?;
        match leased.settings.way.by() {
            By::Call if leased.kept.call(promise) => Ok(()),
            By::Call => Err(RenewError::Stopping),
            by => Err(RenewError::NotByCall { node, by }),
        }
    }

    fn change(&self, wanted: Vec<(NodeId, Settings)>) -> Result<(), LeaseError> {
        let mut nodes = self.nodes();
        if self.watch.is_stopping() {
            return Ok(());
        }
        let mut files = self.open_new(&nodes, &wanted)?;
        // From here on nothing fails.
        let mut before = std::mem::take(&mut *nodes);
        let mut watched = self.watch.list();
        let mut watched_before = BTreeMap::from_iter(watched.drain(..).map(|one| (one.kept.node(), one)));
        for (node, settings) in wanted {
            let old_watched = watched_before.remove(&node);
            let (leased, one) = match before.remove(&node) {
                Some(old) if old.settings == settings => (old, old_watched),
                old => {
                    let new = || Kept::new(node, Arc::clone(&self.sink));
                    let kept = old.map_or_else(new, |old| Arc::clone(&old.kept));
                    self.begin(settings, kept, files.remove(&node))
                }
            };
            nodes.insert(node, leased);
            watched.extend(one);
        }
        before.values().for_each(|gone| gone.kept.close());
        drop(watched);
        self.watch.look_again();
        Ok(())
    }

    /// Opens the files of nodes that are new or changed.
    fn open_new(
        &self,
        nodes: &BTreeMap<NodeId, Leased>,
        wanted: &[(NodeId, Settings)],
    ) -> Result<BTreeMap<NodeId, LeaseFile>, LeaseError> {
        let mut seen = BTreeSet::new();
        let mut places: BTreeMap<PathBuf, NodeId> = BTreeMap::new();
        for (node, settings) in wanted {
            if !seen.insert(*node) {
                return Err(LeaseError::Twice(*node));
            }
            if let Way::Shared(shared) = &settings.way {
                let path =
                    file::place(&shared.path).map_err(|source| LeaseError::File { node: *node, source })?;
                if let Some(other) = places.insert(path.clone(), *node) {
                    return Err(LeaseError::SameFile { nodes: [other, *node], path });
                }
            }
        }
        let mut files = BTreeMap::new();
        for (node, settings) in wanted {
            let stays = nodes.get(node).is_some_and(|leased| leased.settings == *settings);
            if let (Way::Shared(shared), false) = (&settings.way, stays) {
                let file = LeaseFile::open(shared, settings.lease)
                    .map_err(|source| LeaseError::File { node: *node, source })?;
                files.insert(*node, file);
            }
        }
        Ok(files)
    }

    fn begin(
        &self,
        settings: Settings,
        kept: Arc<Kept>,
        file: Option<LeaseFile>,
    ) -> (Leased, Option<Watched>) {
        let lease = settings.lease;
        kept.set_lease(lease);
        let source = match (&settings.way, file) {
            (Way::Always, _) => Some(Source::Always),
            (Way::Shared(shared), file) => Some(Source::word(shared.clone(), file, lease, &kept)),
            (Way::Call | Way::Check(_), _) => None,
        };
        let check = match &settings.way {
            Way::Check(check) => {
                let task = check::keep(Arc::clone(&kept), check.clone());
                Some(Check(self.runtime.spawn(task).abort_handle()))
            }
            _ => None,
        };
        let watched = source.map(|source| Watched::new(Arc::clone(&kept), source, lease));
        (Leased { settings, kept, check }, watched)
    }

    /// Renews nothing any more.
    fn close(&self) {
        self.watch.stop();
        for leased in self.nodes().values_mut() {
            leased.kept.close();
            leased.check = None;
        }
    }
}

/// Logs which leases lapse, and which stand again.
async fn tell(inner: Arc<Inner>) {
    let mut turns = tokio::time::interval(TELL_EVERY);
    loop {
        turns.tick().await;
        let all: Vec<_> = inner.nodes().values().map(|leased| Arc::clone(&leased.kept)).collect();
        all.iter().for_each(|kept| kept.tell());
    }
}

async fn stop_at(mut stop: signal::Receiver<bool>, inner: Arc<Inner>) {
    // If nobody can give the signal any more, the agent is as good as gone.
    let _ = stop.wait_for(|stop| *stop).await;
    inner.close();
}
