//! Reads the configuration again while the sidecar runs: on SIGHUP, or when the admin interface is asked to.
//!
//! It is checked as a whole first; with any mistake, the old one goes on. What can change at run time is swapped at once.
//! What cannot (ports, memory, the path) keeps its old value, and is named until it is what the file says again.

use std::fmt;
use std::sync::{Arc, Mutex};

use xps_runtime::admin::Outcome;
use xps_runtime::config::source::ConfigSource;
use xps_runtime::locals::Locals;
use xps_runtime::logging::SetLevel;
use xps_runtime::plan::Path;
use xps_runtime::reloads::{Difference, Reloads};
use xps_runtime::status::Configuration;

use crate::config::{Config, Current, TlsListener};
use crate::server::credentials::Server;
use crate::shared::{Shared, lock};

/// What a reload needs, and what became of those before.
pub struct Reloader {
    source: ConfigSource,
    current: Arc<Current>,
    path: Path,
    cache: Option<Arc<Shared>>,
    locals: Option<Arc<Locals>>,
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
    /// Reloads from `source` what `current` holds, on `path`; what is made invalid by a change is in `cache`, and `locals` are
    /// what the programs are told of addresses.
    ///
    /// # Errors
    /// If a metric's name is not one, which is a mistake of this program.
    pub fn new(
        source: ConfigSource,
        current: Arc<Current>,
        path: Path,
        cache: Option<Arc<Shared>>,
        locals: Option<Arc<Locals>>,
        set_log_level: SetLevel,
    ) -> prometheus::Result<Self> {
        let (turn, reloads) = (Mutex::default(), Reloads::new("kv_cache")?);
        Ok(Self { source, current, path, cache, locals, set_log_level, turn, reloads })
    }

    /// What became of reloads so far.
    #[must_use]
    pub const fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// What the status shows.
    #[must_use]
    pub fn status(&self) -> Configuration {
        Configuration::from(&self.reloads)
    }

    /// Reads the configuration again, and makes it the one that holds if it has no mistake.
    pub fn reload(&self) -> Outcome {
        let _turn = lock(&self.turn);
        let mut new = match Config::from(&self.source) {
            Ok(config) => config,
            Err(error) => return Outcome::Refused(self.reloads.failed(&error.to_string())),
        };
        let old = self.current.read();
        let difference = compare(&mut new, &old, self.path);
        self.apply(&old, new);
        Outcome::Done(self.reloads.succeeded(difference))
    }

    /// Makes `new` the configuration that holds, and what was made by the old one's rules invalid.
    fn apply(&self, old: &Config, new: Config) {
        let level = (new.log.level != old.log.level).then(|| new.log.level.clone());
        let rules = |config: &Config| (config.limits.clone(), config.value_bytes_max, config.missing_keys);
        let other_rules = rules(&new) != rules(old);
        let checks = |config: &Config| {
            (config.coherence, config.kill_older_connections, config.trust_users, config.redis.clone())
        };
        let other_checks = checks(&new) != checks(old);
        let miss_sample = new.miss_sample;
        if let Some(locals) = &self.locals
            && new.server_addresses != old.server_addresses
        {
            locals.accelerate(new.server_addresses.clone());
        }
        self.current.swap(new);
        if let Some(level) = level {
            (self.set_log_level)(&level);
        }
        let Some(shared) = &self.cache else { return };
        if miss_sample != old.miss_sample {
            shared.settings.set_miss_sample(miss_sample);
        }
        if other_rules {
            // After the swap: see `fill`.
            shared.flush();
        }
        if other_checks {
            shared.settings.ask_recheck();
            shared.recheck.notify_one();
        }
    }
}

