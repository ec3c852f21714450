//! BFD sessions of the agent with other implementations, over a link between two namespaces.

use std::cell::RefCell;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heartbeat::bfd::settings::SessionSettings;
use heartbeat::bfd::view::SessionState;
use heartbeat::bfd::{Handle, SessionChange, SessionView, Settings, start};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{broadcast, watch};
use xps_runtime::config::{Reader, Sources};

use crate::lab::{CLIENTS, DEVICE, Lab, SERVERS};
use crate::namespace::Place;
use crate::process::Process;

/// How long a change may take to be seen, also on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another implementation, in the client's namespace.
pub(crate) trait Daemon {
    /// Whether its session with this address is up.
    fn is_up(&self, peer: IpAddr) -> Result<bool>;
    /// A number that changes when its session goes down and comes up again.
    fn life(&self, peer: IpAddr) -> Result<u64>;
    /// By how much that number may differ although nothing has happened.
    fn life_tolerance(&self) -> u64 {
        0
    }
    /// Its process.
    fn process(&mut self) -> &mut Process;
}

/// An agent's sessions.
pub(crate) struct Ours {
    runtime: Runtime,
    handle: Handle,
    stop: watch::Sender<bool>,
    is_alive: Arc<AtomicBool>,
    /// All changes since the start.
    changes: RefCell<broadcast::Receiver<SessionChange>>,
}

/// Sessions by their configuration.
pub(crate) fn settings(text: &str, reflects: bool) -> Result<Vec<SessionSettings>> {
    let sources = Sources { file: Some(("test.toml", text)), prefix: "HEARTBEAT", ..Sources::default() };
    let mut reader = Reader::new(&sources);
    let settings = Settings::ask(&mut reader, reflects);
    reader.finish()?;
    Ok(settings)
}

impl Ours {
    /// Begins to hold them, in the server's namespace.
    pub(crate) fn start(lab: &Lab, settings: Vec<SessionSettings>) -> Result<Self> {
        Self::start_at(lab.server.place(), settings)
    }

    /// Begins to hold them.
    pub(crate) fn start_at(place: &Place, settings: Vec<SessionSettings>) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let is_alive = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&is_alive);
        // The thread that is started has the namespace of the one that starts it.
        let handle = place.run(|| Ok(start(settings, stopped, move |_| asked.load(Ordering::Relaxed))?))?;
        let changes = RefCell::new(handle.changes());
        Ok(Self { runtime: Builder::new_current_thread().build()?, handle, stop, is_alive, changes })
    }

    /// The session with this system.
    pub(crate) fn session(&self, peer: IpAddr) -> Result<SessionView> {
        let sessions = self.runtime.block_on(self.handle.sessions());
        sessions.into_iter().find(|session| session.peer == peer).context("no such session")
    }

    /// What has changed since this was last asked.
    fn changes(&self) -> Vec<SessionChange> {
        let mut changes = self.changes.borrow_mut();
        std::iter::from_fn(|| changes.try_recv().ok()).collect()
    }

    /// Configures them anew.
    pub(crate) fn configure(&self, settings: Vec<SessionSettings>) -> Result<()> {
        Ok(self.runtime.block_on(self.handle.configure(settings))?)
    }

    fn until(&self, peer: IpAddr, what: &str, holds: impl Fn(&SessionView) -> bool) -> Result<SessionView> {
        until(what, || {
            let session = self.session(peer)?;
            Ok(holds(&session).then_some(session))
        })
        .with_context(|| format!("{:?}", self.session(peer)))
    }

    /// Waits until the session is up.
    pub(crate) fn until_up(&self, peer: IpAddr) -> Result<SessionView> {
        self.until(peer, "up here", |session| session.state == SessionState::Up)
    }

    /// Waits until it is not, for this reason.
    fn until_down(&self, peer: IpAddr, reason: &str) -> Result<SessionView> {
        self.until(peer, "down here", |session| {
            session.state != SessionState::Up && session.diagnostic == reason
        })
    }
}

