//! Connections of the agent itself to a server whose own port is accelerated (`listen.mode = "in-place"`).
//!
//! What the agent asks must be answered by the server, never by the stack: or a cache would be filled from itself. The programs
//! know such a connection by its addresses and ports, which are settled before its SYN. An address of this host is as good as a
//! secret there: the kernel refuses packets from outside that come from one.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapError};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;
use xps_core::abi::map;
use xps_core::flow::{Flow, FlowKey};
use xps_core::splice::flag;

use crate::ended::flow_key;
use crate::endpoint::Endpoint;
use crate::flow_table::{FlowTable, Plain};
use crate::install::{InstallError, Installed};
use crate::lock::lock;

/// How often the flow of a new connection is looked for: the acknowledgement that makes it may be still on its way.
const LOOKS: u32 = 100;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// The agent's way to the server.
#[derive(Clone)]
pub struct Own(Arc<Shared>);

/// Gives the flags of a flow's splice, if there is the flow.
type Flags = dyn Fn(&FlowKey) -> Result<Option<u32>, MapError> + Send + Sync;

struct Shared {
    table: Mutex<HashMap<MapData, Plain<FlowKey>, u8>>,
    flags: Box<Flags>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Own {}

/// An entry of the table; gone when it is dropped.
struct Entry<'a> {
    own: &'a Own,
    key: FlowKey,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Err(error) = lock(&self.own.0.table).remove(&Plain(self.key)) {
            tracing::warn!(%error, "a connection of the agent's own is still told as one that is being opened");
        }
    }
}

impl Own {
    /// # Safety
    /// As [`Installed::flow_table`].
    ///
    /// # Errors
    /// If the maps are not what this agent expects.
    pub unsafe fn of<S: Copy + Send + 'static>(installed: &Installed) -> Result<Self, InstallError> {
        let table: Map = installed.map(map::OWN)?;
        let table =
            HashMap::try_from(table).map_err(|source| InstallError::Map { name: map::OWN.into(), source })?;
        // SAFETY: the caller vouches for `S`.
        let flows: FlowTable<S> = unsafe { installed.flow_table()? };
        let flows = Mutex::new(flows);
        let flags = move |key: &FlowKey| {
            let flow: Option<Flow<S>> = lock(&flows).get(key)?;
            Ok(flow.map(|flow| flow.splice.flags))
        };
        Ok(Self(Arc::new(Shared { table: Mutex::new(table), flags: Box::new(flags) })))
    }

    /// Connects to the server, as one whose requests the programs leave to it.
    ///
    /// # Errors
    /// If there is no connection within `limit`, or the programs have not seen it for what it is.
    pub async fn connect(&self, server: &Endpoint, limit: Duration) -> io::Result<TcpStream> {
        server.connect_by(limit, |address| self.open(address)).await
    }

    async fn open(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let server = reached(server);
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // The source that the kernel would choose: what is local is reached from itself.
        let mut source = server;
        source.set_port(0);
        socket.bind(source)?;
        let key = flow_key(server, socket.local_addr()?);
        let entry = self.enter(key)?;
        let stream = socket.connect(server).await?;
        drop(entry);
        for _ in 0..LOOKS {
            match (self.0.flags)(&key).map_err(io::Error::other)? {
                Some(flags) if flags & flag::ACCELERATED == 0 => return Ok(stream),
                Some(_) => break,
                None => sleep(LOOK).await,
            }
        }
        Err(io::Error::other(
            "the programs in the stack have not seen the agent's own connection for what it is: is it redirected \
             (netfilter), or the flow table full?",
        ))
    }

    fn enter(&self, key: FlowKey) -> io::Result<Entry<'_>> {
        lock(&self.0.table).insert(Plain(key), 1, 0).map_err(io::Error::other)?;
        Ok(Entry { own: self, key })
    }
}

/// Where a connection to the address leads: to no address in particular is to this host.
fn reached(mut server: SocketAddr) -> SocketAddr {
    match server.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => server.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => server.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_in_particular_is_this_host() {
        for (given, expected) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reached(given.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
