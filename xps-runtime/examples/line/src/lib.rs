//! A handler of one's own: a line service (any TCP server that answers each line with one line) whose `PING\n` is
//! answered with `PONG\n` in the stack. Everything else goes to the server.
#![no_std]

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, WINDOW, Window};
use xps_core::verdict::{Reason, Verdict};

/// The line that is answered here, as the last four bytes read.
const PING: u32 = u32::from_be_bytes(*b"PING");

/// Its answer, padded to a whole word.
static PONG: [u8; 8] = *b"PONG\n   ";

/// Bytes of the answer that are sent.
const PONG_BYTES: u32 = 5;

/// Most lines of one segment that are answered together.
const LINES_MAX: u32 = 16;

/// Length of a line that cannot be a PING any more.
const LONGER: u32 = 5;

/// The handler; it needs no tables.
pub struct Line;

/// Of one connection. `answered` belongs to the server's direction, the rest to the client's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    /// Lines that the server was given.
    asked: u32,
    /// Lines that the server sent.
    answered: u32,
    /// Length of the line that is being read, at most [`LONGER`].
    column: u32,
    /// Its last four bytes.
    last: u32,
}

/// Of one segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    /// Lines that end in it.
    all: u32,
    /// Those that are PINGs.
    pings: u32,
}

impl Handler for Line {
    type State = Connection;
    type Scratch = Lines;

    #[inline(always)]
    fn begin(&self, _: &FlowKey, lines: &mut Lines) {
        *lines = Lines::default();
    }

    #[inline(always)]
    fn request(&self, window: &mut Window, state: &mut Connection, lines: &mut Lines) -> Scan {
        for _ in 0..WINDOW {
            let Some(byte) = window.next() else { break };
            if byte == b'\n' {
                lines.all += 1;
                lines.pings += u32::from(state.column == 4 && state.last == PING);
                state.column = 0;
            } else {
                state.last = state.last << 8 | u32::from(byte);
                state.column = if state.column < LONGER { state.column + 1 } else { LONGER };
            }
        }
        Scan::More
    }

    #[inline(always)]
    fn answer(&self, state: &mut Connection, lines: &mut Lines, reply: &mut Reply, room: u32) -> Verdict {
        if state.column != 0 {
            return Verdict::Pass(Reason::Incomplete);
        }
        if state.asked != state.answered {
            return Verdict::Pass(Reason::NotIdle);
        }
        if lines.pings != lines.all || lines.all > LINES_MAX {
            return Verdict::Pass(Reason::NotServed);
        }
        let len = lines.all * PONG_BYTES;
        if len > room {
            return Verdict::Pass(Reason::TooLarge);
        }
        for _ in 0..LINES_MAX {
            // SAFETY: eight bytes are readable.
            if reply.len < len && !unsafe { reply.append(PONG.as_ptr(), PONG_BYTES) } {
                return Verdict::Pass(Reason::TooLarge);
            }
        }
        Verdict::Reply
    }

    #[inline(always)]
    fn passed(&self, state: &mut Connection, lines: &mut Lines) {
        state.asked = state.asked.wrapping_add(lines.all);
        if state.column != 0 {
            // The server has the beginning of this line, so it must get the end, whatever that is.
            state.column = LONGER;
        }
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
    fn opaque(&self, _: &mut Connection) {
        // The runtime asks for no more answers; there is nothing else to give up.
    }

    #[inline(always)]
    fn ended(&self, _: &mut Connection) -> bool {
        true // Nothing is held beyond the connection.
    }

    #[inline(always)]
    fn requests(&self, lines: &Lines) -> u32 {
        lines.all
    }
}
