//! The sidecar from its start to its orderly end (S12).

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use xps_runtime::admin::listener::listen as listen_for_admin;
use xps_runtime::config::source::ConfigSource;
use xps_runtime::control::monotonic_ns;
use xps_runtime::devices::Devices;
use xps_runtime::ended;
use xps_runtime::events::Events;
use xps_runtime::interface::Interface;
use xps_runtime::lease::Lease;
use xps_runtime::link::Bare;
use xps_runtime::logging::SetLevel;
use xps_runtime::plan::Wishes;
use xps_runtime::relay::{Plain, Relay, RelaySettings, Serve, Through};
use xps_runtime::relay_thread::RelayThread;
use xps_runtime::session::SegmentCounts;

use crate::coherence::Mode;
use crate::coherence::freshness::State;
use crate::coherence::{clock, tracking, watch as watcher};
use crate::config::reload::Reloader;
use crate::config::{Config, Current};
use crate::entries::reports::Reports;
use crate::entries::{bypass, fill, idle, sweep};
use crate::path;
use crate::path::kernel::Kernel;
use crate::path::process::{Cached, Process};
use crate::server::credentials::Server;
use crate::server::link::{Dialler, Secured};
use crate::server::{pulse, tls};
use crate::shared::{Place, Shared, lock};
use crate::telling::actions::Actions;
use crate::telling::report::{Report, Source};
use crate::telling::{admin, top};

/// How often the lease is renewed during its time.
const RENEWALS: u32 = 4;

/// How often a stop looks whether connections are still there.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// How long connecting to Redis may take on the user path.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until a signal asks for the end, and ends in order.
///
/// # Errors
/// If it cannot start; what is wrong and what to do about it.
pub async fn run(config: Config, source: ConfigSource, set_log_level: SetLevel) -> Result<()> {
    let current = Current::new(config);
    let config = current.read();
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be handled")?;
    let hangup = signal(SignalKind::hangup()).context("signals cannot be handled")?;
    let (stopping, stop) = watch::channel(false);
    let (drain, draining) = watch::channel(false);
    // What can fail for others' sake comes before anything is changed in the stack.
    let admin_listener = listen_for_admin(&config.admin).await?;
    let relays = if config.listen.in_place() { None } else { Some(Relays::bind(&current)?) };
    let relay_counts = relays.as_ref().map(|relays| relays.bare.counts()).unwrap_or_default();
    let (against, fixed) = path::look(&config).await;
    let taken = tokio::task::block_in_place(|| path::take(&current, against))?;
    if taken.kernel.is_some() {
        let own = taken.kernel.as_ref().and_then(|(kernel, _)| kernel.own.clone());
        let redis = Server { address: fixed, own, ..config.redis.clone() };
        current.swap(Config { redis, ..Config::clone(&config) });
    }
    let config = current.read();
    let causes: Vec<_> = taken.plan.causes.iter().map(ToString::to_string).collect();
    let causes = causes.join("; ");
    tracing::info!(path = taken.plan.path.label(), causes, redis = %config.redis.address, listen = config.listen.mode.label(), port = config.listen.accelerated_port, "started");

    let segments = Arc::new(SegmentCounts::default());
    // While the kernel path is up, what it leaves to the relay is not cached: its writes are seen in the stack.
    let (kernel, process, counted) = match taken.kernel {
        Some((kernel, stats)) => {
            let counted = Source::Kernel(Arc::clone(&kernel), Mutex::new(stats));
            (Some(kernel), None, counted)
        }
        None => {
            let (process, reports) = Process::new(&current).context("no memory for the cache")?;
            let counted = Source::Process(Arc::clone(&process), Arc::clone(&segments));
            (None, Some((process, reports)), counted)
        }
    };
    let counted = Arc::new(counted);
    let cache = Arc::clone(counted.shared());
    let reloader = Reloader::new(
        source,
        Arc::clone(&current),
        taken.plan.path,
        Some(Arc::clone(&cache)),
        kernel.as_ref().map(|kernel| Arc::clone(&kernel.locals)),
        set_log_level,
    )?;
    let reloader = Arc::new(reloader);
    let report = Report::new(
        taken.plan,
        Arc::clone(&current),
        Arc::clone(&counted),
        relay_counts,
        Arc::clone(&reloader),
    )?;
    let mut tasks = JoinSet::new();
    tasks.spawn(bypass::run(Arc::clone(&cache), counted, stop.clone()));
    tasks.spawn(reload_on(hangup, Arc::clone(&reloader), stop.clone()));
    tasks.spawn(tls::follow(Arc::clone(&current), stop.clone()));
    let serving = tokio::spawn(admin::serve(
        admin_listener,
        config.admin.clone(),
        Arc::new(report),
        Arc::new(Actions::new(cache, reloader)),
        stop.clone(),
    ));
    let grace = {
        let current = Arc::clone(&current);
        move || current.read().drain_timeout
    };
    let dial = Dialler {
        config: Arc::clone(&current),
        limit: CONNECT_TIMEOUT,
        cache: process.as_ref().map(|(process, _)| Arc::clone(&process.shared)),
    };
    let mut relaying = relays.map(|relays| match &process {
        Some((process, _)) if config.coherence == Mode::Bounded => {
            let through = Through { service: Cached::new(Arc::clone(process)), counts: segments };
            relays.run(dial, through, draining, grace, stop.clone())
        }
        // In strict mode there are no hits on the user path: then nothing needs to be read either.
        _ => relays.run(dial, Plain, draining, grace, stop.clone()),
    });
    let lease = match &kernel {
        Some(kernel) => Some(start_kernel(kernel, &config, taken.interfaces, &mut tasks, &stop)?),
        None => None,
    };
    let process = process.map(|(process, reports)| {
        let place = Arc::<Process>::clone(&process);
        start_cache(&process.shared, place, reports, &mut tasks, &stop);
        process
    });

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no new connections, no more hits; waiting for connections to end");
    let _ = drain.send(true);
    if let Some(process) = &process {
        process.shared.draining.store(true, Ordering::Release);
    }
    if let Some(kernel) = &kernel {
        kernel.shared.draining.store(true, Ordering::Release);
        kernel.control.set_answer(false);
        kernel.control.set_accept(false);
    }
    let config = current.read();
    tokio::select! {
        () = ended(kernel.as_deref(), relaying.as_mut(), &config) => {}
        _ = terminate.recv() => tracing::info!("asked again: not waiting for connections"),
        _ = interrupt.recv() => tracing::info!("asked again: not waiting for connections"),
    }
    if let Some(kernel) = &kernel {
        let ports = [config.listen.accelerated_port, config.redis.address.port()];
        tokio::task::block_in_place(|| {
            ended::reset(&lock(&kernel.flows), &ports, |flow| {
                sweep::needs_programs(&flow.splice, config.listen.in_place())
            });
        });
    }
    let _ = stopping.send(true);
    while tasks.join_next().await.is_some() {}
    if let Some(lease) = lease {
        lease.stop();
    }
    if let Some(installed) = kernel.as_ref().and_then(|kernel| lock(&kernel.hooks.installed).take()) {
        installed.detach().context("something was left in the stack")?;
    }
    let _ = serving.await;
    tracing::info!("stopped");
    Ok(())
}

