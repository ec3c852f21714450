//! The network, Redis and kv-cache of one test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kv_cache::telling::status::Status;
use kv_cache::telling::top::View;
use kv_cache::telling::{admin, client};

use super::laboratory::{CLIENT, Network, Plan, SERVER, SERVER_V4, Way};
use super::namespace::{BpfMount, Namespace, Place, remove_leftovers};
use super::process::{Life, Process};
use super::resp::{Client, shown};
use super::{PATIENCE, kernel_tests, server_program, until};

/// Redis's own port.
pub(crate) const PLAIN: u16 = 6379;
/// The port through XPS.
pub(crate) const ACCELERATED: u16 = 6380;

const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PLAIN);

/// Tests of one program share two processors: one at a time.
static SERIAL: Mutex<()> = Mutex::new(());

/// What a test wants to be different.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Settings of kv-cache, as `section.key=value`.
    pub(crate) settings: Vec<&'static str>,
    /// kv-cache's configuration file, at the start.
    pub(crate) file: &'static str,
    /// Variables of kv-cache.
    pub(crate) environment: Vec<(&'static str, &'static str)>,
    /// Further arguments of Redis.
    pub(crate) redis: Vec<&'static str>,
    /// What is between client and server.
    pub(crate) network: Plan,
    /// The path that kv-cache takes.
    pub(crate) path: &'static str,
    /// Whether Redis's own port is accelerated. Then what connects to [`ACCELERATED`] is connected to that.
    pub(crate) in_place: bool,
    /// The state of coherence that kv-cache must reach before the test begins.
    pub(crate) state: &'static str,
}

impl Options {
    /// The user path with its cache.
    pub(crate) fn user() -> Self {
        let settings = vec!["coherence.mode=bounded"];
        Self { settings, path: "user", state: "bounded", ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            file: "",
            environment: Vec::new(),
            redis: Vec::new(),
            network: Network::direct,
            path: "kernel",
            in_place: false,
            state: "strict",
        }
    }
}

/// One end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Where Redis runs.
    Server,
    /// Where clients run.
    Client,
}

/// All that a test needs. Fields are dropped in order: programs, namespaces, mount, folder.
#[derive(Debug)]
pub(crate) struct Lab {
    sidecar: Option<Process>,
    redis: Option<Process>,
    network: Network,
    bpf: BpfMount,
    folder: tempfile::TempDir,
    options: Options,
    /// Processes and namespaces that must be gone at the end.
    made: Vec<Life>,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Makes everything, runs `test` in it, and checks that an orderly stop leaves nothing. Does nothing if kernel tests
    /// are not wanted.
    pub(crate) fn run(options: Options, test: impl FnOnce(&mut Self) -> Result<()>) {
        if !kernel_tests() {
            return;
        }
        let mut lab = Self::create(options).expect("the test network");
        if let Err(error) = test(&mut lab) {
            let status = lab.status().map_or_else(
                |error| format!("{error:#}"),
                |status| format!("{status}agent         {:?}", status.agent),
            );
            let words = lab.sidecar.as_ref().map(Process::words).unwrap_or_default();
            let redis = lab.redis.as_mut().map(Process::last_words).unwrap_or_default();
            panic!("{error:?}\n\nstatus:\n{status}\nkv-cache's words:\n{words}\nRedis:\n{redis}");
        }
        lab.finish().expect("an end without remains");
    }

