//! What a client has sent and the server has not got, bounded.

use std::io;

use tokio::net::TcpStream;

use super::gate::{Gate, Met};
use super::socket;

/// Bytes that are read ahead of what is at work.
const AHEAD: usize = socket::CHUNK;

/// Bytes of a client.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Bytes that the gate has read.
    read: usize,
    /// The client has ended its side.
    pub(super) ended: bool,
}

impl Input {
    /// Whether there is nothing.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the gate has read.
    pub(super) fn passed(&self) -> &[u8] {
        &self.bytes[..self.read]
    }

    /// Whether the gate has something to read.
    pub(super) const fn has_unread(&self) -> bool {
        self.read < self.bytes.len()
    }

    /// Whether more may be read ahead.
    pub(super) const fn has_room(&self) -> bool {
        self.bytes.len() < AHEAD
    }

    /// Forgets the first bytes.
    pub(super) fn forget(&mut self, len: usize) {
        self.read = self.read.saturating_sub(len);
        if len == self.bytes.len() {
            // Most connections wait; they need no memory for it.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..len);
        }
    }

    /// Forgets what the gate has read.
    pub(super) fn forget_passed(&mut self) {
        self.forget(self.read);
    }

    /// Has the gate read on. How many bytes, too.
    pub(super) fn scan(&mut self, gate: &mut Gate) -> (usize, Met) {
        let (read, met) = gate.read(&self.bytes[self.read..]);
        self.read += read;
        (read, met)
    }

    /// All of it is somebody else's now.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.read = 0;
        std::mem::take(&mut self.bytes)
    }

    /// Takes what the client sends; false at its end.
    pub(super) async fn fill(&mut self, client: &TcpStream) -> io::Result<bool> {
        let read = socket::read(client, &mut self.bytes).await?;
        self.ended |= read == 0;
        Ok(read != 0)
    }
}
