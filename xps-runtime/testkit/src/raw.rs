//! A TCP client without a kernel: its frames are the test's own, at an address that nobody has.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use xps_core::splice::tcp_flag;

use crate::heard::Heard;
use crate::lie::Lie;
use crate::link::Link;
use crate::peer::Peer;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection.
#[derive(Debug)]
pub struct Raw {
    link: Link,
    /// Its numbers.
    pub peer: Peer,
    /// All that the server has sent.
    pub got: Vec<u8>,
}

impl Raw {
    /// Opens a connection from `client`, whose link address the server must know, through `link`.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn connect(
        link: Link,
        addresses: [[u8; 6]; 2],
        client: SocketAddr,
        server: SocketAddr,
    ) -> Result<Self> {
        // Another number each time, so that an older connection is not met.
        let isn = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u32;
        let [own, its] = addresses;
        let mut peer = Peer::new(client.ip(), client.port(), server.ip(), server.port(), isn, own, its);
        for frame in peer.syn().frames() {
            link.send(&frame)?;
        }
        let mut raw = Self { link, peer, got: Vec::new() };
        raw.until(PATIENCE, |raw| raw.peer.server_isn.is_some() || raw.peer.reset)?;
        ensure!(raw.peer.server_isn.is_some(), "{server} did not answer {client}");
        raw.acknowledge()?;
        Ok(raw)
    }

    /// Sends `payload` at the next number, with lies; the number stays.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ghost(&mut self, payload: &[u8], lies: &[Lie]) -> io::Result<()> {
        let mut packet = self.peer.packet();
        packet.payload = payload.to_vec();
        packet.flags |= u16::from(tcp_flag::PSH);
        for lie in lies {
            lie.tell(&mut packet, &self.peer);
        }
        packet.frames().iter().try_for_each(|frame| self.link.send(frame))
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
        self.peer.packet().frames().iter().try_for_each(|frame| self.link.send(frame))
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reset(&mut self) -> io::Result<()> {
        let mut packet = self.peer.packet();
        packet.flags |= u16::from(tcp_flag::RST);
        packet.frames().iter().try_for_each(|frame| self.link.send(frame))
    }

    /// Listens until `done`, for `limit` at most. Whether it was done.
    ///
    /// # Errors
    /// The kernel's.
    pub fn until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while !done(self) {
            let Some(heard) = self.link.wait(deadline).context("cannot listen")? else { return Ok(false) };
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
