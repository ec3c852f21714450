//! TCP clients without a kernel: their frames are the test's own, from addresses that nobody has.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xps_core::splice::tcp_flag;

use crate::heard::Heard;
use crate::lie::{FIREWALLED, Lie};
use crate::link::Link;
use crate::namespace::Place;
use crate::packet::Packet;
use crate::peer::Peer;
use crate::random::Random;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The clients' networks.
const NETWORKS: [&str; 2] = ["10.82.0.0/16", "fd00:82::/64"];

/// The first of their ports.
const PORT_FIRST: u16 = 2000;

/// Addresses behind a host that is no router: what is sent to them ends there, and is heard only here.
#[derive(Debug)]
pub struct Outside {
    /// One for all connections: to close a packet socket takes milliseconds.
    link: Rc<RefCell<Link>>,
    addresses: [[u8; 6]; 2],
    random: Random,
    port: u16,
}

impl Outside {
    /// Clients behind the host in `client`, whose addresses are `via` and which is linked with `server` by an `interface` on
    /// both sides. Packets of theirs that are so marked are dropped by the server's firewall ([`Lie::Firewalled`]).
    ///
    /// # Errors
    /// If routes and rules cannot be made.
    pub fn behind(
        client: &Place,
        server: &Place,
        interface: &str,
        via: [IpAddr; 2],
        seed: u64,
    ) -> Result<Self> {
        for (network, via) in NETWORKS.iter().zip(via) {
            server.run_program("ip", &["route", "add", network, "via", &via.to_string()])?;
        }
        let dscp = FIREWALLED >> 2;
        server.run_program(
            "nft",
            &[&format!(
                "table inet outside {{ chain input {{ type filter hook input priority 0; \
                 ip dscp {dscp} drop; ip6 dscp {dscp} drop; }}; }}"
            )],
        )?;
        let link = client.run(|| Ok(Link::open(interface)?))?;
        let its = server.run(|| Ok(Link::open(interface)?.address()?))?;
        let addresses = [link.address()?, its];
        Ok(Self { link: Rc::new(RefCell::new(link)), addresses, random: Random(seed), port: PORT_FIRST })
    }

    /// Opens a connection, each from another port.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn connect(&mut self, server: SocketAddr, timestamps: bool) -> Result<Raw> {
        self.port = self.port.checked_add(1).unwrap_or(PORT_FIRST);
        let client = match server {
            SocketAddr::V4(_) => Ipv4Addr::new(10, 82, 0, 1).into(),
            SocketAddr::V6(_) => Ipv6Addr::new(0xfd00, 0x82, 0, 0, 0, 0, 0, 1).into(),
        };
        let (isn, [own, its]) = (self.random.word(), self.addresses);
        let mut peer = Peer::new(client, self.port, server.ip(), server.port(), isn, own, its);
        peer.timestamps = timestamps;
        Raw::open(Rc::clone(&self.link), peer)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    link: Rc<RefCell<Link>>,
    /// Its numbers.
    pub peer: Peer,
    /// All that the server has sent.
    pub got: Vec<u8>,
}

impl Raw {
    fn open(link: Rc<RefCell<Link>>, peer: Peer) -> Result<Self> {
        let (client, server) = (peer.client, peer.server);
        let mut raw = Self { link, peer, got: Vec::new() };
        let syn = raw.peer.syn();
        raw.send_packet(&syn)?;
        raw.until(PATIENCE, |raw| raw.peer.server_isn.is_some() || raw.peer.reset)?;
        ensure!(raw.peer.server_isn.is_some(), "{server:?} did not answer {client:?}");
        raw.acknowledge()?;
        Ok(raw)
    }

    fn send_packet(&self, packet: &Packet) -> io::Result<()> {
        let link = self.link.borrow();
        packet.frames().iter().try_for_each(|frame| link.send(frame))
    }

    /// Sends `payload` at the next number, with lies; the number stays.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ghost(&mut self, payload: &[u8], lies: &[Lie]) -> io::Result<()> {
        self.at(0, payload, lies)
    }

    /// Sends `payload` so many bytes from the next number, with lies; the number stays.
    ///
    /// # Errors
    /// The kernel's.
    pub fn at(&mut self, offset: i32, payload: &[u8], lies: &[Lie]) -> io::Result<()> {
        let mut packet = self.peer.packet();
        packet.seq = packet.seq.wrapping_add_signed(offset);
        packet.payload = payload.to_vec();
        packet.flags |= u16::from(tcp_flag::PSH);
        for lie in lies {
            lie.tell(&mut packet, &self.peer);
        }
        self.send_packet(&packet)
    }

    /// Sends `payload` and goes on behind it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        self.ghost(payload, &[])?;
        self.peer.next = self.peer.next.wrapping_add(payload.len() as u32);
        Ok(())
    }

    /// A bare acknowledgement.
    ///
    /// # Errors
    /// The kernel's.
    pub fn acknowledge(&mut self) -> io::Result<()> {
        let packet = self.peer.packet();
        self.send_packet(&packet)
    }

    /// Ends the connection: by a reset where the server stands, and by one where the client does, should they differ.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reset(&mut self) -> io::Result<()> {
        for seq in [self.peer.acked, self.peer.next] {
            let mut packet = self.peer.packet();
            packet.seq = seq;
            packet.flags |= u16::from(tcp_flag::RST);
            self.send_packet(&packet)?;
        }
        Ok(())
    }

    /// Listens until `done`, for `limit` at most. Whether it was done.
    ///
    /// # Errors
    /// The kernel's.
    pub fn until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while !done(self) {
            let Some(heard) = self.link.borrow_mut().wait(deadline).context("cannot listen")? else {
                return Ok(false);
            };
            let Heard::Tcp(segment) = heard else { continue };
            if segment.client != self.peer.client || segment.server != self.peer.server {
                continue;
            }
            let fresh = segment.seq == self.peer.ack;
            if self.peer.hear(&segment) && fresh {
                self.got.extend_from_slice(&segment.payload);
                self.acknowledge()?;
            }
        }
        Ok(true)
    }

    /// What the server sends until it has sent `end`, or for `limit`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_until(&mut self, end: &[u8], limit: Duration) -> Result<Vec<u8>> {
        let start = self.got.len();
        self.until(limit, |raw| {
            raw.peer.reset || raw.got[start..].windows(end.len().max(1)).any(|window| window == end)
        })?;
        Ok(self.got[start..].to_vec())
    }
}
