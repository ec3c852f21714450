//! A handler of one's own: a line service (any TCP server that answers each line with a line) whose `PING\n` is answered
//! with `PONG\n` in the stack. Everything else goes to the server.
#![no_std]

use xps_core::handler::{Handler, Reply, Scan, WINDOW, Window};
use xps_core::verdict::{Reason, Verdict};

/// The handler; it needs no tables.
pub struct Line;

/// Of one connection.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Connection {
    asked: u32,
    answered: u32,
    column: u32,
    ping: u32,
}

/// Of one segment.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Lines {
    all: u32,
    pings: u32,
}

impl Handler for Line {
    type State = Connection;
    type Scratch = Lines;

    #[inline(always)]
    fn begin(&self, lines: &mut Lines) {
        *lines = Lines::default();
    }

    #[inline(always)]
    fn request(&self, window: &mut Window, state: &mut Connection, lines: &mut Lines) -> Scan {
        for _ in 0..WINDOW {
            let Some(byte) = window.next() else { break };
            let expected = u32::from_be_bytes(*b"PING") >> (24u32.saturating_sub(state.column * 8) & 31) & 0xff;
            if byte == b'\n' {
                lines.all += 1;
                lines.pings += u32::from(state.column == 4 && state.ping == 4);
                (state.column, state.ping) = (0, 0);
            } else {
                state.ping += u32::from(state.column < 4 && u32::from(byte) == expected);
                state.column = if state.column < 5 { state.column + 1 } else { 5 };
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
        if lines.pings != lines.all || lines.all > 16 || lines.all * 5 > room {
            return Verdict::Pass(Reason::NotServed);
        }
        for _ in 0..16 {
            // SAFETY: eight bytes are readable.
            if reply.len < lines.all * 5 && !unsafe { reply.append(b"PONG\n\0\0\0".as_ptr(), 5) } {
                return Verdict::Pass(Reason::TooLarge);
            }
        }
        Verdict::Reply
    }

    #[inline(always)]
    fn passed(&self, state: &mut Connection, lines: &mut Lines) {
        state.asked = state.asked.wrapping_add(lines.all);
    }

    #[inline(always)]
    fn response(&self, window: &mut Window, state: &mut Connection, _: &mut Lines) -> Scan {
        for _ in 0..WINDOW {
            let Some(byte) = window.next() else { break };
            state.answered = state.answered.wrapping_add(u32::from(byte == b'\n'));
        }
        Scan::More
    }

    fn opaque(&self, _: &mut Connection) {}

    #[inline(always)]
    fn ended(&self, _: &mut Connection) -> bool {
        true
    }

    #[inline(always)]
    fn requests(&self, lines: &Lines) -> u32 {
        lines.all
    }
}
