//! Connections of clients, from a place.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, SockRef, Socket, Type};

use super::Place;

/// Which source ports the kernel may choose (ip(7), Linux 6.3); the library has no name for it.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

/// How long a connection, and then each reply, may take unless a situation says otherwise.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The accelerated ports of all services.
const ACCELERATED: [u16; 2] = [6380, 8080];

/// From where a connection goes where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    place: &'a Place,
    from: Option<IpAddr>,
    /// The server.
    pub(crate) to: SocketAddr,
    /// How long the connection, and then each reply, may take.
    pub(crate) limit: Duration,
    traffic_class: Option<u32>,
}

impl<'a> Way<'a> {
    /// From a place to an address.
    pub(crate) fn new(place: &'a Place, to: impl Into<SocketAddr>) -> Self {
        Self { place, from: None, to: to.into(), limit: LIMIT, traffic_class: None }
    }

    /// From this address of the place.
    pub(crate) fn from(self, address: IpAddr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// Waits for no longer, neither for the connection nor for a reply.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// With this traffic class (type of service) from the SYN on.
    pub(crate) fn with_traffic_class(self, class: u32) -> Self {
        Self { traffic_class: Some(class), ..self }
    }

    /// Connects.
    pub(crate) fn open(self) -> Result<TcpStream> {
        self.place
            .run(|| {
                let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, None)?;
                keep_ports_apart(&socket, self.to.port())?;
                if let Some(class) = self.traffic_class {
                    let socket = SockRef::from(&socket);
                    if self.to.is_ipv4() { socket.set_tos_v4(class)? } else { socket.set_tclass_v6(class)? }
                }
                if let Some(address) = self.from {
                    socket.bind(&SocketAddr::new(address, 0).into())?;
                }
                socket.connect_timeout(&self.to.into(), self.limit)?;
                Ok(socket.into())
            })
            .with_context(|| format!("connecting to {}", self.to))
    }
}

/// Clients of the two ports have source ports of their own. The kernel gives one to both, and while a connection to the
/// accelerated port lives, another from there to the plain port waits: kv-cache's `addresses.rs` tests that, elsewhere
/// it is an accident.
fn keep_ports_apart(socket: &Socket, to: u16) -> io::Result<()> {
    let (low, high): (u32, u32) = if ACCELERATED.contains(&to) { (47_000, 60_999) } else { (32_768, 46_999) };
    let range = high << 16 | low;
    // SAFETY: the value is a number of the length that is told, and is only read.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            IP_LOCAL_PORT_RANGE,
            (&raw const range).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
