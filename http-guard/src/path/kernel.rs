//! The kernel path as the agent's tasks share it.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use http_fastpath::abi::{map, program};
use http_fastpath::guard::State as HandlerState;
use http_fastpath::ledger::{Entry, Order};
use xps_core::abi::map::FLOWS;
use xps_core::handler::REPLY_MAX;
use xps_core::predicate::Predicate;
use xps_runtime::call::Call;
use xps_runtime::control::{Control, State};
use xps_runtime::devices::Hooks;
use xps_runtime::ended::reset_unread;
use xps_runtime::flow_table::FlowTable;
use xps_runtime::install::{InstallError, Installed, Service, Stats};
use xps_runtime::locals::Locals;
use xps_runtime::lock::lock;
use xps_runtime::plan::Plan;
use xps_runtime::probe::chain;
use xps_runtime::xdp::Wish;

use crate::config::Config;
use crate::config::reload::Judges;
use crate::date;
use crate::path::ledger::clients::Clients;
use crate::path::maps::Maps;
use crate::policy::Policy;

/// The kernel programs, as built with this agent.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XPS_OBJECT"));

/// Handles to an installation.
pub struct Kernel {
    /// The installation itself: hooks for new interfaces, maps.
    pub hooks: Hooks,
    /// What the programs are told of this host's addresses.
    pub locals: Arc<Locals>,
    /// Switches and lease.
    pub control: Control,
    /// What the programs count for the agent.
    pub state: State,
    /// Counters by reason.
    pub stats: Mutex<Stats>,
    /// The flow table.
    pub flows: Mutex<FlowTable<HandlerState>>,
    /// The handler's tables.
    pub maps: Maps,
    /// What the agent counts.
    pub counts: Counts,
    /// The program that enters what the proxy does into the tables.
    pub ledger: Call,
    /// Connections of the proxy, which are counted with those in the stack.
    pub proxied: Clients,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

/// What the agent counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were closed since a head took too long.
    pub slow_heads: AtomicU64,
    /// Connections that were closed since a body did not go on.
    pub slow_bodies: AtomicU64,
    /// Flows that were removed since their sockets were gone.
    pub flows_collected: AtomicU64,
    /// Clients that are blocked, as it was seen last.
    pub blocked: AtomicU64,
}

/// Installs the programs with a policy. Nothing is accepted nor answered yet. Buckets, and all else that the programs know, are
/// taken over from an agent that was killed.
///
/// # Errors
/// What failed and what to do about it.
pub fn install(config: &Config, policy: &Policy, plan: &Plan) -> Result<Arc<Kernel>, InstallError> {
    let service = Service {
        object: OBJECT,
        pin_directory: config.path.pin_directory.clone(),
        map_entries: vec![(FLOWS, config.flows_max), (map::LIMITS, config.limit_sets)],
        // Tables are kept: heads that are half read know them, and the secret belongs to the buckets.
        fresh_maps: vec![map::HEADS],
        predicates: vec![Predicate {
            address: [0; 16],
            prefix_bits: 0,
            accelerated_port: config.listen.accelerated_port,
            plain_port: config.nginx.port(),
        }],
        addresses: config.server_addresses.clone(),
        flows_max: config.flows_max,
        reply_bytes_max: REPLY_MAX as u32,
        xdp: (config.path.wishes.xdp != Wish::Off).then_some(program::BLOCK),
    };
    let mut prepared = None;
    let installed = Installed::install_with(plan, &service, |installed| {
        let own = Maps::of(installed)?;
        own.set_date(&date::of(date::now_s()));
        own.set_sample(1);
        own.publish(policy, config)?;
        let ledger = installed.call(program::LEDGER)?;
        // An order that does nothing. Where it cannot be carried out, no other one could be.
        let mut entry = Entry::from(Order::IsBlocked { client: [0; 2] });
        ledger.run(entry.words_mut()).map_err(|source| InstallError::System {
            what: "a program cannot be run (BPF_PROG_TEST_RUN)",
            source,
        })?;
        prepared = Some((own, ledger));
        Ok(())
    })?;
    if installed.taken_over() {
        tracing::info!("took over the connections of an agent that was killed");
    }
    let entries = installed.shape(map::LIMITS)?.entries;
    if entries != config.limit_sets {
        tracing::warn!(
            sets = entries,
            "the table of buckets that was taken over has not the configured size; an orderly stop and a start change it"
        );
    }
    // SAFETY: the object is built from the same source as this program, so the states are the same type; it consists of
    // integers and arrays of them only.
    let flows = unsafe { installed.flow_table::<HandlerState>()? };
    let Some((maps, ledger)) = prepared else {
        return Err(InstallError::Object("the tables were not prepared".to_owned()));
    };
    Ok(Arc::new(Kernel {
        locals: installed.locals(),
        control: installed.control(),
        state: installed.state(),
        stats: Mutex::new(installed.stats()?),
        flows: Mutex::new(flows),
        maps,
        counts: Counts::default(),
        ledger,
        proxied: Clients::default(),
        hooks: Hooks::of(installed, plan.skipped.clone()),
    }))
}

impl Kernel {
    /// In place: ends the connections to Nginx that have no flow: those from before the programs, or from when nothing was judged.
    /// Nobody has read what they began with, so the programs let nothing of them pass; so their clients hear of it.
    pub fn end_unread(&self, config: &Config) {
        if !config.listen.in_place() {
            return;
        }
        let guarded = &config.server_addresses;
        let wanted = |address| guarded.is_empty() || guarded.contains(&address);
        match reset_unread(&lock(&self.flows), config.nginx.port(), wanted) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "connections that nobody has read have been reset"),
            Err(error) => {
                tracing::warn!(%error, "connections that nobody has read cannot be reset: they will hang");
            }
        }
    }
}

impl Judges for Kernel {
    fn replace(&self, policy: &Policy, config: &Config) -> Result<(), String> {
        self.maps.publish(policy, config).map_err(|error| chain(&error))?;
        self.locals.accelerate(config.server_addresses.clone());
        self.end_unread(config);
        Ok(())
    }
}
