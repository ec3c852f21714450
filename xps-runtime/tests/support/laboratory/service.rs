//! What the laboratory asks of a service.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::until;
use super::{CLIENT, Network, Place, SERVER, SERVERS, Way};

/// A service with its server, in a network.
pub(crate) trait Service {
    /// The server's own port, and the accelerated one, which may be the same.
    fn ports(&self) -> [u16; 2];

    /// Where it is.
    fn network(&self) -> &Network;

    /// Connects a client.
    fn open(&self, way: Way<'_>) -> Result<Box<dyn Talk>>;

    /// Requests that were answered instead of by the server, so far.
    fn answered(&self) -> Result<u64>;

    /// Where clients are.
    fn client(&self) -> &Place {
        self.network().place(CLIENT)
    }

    /// Where the server is.
    fn server(&self) -> &Place {
        self.network().place(SERVER)
    }

    /// Waits until requests are answered in the stack: after a change it may take a moment.
    fn ready(&self) -> Result<()> {
        let mut talk = self.open(Way::new(self.server(), (SERVERS[0], self.ports()[1])))?;
        until("an answer of the stack", || {
            let before = self.answered()?;
            talk.answer()?;
            Ok((self.answered()? > before).then_some(()))
        })
    }

    /// Connects the client's host to an address of the server's.
    fn connect_to(&self, to: SocketAddr) -> Result<Box<dyn Talk>> {
        self.open(Way::new(self.client(), to))
    }
}

/// A client's connection. Replies must be right, byte by byte.
pub(crate) trait Talk: Send {
    /// Sends a request that the server answers.
    fn ask_server(&mut self) -> Result<()>;

    /// Reads the reply to it.
    fn hear_server(&mut self) -> Result<()>;

    /// Sends a request that is answered in the stack if it comes by the accelerated port, with a reply of nearly a
    /// segment.
    fn ask_stack(&mut self) -> Result<()>;

    /// Reads the reply to it.
    fn hear_stack(&mut self) -> Result<()>;

    /// The server sends 100 KiB or more.
    fn receive_much(&mut self) -> Result<()>;

    /// The client sends 100 KiB or more.
    fn send_much(&mut self) -> Result<()>;

    /// Waits for no reply for longer.
    fn set_patience(&self, limit: Duration) -> Result<()>;

    /// A request that the server answers.
    fn pass(&mut self) -> Result<()> {
        self.ask_server()?;
        self.hear_server()
    }

    /// A request that is answered in the stack if it comes by the accelerated port.
    fn answer(&mut self) -> Result<()> {
        self.ask_stack()?;
        self.hear_stack()
    }
}

/// Checks each of the server's addresses, on the plain port first, and tells of all that failed. Each check begins with
/// a stack that answers.
pub(crate) fn on_each_port<S: Service>(service: &S, check: impl Fn(SocketAddr) -> Result<()>) -> Result<()> {
    on_ports(service, &SERVERS, &service.ports(), check)
}

/// The same on some addresses and ports.
pub(crate) fn on_ports<S: Service>(
    service: &S,
    servers: &[IpAddr],
    ports: &[u16],
    check: impl Fn(SocketAddr) -> Result<()>,
) -> Result<()> {
    let mut failed = Vec::new();
    let mut ports = ports.to_vec();
    ports.dedup();
    for &server in servers {
        for &port in &ports {
            let to = SocketAddr::new(server, port);
            service.ready()?;
            match check(to) {
                Ok(()) => println!("{to}: as it should be"),
                Err(error) => failed.push(format!("{to}: {error:?}")),
            }
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}
