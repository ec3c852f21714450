//! One connection of a batch: its client, the server's end of it, what the handler has read, and the verdict.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use xps_core::flow::FlowKey;
use xps_core::splice::flag;
use xps_recorder::ASKS;
use xps_recorder::record::{Record, kind};
use xps_testkit::plan::{Client, Plan};

use crate::lab::Ports;

/// What the handler has read of the client.
#[derive(Default)]
pub(crate) struct Reading {
    /// What it has let pass to the server.
    pub(crate) passed: Vec<u8>,
    /// What it has read since.
    pending: Vec<u8>,
    /// What it last wanted to answer.
    answered: Vec<u8>,
    /// Bytes that were answered in the stack.
    pub(crate) consumed: u32,
    /// Whether it was told that it will not see the rest.
    opaque: bool,
    /// Bytes that all records together should have had.
    read: u32,
}

impl Reading {
    /// Takes a record. A flow that is made starts anew, also one that is made again. False if one before it is missing.
    pub(crate) fn take(&mut self, record: &Record) -> bool {
        match record.head.kind {
            kind::READ => {
                if record.position != self.read {
                    return false;
                }
                self.read = self.read.wrapping_add(record.len);
                self.pending.extend_from_slice(&record.bytes[..record.len as usize]);
            }
            kind::ANSWERED => {
                self.answered = std::mem::take(&mut self.pending);
                self.consumed += self.answered.len() as u32;
            }
            kind::PASSED if self.pending.is_empty() && record.len != 0 => {
                // The server moved meanwhile: it was not answered, after all.
                if self.answered.len() != record.len as usize {
                    return false;
                }
                self.consumed -= self.answered.len() as u32;
                self.passed.append(&mut self.answered);
            }
            kind::PASSED => {
                self.passed.append(&mut self.pending);
                self.answered.clear();
            }
            kind::OPAQUE => self.opaque = true,
            kind::OPENED => *self = Self::default(),
            _ => return false,
        }
        true
    }
}

/// The server's end.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) socket: Option<TcpStream>,
    /// What it has read.
    pub(crate) bytes: Vec<u8>,
    /// Whether the client's FIN came.
    pub(crate) fin: bool,
    /// Why nothing more can come.
    pub(crate) failed: Option<ErrorKind>,
}

impl Served {
    /// Reads what is there, and answers each line that ends in it, if `answers`. Whether anything was written.
    pub(crate) fn turn(&mut self, answers: bool) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let start = self.bytes.len();
        let mut buffer = [0; 8192];
        while !self.fin && self.failed.is_none() {
            match socket.read(&mut buffer) {
                Ok(0) => self.fin = true,
                Ok(len) => self.bytes.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.failed = Some(error.kind()),
            }
        }
        let lines = self.bytes[start..].iter().filter(|byte| **byte == b'\n').count();
        answers && lines != 0 && self.say(&b"-\n".repeat(lines))
    }

    /// Sends. Whether it could.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> bool {
        self.socket.as_mut().is_some_and(|socket| socket.write_all(bytes).is_ok())
    }
}

/// How a connection differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The server has other bytes from this one on.
    Other(usize),
    /// The server has bytes from this one on that were not read.
    Unread(usize),
    /// Bytes from this one on were read that the server did not take.
    Ghost(usize),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(at) => write!(f, "from byte {at} on the server took other bytes than were read"),
            Self::Unread(at) => write!(f, "the server took bytes from {at} on that were never read"),
            Self::Ghost(at) => write!(f, "bytes from {at} on were read that the server never took"),
        }
    }
}

/// What became of a connection that looks different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// The stack has ended it.
    Ended,
    /// The handler was told that it does not see all of it.
    GivenUp,
}

/// One connection.
pub(crate) struct Connection<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) client: Client,
    pub(crate) key: FlowKey,
    /// The next move.
    pub(crate) at: usize,
    pub(crate) served: Served,
    pub(crate) reading: Reading,
    /// Whether the server has let it in.
    pub(crate) opened: bool,
    /// Whether the server's reader has stopped.
    pub(crate) held: bool,
    /// Segments sent that were not honest.
    pub(crate) hostile: u64,
    pub(crate) excuse: Option<Excuse>,
    pub(crate) difference: Option<Difference>,
    /// What was sent and heard, if that is wanted.
    pub(crate) trace: Option<Vec<String>>,
}

impl Connection<'_> {
    pub(crate) fn is_over(&self) -> bool {
        self.at >= self.plan.moves.len() || self.difference.is_some() || self.excuse.is_some()
    }

    /// How it looks different now, whatever the reason.
    pub(crate) fn compare(&self) -> Option<Difference> {
        let (read, served) = (&self.reading.passed, &self.served.bytes);
        let same = read.iter().zip(served).take_while(|(read, served)| read == served).count();
        if same < read.len().min(served.len()) {
            Some(Difference::Other(same))
        } else if served.len() > same {
            Some(Difference::Unread(same))
        } else if read.len() > same
            && !self.held
            && self.served.failed.is_none()
            && !self.plan.has_firewalled()
        {
            Some(Difference::Ghost(same))
        } else {
            None
        }
    }

    /// Whether a difference is none: the flags of its flow, if there is one, and whether the programs have counted a
    /// connection that they do not know.
    pub(crate) fn excuse(&self, difference: Difference, flags: Option<u32>, foreign: bool) -> Option<Excuse> {
        let opaque = flag::CLIENT_OPAQUE | flag::SERVER_OPAQUE;
        let given_up = match flags {
            Some(flags) => flags & opaque != 0 || flags & flag::COMPLETE == 0,
            None => foreign && (!self.plan.accelerated || Ports::of(self.plan).in_place()),
        };
        if self.reading.opaque || given_up {
            return Some(Excuse::GivenUp);
        }
        let ended = flags.is_none_or(|flags| flags & (flag::CLOSED | flag::RESET) != 0);
        (ended && matches!(difference, Difference::Ghost(_))).then_some(Excuse::Ended)
    }

    /// How it differs, as text.
    pub(crate) fn told(&self) -> Option<String> {
        let difference = self.difference?;
        let (Difference::Other(from) | Difference::Unread(from) | Difference::Ghost(from)) = difference;
        let part = |bytes: &[u8]| {
            let start = from.saturating_sub(16).min(bytes.len());
            let end = (from + 60).min(bytes.len());
            format!("{} bytes, from {start} on: {}", bytes.len(), bytes[start..end].escape_ascii())
        };
        let (read, served) = (part(&self.reading.passed), part(&self.served.bytes));
        let state = match (self.opened, self.served.failed, self.served.fin) {
            (false, ..) => ", which has not let the client in",
            (true, Some(_), _) => ", whose socket was reset",
            (true, None, true) => ", which has seen the client's end",
            (true, None, false) => "",
        };
        Some(format!("{difference}\nhandler: {read}\nserver:  {served}{state}"))
    }
}

const _: () = assert!(ASKS == b'!', "plans make lines that begin with it");
