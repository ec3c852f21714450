//! A target's path, normalised as Nginx does it (G2): what rules match is what Nginx will serve.
//!
//! Escapes are decoded first, so an escaped slash or dot is one. Empty segments are dropped where `merge_slashes` is on
//! (Nginx's default), `.` segments always, and `..` takes the segment before it along. An escaped `%`, `?` or `#` is an
//! ordinary byte. What RFC 3986 section 5.2.4 leaves at the root, `/..`, is refused, as Nginx does.
//!
//! The result is told byte by byte. A segment's dots are held back until it is known whether it is more than dots, and
//! `..` is told as a return to an earlier slash: who runs an automaton over the path keeps its state for each of them.

use crate::Step;
use crate::refusal::Refusal;

/// Most slashes of a path, as far as they are left in it: so many states a [`Sink`] keeps.
pub const DEPTH_MAX: u32 = 32;

/// Takes a normalised path.
pub trait Sink {
    /// The next byte.
    fn path_byte(&mut self, byte: u8);

    /// The byte just told is a slash, the path's `depth`th: one to [`DEPTH_MAX`]. The path may come back to here.
    fn open_segment(&mut self, depth: u32);

    /// All that was told behind the `depth`th slash is taken back, that slash is the last byte again.
    fn pop_to(&mut self, depth: u32);
}

mod phase {
    pub(super) const PLAIN: u8 = 0;
    /// Behind a percent sign.
    pub(super) const ESCAPE: u8 = 1;
    /// Behind its first digit.
    pub(super) const ESCAPE_SECOND: u8 = 2;
}

/// State of the normalisation; all zero before the path.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    phase: u8,
    /// First digit of an escape.
    high: u8,
    /// Whether the segment has nothing but dots so far.
    only_dots: u8,
    /// Dots that were read and not yet told.
    held: u8,
    /// Slashes that were told and not taken back.
    depth: u8,
    refusal: u8,
    padding: [u8; 2],
}

impl Path {
    /// Before the path.
    pub const START: Self =
        Self { phase: 0, high: 0, only_dots: 0, held: 0, depth: 0, refusal: 0, padding: [0; 2] };

    /// The number of the [`Refusal`] that was met.
    #[inline(always)]
    #[must_use]
    pub const fn refusal(&self) -> u8 {
        self.refusal
    }

    #[inline(always)]
    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.refusal = refusal as u8;
        Step::Refused
    }

    /// Whether bytes that stand for themselves, `first` and others, are only told: then they count as read.
    #[inline(always)]
    pub(crate) const fn goes_on(&mut self, first: u8) -> bool {
        let dots = self.held != 0 || self.only_dots != 0 && first == b'.';
        if dots || self.phase != phase::PLAIN {
            return false;
        }
        self.only_dots = 0;
        true
    }

    /// Reads a byte of the path, whose first one is a slash. What ends it (`?`, `#`, a space) is not one of its bytes.
    #[inline(always)]
    pub fn feed<S: Sink>(&mut self, byte: u8, merge_slashes: bool, sink: &mut S) -> Step {
        let mut byte = byte;
        let mut ordinary = false;
        if self.phase == phase::PLAIN {
            if byte == b'%' {
                self.phase = phase::ESCAPE;
                return Step::Taken;
            }
        } else {
            let digit = hexadecimal(byte);
            if digit > 15 {
                return self.refuse(Refusal::BadEscape);
            }
            if self.phase == phase::ESCAPE {
                self.high = digit;
                self.phase = phase::ESCAPE_SECOND;
                return Step::Taken;
            }
            byte = self.high << 4 | digit;
            if byte == 0 {
                return self.refuse(Refusal::EscapedNul);
            }
            ordinary = byte == b'%' || byte == b'?' || byte == b'#';
        }
        if self.only_dots != 0 && !ordinary {
            if byte == b'/' && (self.held != 0 || merge_slashes) {
                self.phase = phase::PLAIN;
                return self.close_segment(sink);
            }
            if byte == b'.' && self.held < 2 {
                self.held += 1;
                self.phase = phase::PLAIN;
                return Step::Taken;
            }
        }
        self.only_dots = 0;
        let dots = self.held != 0;
        let slash = byte == b'/' && !dots;
        if dots {
            // The segment goes on behind them. The phase stays: an escape's last digit is given again.
            self.held -= 1;
            byte = b'.';
        } else {
            self.phase = phase::PLAIN;
        }
        if slash {
            if self.depth as u32 >= DEPTH_MAX {
                return self.refuse(Refusal::TooDeep);
            }
            self.depth += 1;
            self.only_dots = 1;
        }
        sink.path_byte(byte);
        if slash {
            sink.open_segment(self.depth as u32);
        }
        if dots { Step::Again } else { Step::Taken }
    }

    /// The path's end.
    #[inline(always)]
    pub fn finish<S: Sink>(&mut self, sink: &mut S) -> Step {
        if self.phase != phase::PLAIN {
            return self.refuse(Refusal::BadEscape);
        }
        self.close_segment(sink)
    }

    /// The end of a segment of dots only, or of any at the path's end. The slash that opened it stays the last byte.
    #[inline(always)]
    fn close_segment<S: Sink>(&mut self, sink: &mut S) -> Step {
        let held = self.held;
        self.held = 0;
        if held == 2 {
            if self.depth <= 1 {
                return self.refuse(Refusal::AboveRoot);
            }
            self.depth -= 1;
            sink.pop_to(self.depth as u32);
        }
        Step::Taken
    }
}

/// The value of a hexadecimal digit; more than 15 if it is none.
#[inline(always)]
pub(crate) const fn hexadecimal(byte: u8) -> u8 {
    let digit = byte.wrapping_sub(b'0');
    if digit <= 9 {
        return digit;
    }
    let letter = (byte | 0x20).wrapping_sub(b'a');
    if letter <= 5 { letter + 10 } else { 16 }
}