    fn create(options: Options) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let turn = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir()?;
        let bpf = BpfMount::create(folder.path().join("bpf"))?;
        let network = (options.network)(number)?;
        let made = Vec::new();
        let mut lab = Self { sidecar: None, redis: None, network, bpf, folder, options, made, _turn: turn };
        lab.write_file(lab.options.file)?;
        lab.start_redis()?;
        lab.start_sidecar()?;
        Ok(lab)
    }

    /// kv-cache's configuration file; flags go before it.
    fn file(&self) -> PathBuf {
        self.folder.path().join("kv-cache.toml")
    }

    /// Changes kv-cache's configuration file.
    pub(crate) fn write_file(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.file(), text)?)
    }

    /// Starts Redis, empty, and waits until it answers.
    pub(crate) fn start_redis(&mut self) -> Result<()> {
        let place = self.network.place(SERVER);
        let mut command = place.command(server_program());
        command.args(["--port", &PLAIN.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--protected-mode", "no", "--bind", "* -::*"]);
        command.args(["--enable-debug-command", "yes"]).args(&self.options.redis);
        command.current_dir(self.folder.path());
        let mut redis = Process::start(&mut command, self.folder.path(), "redis")?;
        self.made.push(redis.life()?);
        redis.until(PATIENCE, || {
            place.run(|| Client::of(TcpStream::connect(LOOPBACK)?)?.check("PING", "+PONG\r\n")).ok()
        })?;
        self.redis = Some(redis);
        Ok(())
    }

    /// Kills Redis (SIGKILL).
    pub(crate) fn kill_redis(&mut self) -> Result<()> {
        self.redis.take().context("no Redis runs")?.kill()
    }

    /// Starts kv-cache and waits until it serves on the path and with the coherence that the test
    /// asks for.
    pub(crate) fn start_sidecar(&mut self) -> Result<()> {
        self.launch_sidecar()?;
        self.sidecar_ready()
    }

    /// Starts kv-cache and does not wait.
    pub(crate) fn launch_sidecar(&mut self) -> Result<()> {
        let pins = format!("path.pin_directory={}", self.pins().display());
        let mut command = self.network.place(SERVER).command(env!("CARGO_BIN_EXE_kv-cache"));
        command.arg("run").arg("--config").arg(self.file());
        let mode = format!("path.mode={}", self.options.path);
        let own = [&mode, "cache.miss_sample=1", "lease.drain_timeout=10s", &pins];
        let place: &[&str] = if self.options.in_place { &["listen.mode=in-place"] } else { &[] };
        for setting in own.iter().chain(place).chain(&self.options.settings) {
            command.args(["--set", setting]);
        }
        command.envs(self.options.environment.iter().copied());
        let sidecar = Process::start(&mut command, self.folder.path(), "kv-cache")?;
        self.made.push(sidecar.life()?);
        self.sidecar = Some(sidecar);
        Ok(())
    }

    /// Waits until kv-cache serves on the path and with the coherence that the test asks for.
    pub(crate) fn sidecar_ready(&mut self) -> Result<()> {
        let sidecar = self.sidecar.as_mut().context("no kv-cache runs")?;
        let (place, path, state) = (self.network.place(SERVER), self.options.path, self.options.state);
        sidecar.until(PATIENCE, || {
            let status = place.run(|| admin::ask(ADMIN)).ok()?;
            let looked = !status.coherence.causes.iter().any(|cause| cause.starts_with("starting"));
            (looked && status.path == path && status.coherence.state == state).then_some(())
        })
    }

    /// Kills kv-cache (SIGKILL).
    pub(crate) fn kill_sidecar(&mut self) -> Result<()> {
        self.sidecar.take().context("no kv-cache runs")?.kill()
    }

    /// Asks kv-cache to stop (SIGTERM) and does not wait.
    pub(crate) fn terminate_sidecar(&self) -> Result<()> {
        self.sidecar.as_ref().context("no kv-cache runs")?.terminate();
        Ok(())
    }

    /// Waits until kv-cache has stopped in order, and checks that it took everything out of the stack.
    pub(crate) fn sidecar_stopped(&mut self, limit: Duration) -> Result<()> {
        let mut sidecar = self.sidecar.take().context("no kv-cache runs")?;
        let status = sidecar.wait(limit)?;
        ensure!(status.success(), "kv-cache ended with {status}:\n{}", sidecar.words());
        let pins: Vec<PathBuf> = std::fs::read_dir(self.pins())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        ensure!(pins.is_empty(), "still pinned: {pins:?}");
        Ok(())
    }

    fn pins(&self) -> PathBuf {
        self.bpf.path().join("kv-cache")
    }

    /// What the sidecar has pinned whose name begins so.
    pub(crate) fn pinned(&self, prefix: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for namespace in std::fs::read_dir(self.pins())? {
            for entry in std::fs::read_dir(namespace?.path())? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
        names.retain(|name| name.starts_with(prefix));
        Ok(names)
    }

    /// Stops everything in order and checks that nothing is left.
    fn finish(mut self) -> Result<()> {
        if self.sidecar.is_some() {
            self.terminate_sidecar()?;
            self.sidecar_stopped(Duration::from_secs(9)).context("the stop at the test's end")?;
        }
        // Redis goes on without it.
        if self.redis.is_some() {
            self.client(PLAIN)?.check("PING", "+PONG\r\n")?;
        }
        let names = self.network.names();
        let (made, folder) = (self.made.clone(), self.folder.path().to_owned());
        drop(self);
        for name in names {
            ensure!(Namespace::is_gone(&name), "the namespace {name} is still there");
        }
        for life in made {
            ensure!(life.is_over(), "process {} is still there", life.id);
        }
        ensure!(!folder.exists(), "{} is still there", folder.display());
        Ok(())
    }

    /// Where clients run, or servers.
    pub(crate) fn place(&self, side: Side) -> &Place {
        match side {
            Side::Server => self.network.place(SERVER),
            Side::Client => self.network.place(CLIENT),
        }
    }

    /// The name of the namespace where clients run, for `ip`.
    pub(crate) fn client_namespace(&self) -> &str {
        self.network.namespace(CLIENT).name()
    }

    /// The hosts and links.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Where Redis runs and what it writes lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Redis's process id.
    pub(crate) fn redis_id(&self) -> Result<u32> {
        Ok(self.redis.as_ref().context("no Redis runs")?.id())
    }

    /// kv-cache's process id.
    pub(crate) fn sidecar_id(&self) -> Result<u32> {
        Ok(self.sidecar.as_ref().context("no kv-cache runs")?.id())
    }

    /// A connection from the client's namespace by IPv4.
    pub(crate) fn client(&self, port: u16) -> Result<Client> {
        self.connect(Side::Client, SocketAddr::new(SERVER_V4, port))
    }

    /// The accelerated port.
    pub(crate) fn accelerated_port(&self) -> u16 {
        if self.options.in_place { PLAIN } else { ACCELERATED }
    }

    /// A connection from one side to an address.
    pub(crate) fn connect(&self, from: Side, mut to: SocketAddr) -> Result<Client> {
        if to.port() == ACCELERATED {
            to.set_port(self.accelerated_port());
        }
        connect_from(self.place(from), to)
    }

    /// What kv-cache says of itself.
    pub(crate) fn status(&self) -> Result<Status> {
        self.network.place(SERVER).run(|| admin::ask(ADMIN))
    }

    /// Asks kv-cache to do something, as `kv-cache flush` and the like do.
    pub(crate) fn act(&self, action: &str) -> Result<String> {
        self.network.place(SERVER).run(|| client::act(&ADMIN.into(), action))
    }

    /// What kv-cache tells Prometheus.
    pub(crate) fn metrics(&self) -> Result<String> {
        Ok(self.network.place(SERVER).run(|| client::ask(&ADMIN.into(), "GET", "/metrics"))?.body)
    }

    /// The keys that are asked for most, as `kv-cache top` shows them.
    pub(crate) fn top(&self) -> Result<View> {
        self.network.place(SERVER).run(|| client::top(&ADMIN.into()))
    }

    /// What kv-cache has logged.
    pub(crate) fn sidecar_words(&self) -> Result<String> {
        Ok(self.sidecar.as_ref().context("no kv-cache runs")?.words())
    }

    /// Requests answered in the stack so far.
    pub(crate) fn hits(&self) -> Result<u64> {
        Ok(self.status()?.hits_total)
    }

    /// A counter of segments.
    pub(crate) fn counted(&self, reason: &str) -> Result<u64> {
        self.status()?.passes.get(reason).copied().with_context(|| format!("no counter {reason}"))
    }

    /// Gets `key` until the stack answers; each value must be `value`.
    pub(crate) fn warm(&self, client: &mut Client, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
        self.warm_with(client, key, Some(value.as_ref()))
    }

    /// Gets `key`, which does not exist, until the stack answers.
    pub(crate) fn warm_missing(&self, client: &mut Client, key: &str) -> Result<()> {
        self.warm_with(client, key, None)
    }

    fn warm_with(&self, client: &mut Client, key: &str, value: Option<&[u8]>) -> Result<()> {
        let mut before = self.hits()?;
        until(&format!("a hit on {key}"), || {
            let got = client.get(key)?;
            if got.as_deref() != value {
                let text = |value: Option<&[u8]>| value.map_or("nothing".to_owned(), shown);
                bail!("{key} holds {}, expected {}", text(got.as_deref()), text(value));
            }
            let now = self.hits()?;
            let hit = now > before;
            before = now;
            Ok(hit.then_some(()))
        })
    }

    /// Calls `work`, during which `hits` requests must be answered in the stack: all but those that passed so that the server
    /// gives a sign of life (T9), which on a slow machine are more. For one client at a time.
    pub(crate) fn expect_hits<T>(&self, hits: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let counted = || -> Result<(u64, u64)> {
            let status = self.status()?;
            Ok((status.hits_total, status.passes.get("unconfirmed").copied().unwrap_or_default()))
        };
        let before = counted()?;
        let result = work()?;
        let after = counted()?;
        let (got, passed) = (after.0 - before.0, after.1 - before.1);
        ensure!(
            got <= hits && got + passed >= hits,
            "{got} requests were answered in the stack, expected {hits}; {passed} segments were signs of life"
        );
        Ok(result)
    }
}

/// A connection from a place to an address.
pub(crate) fn connect_from(place: &Place, to: SocketAddr) -> Result<Client> {
    Client::of(Way::new(place, to).open()?)
}
