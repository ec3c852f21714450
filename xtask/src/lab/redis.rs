//! A lab with Redis.

use super::process::Process;
use super::{Lab, Place, Ports, START_LIMIT};
use crate::workspace;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// A running Redis.
pub(crate) struct Redis {
    _process: Process,
    ports: Ports,
}

impl Lab<Redis> {
    /// Makes a lab and starts Redis in it.
    pub(crate) fn create() -> Result<Self> {
        Self::create_with(&[])
    }

    /// The same with arguments for Redis.
    pub(crate) fn create_with(redis_arguments: &[&str]) -> Result<Self> {
        let lab = Lab::empty()?;
        let [plain, accelerated, admin, relay] = lab.choose_ports([6379, 6380, 9180, 6390])?;
        let ports = Ports { plain, accelerated, admin, relay };
        let open = lab.has_namespaces();
        let process = start(&lab.server(), lab.folder(), "redis", plain, open, redis_arguments)?;
        Ok(lab.with(Redis { _process: process, ports }))
    }

    /// Where the servers listen.
    pub(crate) fn ports(&self) -> Ports {
        self.server.ports
    }

    /// Starts HAProxy as a TCP relay from the relay port to Redis, in Redis's place. It ends when dropped.
    pub(crate) fn start_relay(&self) -> Result<Process> {
        let Ports { plain, relay, .. } = self.ports();
        let configuration = format!(
            "global\n  maxconn 4096\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
             listen redis\n  bind :{relay}\n  server redis 127.0.0.1:{plain}\n",
        );
        self.start_haproxy(&configuration, relay)
    }
}

/// Starts a Redis that keeps nothing, and waits until it answers.
pub(crate) fn start(
    place: &Place,
    folder: &Path,
    name: &str,
    port: u16,
    open: bool,
    more: &[&str],
) -> Result<Process> {
    let program =
        workspace::find("redis-server").context("redis-server is missing; run `cargo xtask setup`")?;
    let port_text = port.to_string();
    let folder_text =
        folder.to_str().context("the checkout's path is not UTF-8, which Redis's options must be")?;
    let mut arguments = vec!["--port", &port_text, "--save", "", "--appendonly", "no", "--daemonize", "no"];
    // Where it saves what a client asks it to save.
    arguments.extend(["--dir", folder_text]);
    // Only inside a namespace of the lab, which nobody else reaches, may anybody connect.
    arguments.extend(if open {
        ["--protected-mode", "no", "--bind", "* -::*"]
    } else {
        ["--protected-mode", "yes", "--bind", "127.0.0.1"]
    });
    arguments.extend(more);
    let mut process = Process::start(place, folder, name, program, &arguments)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    process.wait_until(START_LIMIT, || place.run(|| ping(address)).is_ok())?;
    Ok(process)
}

fn ping(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    anyhow::ensure!(&reply == b"+PONG\r\n", "no PONG from Redis");
    Ok(())
}
