//! Reads the configuration again while the sidecar runs: on SIGHUP, when the admin interface is asked to, or when a file with keys
//! or members has changed.
//!
//! With any mistake, the old one goes on. What can change at run time does so at once; what cannot (ports, the path, how peers are
//! probed) keeps its old value, and is named until it is what the file says again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};
use xps_runtime::admin::Outcome;
use xps_runtime::config::source::ConfigSource;
use xps_runtime::config::watched::Watched;
use xps_runtime::logging::SetLevel;
use xps_runtime::reloads::{Difference, Reloads};

use crate::config::{Config, Current};
use crate::here::Here;
use crate::members::follow::Directory;
use crate::prober::Prober;
use crate::sessions::Sessions;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a reload needs, and what became of those before.
pub struct Reloader {
    source: ConfigSource,
    current: Arc<Current>,
    prober: Arc<Prober>,
    directory: Arc<Directory>,
    here: Arc<Here>,
    sessions: Option<Arc<Sessions>>,
    set_log_level: SetLevel,
    /// Reloads come one at a time.
    turn: Mutex<()>,
    reloads: Reloads,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Reloads from `source` what `current` holds.
    ///
    /// # Errors
    /// If a metric's name is not one, which is a mistake of this program.
    pub fn new(
        source: ConfigSource,
        current: Arc<Current>,
        prober: Arc<Prober>,
        directory: Arc<Directory>,
        here: Arc<Here>,
        sessions: Option<Arc<Sessions>>,
        set_log_level: SetLevel,
    ) -> prometheus::Result<Self> {
        let (turn, reloads) = (Mutex::default(), Reloads::new("heartbeat")?);
        Ok(Self { source, current, prober, directory, here, sessions, set_log_level, turn, reloads })
    }

    /// What became of reloads so far.
    #[must_use]
    pub const fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Reads the configuration again, and makes it the one that holds if it has no mistake.
    pub async fn reload(&self) -> Outcome {
        let _turn = self.turn.lock().await;
        match self.attempt().await {
            Ok(difference) => Outcome::Done(self.reloads.succeeded(difference)),
            Err(mistakes) => Outcome::Refused(self.reloads.failed(&mistakes)),
        }
    }

    async fn attempt(&self) -> Result<Difference, String> {
        let mut new = Config::from(&self.source).map_err(|error| error.to_string())?;
        let old = self.current.read();
        let difference = compare(&mut new, &old);
        // What may fail comes first; if it does, the old configuration is put back.
        if let Err(error) = self.apply(&new).await {
            if let Err(again) = self.apply(&old).await {
                tracing::error!(%again, "the old configuration was not put back as a whole");
            }
            return Err(error);
        }
        if new.log.level != old.log.level {
            (self.set_log_level)(&new.log.level);
        }
        let members = new.members != old.members;
        self.current.swap(new);
        if members {
            self.directory.look_again();
        }
        Ok(difference)
    }

    async fn apply(&self, config: &Config) -> Result<(), String> {
        self.prober.set_ring(config.ring).await.map_err(|error| error.to_string())?;
        let told = |error: anyhow::Error| format!("{error:#}");
        self.here.set(config, &self.prober, &self.directory).await.map_err(told)?;
        match &self.sessions {
            Some(sessions) => sessions.configure(config).await.map_err(told),
            None => Ok(()),
        }
    }

    /// Reads the configuration again whenever a file that it names has changed, until `stop` turns true.
    pub async fn watch_files(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What was tried already: a file with a mistake is not read again each second.
        let mut tried = Vec::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let read = self.current.read();
            let now: Vec<_> = read.files.iter().map(Watched::now).collect();
            if now != read.files && now != tried {
                tracing::info!("a file with keys or members has changed");
                self.reload().await;
                tried = now;
            }
        }
    }
}

/// What differs. Gives `new` the old values of the keys that cannot change at run time.
pub(super) fn compare(new: &mut Config, old: &Config) -> Difference {
    // Without `..`, so that whoever adds a key decides what a reload does with it.
    let Config {
        cluster,
        ring,
        port,
        addresses,
        admin,
        path,
        probe,
        members,
        nodes,
        lease_socket,
        bfd,
        hook,
        log,
        files,
    } = old;
    let mut difference = Difference::default();
    if new.cluster != *cluster {
        // Its keys are those of the other cluster.
        new.ring = *ring;
    }
    difference.keep("cluster.id", &mut new.cluster, cluster);
    difference.keep("listen.port", &mut new.port, port);
    difference.keep("listen.addresses", &mut new.addresses, addresses);
    difference.keep("listen.admin", &mut new.admin, admin);
    new.path.keep(path, &mut difference);
    difference.keep("probe", &mut new.probe, probe);
    difference.keep("lease.socket", &mut new.lease_socket, lease_socket);
    difference.change("cluster.key_file", &new.ring, ring);
    difference.change("members", &new.members, members);
    difference.change("node", &new.nodes, nodes);
    if bfd.is_empty() {
        // Without sessions there is no thread for them.
        difference.keep("bfd", &mut new.bfd, bfd);
    } else {
        difference.change("bfd", &new.bfd, bfd);
    }
    difference.change("hook", &new.hook, hook);
    new.log.compare(log, &mut difference);
    // Their contents are told of by what stands in them.
    let _ = files;
    difference
}
