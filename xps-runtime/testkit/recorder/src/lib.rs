//! A service that records what its handler reads of each connection, on the plain port and on the accelerated one, so that
//! it can be compared with what the server's socket delivered.
//!
//! Messages are lines. If it is told to, the handler answers those that begin with [`ASKS`], one a segment, so that numbers
//! of client and server differ; the server answers each other line with one line.
//!
//! # Layout
//! - [`record`]: what programs and test tell each other.
//! - [`check`]: checks of the splice that a test may switch off.
#![no_std]

pub mod check;
pub mod record;

use record::{Settings, kind};
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, WINDOW, Window};
use xps_core::verdict::{Reason, Verdict};

/// First byte of a line that is answered in the stack.
pub const ASKS: u8 = b'!';

/// The answer, padded to a whole word.
static ANSWER: [u8; 8] = *b"+\n      ";

/// Bytes of it that are sent.
pub const ANSWER_BYTES: u32 = 2;

/// The handler's way to the test.
pub trait Tables {
    /// What the test says.
    fn settings(&self) -> Settings;
    /// Writes a record. `bytes`, if there are any, are those of a whole window, of which `len` count.
    fn write(&self, kind: u32, key: &FlowKey, position: u32, len: u32, bytes: Option<&[u8; WINDOW]>);
}

/// The handler.
pub struct Recorder<T> {
    /// Where it writes.
    pub tables: T,
}

/// Of one connection. `answered` belongs to the server's direction, the rest to the client's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    /// Its key, for those calls that are not given it.
    key: FlowKey,
    /// Bytes read.
    read: u32,
    /// Bytes of the line that is being read.
    column: u32,
    /// Lines that the server was given.
    asked: u32,
    /// Lines that the server sent.
    answered: u32,
}

/// Of one segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    key: FlowKey,
    /// Lines that end in it.
    all: u32,
    /// Those of them that begin in it, with [`ASKS`].
    asking: u32,
    /// Not 0: the line that is being read is such a one.
    asks: u32,
    /// Bytes read of it.
    bytes: u32,
}

impl<T: Tables> Handler for Recorder<T> {
    type State = Connection;
    type Scratch = Lines;

    #[inline(always)]
    fn checks(&self) -> u32 {
        !self.tables.settings().disabled_checks
    }

    #[inline(always)]
    fn begin(&self, key: &FlowKey, lines: &mut Lines) {
        *lines = Lines { key: *key, ..Lines::default() };
    }

    #[inline(always)]
    fn request(&self, window: &mut Window, state: &mut Connection, lines: &mut Lines) -> Scan {
        let len = window.len;
        // The window is always read from its start: nothing but its end ends a call.
        self.tables.write(kind::READ, &lines.key, state.read, len, Some(&window.bytes));
        state.read = state.read.wrapping_add(len);
        lines.bytes = lines.bytes.wrapping_add(len);
        for _ in 0..WINDOW {
            let Some(byte) = window.next() else { break };
            if state.column == 0 {
                lines.asks = u32::from(byte == ASKS);
            }
            state.column = state.column.wrapping_add(1);
            if byte == b'\n' {
                lines.all += 1;
                lines.asking += lines.asks;
                lines.asks = 0;
                state.column = 0;
            }
        }
        Scan::More
    }

    #[inline(always)]
    fn answer(&self, state: &mut Connection, lines: &mut Lines, reply: &mut Reply, room: u32) -> Verdict {
        if self.tables.settings().answers == 0 || lines.all != 1 || lines.asking != 1 || state.column != 0 {
            return Verdict::Pass(Reason::NotServed);
        }
        if state.asked != state.answered {
            return Verdict::Pass(Reason::NotIdle);
        }
        // SAFETY: eight bytes are readable.
        if room < ANSWER_BYTES || !unsafe { reply.append(ANSWER.as_ptr(), ANSWER_BYTES) } {
            return Verdict::Pass(Reason::TooLarge);
        }
        self.tables.write(kind::ANSWERED, &lines.key, state.read, 0, None);
        Verdict::Reply
    }

    #[inline(always)]
    fn passed(&self, state: &mut Connection, lines: &mut Lines) {
        state.asked = state.asked.wrapping_add(lines.all);
        self.tables.write(kind::PASSED, &lines.key, state.read, lines.bytes, None);
    }

    #[inline(always)]
    fn response(&self, window: &mut Window, state: &mut Connection, _: &mut Lines) -> Scan {
        for _ in 0..WINDOW {
            let Some(byte) = window.next() else { break };
            state.answered = state.answered.wrapping_add(u32::from(byte == b'\n'));
        }
        Scan::More
    }

    #[inline(always)]
    fn opaque(&self, state: &mut Connection) {
        self.tables.write(kind::OPAQUE, &state.key, state.read, 0, None);
    }

    #[inline(always)]
    fn opened(&self, key: &FlowKey, state: &mut Connection) {
        state.key = *key;
        self.tables.write(kind::OPENED, key, 0, 0, None);
    }

    #[inline(always)]
    fn ended(&self, _: &FlowKey, _: &mut Connection) -> bool {
        true // Nothing is held beyond the connection.
    }

    #[inline(always)]
    fn requests(&self, lines: &Lines) -> u32 {
        lines.all
    }
}
