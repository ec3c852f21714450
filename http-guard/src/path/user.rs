//! The user path: the proxy on the accelerated port. While the kernel path is up, it serves the connections that the kernel path
//! does not take: they are judged by the same rules, and what clients use up by them is entered into the stack's tables.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_fastpath::abi::Refused;
use http_fastpath::limit::WAYS;
use tokio::sync::mpsc;
use xps_runtime::config::Mistakes;

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

/// Where it listens.
#[must_use]
pub fn addresses(config: &Config) -> Vec<SocketAddr> {
    config.addresses.iter().map(|ip| SocketAddr::new(*ip, config.accelerated_port)).collect()
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
        connections_max: config.proxy_connections_max,
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
