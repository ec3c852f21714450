//! The agent of the line service: puts the handler into the stack, vouches for it while it runs, prints what it counted,
//! and relays the connections that the kernel path does not take.
//!
//! `xps-line 7001 127.0.0.1:7000` accelerates the server on port 7000 at port 7001. Ctrl-C or SIGTERM ends it in order.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, sleep};
use xps_core::handler::REPLY_MAX;
use xps_core::predicate::Predicate;
use xps_core::verdict::Reason;
use xps_line::Connection;
use xps_runtime::ended::Ended;
use xps_runtime::flow_table::{FlowTable, is_accelerated};
use xps_runtime::install::{Installed, Service, Stats};
use xps_runtime::link::{Bare, ToServer};
use xps_runtime::plan::{Path, Wishes, plan};
use xps_runtime::probe::{ProbeRequest, probe};
use xps_runtime::relay::{Plain, Relay, RelaySettings};

/// The kernel programs, as built with this agent.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XPS_OBJECT"));

/// How long the stack answers after this agent has died.
const LEASE: Duration = Duration::from_secs(1);

/// How long an orderly stop waits for connections.
const GRACE: Duration = Duration::from_secs(5);

const FLOWS_MAX: u32 = 1024;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: xps-line ACCELERATED_PORT SERVER_ADDRESS [PIN_DIRECTORY]";
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).context(usage)?;
    let server: SocketAddr = arguments.next().and_then(|server| server.parse().ok()).context(usage)?;
    let pins = PathBuf::from(arguments.next().unwrap_or_else(|| "/sys/fs/bpf/xps-line".to_owned()));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);

    // What can fail for others' sake comes before anything is changed in the stack.
    let relay = Relay::bind(RelaySettings {
        listen: vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()],
        connections_max: FLOWS_MAX as usize,
        connect_timeout: GRACE,
    })?;
    let mut kernel = Kernel::install(port, server.port(), pins)?;
    let (stopping, stop) = tokio::sync::watch::channel(false);
    let dial = ToServer { server: server.into(), limit: GRACE };
    let relaying = tokio::spawn(relay.run(Bare, dial, Plain, stop, || GRACE));
    let mut ticks = interval(LEASE / 4);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if let Some(kernel) = &mut kernel {
            tokio::task::block_in_place(|| kernel.tend())?;
        }
    }
    stopping.send(true)?;
    if let Some(kernel) = kernel {
        kernel.stop().await?;
    }
    Ok(relaying.await?)
}

/// The kernel path.
struct Kernel {
    installed: Installed,
    flows: FlowTable<Connection>,
    stats: Stats,
    ended: Ended,
    ports: [u16; 2],
    printed: [u64; Reason::COUNT],
}

impl Kernel {
    /// Probe, plan, install. `None` where the machine does not allow it; then everything is relayed.
    fn install(accelerated_port: u16, plain_port: u16, pin_directory: PathBuf) -> Result<Option<Self>> {
        let facts = probe(&ProbeRequest { pin_directory: pin_directory.clone(), mount_bpffs: false });
        let plan = plan(&facts, &Wishes::default())?;
        if plan.path == Path::User {
            println!("path: user");
            plan.causes.iter().for_each(|cause| println!("because {cause}"));
            return Ok(None);
        }
        let installed = Installed::install(
            &plan,
            &Service {
                object: OBJECT,
                pin_directory,
                map_entries: Vec::new(),
                fresh_maps: Vec::new(),
                predicates: vec![Predicate { accelerated_port, plain_port, ..Predicate::default() }],
                addresses: Vec::new(),
                flows_max: FLOWS_MAX,
                reply_bytes_max: REPLY_MAX as u32,
                xdp: None,
            },
        )?;
        // SAFETY: the object was built from this package's library; its state consists of integers.
        let flows = unsafe { installed.flow_table::<Connection>()? };
        let stats = installed.stats()?;
        // The handler needs no tables, so it may answer at once.
        installed.renew_lease(LEASE);
        installed.set_answer(true);
        installed.set_accept(true);
        println!("path: kernel");
        let ended = Ended::default();
        Ok(Some(Self {
            installed,
            flows,
            stats,
            ended,
            ports: [accelerated_port, plain_port],
            printed: [0; Reason::COUNT],
        }))
    }

    /// What is due four times in a lease.
    fn tend(&mut self) -> Result<()> {
        self.installed.renew_lease(LEASE);
        for key in self.ended.look(&self.flows.keys()?, &self.ports)? {
            if !self.ended.waits(&key) {
                self.flows.remove(&key)?;
            }
        }
        let counted = self.stats.read()?;
        if counted != self.printed {
            let counters = Reason::ALL.iter().zip(counted).filter(|(_, count)| *count != 0);
            let counters: Vec<_> =
                counters.map(|(reason, count)| format!("{}={count}", reason.label())).collect();
            println!("counters: {}", counters.join(" "));
            self.printed = counted;
        }
        Ok(())
    }

    /// No new connections, no more answers; and when no connection needs the translation any more, everything is taken
    /// out of the stack (S12).
    async fn stop(mut self) -> Result<()> {
        self.installed.set_accept(false);
        self.installed.set_answer(false);
        let start = Instant::now();
        while self.flows.needs_programs(is_accelerated) && start.elapsed() < GRACE {
            sleep(LEASE / 4).await;
        }
        self.tend()?;
        Ok(self.installed.detach()?)
    }
}
