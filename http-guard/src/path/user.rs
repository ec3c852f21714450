//! The user path: the proxy on the accelerated port. While the kernel path is up, it serves the connections that the kernel path
//! does not take: they are judged by the same rules, and what clients use up by them is entered into the stack's tables.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_fastpath::abi::Refused;
use http_fastpath::limit::WAYS;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use xps_runtime::config::Mistakes;
use xps_runtime::relay::{self, RelayError};

use crate::config::Config;
use crate::config::reload::Judges;
use crate::path::kernel::Kernel;
use crate::path::ledger::Ledger;
use crate::path::ledger::memory::Memory;
use crate::path::process::{Process, ProcessSettings};
use crate::policy::Policy;
use crate::proxy::{Proxy, ProxySettings};

/// How long connecting to Nginx may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The proxy that a configuration asks for, and the reports of what it refuses.
///
/// # Errors
/// If rules or answers do not fit the tables.
pub fn proxy(
    config: &Config,
    kernel: Option<&Arc<Kernel>>,
) -> Result<(Arc<Proxy>, mpsc::Receiver<Refused>), Mistakes> {
    let ledger: Arc<dyn Ledger> = match kernel {
        Some(kernel) => Arc::<Kernel>::clone(kernel),
        None => Arc::new(Memory::new(config.limit_sets * WAYS as u32)),
    };
    let (process, reports) = Process::new(&config.rules, &config.page, &process_settings(config), ledger)?;
    Ok((Proxy::new(process, proxy_settings(config)), reports))
}

/// Binds where it listens: nowhere, if Nginx's own port is guarded.
///
/// # Errors
/// The address that cannot be bound, and why.
pub fn listen(config: &Config) -> Result<Vec<TcpListener>, RelayError> {
    if config.listen.in_place() {
        return Ok(Vec::new());
    }
    let address = |ip: &_| SocketAddr::new(*ip, config.listen.accelerated_port);
    relay::listen_all(&config.listen.addresses.iter().map(address).collect::<Vec<_>>())
}

fn process_settings(config: &Config) -> ProcessSettings {
    ProcessSettings {
        head: config.heads.settings(0),
        refused_sample: 1,
        ipv6_prefix: config.connections.ipv6_prefix,
        connections: config.connections.new.unwrap_or_default(),
    }
}

fn proxy_settings(config: &Config) -> ProxySettings {
    let (connections, proxy) = (&config.connections, &config.proxy);
    ProxySettings {
        server: config.nginx.clone(),
        connect_timeout: CONNECT_TIMEOUT,
        header_timeout: connections.header_timeout,
        body_timeout: connections.body_timeout,
        body_rate_min: connections.body_rate_min,
        connections_max: config.listen.connections_max,
        per_client_max: connections.per_client_max,
        trusted: proxy.trusted.clone(),
        from_clients: proxy.from_clients,
        to_server: proxy.to_server,
    }
}

impl Judges for Proxy {
    fn replace(&self, _: &Policy, config: &Config) -> Result<(), String> {
        self.process()
            .replace(&config.rules, &config.page, &process_settings(config))
            .map_err(|mistakes| mistakes.to_string())?;
        self.set(proxy_settings(config));
        Ok(())
    }
}
