//! The thread that all sessions run on: nothing else of the agent delays them.
//!
//! Each turn takes what has arrived before it judges the time: an agent that was held up must not take another system for
//! failed whose packets lie in its sockets.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::select;
use tokio::sync::{mpsc, watch};
use xps_runtime::control::monotonic_ns;

use super::handle::Command;
use super::peers::Peers;
use crate::timer::Timer;

/// How often leases are looked at.
const LEASE_NS: u64 = 20_000_000;
/// How often sockets that are missing are tried again.
const OPEN_NS: u64 = 1_000_000_000;

/// Runs all sessions, until `stop` turns true or nobody can give commands any more.
pub(super) async fn run(
    mut peers: Peers,
    mut commands: mpsc::Receiver<Command>,
    mut stop: watch::Receiver<bool>,
    is_alive: Box<dyn Fn(u32) -> bool + Send>,
) -> io::Result<()> {
    let timer = Timer::new()?;
    let (mut lease_ns, mut open_ns) = (0, monotonic_ns() + OPEN_NS);
    loop {
        peers.take_arrived(monotonic_ns());
        let now = monotonic_ns();
        if now >= open_ns {
            peers.open_missing();
            open_ns = now + OPEN_NS;
        }
        if peers.have_leases() && now >= lease_ns {
            peers.follow_leases(now, &*is_alive);
            lease_ns = now + LEASE_NS;
        }
        peers.tick(now);
        let lease = peers.have_leases().then_some(lease_ns);
        let until_ns = [peers.deadline_ns(), lease].into_iter().flatten().fold(open_ns, u64::min);
        let woken = {
            let arrived = poll_fn(|context| poll_ready(&peers, context));
            select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Woken::ToEnd,
                ready = arrived => { ready?; Woken::ByTheWorld }
                due = timer.until(until_ns) => { due?; Woken::ByTheWorld }
                command = commands.recv() => command.map_or(Woken::ToEnd, Woken::ByCommand),
            }
        };
        match woken {
            Woken::ByTheWorld => {}
            Woken::ByCommand(command) => command.obey(&mut peers, monotonic_ns()),
            Woken::ToEnd => {
                peers.end(monotonic_ns());
                return Ok(());
            }
        }
    }
}

/// Why the next turn begins.
enum Woken {
    /// Something has arrived, or become due.
    ByTheWorld,
    ByCommand(Command),
    ToEnd,
}

/// Whether one of all sockets may have something; if none has, the task is woken when one does.
fn poll_ready(peers: &Peers, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let control = peers.receivers.iter().map(|receiver| receiver.poll_ready(context)).find(Poll::is_ready);
    let mut echoes = peers.all.iter().filter_map(|peer| peer.echo.as_ref());
    let ready =
        control.or_else(|| echoes.find_map(|echo| Some(echo.poll_ready(context)).filter(Poll::is_ready)));
    ready.unwrap_or(Poll::Pending)
}