/// Reads the configuration again on each `hangup`.
async fn reload_on(mut hangup: Signal, reloader: Arc<Reloader>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            asked = hangup.recv() => if asked.is_none() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // What came of it is in the log, the status and the metrics.
        tokio::task::block_in_place(|| reloader.reload());
    }
}

/// The relays, and the thread that they run on.
struct Relays {
    thread: RelayThread,
    bare: Relay,
    tls: Option<(Relay, Secured)>,
}

impl Relays {
    /// Binds what the configuration names.
    fn bind(current: &Arc<Current>) -> Result<Self> {
        let config = current.read();
        let thread = RelayThread::new().context("no thread for the relay")?;
        let listen = |port| config.listen.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let settings = RelaySettings {
            listen: listen(config.listen.accelerated_port),
            connections_max: config.listen.connections_max,
            connect_timeout: CONNECT_TIMEOUT,
        };
        let bare = thread.within(|| Relay::bind(settings))?;
        let tls = match &config.tls {
            Some(tls) => {
                let beside = thread.within(|| bare.beside(listen(tls.port)))?;
                Some((beside, Secured { config: Arc::clone(current) }))
            }
            None => None,
        };
        Ok(Self { thread, bare, tls })
    }

    /// Relays clients with TLS and without.
    fn run(
        self,
        dial: Dialler,
        serve: impl Serve,
        drain: watch::Receiver<bool>,
        grace: impl FnOnce() -> Duration + Clone + Send + 'static,
        stop: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let Self { thread, bare, tls } = self;
        let (dial_too, serve_too, drain_too, grace_too) =
            (dial.clone(), serve.clone(), drain.clone(), grace.clone());
        let work = async move {
            let with_tls = async {
                if let Some((relay, secured)) = tls {
                    relay.run(secured, dial_too, serve_too, drain_too, grace_too).await;
                }
            };
            tokio::join!(bare.run(Bare, dial, serve, drain, grace), with_tls);
        };
        thread.run(work, stop)
    }
}

