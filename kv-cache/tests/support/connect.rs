//! Connections of clients, from a place.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;
use super::lab::ACCELERATED;
use super::namespace::Place;
use super::resp::Client;

/// Which source ports the kernel may choose (ip(7), Linux 6.3); the library has no name for it.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

/// A connection from a place to an address.
pub(crate) fn connect_from(place: &Place, to: SocketAddr) -> Result<Client> {
    let stream: TcpStream = place
        .run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            keep_ports_apart(&socket, to.port())?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok(socket.into())
        })
        .with_context(|| format!("connecting to {to}"))?;
    Client::of(stream)
}

/// Clients of the two ports have source ports of their own. The kernel gives one to both, and while a connection to the
/// accelerated port lives, another from there to the plain port waits: `addresses.rs` tests that, elsewhere it is an accident.
fn keep_ports_apart(socket: &Socket, to: u16) -> io::Result<()> {
    let (low, high): (u32, u32) = if to == ACCELERATED { (47_000, 60_999) } else { (32_768, 46_999) };
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
