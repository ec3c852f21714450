//! Further servers of a test: masters, replicas, sentinels, nodes of a cluster.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::lab::{Lab, Side, connect_from};
use super::laboratory::{CLIENT_V4, SERVER_V4};
use super::namespace::Place;
use super::process::Process;
use super::resp::Client;
use super::{PATIENCE, server_program};

/// A server. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    process: Process,
    place: Place,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts a server on `port`, without anything that it saves, and waits until it answers.
    pub(crate) fn start(lab: &Lab, side: Side, port: u16, arguments: &[&str]) -> Result<Self> {
        let name = format!("peer-{port}");
        let mut command = lab.place(side).command(server_program());
        command.args(arguments).args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--protected-mode", "no", "--bind", "* -::*", "--enable-debug-command", "yes"]);
        command.args(["--repl-diskless-sync-delay", "0", "--dbfilename", &format!("{name}.rdb")]);
        Self::run(lab, side, port, &name, command)
    }

    /// Starts a sentinel that watches `master`, alone.
    pub(crate) fn sentinel(lab: &Lab, port: u16, master: SocketAddr) -> Result<Self> {
        let name = format!("sentinel-{port}");
        // It writes down there what it has found out.
        let file = lab.folder().join(format!("{name}.conf"));
        let (ip, master_port) = (master.ip(), master.port());
        let text = format!(
            "port {port}\nprotected-mode no\nsentinel monitor main {ip} {master_port} 1\n\
             sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 3000\n"
        );
        std::fs::write(&file, text)?;
        let mut command = lab.place(Side::Client).command(server_program());
        command.arg(&file).arg("--sentinel");
        Self::run(lab, Side::Client, port, &name, command)
    }

    fn run(lab: &Lab, side: Side, port: u16, name: &str, mut command: Command) -> Result<Self> {
        let place = lab.place(side).clone();
        let ip = if side == Side::Server { SERVER_V4 } else { CLIENT_V4 };
        let address = SocketAddr::new(ip, port);
        let mut process = Process::start(command.current_dir(lab.folder()), lab.folder(), name)?;
        process.until(PATIENCE, || connect_from(&place, address).ok()?.check("PING", "+PONG\r\n").ok())?;
        Ok(Self { process, place, address })
    }

    /// A connection from where it runs.
    pub(crate) fn client(&self) -> Result<Client> {
        connect_from(&self.place, self.address)
    }

    /// Sends a signal, as `kill` names it.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        signal(self.process.id(), name)
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()
    }
}

/// Sends a signal, as `kill` names it.
pub(crate) fn signal(process: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status()?;
    ensure!(status.success(), "kill -{name}");
    Ok(())
}

/// A field of a server's `INFO`.
pub(crate) fn info(client: &mut Client, field: &str) -> Result<String> {
    let reply = String::from_utf8_lossy(&client.command("INFO")?).into_owned();
    let value = reply.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    value.with_context(|| format!("INFO says nothing of {field}"))
}
