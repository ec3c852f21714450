//! The path, as a transaction: look, probe, plan, install; or the user path, with the cause.

use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::{Endpoint, is_local};
use crate::install::InstallError;
use crate::interface::Interface;
use crate::plan::{Cause, Mode, Path, Plan, PlanError, Wishes, plan};
use crate::probe::{Facts, ProbeRequest, chain, probe};

/// How long a start waits to learn where the server is.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a start.
#[derive(Debug)]
pub struct Taken<K> {
    /// The plan that is carried out.
    pub plan: Plan,
    /// What was installed, on the kernel path.
    pub kernel: Option<K>,
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
    /// Likewise, since the server's own port is to be accelerated.
    #[error("the kernel path is demanded (listen.mode = \"in-place\") and failed: {0}")]
    InPlace(InstallError),
}

/// What of the server's place stands against the kernel path; and where the server is, fixed: the programs stand before one
/// server, so the agent must not follow a name to another. `accelerated_port` is one beside the server's own, if there is one.
pub async fn look(server: &Endpoint, accelerated_port: Option<u16>) -> (Vec<Cause>, Endpoint) {
    let mut causes = Vec::new();
    let resolved = tokio::time::timeout(RESOLVE_TIMEOUT, server.resolve()).await;
    let addresses = match resolved.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(addresses) => addresses,
        Err(error) => {
            causes.push(Cause::ServerUnresolved { reason: error.to_string() });
            return (causes, server.clone());
        }
    };
    if let Some(elsewhere) = addresses.iter().find(|address| !is_local(address.ip())) {
        causes.push(Cause::ServerElsewhere { address: elsewhere.ip() });
    } else if accelerated_port == Some(server.port()) {
        causes.push(Cause::SamePort { port: server.port() });
    }
    (causes, server.fixed(addresses))
}

/// Takes the path that is possible; `against` is what is known to stand against the kernel path.
///
/// # Errors
/// If the wishes demand what is not possible.
pub fn take<K>(
    wishes: &Wishes,
    pin_directory: PathBuf,
    against: Vec<Cause>,
    install: impl FnOnce(&Plan) -> Result<K, InstallError>,
) -> Result<Taken<K>, PathError> {
    if wishes.forgo_kernel() {
        return Ok(Taken { plan: Plan::user(vec![Cause::Configured]), kernel: None, interfaces: Vec::new() });
    }
    // A file system is not mounted for nothing.
    let request = ProbeRequest { pin_directory, mount_bpffs: against.is_empty() };
    let facts = Facts { service: against, ..probe(&request) };
    let interfaces = facts.interfaces.clone().unwrap_or_default();
    let plan = plan(&facts, wishes)?;
    if plan.path == Path::User {
        return Ok(Taken { plan, kernel: None, interfaces });
    }
    match install(&plan) {
        Ok(kernel) => Ok(Taken { plan, kernel: Some(kernel), interfaces }),
        Err(error) if wishes.in_place => Err(PathError::InPlace(error)),
        Err(error) if wishes.mode == Mode::Kernel => Err(error.into()),
        Err(error) => {
            let cause = Cause::InstallFailed { reason: chain(&error) };
            Ok(Taken { plan: Plan::user(vec![cause]), kernel: None, interfaces })
        }
    }
}
