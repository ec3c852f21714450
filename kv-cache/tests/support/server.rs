//! A Redis of somebody else's.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use anyhow::Result;

use super::namespace::Place;
use super::process::Process;
use super::resp::Client;
use super::{PATIENCE, server_program};

/// A Redis in a place, which holds `whose` = its name. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server(#[expect(dead_code, reason = "is dropped")] Process, tempfile::TempDir);

impl Server {
    /// Starts one and waits until it answers.
    pub(crate) fn start(place: &Place, port: u16, name: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = place.command(server_program());
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--protected-mode", "no", "--bind", "* -::*"]).current_dir(folder.path());
        let mut process = Process::start(&mut command, folder.path(), "redis")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.until(PATIENCE, || {
            place.run(|| Client::of(TcpStream::connect(address)?)?.set("whose", name)).ok()
        })?;
        Ok(Self(process, folder))
    }
}
