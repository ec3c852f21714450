//! Reads the configuration again while the sidecar runs: on SIGHUP, when the admin interface is asked to, or when a file with
//! addresses has changed.
//!
//! It is checked and compiled as a whole first; with any mistake, the old one goes on. What can change at run time is swapped
//! at once, and buckets are kept. What cannot (ports, sizes, the path) keeps its old value, and is named until it is what the
//! file says again.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use xps_runtime::admin::Outcome;
use xps_runtime::config::source::ConfigSource;
use xps_runtime::config::watched::Watched;
use xps_runtime::lock::lock;
use xps_runtime::logging::SetLevel;
use xps_runtime::plan::Path;
use xps_runtime::reloads::{Difference, Reloads};

use crate::config::{Config, Current, Heads};
use crate::policy::Policy;

/// How often files with addresses are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Who judges by a policy.
pub trait Judges: Send + Sync {
    /// From now on judges by this one.
    ///
    /// # Errors
    /// Why the old one goes on.
    fn replace(&self, policy: &Policy, config: &Config) -> Result<(), String>;
}

/// What a reload needs, and what became of those before.
pub struct Reloader {
    source: ConfigSource,
    current: Arc<Current>,
    path: Path,
    judges: Vec<Arc<dyn Judges>>,
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
    /// Reloads from `source` what `current` holds and what `judges` judge by, on `path`.
    ///
    /// # Errors
    /// If a metric's name is not one, which is a mistake of this program.
    pub fn new(
        source: ConfigSource,
        current: Arc<Current>,
        path: Path,
        judges: Vec<Arc<dyn Judges>>,
        set_log_level: SetLevel,
    ) -> prometheus::Result<Self> {
        let (turn, reloads) = (Mutex::default(), Reloads::new("http_guard")?);
        Ok(Self { source, current, path, judges, set_log_level, turn, reloads })
    }

    /// What became of reloads so far.
    #[must_use]
    pub const fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Reads the configuration again, and makes it the one that holds if it has no mistake.
    pub fn reload(&self) -> Outcome {
        let _turn = lock(&self.turn);
        match self.attempt() {
            Ok(difference) => Outcome::Done(self.reloads.succeeded(difference)),
            Err(mistakes) => Outcome::Refused(self.reloads.failed(&mistakes)),
        }
    }

    fn attempt(&self) -> Result<Difference, String> {
        let (mut new, policy) = Policy::from(&self.source).map_err(|error| error.to_string())?;
        let needs = new.needs_user_path();
        if self.path == Path::Kernel && !needs.is_empty() {
            let lines = needs.iter().map(|what| {
                format!("{what}; the kernel path is in use, and only a restart changes it: restart, or take this back")
            });
            return Err(lines.collect::<Vec<_>>().join("\n"));
        }
        let old = self.current.read();
        let difference = compare(&mut new, &old);
        for judge in &self.judges {
            judge.replace(&policy, &new)?;
        }
        if new.log.level != old.log.level {
            (self.set_log_level)(&new.log.level);
        }
        self.current.swap(new);
        Ok(difference)
    }

    /// Reads the configuration again whenever a file with addresses has changed, until `stop` turns true.
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
            tokio::task::block_in_place(|| {
                let read = self.current.read();
                let now: Vec<_> = read.files.iter().map(Watched::now).collect();
                if now != read.files && now != tried {
                    tracing::info!("a file with addresses has changed");
                    self.reload();
                    tried = now;
                }
            });
        }
    }
}