/// Waits until `ready` gives something.
pub(crate) fn until<T>(what: &str, ready: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(done) = ready()? {
            return Ok(done);
        }
        ensure!(start.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A network in which addresses outlive a link that goes down.
pub(crate) fn lab() -> Result<Lab> {
    let lab = Lab::unlinked()?;
    for end in [&lab.server, &lab.client] {
        end.place().run(|| Ok(fs::write("/proc/sys/net/ipv6/conf/all/keep_addr_on_down", "1")?))?;
    }
    lab.link()?;
    Ok(lab)
}

/// How long sessions are watched under load: `XPS_SOAK_SECONDS`, or some seconds.
fn soak() -> Result<Duration> {
    match std::env::var("XPS_SOAK_SECONDS") {
        Ok(text) => Ok(Duration::from_secs(text.parse().context("XPS_SOAK_SECONDS must be a number")?)),
        Err(_) => Ok(Duration::from_secs(5)),
    }
}

/// Keeps all CPUs busy while `work` runs, in one test at a time: daemons have ordinary priority.
fn under_load<T>(work: impl FnOnce() -> T) -> T {
    static LOAD: Mutex<()> = Mutex::new(());
    let _alone = LOAD.lock().unwrap_or_else(PoisonError::into_inner);
    let done = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Sessions over both kinds of addresses come up, stay up under load, and go down and up with the link; each side sees it.
pub(crate) fn holds(lab: &Lab, ours: &Ours, daemon: &mut dyn Daemon, name: &str) -> Result<()> {
    both_up(ours, daemon)?;
    let soak = soak()?;
    let before: Vec<_> = CLIENTS.iter().map(|peer| ours.session(*peer)).collect::<Result<_>>()?;
    let lives = lives(daemon)?;
    ours.changes();
    under_load(|| std::thread::sleep(soak));
    let changes = ours.changes();
    for session in &before {
        let after = ours.session(session.peer)?;
        println!(
            "{name}: {} s under load with {}: {} packets out, {} in, each {} us, detection {} us, {} times down",
            soak.as_secs(),
            session.peer,
            after.packets_out - session.packets_out,
            after.packets_in - session.packets_in,
            after.transmit_interval_us,
            after.detection_us,
            after.downs - session.downs
        );
        ensure!(
            after.state == SessionState::Up && after.downs == session.downs,
            "it was down: {changes:?}, {after:?}"
        );
        ensure!(after.packets_in > session.packets_in, "nothing was heard: {after:?}");
        ensure!(after.dropped.values().sum::<u64>() == 0, "packets were dropped: {after:?}");
    }
    let now = self::lives(daemon)?;
    let same = now.iter().zip(&lives).all(|(now, before)| now.abs_diff(*before) <= daemon.life_tolerance());
    ensure!(same, "{name} saw it down: {lives:?} before, {now:?} after");
    lab.server.ip(&["link", "set", DEVICE, "down"])?;
    for (here, peer) in SERVERS.into_iter().zip(CLIENTS) {
        ours.until_down(peer, "nothing was heard in time")?;
        until("down there", || Ok((!daemon.is_up(here)?).then_some(())))?;
    }
    lab.server.ip(&["link", "set", DEVICE, "up"])?;
    both_up(ours, daemon)
}

fn both_up(ours: &Ours, daemon: &dyn Daemon) -> Result<()> {
    for (here, peer) in SERVERS.into_iter().zip(CLIENTS) {
        ours.until_up(peer)?;
        until("up there", || Ok(daemon.is_up(here)?.then_some(())))?;
    }
    Ok(())
}

fn lives(daemon: &dyn Daemon) -> Result<Vec<u64>> {
    SERVERS.iter().map(|here| daemon.life(*here)).collect()
}

/// The other side learns that the application is gone, and that the agent stops; and a daemon that is killed is noticed.
pub(crate) fn ends(ours: Ours, daemon: &mut dyn Daemon) -> Result<()> {
    let (here, peer) = (SERVERS[0], CLIENTS[0]);
    ours.is_alive.store(false, Ordering::Relaxed);
    ours.until_down(peer, "what lies behind it is down")?;
    until("down there", || Ok((!daemon.is_up(here)?).then_some(())))?;
    ours.is_alive.store(true, Ordering::Relaxed);
    ours.until_up(peer)?;
    until("up there", || Ok(daemon.is_up(here)?.then_some(())))?;
    ensure!(ours.runtime.block_on(ours.handle.hold_down(peer, true)) == 1, "no session was held down");
    until("down there", || Ok((!daemon.is_up(here)?).then_some(())))?;
    ensure!(ours.session(peer)?.state == SessionState::AdminDown, "not held down");
    ensure!(ours.runtime.block_on(ours.handle.hold_down(peer, false)) == 1, "no session was released");
    both_up(&ours, daemon)?;
    daemon.process().kill()?;
    ours.until_down(peer, "nothing was heard in time")?;
    let Ours { handle, stop, .. } = ours;
    ensure!(!stop.send_replace(true), "it was stopped before");
    drop(handle);
    Ok(())
}

/// Fails if a daemon is not installed.
pub(crate) fn installed(program: &str, package: &str) -> Result<()> {
    if !Path::new(program).exists() {
        bail!("{program} is not installed: `apt-get install --no-install-recommends {package}`");
    }
    Ok(())
}
