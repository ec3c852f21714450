//! The path, as a transaction: probe, plan, install; or the user path, with the cause.
//!
//! # Layout
//!
//! - [`kernel`], [`process`]: the kernel path and the user path, as the agent's tasks share them.

pub mod kernel;
pub mod process;

use std::sync::Arc;

use kv_fastpath::abi::map;
use xps_core::abi::map::FLOWS;
use xps_core::handler::REPLY_MAX;
use xps_core::predicate::Predicate;
use xps_runtime::endpoint::Endpoint;
use xps_runtime::install::{InstallError, Installed, Service, Stats};
use xps_runtime::plan::{Cause, Plan};
use xps_runtime::start::{self, PathError, Taken};

use crate::config::{Config, Current};
use crate::entries::store::store_commands;
use crate::path::kernel::Kernel;
use crate::server::commands::Commands;

/// The kernel programs, as built with this agent.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("XPS_OBJECT"));

/// What of Redis itself stands against the kernel path; and where Redis is, fixed.
pub async fn look(config: &Config) -> (Vec<Cause>, Endpoint) {
    let (mut causes, fixed) = start::look(&config.redis.address, config.listen.port_beside()).await;
    if config.redis.tls.is_some() {
        causes.insert(0, Cause::Encrypted);
    }
    (causes, fixed)
}

/// Takes the path that is possible; `against` is what [`look`] found.
///
/// # Errors
/// If the configuration demands what is not possible.
pub fn take(current: &Arc<Current>, against: Vec<Cause>) -> Result<Taken<(Arc<Kernel>, Stats)>, PathError> {
    let config = &*current.read();
    start::take(&config.path.wishes, config.path.pin_directory.clone(), against, |plan| {
        install(config, current, plan)
    })
}

fn install(
    config: &Config,
    current: &Arc<Current>,
    plan: &Plan,
) -> Result<(Arc<Kernel>, Stats), InstallError> {
    let service = Service {
        object: OBJECT,
        pin_directory: config.path.pin_directory.clone(),
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
            accelerated_port: config.listen.accelerated_port,
            plain_port: config.redis.address.port(),
        }],
        addresses: config.server_addresses.clone(),
        flows_max: config.flows_max,
        reply_bytes_max: REPLY_MAX as u32,
        xdp: None,
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
