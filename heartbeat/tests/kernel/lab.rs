//! A client and a server with a link between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heartbeat_fastpath::host::arrivals::{PORT, answer, encoded, probe};

use crate::namespace::{Namespace, Place, remove_leftovers};

/// The name of both ends of the link.
pub(crate) const DEVICE: &str = "veth0";
/// The server's addresses.
pub(crate) const SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 79, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x79, 0, 0, 0, 0, 0, 1))];
/// The client's.
pub(crate) const CLIENTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 79, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x79, 0, 0, 0, 0, 0, 2))];
/// How long a reply may take, also on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The network, removed when it is dropped.
pub(crate) struct Lab {
    pub(crate) server: Namespace,
    pub(crate) client: Namespace,
}

impl Lab {
    /// Makes it.
    pub(crate) fn create() -> Result<Self> {
        let lab = Self::unlinked()?;
        lab.link()?;
        Ok(lab)
    }

    /// Makes it without the link.
    pub(crate) fn unlinked() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let server = Namespace::create(&format!("{number}-server"))?;
        let client = Namespace::create(&format!("{number}-client"))?;
        Ok(Self { server, client })
    }

    /// Makes the link.
    pub(crate) fn link(&self) -> Result<()> {
        let Self { server, client } = self;
        let pair = ["link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", client.name()];
        server.ip(&pair)?;
        for (end, [v4, v6]) in [(server, SERVERS), (client, CLIENTS)] {
            end.ip(&["address", "add", &format!("{v4}/30"), "dev", DEVICE])?;
            // Without "nodad" the address is not usable for the first second.
            end.ip(&["address", "add", &format!("{v6}/64"), "dev", DEVICE, "nodad"])?;
            end.ip(&["link", "set", DEVICE, "up"])?;
        }
        Ok(())
    }
}

/// A socket at `place` that speaks with the port of `server`.
pub(crate) fn socket(place: &Place, server: IpAddr) -> Result<UdpSocket> {
    let any =
        if server.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = place.run(|| Ok(UdpSocket::bind(SocketAddr::new(any, 0))?))?;
    socket.connect(SocketAddr::new(server, PORT))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// What comes next must be the reply to this probe.
pub(crate) fn expect_reply(socket: &UdpSocket, sequence: u64) -> Result<()> {
    let mut reply = [0; 128];
    let len = socket.recv(&mut reply).with_context(|| format!("no reply to {sequence}"))?;
    let expected = answer(&probe(sequence));
    ensure!(reply[..len] == expected, "{:02x?} instead of {expected:02x?}", &reply[..len]);
    Ok(())
}

/// Sends this probe, and takes the reply to it.
pub(crate) fn probed(socket: &UdpSocket, sequence: u64) -> Result<()> {
    socket.send(&encoded(&probe(sequence)))?;
    expect_reply(socket, sequence)
}
