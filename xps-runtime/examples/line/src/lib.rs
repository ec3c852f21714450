//! A handler of one's own: a line service (any TCP server that answers each line with one line) whose `PING\n` is
//! answered with `PONG\n` in the stack. `QUIT\n` ends the connection with `BYE\n`, `ABRT\n` with a reset, `HUSH\n` without a
//! word: the server gets none of them. Everything else goes to the server.
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

/// Lines that end the connection, likewise.
const QUIT: u32 = u32::from_be_bytes(*b"QUIT");
const ABORT: u32 = u32::from_be_bytes(*b"ABRT");
const HUSH: u32 = u32::from_be_bytes(*b"HUSH");

/// The last words to who asks for the end.
static BYE: [u8; 8] = *b"BYE\n    ";

/// Bytes of them that are sent.
const BYE_BYTES: u32 = 4;

/// Most lines of one segment that are answered together.
const LINES_MAX: u32 = 128;

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
    /// Not 0: the server has the beginning of this line.
    begun: u32,
}

/// Of one segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    /// Lines that end in it.
    all: u32,
    /// Those that are PINGs.
    pings: u32,
    /// The line that ends the connection, or 0. It is the last one that is read.
    ends: u32,
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
            if lines.ends != 0 {
                window.at = window.len;
            }
            let Some(byte) = window.next() else { break };
            if byte == b'\n' {
                let word = if state.column == 4 { state.last } else { 0 };
                lines.all += 1;
                let begun = lines.all == 1 && state.begun != 0;
                lines.pings += u32::from(word == PING && !begun);
                lines.ends = if matches!(word, QUIT | ABORT | HUSH) { word } else { 0 };
                state.column = 0;
            } else {
                state.last = state.last << 8 | u32::from(byte);
                state.column = if state.column < LONGER { state.column + 1 } else { LONGER };
            }
        }
        Scan::More
    }

    #[inline(always)]
    fn holds(&self, lines: &Lines) -> bool {
        lines.ends != 0
    }

    #[inline(always)]
    fn silences(&self, lines: &Lines) -> bool {
        lines.ends == HUSH
    }

    #[inline(always)]
    fn last_words(&self, state: &mut Connection, lines: &mut Lines, reply: &mut Reply, room: u32) -> bool {
        // Whoever still waits for an answer would take this for it.
        let idle = state.asked == state.answered && lines.all == 1;
        // SAFETY: eight bytes are readable.
        lines.ends == QUIT && idle && room >= BYE_BYTES && unsafe { reply.append(BYE.as_ptr(), BYE_BYTES) }
    }

    #[inline(always)]
    fn answer(&self, state: &mut Connection, lines: &mut Lines, reply: &mut Reply, room: u32) -> Verdict {
        if lines.ends != 0 {
            return Verdict::Close(Reason::Closed);
        }
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
        // The server has the beginning of this line, so it must get the end, or none at all.
        state.begun = u32::from(state.column != 0);
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
    fn ended(&self, _: &FlowKey, _: &mut Connection) -> bool {
        true // Nothing is held beyond the connection.
    }

    #[inline(always)]
    fn requests(&self, lines: &Lines) -> u32 {
        lines.all
    }
}
