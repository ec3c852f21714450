//! The sidecar from its start to its orderly end (S12).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_fastpath::abi::{Refused, event};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use xps_runtime::admin::listener::listen as listen_for_admin;
use xps_runtime::config::source::ConfigSource;
use xps_runtime::devices::Devices;
use xps_runtime::ended::reset;
use xps_runtime::events::Events;
use xps_runtime::flow_table::is_accelerated;
use xps_runtime::interface::Interface;
use xps_runtime::lease::Lease;
use xps_runtime::lock::lock;
use xps_runtime::logging::SetLevel;
use xps_runtime::plan::Wishes;

use crate::config::reload::{Judges, Reloader};
use crate::config::{Config, Current};
use crate::date;
use crate::path::kernel::Kernel;
use crate::path::{self, sweep, user};
use crate::policy::Policy;
use crate::proxy::Proxy;
use crate::telling::admin;
use crate::telling::offenders::Offenders;
use crate::telling::report::Report;

/// How often the lease is renewed during its time.
const RENEWALS: u32 = 4;

/// How often a stop looks whether connections are still there.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// Reports that are read at once.
const REPORTS: usize = 4096;

/// Runs until a signal asks for the end, and ends in order.
///
/// # Errors
/// If it cannot start; what is wrong and what to do about it.
pub async fn run(
    config: Config,
    policy: Policy,
    source: ConfigSource,
    set_log_level: SetLevel,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be handled")?;
    let hangup = signal(SignalKind::hangup()).context("signals cannot be handled")?;
    let (stopping, stop) = watch::channel(false);
    let (drain, draining) = watch::channel(false);
    // What can fail for others' sake comes before anything is changed in the stack.
    let admin_listener = listen_for_admin(&config.admin).await?;
    let listeners = user::listen(&config)?;
    let (against, fixed) = path::look(&config).await;
    let taken = tokio::task::block_in_place(|| path::take(&config, &policy, against))?;
    let causes: Vec<_> = taken.plan.causes.iter().map(ToString::to_string).collect();
    // The tables have it now.
    drop(policy);
    let kernel = taken.kernel;
    // On the user path a name is resolved at each connect.
    let current = Current::new(if kernel.is_some() { Config { nginx: fixed, ..config } } else { config });
    let config = current.read();
    tracing::info!(path = taken.plan.path.label(), causes = causes.join("; "), nginx = %config.nginx, listen = config.listen.mode.label(), port = config.listen.accelerated_port, rules = config.rules.len(), "started");

    let (proxy, reports) = user::proxy(&config, kernel.as_ref())?;
    // The kernel, which may refuse, comes first.
    let mut judges: Vec<Arc<dyn Judges>> = Vec::new();
    if let Some(kernel) = &kernel {
        judges.push(Arc::<Kernel>::clone(kernel));
    }
    judges.push(Arc::<Proxy>::clone(&proxy));
    let reloader = Reloader::new(source, Arc::clone(&current), taken.plan.path, judges, set_log_level)?;
    let reloader = Arc::new(reloader);
    let offenders = Arc::<Offenders>::default();
    let report = Report::new(
        taken.plan,
        Arc::clone(&current),
        kernel.clone(),
        Arc::clone(&proxy),
        Arc::clone(&offenders),
        Arc::clone(&reloader),
    )?;
    let mut tasks = JoinSet::new();
    tasks.spawn(reload_on(hangup, Arc::clone(&reloader), stop.clone()));
    tasks.spawn(Arc::clone(&reloader).watch_files(stop.clone()));
    // Before the first answer of the admin interface: who is told that it runs may rely on it.
    let lease = match &kernel {
        Some(kernel) => {
            Some(start_kernel(kernel, &current, taken.interfaces, &offenders, &mut tasks, &stop)?)
        }
        None => None,
    };
    tasks.spawn(read_queue(reports, Arc::clone(&offenders), stop.clone()));
    tasks.spawn(sweep_process(Arc::clone(&proxy), stop.clone()));
    let mut proxying = JoinSet::new();
    for listener in listeners {
        let current = Arc::clone(&current);
        let grace = move || current.read().drain_timeout;
        proxying.spawn(Arc::clone(&proxy).serve(listener, draining.clone(), grace));
    }
    let serving = tokio::spawn(admin::serve(
        admin_listener,
        config.admin.clone(),
        Arc::new(report),
        reloader,
        stop.clone(),
    ));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no new connections; waiting for connections to end");
    let _ = drain.send(true);
    if let Some(kernel) = &kernel {
        kernel.control.set_accept(false);
    }
    tokio::select! {
        () = ended(kernel.as_deref(), &mut proxying, current.read().drain_timeout) => {}
        _ = terminate.recv() => tracing::info!("asked again: not waiting for connections"),
        _ = interrupt.recv() => tracing::info!("asked again: not waiting for connections"),
    }
    proxying.shutdown().await;
    if let Some(kernel) = &kernel {
        let ports = [config.listen.accelerated_port, config.nginx.port()];
        tokio::task::block_in_place(|| {
            reset(&lock(&kernel.flows), &ports, |flow| is_accelerated(&flow.splice));
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

/// Starts everything that the kernel path needs.
fn start_kernel(
    kernel: &Arc<Kernel>,
    current: &Arc<Current>,
    interfaces: Vec<Interface>,
    offenders: &Arc<Offenders>,
    tasks: &mut JoinSet<()>,
    stop: &watch::Receiver<bool>,
) -> Result<Lease> {
    let events = {
        let installed = lock(&kernel.hooks.installed);
        let installed = installed.as_ref().context("the installation is gone")?;
        Events::of(installed.map(xps_core::abi::map::EVENTS)?)?
    };
    tasks.spawn(read_reports(events, Arc::clone(offenders), stop.clone()));
    tasks.spawn(every_second(Arc::clone(kernel), Arc::clone(offenders), stop.clone()));
    tasks.spawn(sweep::run(Arc::clone(kernel), Arc::clone(current), stop.clone()));
    let devices = Devices::watch(interfaces).context("interfaces cannot be watched")?;
    let wishes = current.read().path.wishes.clone();
    tasks.spawn(follow_devices(Arc::clone(kernel), wishes, devices, stop.clone()));
    let addresses = Arc::clone(&kernel.locals).follow(stop.clone(), || {});
    tasks.spawn(addresses.context("addresses cannot be watched")?);
    let lease = {
        let (kernel, current) = (Arc::clone(kernel), Arc::clone(current));
        Lease::start(move || {
            let duration = current.read().lease;
            kernel.control.renew_lease(duration, u64::MAX);
            duration / RENEWALS
        })
        .context("no thread for the lease")?
    };
    // The thread may not have come to it yet.
    kernel.control.renew_lease(current.read().lease, u64::MAX);
    kernel.control.set_answer(true);
    kernel.end_unread(&current.read());
    kernel.control.set_accept(true);
    Ok(lease)
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

/// Hooks interfaces that appear, unhooks those that must not be hooked any more.
async fn follow_devices(kernel: Arc<Kernel>, wishes: Wishes, devices: Devices, stop: watch::Receiver<bool>) {
    kernel.hooks.follow(&wishes, devices, stop, || {}).await;
}

/// Remembers who was refused.
async fn read_reports(mut events: Events, offenders: Arc<Offenders>, mut stop: watch::Receiver<bool>) {
    loop {
        let second = date::now_s();
        let each = |kind, record: &[u8]| {
            if kind == event::REFUSED
                && let Some(refused) = parse(record)
            {
                offenders.add(second, &refused);
            }
        };
        let read = tokio::select! {
            read = events.read(REPORTS, each) => read,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if let Err(error) = read {
            tracing::error!(%error, "refusals are no longer reported");
            return;
        }
    }
}

/// Remembers who was refused by the proxy.
async fn read_queue(
    mut reports: mpsc::Receiver<Refused>,
    offenders: Arc<Offenders>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let refused = tokio::select! {
            refused = reports.recv() => refused,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Some(refused) = refused else { return };
        offenders.add(date::now_s(), &refused);
    }
}

/// Forgets blocks of the proxy that are over.
async fn sweep_process(proxy: Arc<Proxy>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => proxy.process().ledger().sweep(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// A record of the ring.
fn parse(record: &[u8]) -> Option<Refused> {
    let word = |at: usize| Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?));
    Some(Refused {
        address: *record.get(std::mem::offset_of!(Refused, address)..)?.first_chunk()?,
        tables: word(std::mem::offset_of!(Refused, tables))?,
        cause: word(std::mem::offset_of!(Refused, cause))?,
        weight: word(std::mem::offset_of!(Refused, weight))?,
        ..Refused::default()
    })
}

/// Tells the programs the date, and how many refusals to report.
async fn every_second(kernel: Arc<Kernel>, offenders: Arc<Offenders>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let second = date::now_s();
        kernel.maps.set_date(&date::of(second));
        kernel.maps.set_sample(offenders.sample(second));
    }
}

/// Waits until no connection needs the programs or the proxy any more, at most `timeout`, which is the proxy's too.
async fn ended(kernel: Option<&Kernel>, proxying: &mut JoinSet<()>, timeout: Duration) {
    if let Some(kernel) = kernel {
        drained(kernel, timeout).await;
    }
    // One that failed has nothing to wait for.
    while proxying.join_next().await.is_some() {}
}

/// Waits until no connection needs the programs any more, at most `timeout`.
async fn drained(kernel: &Kernel, timeout: Duration) {
    let start = Instant::now();
    while tokio::task::block_in_place(|| lock(&kernel.flows).needs_programs(is_accelerated)) {
        if start.elapsed() >= timeout {
            tracing::warn!("connections are still open and will be reset");
            return;
        }
        sleep(DRAIN_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_within_its_bounds() {
        let mut record = vec![0u8; size_of::<Refused>()];
        record[8..24].copy_from_slice(&[7; 16]);
        record[28..32].copy_from_slice(&3u32.to_ne_bytes());
        record[32..36].copy_from_slice(&64u32.to_ne_bytes());
        let refused = parse(&record).expect("a report");
        assert_eq!((refused.address, refused.cause, refused.weight), ([7; 16], 3, 64));
        assert_eq!(parse(&record[..34]), None);
    }
}
