//! The sidecar from its start to its orderly end.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use xps_runtime::addresses::Addresses;
use xps_runtime::admin::listener::listen as listen_for_admin;
use xps_runtime::config::source::ConfigSource;
use xps_runtime::devices::Devices;
use xps_runtime::logging::SetLevel;
use xps_runtime::plan::Wishes;

use crate::bfd::SessionChange;
use crate::config::reload::Reloader;
use crate::config::{Config, Current};
use crate::happenings::{Happening, Happenings};
use crate::here::Here;
use crate::hook::Runner;
use crate::members::follow::Directory;
use crate::nodes::Nodes;
use crate::path::kernel::Kernel;
use crate::path::user::UserTables;
use crate::path::{self, Answers};
use crate::prober::Prober;
use crate::prober::counts::Counts;
use crate::prober::engine::Engine;
use crate::prober::event::Event;
use crate::sessions::Sessions;
use crate::telling::admin::{self, Served};
use crate::telling::report::Report;

/// Runs until a signal asks for the end, and ends in order.
///
/// # Errors
/// If it cannot start; what is wrong and what to do about it.
pub async fn run(config: Config, source: ConfigSource, set_log_level: SetLevel) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be handled")?;
    let hangup = signal(SignalKind::hangup()).context("signals cannot be handled")?;
    let (stopping, stop) = watch::channel(false);
    // What can fail for others' sake comes before anything is changed in the stack.
    let admin_listener = listen_for_admin(&config.admin).await?;
    let current = Current::new(config);
    let config = current.read();
    let directory = Arc::new(Directory::first(Arc::clone(&current)).await?);
    let settings = path::Settings {
        wishes: config.path.wishes.clone(),
        pin_directory: config.path.pin_directory.clone(),
        port: config.port,
    };
    let taken = tokio::task::block_in_place(|| path::take(&settings))?;
    let kernel = taken.kernel;
    let causes: Vec<_> = taken.plan.causes.iter().map(ToString::to_string).collect();
    tracing::info!(
        path = taken.plan.path.label(),
        causes = causes.join("; "),
        port = config.port,
        members = directory.members().len(),
        "started"
    );

    let user = Arc::<UserTables>::default();
    let mut tables: Vec<Arc<dyn Answers>> = vec![Arc::<UserTables>::clone(&user)];
    tables.extend(kernel.iter().map(|kernel| Arc::clone(kernel) as Arc<dyn Answers>));
    let nodes = Arc::new(Nodes::new(config.cluster, tables));
    let counts = Counts::new()?;
    let engine = Engine::new(
        config.cluster,
        config.ring,
        config.probe,
        Arc::clone(&user),
        Arc::clone(&nodes),
        counts.clone(),
    )?;
    let sockets: Vec<_> = config.sockets().collect();
    let prober = Arc::new(Prober::start(engine, &sockets, counts.clone())?);
    prober.set_members(directory.members()).await?;
    let before = match &kernel {
        Some(kernel) => kernel.maps.incarnations(config.cluster)?,
        None => BTreeMap::new(),
    };
    let here = Here::start(&config, &prober, &directory, Arc::clone(&nodes), before, stop.clone()).await?;
    let here = Arc::new(here);
    if let Some(kernel) = &kernel {
        kernel.maps.retain_nodes(&here.keys(config.cluster))?;
    }
    let sessions = Sessions::start(&current, kernel.clone(), nodes, stop.clone())?;
    let reloader = Arc::new(Reloader::new(
        source,
        Arc::clone(&current),
        Arc::clone(&prober),
        Arc::clone(&directory),
        Arc::clone(&here),
        sessions.clone(),
        set_log_level,
    )?);
    let hook = Arc::new(Runner::new(Arc::clone(&current))?);
    let report = Report {
        common: Report::common(&taken.plan, &counts, &directory, &hook, &reloader)?,
        plan: taken.plan,
        config: Arc::clone(&current),
        kernel: kernel.clone(),
        user,
        prober: Arc::clone(&prober),
        counts,
        directory: Arc::clone(&directory),
        here: Arc::clone(&here),
        sessions: sessions.clone(),
        hook: Arc::clone(&hook),
        reloader: Arc::clone(&reloader),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(log(Happenings::of(&prober, sessions.as_deref()), stop.clone()));
    tasks.spawn(hook.run(Happenings::of(&prober, sessions.as_deref()), stop.clone()));
    tasks.spawn(reload_on(hangup, Arc::clone(&reloader), stop.clone()));
    tasks.spawn(Arc::clone(&reloader).watch_files(stop.clone()));
    tasks.spawn(directory.run(Arc::clone(&prober), stop.clone()));
    if let Some(kernel) = &kernel {
        let devices = Devices::watch(taken.interfaces).context("interfaces cannot be watched")?;
        let wishes = settings.wishes.clone();
        tasks.spawn(follow_devices(Arc::clone(kernel), sessions.clone(), wishes, devices, stop.clone()));
        let addresses = Addresses::watch().context("addresses cannot be watched")?;
        let listen = config.addresses.clone();
        tasks.spawn(follow_addresses(Arc::clone(kernel), listen, addresses, stop.clone()));
        // Everything else that it answers by is there; what comes until it knows its addresses is answered by the agent.
        kernel.open();
    }
    let served = Served { report: Arc::new(report), reloader, prober: Arc::clone(&prober), sessions, here };
    let serving = tokio::spawn(admin::serve(admin_listener, config.admin.clone(), served, stop.clone()));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: this host's nodes fall silent");
    let _ = stopping.send(true);
    while tasks.join_next().await.is_some() {}
    let _ = serving.await;
    if let Some(kernel) = kernel {
        tokio::task::block_in_place(|| kernel.detach()).context("something was left in the stack")?;
    }
    tokio::task::block_in_place(|| drop(prober));
    tracing::info!("stopped");
    Ok(())
}