/// Starts everything that the kernel path needs.
fn start_kernel(
    kernel: &Arc<Kernel>,
    config: &Config,
    interfaces: Vec<Interface>,
    tasks: &mut JoinSet<()>,
    stop: &watch::Receiver<bool>,
) -> Result<Lease> {
    let events = {
        let installed = lock(&kernel.hooks.installed);
        let installed = installed.as_ref().context("the installation is gone")?;
        Events::of(installed.map(xps_core::abi::map::EVENTS)?)?
    };
    start_cache(&kernel.shared, Arc::<Kernel>::clone(kernel), Reports::Ring(Box::new(events)), tasks, stop);
    tasks.spawn(sweep::flows(Arc::clone(kernel), stop.clone()));
    tasks.spawn(pulse::run(Arc::clone(kernel), stop.clone()));
    let devices = Devices::watch(interfaces).context("interfaces cannot be watched")?;
    tasks.spawn(follow_devices(Arc::clone(kernel), config.path.wishes.clone(), devices, stop.clone()));
    let of_kernel = Arc::clone(kernel);
    let addresses = Arc::clone(&kernel.locals).follow(stop.clone(), move || look_again(&of_kernel));
    tasks.spawn(addresses.context("addresses cannot be watched")?);
    let lease = start_lease(Arc::clone(kernel)).context("no thread for the lease")?;
    kernel.control.set_accept(true);
    kernel.control.set_answer(true);
    Ok(lease)
}

/// Starts what either path's cache needs.
fn start_cache(
    shared: &Arc<Shared>,
    place: Arc<dyn Place>,
    reports: Reports,
    tasks: &mut JoinSet<()>,
    stop: &watch::Receiver<bool>,
) {
    tasks.spawn(tracking::run(Arc::clone(shared), stop.clone()));
    tasks.spawn(fill::run(Arc::clone(shared), reports, stop.clone()));
    tasks.spawn(watcher::run(place, stop.clone()));
    tasks.spawn(idle::run(Arc::clone(shared), stop.clone()));
    tasks.spawn(top::run(Arc::clone(shared), stop.clone()));
    tasks.spawn(sweep::entries(Arc::clone(shared), stop.clone()));
    tasks.spawn(clock::run(Arc::clone(shared), stop.clone()));
}

/// Waits until no connection needs the programs or the relay any more, at most for `drain_timeout`, which is the relay's too.
async fn ended(kernel: Option<&Kernel>, relaying: Option<&mut JoinHandle<()>>, config: &Config) {
    drained(kernel, config).await;
    if let Some(relaying) = relaying {
        // A relay that failed has nothing to wait for.
        let _ = relaying.await;
    }
}

/// Waits until no connection needs the programs any more, at most for `drain_timeout`.
async fn drained(kernel: Option<&Kernel>, config: &Config) {
    let Some(kernel) = kernel else { return };
    let start = Instant::now();
    let needs = |splice: &_| sweep::needs_programs(splice, config.listen.in_place());
    while tokio::task::block_in_place(|| lock(&kernel.flows).needs_programs(needs)) {
        if start.elapsed() >= config.drain_timeout {
            tracing::warn!("connections are still open and will be reset");
            return;
        }
        sleep(DRAIN_LOOK).await;
    }
}

/// Hooks interfaces that appear, unhooks those that must not be hooked any more.
async fn follow_devices(kernel: Arc<Kernel>, wishes: Wishes, devices: Devices, stop: watch::Receiver<bool>) {
    kernel.hooks.follow(&wishes, devices, stop, || look_again(&kernel)).await;
}

/// What was checked is no longer so.
fn look_again(kernel: &Kernel) {
    kernel.shared.settings.ask_recheck();
    kernel.shared.recheck.notify_one();
}

/// Renews the lease as long as the fill loop and the server show signs of life.
fn start_lease(kernel: Arc<Kernel>) -> std::io::Result<Lease> {
    Lease::start(move || {
        let freshness = &kernel.shared.freshness;
        let duration = kernel.shared.config.read().lease;
        let silent_ns = monotonic_ns().saturating_sub(kernel.shared.fill_beat_ns.load(Ordering::Acquire));
        let alive = Duration::from_nanos(silent_ns) < duration.max(Duration::from_secs(1));
        // A lease from before the first beat of tracking must not outlast the bound either.
        let strict = freshness.state() == State::Strict;
        let (lease, pause) = if strict {
            (duration, duration / RENEWALS)
        } else {
            let lease = duration.min(freshness.bound());
            (lease, lease / (2 * RENEWALS))
        };
        if alive && !kernel.shared.draining.load(Ordering::Acquire) {
            let until_ns = freshness.until_ns().min(kernel.pulse.until_ns());
            kernel.control.renew_lease(lease, until_ns);
        }
        pause
    })
}
