//! One connection of a load generator.

use super::{Dialogue, Heard};
use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

const CHUNK_BYTES: usize = 16 * 1024;

/// What is said on a connection, and what of a reply has come so far.
pub(super) struct Connection<D> {
    stream: TcpStream,
    dialogue: D,
    /// Bytes of a reply that is not whole.
    input: Vec<u8>,
}

/// What the connections of a thread send from and read into.
pub(super) struct Buffers {
    output: Vec<u8>,
    chunk: Box<[u8]>,
}

impl Buffers {
    /// Empty ones.
    pub(super) fn new() -> Self {
        Self { output: Vec::new(), chunk: vec![0; CHUNK_BYTES].into() }
    }
}

impl<D: Dialogue> Connection<D> {
    /// Nothing said yet.
    pub(super) fn new(stream: TcpStream, dialogue: D) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, dialogue, input: Vec::new() })
    }

    /// Sends what is next. All that was asked for before is answered.
    pub(super) fn ask(&mut self, buffers: &mut Buffers) -> Result<()> {
        buffers.output.clear();
        self.dialogue.ask(&mut buffers.output);
        let mut rest = buffers.output.as_slice();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                // What is sent is a few KB and the last is answered: the socket's buffer has room in an instant.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error).context("the connection was lost while sending"),
            }
        }
        Ok(())
    }

    /// Reads what is there. The number of requests that are answered when the last reply that is due has come.
    pub(super) fn hear(&mut self, buffers: &mut Buffers) -> Result<Option<u64>> {
        let fresh = match self.stream.read(&mut buffers.chunk) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => &buffers.chunk[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("the connection was lost"),
        };
        let Heard { used, answered } = if self.input.is_empty() {
            // Nearly always all that is due comes at once, and nothing is copied.
            let heard = self.dialogue.hear(fresh)?;
            self.input.extend_from_slice(&fresh[heard.used..]);
            heard
        } else {
            self.input.extend_from_slice(fresh);
            let heard = self.dialogue.hear(&self.input)?;
            self.input.drain(..heard.used);
            heard
        };
        if answered.is_some() && !self.input.is_empty() {
            bail!("the server sent {} bytes more than was asked for behind {used}", self.input.len());
        }
        Ok(answered)
    }

    /// What was said, at the end.
    pub(super) fn into_dialogue(self) -> D {
        self.dialogue
    }
}

impl<D> AsFd for Connection<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
