//! The path, as a transaction: probe, plan, install; or the user path, with the cause.
//!
//! # Layout
//!
//! - [`kernel`]: the kernel path, as the agent's tasks share it; [`maps`]: its tables.
//! - [`user`]: the user path; [`process`]: the handler's tables in a process's memory.
//! - [`ledger`]: what clients have used up, for both paths.
//! - [`sweep`]: connections that have ended, or take too long; [`connected`]: how many each client has.

pub mod connected;
pub mod kernel;
pub mod ledger;
pub mod maps;
pub mod process;
pub mod sweep;
pub mod user;

use std::sync::Arc;

use xps_runtime::endpoint::Endpoint;
use xps_runtime::plan::Cause;
use xps_runtime::start::{self, PathError, Taken};

use crate::config::Config;
use crate::policy::Policy;
use kernel::Kernel;

/// What stands against the kernel path: what the configuration asks for (G6), and where Nginx is; and where it is, fixed.
pub async fn look(config: &Config) -> (Vec<Cause>, Endpoint) {
    let mut causes: Vec<_> =
        config.needs_user_path().into_iter().map(|what| Cause::NotInStack { what }).collect();
    let (more, fixed) = start::look(&config.nginx, config.listen.port_beside()).await;
    causes.extend(more);
    (causes, fixed)
}

/// Takes the path that is possible; `against` is what [`look`] found.
///
/// # Errors
/// If the configuration demands what is not possible.
pub fn take(config: &Config, policy: &Policy, against: Vec<Cause>) -> Result<Taken<Arc<Kernel>>, PathError> {
    start::take(&config.path.wishes, config.path.pin_directory.clone(), against, |plan| {
        kernel::install(config, policy, plan)
    })
}