/// What differs. Gives `new` the old values of the keys that cannot change at run time.
pub(super) fn compare(new: &mut Config, old: &Config) -> Difference {
    // Without `..`, so that whoever adds a key decides what a reload does with it.
    let Config {
        nginx,
        heads,
        listen,
        server_addresses,
        admin,
        path,
        limit_sets,
        flows_max,
        page,
        connections,
        proxy,
        lease,
        drain_timeout,
        log,
        rules,
        files,
    } = old;
    let mut difference = Difference::default();
    if new.nginx.to_string() == nginx.to_string() {
        // On the kernel path the addresses behind a name stay those of the start.
        new.nginx.clone_from(nginx);
    }
    difference.keep("nginx.address", &mut new.nginx, nginx);
    new.listen.keep(listen, &mut difference);
    difference.change("server.addresses", &new.server_addresses, server_addresses);
    difference.keep("listen.admin", &mut new.admin, admin);
    new.path.keep(path, &mut difference);
    difference.keep("limits.keys_max", &mut new.limit_sets, limit_sets);
    difference.keep("limits.flows_max", &mut new.flows_max, flows_max);
    // A connection keeps to what it began with.
    difference.keep("proxy", &mut new.proxy, proxy);
    let Heads { merge_slashes, bytes_max, line_bytes_max } = heads;
    difference.change("nginx.merge_slashes", &new.heads.merge_slashes, merge_slashes);
    difference.change("nginx.head_bytes_max", &new.heads.bytes_max, bytes_max);
    difference.change("nginx.line_bytes_max", &new.heads.line_bytes_max, line_bytes_max);
    difference.change("answers", &new.page, page);
    difference.change("connections", &new.connections, connections);
    difference.change("lease.duration", &new.lease, lease);
    difference.change("lease.drain_timeout", &new.drain_timeout, drain_timeout);
    new.log.compare(log, &mut difference);
    difference.change("rules", &new.rules, rules);
    difference.change("files of addresses", &new.files, files);
    difference
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[derive(Default)]
    struct Judge(Mutex<Vec<String>>);

    impl Judges for Judge {
        fn replace(&self, policy: &Policy, _: &Config) -> Result<(), String> {
            lock(&self.0).clone_from(&policy.names);
            Ok(())
        }
    }

    fn reloader(folder: &tempfile::TempDir) -> (Reloader, Arc<Judge>, PathBuf) {
        let file = folder.path().join("guard.toml");
        std::fs::write(&file, "").expect("a file");
        let source = ConfigSource { file: Some(file.clone()), flags: Vec::new() };
        let current = Current::new(Config::from(&source).expect("a configuration"));
        let judge = Arc::<Judge>::default();
        let judges: Vec<Arc<dyn Judges>> = vec![Arc::<Judge>::clone(&judge)];
        let reloader =
            Reloader::new(source, current, Path::Kernel, judges, Box::new(|_: &str| {})).expect("metrics");
        (reloader, judge, file)
    }

    const RULE: &str = "[[rule]]\nname = \"x\"\naction = \"limit\"\nrate = \"1/s\"\n";

    #[test]
    fn rules_change_and_what_cannot_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let (reloader, judge, file) = reloader(&folder);
        assert_eq!(reloader.reload(), Outcome::Done("nothing has changed".into()));
        std::fs::write(&file, format!("[limits]\nflows_max = 5\n{RULE}")).expect("a file");
        let expected = "changed: rules\nonly after a restart: limits.flows_max";
        assert_eq!(reloader.reload(), Outcome::Done(expected.into()));
        assert_eq!(*lock(&judge.0), ["x"]);
        assert_eq!(reloader.current.read().flows_max, 16_384);
    }

    #[test]
    fn with_any_mistake_the_old_one_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let (reloader, judge, file) = reloader(&folder);
        std::fs::write(&file, RULE).expect("a file");
        reloader.reload();
        let before = reloader.current.read();
        for (text, part) in [
            ("[[rule]]\nname = \"y\"\n".to_owned(), "rule \"y\" has no action"),
            (format!("{RULE}nodelay = false\n"), "rule \"x\" ("),
        ] {
            std::fs::write(&file, &text).expect("a file");
            let Outcome::Refused(said) = reloader.reload() else { panic!("reloaded {text}") };
            assert!(said.contains(part), "{said}");
        }
        assert_eq!((reloader.current.read(), &*lock(&judge.0)), (before, &vec!["x".to_owned()]));
        assert!(!reloader.reloads().last_successful());
    }
}
