//! HAProxy, with whatever configuration.

use super::process::Process;
use super::{Lab, START_LIMIT};
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

impl<S> Lab<S> {
    /// Starts HAProxy in the server's place and waits until it listens on a port. It ends when dropped.
    pub(crate) fn start_haproxy(&self, configuration: &str, port: u16) -> Result<Process> {
        let program = workspace::find("haproxy").context("haproxy is missing; run `cargo xtask setup`")?;
        let path = self.folder().join("haproxy.cfg");
        fs::write(&path, configuration).with_context(|| format!("cannot write {}", path.display()))?;
        let place = self.server();
        let arguments = ["-db".as_ref(), "-f".as_ref(), path.as_os_str()];
        let mut process = Process::start(&place, self.folder(), "haproxy", program, &arguments)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.wait_until(START_LIMIT, || place.run(|| Ok(TcpStream::connect(address)?)).is_ok())?;
        Ok(process)
    }
}
