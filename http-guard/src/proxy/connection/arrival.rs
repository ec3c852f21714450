//! How a connection begins, and what happens until a request has come.

use std::io;

use tokio::time::{Instant, timeout};

use super::{Connection, Upstream};
use crate::path::ledger::Place;
use crate::proxy::counts::count;
use crate::proxy::exchange::pass_on;
use crate::proxy::gate::Met;
use crate::proxy::proxy_protocol::{self, Start};
use crate::proxy::settings::FromClients;
use crate::proxy::{forwarded, socket};

/// What comes next from the client.
pub(super) enum Next {
    Head,
    Refused,
    Nothing,
}

/// What happens while a head is not whole.
enum Idle {
    /// The client has sent something, or ended its stream; false: it has reset the connection.
    Client(bool),
    Server(io::Result<usize>),
    Late,
    Stopped,
}

impl Connection {
    /// Finds out whose connection it is, and whether it may be.
    pub(super) async fn begin(&mut self) -> Option<Option<Place>> {
        let trusted = forwarded::is_trusted(&self.settings.trusted, self.ends.client.ip());
        match self.settings.from_clients {
            FromClients::ProxyProtocol if trusted => {
                let limit = self.settings.header_timeout;
                match timeout(limit, self.header()).await {
                    Ok(true) => {}
                    Ok(false) => {
                        count(&self.proxy.counts.without_header);
                        socket::reset(&self.client);
                        return None;
                    }
                    Err(_) => {
                        count(&self.proxy.counts.slow);
                        return None;
                    }
                }
            }
            FromClients::XForwardedFor if trusted => {
                // The connection is a proxy's, which has many clients.
                self.believed = true;
                return Some(None);
            }
            _ => {}
        }
        let client = self.ends.client.ip();
        let counts = &self.proxy.counts;
        if !self.gate.admits(client) {
            count(&counts.not_admitted);
            socket::reset(&self.client);
            return None;
        }
        let max = if self.proxy.process.is_disabled() { 0 } else { self.settings.per_client_max };
        let place = Place::take(self.proxy.process.ledger(), self.gate.prefix(client), max);
        if place.is_none() {
            count(&counts.over_connections);
            socket::reset(&self.client);
            return None;
        }
        Some(place)
    }

    /// Reads the PROXY protocol's header. False: there is none.
    async fn header(&mut self) -> bool {
        loop {
            match proxy_protocol::read(self.input.bytes()) {
                Ok(Start::More) => {}
                Ok(Start::Header(len, ends)) => {
                    self.input.forget(len);
                    self.ends = ends.unwrap_or(self.ends);
                    return true;
                }
                Err(error) => {
                    tracing::debug!(peer = %self.ends.client, %error, "a trusted peer is not believed");
                    return false;
                }
            }
            if !matches!(self.input.fill(&self.client).await, Ok(true)) {
                return false;
            }
        }
    }

    /// Reads until a head is whole.
    pub(super) async fn next(&mut self) -> Next {
        let idle_since = Instant::now();
        let mut begun = None;
        let mut said = Vec::new();
        loop {
            if !self.input.is_empty() {
                begun.get_or_insert_with(Instant::now);
            }
            match self.input.scan(&mut self.gate).1 {
                Met::Head => return Next::Head,
                Met::Refused => return Next::Refused,
                Met::More | Met::End => {}
            }
            if self.input.ended {
                self.client_ended().await;
                return Next::Nothing;
            }
            // How long a connection may be idle is the server's affair, once there is one.
            let since = begun.or(if self.upstream.is_none() { Some(idle_since) } else { None });
            let Self { client, input, upstream, stop, settings, .. } = self;
            let late = async {
                match since {
                    Some(since) => tokio::time::sleep_until(since + settings.header_timeout).await,
                    None => std::future::pending().await,
                }
            };
            let server_speaks = async {
                match upstream {
                    Some(upstream) => socket::read(&upstream.stream, &mut said).await,
                    None => std::future::pending().await,
                }
            };
            // A sender that is gone means stop as well.
            let stopped = async { stop.wait_for(|stop| *stop).await.map_or((), |_| ()) };
            let met = tokio::select! {
                filled = input.fill(client) => Idle::Client(filled.is_ok()),
                read = server_speaks => Idle::Server(read),
                () = late => Idle::Late,
                () = stopped, if begun.is_none() => Idle::Stopped,
            };
            match met {
                Idle::Client(true) => continue,
                Idle::Client(false) => self.reset(),
                Idle::Server(read) => self.server_spoke(read, &said).await,
                Idle::Late => count(&self.proxy.counts.slow),
                Idle::Stopped => socket::close(&self.client).await,
            }
            return Next::Nothing;
        }
    }

    /// The client has ended its stream, and nothing is left of it.
    async fn client_ended(&mut self) {
        if let Some(Upstream { stream, replies, .. }) = &mut self.upstream {
            socket::end(stream);
            if !pass_on(&self.client, stream, replies, &self.proxy.counts).await {
                self.reset();
                return;
            }
        }
        socket::end(&self.client);
    }

    /// The server has ended the connection, or said what nobody asked for: then it will.
    async fn server_spoke(&mut self, read: io::Result<usize>, said: &[u8]) {
        let Some(Upstream { stream, replies, .. }) = &mut self.upstream else { return };
        let ended = match read {
            Ok(0) => true,
            Ok(_) => {
                socket::write(&self.client, said).await.is_ok()
                    && pass_on(&self.client, stream, replies, &self.proxy.counts).await
            }
            Err(_) => false,
        };
        if ended { socket::close(&self.client).await } else { self.reset() }
    }
}