/// Logs what happens. Not where it is noticed: whoever reads the log slowly must not hold that up.
async fn log(mut happenings: Happenings, mut stop: watch::Receiver<bool>) {
    loop {
        let happened = tokio::select! {
            happened = happenings.next() => happened,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match happened {
            Some(Happening::Member(event)) => {
                let Event { observer, node, incarnation, .. } = *event;
                let (from, to) = (event.from.label(), event.to.label());
                tracing::info!(observer, node, from, to, incarnation, "a member is seen differently");
            }
            Some(Happening::Session(SessionChange { peer, from, to, diagnostic })) => {
                let (from, to) = (from.label(), to.label());
                tracing::info!(%peer, from, to, diagnostic, "a BFD session has another state");
            }
            Some(Happening::Missed(missed)) => {
                tracing::warn!(missed, "more has happened than could be told");
            }
            None => return,
        }
    }
}

/// Hooks interfaces that appear, unhooks those that must not be hooked any more.
async fn follow_devices(
    kernel: Arc<Kernel>,
    sessions: Option<Arc<Sessions>>,
    wishes: Wishes,
    devices: Devices,
    stop: watch::Receiver<bool>,
) {
    let changed = || sessions.iter().for_each(|sessions| sessions.interfaces_changed());
    kernel.hooks.follow(&wishes, devices, stop, changed).await;
}

/// Answers at the addresses that this host has.
async fn follow_addresses(
    kernel: Arc<Kernel>,
    listen: Vec<IpAddr>,
    addresses: Addresses,
    stop: watch::Receiver<bool>,
) {
    path::addresses::follow(&kernel.maps, &listen, addresses, stop).await;
}

/// Reads the configuration again on each `hangup`.
async fn reload_on(mut hangup: Signal, reloader: Arc<Reloader>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            asked = hangup.recv() => if asked.is_none() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // What came of it is in the log, the status and the metrics.
        reloader.reload().await;
    }
}
