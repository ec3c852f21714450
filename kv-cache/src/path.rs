//! The path, as a transaction: probe, plan, install; or the user path, with the cause.
//!
//! # Layout
//!
//! - [`kernel`], [`process`]: the kernel path and the user path, as the agent's tasks share them.
//! - [`relay`]: the user path's thread.

pub mod kernel;
pub mod process;
pub mod relay;

use std::sync::Arc;
use std::time::Duration;

use kv_fastpath::abi::map;
use xps_core::abi::map::FLOWS;
use xps_core::handler::REPLY_MAX;
use xps_core::predicate::Predicate;
use xps_runtime::endpoint::{Endpoint, is_local};
use xps_runtime::install::{InstallError, Installed, Service, Stats};
use xps_runtime::interface::Interface;
use xps_runtime::plan::{Cause, Mode, Path, Plan, PlanError, plan};
use xps_runtime::probe::{Facts, ProbeRequest, chain, probe};

use crate::config::Config;
use crate::config::current::Current;
use crate::entries::store::store_commands;
use crate::path::kernel::Kernel;
use crate::server::commands::Commands;

/// The kernel programs, as built with this agent.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XPS_OBJECT"));

/// How long a start waits to learn where Redis is.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of the start.
pub struct Taken {
    /// The plan that is carried out.
    pub plan: Plan,
    /// The installation, on the kernel path.
    pub kernel: Option<(Arc<Kernel>, Stats)>,
    /// Interfaces of the namespace, as the plan knew them.
    pub interfaces: Vec<Interface>,
}

/// Why there is no path at all.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// The wishes cannot be met.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel path is demanded and failed.
    #[error("the kernel path is demanded (path.mode = \"kernel\") and failed: {0}")]
    Install(#[from] InstallError),
}

/// What of Redis itself stands against the kernel path; and where Redis is, fixed: the programs stand before one Redis,
/// so the agent must not follow a name to another.
pub async fn look(config: &Config) -> (Vec<Cause>, Endpoint) {
    let redis = &config.redis;
    let mut causes = Vec::new();
    if redis.tls.is_some() {
        causes.push(Cause::Encrypted);
    }
    let resolved = tokio::time::timeout(RESOLVE_TIMEOUT, redis.address.resolve()).await;
    let addresses = match resolved.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(addresses) => addresses,
        Err(error) => {
            causes.push(Cause::ServerUnresolved { reason: error.to_string() });
            return (causes, redis.address.clone());
        }
    };
    if let Some(elsewhere) = addresses.iter().find(|address| !is_local(address.ip())) {
        causes.push(Cause::ServerElsewhere { address: elsewhere.ip() });
    } else if redis.address.port() == config.accelerated_port {
        causes.push(Cause::SamePort { port: config.accelerated_port });
    }
    (causes, redis.address.fixed(addresses))
}

/// Takes the path that is possible; `against` is what [`look`] found.
///
/// # Errors
/// If the configuration demands what is not possible.
pub fn take(current: &Arc<Current>, against: Vec<Cause>) -> Result<Taken, PathError> {
    let config = &*current.read();
    let request = ProbeRequest { pin_directory: config.pin_directory.clone(), mount_bpffs: true };
    if config.wishes.mode == Mode::User {
        return Ok(Taken { plan: Plan::user(vec![Cause::Configured]), kernel: None, interfaces: Vec::new() });
    }
    // A file system is not mounted for nothing.
    let request = ProbeRequest { mount_bpffs: against.is_empty(), ..request };
    let facts = Facts { service: against, ..probe(&request) };
    let interfaces = facts.interfaces.clone().unwrap_or_default();
    let plan = plan(&facts, &config.wishes)?;
    if plan.path == Path::User {
        return Ok(Taken { plan, kernel: None, interfaces });
    }
    match install(config, current, &plan) {
        Ok(kernel) => Ok(Taken { plan, kernel: Some(kernel), interfaces }),
        Err(error) if config.wishes.mode == Mode::Kernel => Err(error.into()),
        Err(error) => {
            let cause = Cause::InstallFailed { reason: chain(&error) };
            Ok(Taken { plan: Plan::user(vec![cause]), kernel: None, interfaces })
        }
    }
}

fn install(
    config: &Config,
    current: &Arc<Current>,
    plan: &Plan,
) -> Result<(Arc<Kernel>, Stats), InstallError> {
    let service = Service {
        object: OBJECT,
        pin_directory: config.pin_directory.clone(),
        map_entries: vec![
            (FLOWS, config.flows_max),
            (map::INDEX, config.entries_max),
            (map::PAGES, config.pages),
        ],
        // Only the buckets must outlive an agent, since connections hold them.
        fresh_maps: vec![map::INDEX, map::PAGES, map::COMMANDS, map::SETTINGS, map::USERS],
        predicates: vec![Predicate {
            address: [0; 16],
            prefix_bits: 0,
            accelerated_port: config.accelerated_port,
            plain_port: config.redis.address.port(),
        }],
        flows_max: config.flows_max,
        reply_bytes_max: REPLY_MAX as u32,
    };
    let known = Commands::before_learning();
    let installed = Installed::install_with(plan, &service, |installed| store_commands(installed, &known))?;
    if installed.taken_over() {
        tracing::info!("took over the connections of an agent that was killed");
    }
    let stats = installed.stats()?;
    // On an error the links stay, answering nothing; the next start takes them over or removes them.
    let kernel = Kernel::of(installed, Arc::clone(current), plan.skipped.clone())?;
    Ok((kernel, stats))
}