/// What differs. Gives `new` the old values of the keys that cannot change at run time.
pub(super) fn compare(new: &mut Config, old: &Config, taken: Path) -> Difference {
    // Without `..`, so that whoever adds a key decides what a reload does with it.
    let Config {
        redis: Server { address, username, password, tls: redis_tls, own },
        listen,
        tls,
        server_addresses,
        admin,
        path,
        pages,
        entries_max,
        value_bytes_max,
        miss_sample,
        missing_keys,
        limits,
        touches_per_second,
        adaptive_bypass,
        break_even_percent,
        bypass_window,
        flows_max,
        coherence,
        max_staleness,
        tracking,
        kill_older_connections,
        trust_users,
        lease,
        drain_timeout,
        log,
    } = old;
    let mut difference = Difference::default();
    if new.redis.address.to_string() == address.to_string() {
        // On the kernel path the addresses behind a name stay those of the start.
        new.redis.address.clone_from(address);
    }
    let is_other = new.redis.tls.is_some() != redis_tls.is_some();
    difference.keep_where(is_other, "redis.tls", &mut new.redis.tls, redis_tls);
    let port = |tls: &Option<TlsListener>| tls.as_ref().map(|tls| tls.port);
    let is_other = port(&new.tls) != port(tls);
    difference.keep_where(is_other, "tls.port", &mut new.tls, tls);
    difference.change("TLS to Redis", &new.redis.tls, redis_tls);
    difference.change("TLS from clients", &new.tls, tls);
    difference.keep("redis.address", &mut new.redis.address, address);
    new.listen.keep(listen, &mut difference);
    new.redis.own.clone_from(own);
    difference.change("server.addresses", &new.server_addresses, server_addresses);
    difference.keep("listen.admin", &mut new.admin, admin);
    new.path.keep(path, &mut difference);
    difference.keep("cache.memory_bytes", &mut new.pages, pages);
    difference.keep("cache.entries_max", &mut new.entries_max, entries_max);
    difference.keep("coherence.max_staleness", &mut new.max_staleness, max_staleness);
    difference.keep("coherence.tracking", &mut new.tracking, tracking);
    difference.keep("flows.max", &mut new.flows_max, flows_max);
    difference.change("redis.username", &new.redis.username, username);
    difference.change("the password of Redis", &new.redis.password, password);
    difference.change("cache.value_bytes_max", &new.value_bytes_max, value_bytes_max);
    difference.change("cache.miss_sample", &new.miss_sample, miss_sample);
    difference.change("cache.missing_keys", &new.missing_keys, missing_keys);
    difference.change("cache.ttl_max", &new.limits.ttl_max, &limits.ttl_max);
    difference.change("cache.key_bytes_max", &new.limits.key_bytes_max, &limits.key_bytes_max);
    difference.change("cache.key_prefixes", &new.limits.key_prefixes, &limits.key_prefixes);
    difference.change(
        "cache.key_prefixes_excluded",
        &new.limits.key_prefixes_excluded,
        &limits.key_prefixes_excluded,
    );
    match taken {
        Path::Kernel => difference.change("coherence.mode", &new.coherence, coherence),
        // Whether connections are read at all depends on it.
        Path::User => difference.keep("coherence.mode", &mut new.coherence, coherence),
    }
    difference.change(
        "coherence.kill_older_connections",
        &new.kill_older_connections,
        kill_older_connections,
    );
    difference.change("cache.touches_per_second", &new.touches_per_second, touches_per_second);
    difference.change("cache.adaptive_bypass", &new.adaptive_bypass, adaptive_bypass);
    difference.change("cache.break_even_percent", &new.break_even_percent, break_even_percent);
    difference.change("cache.bypass_window", &new.bypass_window, bypass_window);
    difference.change("coherence.trust_users", &new.trust_users, trust_users);
    difference.change("lease.duration", &new.lease, lease);
    difference.change("lease.drain_timeout", &new.drain_timeout, drain_timeout);
    new.log.compare(log, &mut difference);
    difference
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn reloader(folder: &tempfile::TempDir, levels: &Arc<AtomicUsize>) -> (Reloader, std::path::PathBuf) {
        let file = folder.path().join("kv-cache.toml");
        std::fs::write(&file, "").expect("a file");
        let flags = vec![("cache.miss_sample".to_owned(), "8".to_owned())];
        let source = ConfigSource { file: Some(file.clone()), flags };
        let current = Current::new(Config::from(&source).expect("a configuration"));
        let levels = Arc::clone(levels);
        let set = Box::new(move |_: &str| {
            levels.fetch_add(1, Ordering::Relaxed);
        });
        (Reloader::new(source, current, Path::Kernel, None, None, set).expect("metrics"), file)
    }

    #[test]
    fn what_can_change_does_and_what_cannot_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let levels = Arc::default();
        let (reloader, file) = reloader(&folder, &levels);
        assert_eq!(reloader.reload(), Outcome::Done("nothing has changed".into()));
        let text = "[cache]\nttl_max = \"3s\"\nmiss_sample = 2\nmemory_bytes = \"1MiB\"\n[log]\nlevel = \"debug\"\n\
                    [listen]\nadmin = \"127.0.0.1:1\"\n";
        std::fs::write(&file, text).expect("a file");
        let Outcome::Done(text) = reloader.reload() else { panic!("refused") };
        assert_eq!(
            text,
            "changed: cache.ttl_max, log.level\nonly after a restart: listen.admin, cache.memory_bytes"
        );
        let now = reloader.current.read();
        assert_eq!(now.limits.ttl_max, Some(Duration::from_secs(3)));
        // The flag goes before the file, also now; and what was kept is what runs.
        assert_eq!((now.miss_sample, now.pages), (8, 2048));
        assert_eq!(levels.load(Ordering::Relaxed), 1);
        assert_eq!(reloader.status().waiting_for_restart, ["listen.admin", "cache.memory_bytes"]);
        std::fs::write(&file, "").expect("a file");
        let Outcome::Done(text) = reloader.reload() else { panic!("refused") };
        assert_eq!(text, "changed: cache.ttl_max, log.level");
        assert!(reloader.status().waiting_for_restart.is_empty());
        assert_eq!(reloader.reloads.counts().0, 3);
    }

    #[test]
    fn with_any_mistake_the_old_one_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let (reloader, file) = reloader(&folder, &Arc::default());
        let before = reloader.current.read();
        std::fs::write(&file, "[cache]\nttl_max = \"3s\"\nmemroy_bytes = 1\n[log]\nlevel = \"=\"\n")
            .expect("a file");
        let Outcome::Refused(text) = reloader.reload() else { panic!("reloaded") };
        assert!(text.contains("memory_bytes") && text.contains("log.level must be"), "{text}");
        assert_eq!(reloader.current.read(), before);
        std::fs::remove_file(&file).expect("no file");
        let Outcome::Refused(text) = reloader.reload() else { panic!("reloaded") };
        assert!(text.contains("cannot read the configuration"), "{text}");
        assert_eq!(reloader.current.read(), before);
        assert!(!reloader.status().last_reload_successful);
        assert_eq!(reloader.reloads.counts().1, 2);
        std::fs::write(&file, "").expect("a file");
        reloader.reload();
        assert!(reloader.status().last_reload_successful);
    }
}
