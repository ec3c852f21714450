//! Streaming counter of replies, RESP2 and RESP3.
//!
//! What a reply says does not matter here, only where it ends and of what type it is. Nesting needs no stack: an
//! aggregate of n elements adds n to the elements that are still to come, an attribute's pairs come on top of the value
//! behind it. What Redis does not send (streamed strings and aggregates, odd numbers) is [`Event::Opaque`].

use xps_core::bound::keep_in_memory;
use xps_core::handler::Window;

use crate::request::number_at;

mod phase {
    pub(super) const TYPE: u8 = 0;
    /// In a line whose text does not matter.
    pub(super) const TEXT: u8 = 1;
    pub(super) const TEXT_END: u8 = 2;
    /// In a length or count.
    pub(super) const NUMBER: u8 = 3;
    pub(super) const NUMBER_END: u8 = 4;
    /// Behind the bytes of a bulk string.
    pub(super) const BODY_CR: u8 = 5;
    pub(super) const BODY_LF: u8 = 6;
}

/// Bytes, headers and lines only, read by one call.
const STEPS: usize = 32;
/// Most elements of one aggregate.
const ELEMENTS_MAX: u64 = 1 << 32;

/// What the parser met.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: the window is read to its end, or the call has done its share.
    None = 0,
    /// A reply is complete; [`Parser::kind`] is its type.
    Reply = 1,
    /// A push is complete: it answers no request.
    Push = 2,
    /// The stream goes on behind [`Window::skip`] bytes.
    Skip = 3,
    /// The stream is not understood.
    Opaque = 4,
}

/// State of the parser; all zero at a connection's start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parser {
    /// Elements of the top-level value still to come, the current one included; 0 between values.
    left: u64,
    /// Number that is being read.
    number: u64,
    phase: u8,
    /// Type byte of the current element.
    element: u8,
    /// Type byte of the top-level value, 0 until it is known.
    top: u8,
    digits: u8,
    negative: u8,
    padding: [u8; 3],
}

impl Parser {
    /// The parser at a connection's start.
    pub const START: Self = Self {
        left: 0,
        number: 0,
        phase: phase::TYPE,
        element: 0,
        top: 0,
        digits: 0,
        negative: 0,
        padding: [0; 3],
    };

    /// Whether the stream stands between two replies.
    #[inline(always)]
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// The type byte of the reply that was completed last.
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.top
    }

    /// Reads until something is met.
    #[inline(always)]
    pub fn read(&mut self, window: &mut Window) -> Event {
        if self.phase == phase::TYPE && (self.left == 0 || self.top != 0) {
            let event = self.whole(window);
            if event as u32 != Event::None as u32 {
                return event;
            }
        }
        for _ in 0..STEPS {
            keep_in_memory();
            let Some(byte) = window.next() else { return Event::None };
            let event = self.byte(byte, window);
            if event as u32 != Event::None as u32 {
                return event;
            }
        }
        Event::None
    }

    /// Reads an element of the commonest forms that lies in the window: `+OK`, a null, a bulk string's header and, if they
    /// are there too, its bytes. [`Event::None`]: go on with what is left, maybe all.
    #[inline(always)]
    fn whole(&mut self, window: &mut Window) -> Event {
        const FIVE: u64 = (1 << 40) - 1;
        let (left, word) = (window.left(), window.word(window.at));
        let five = word & FIVE;
        let null = five == u64::from_le_bytes(*b"$-1\r\n\0\0\0");
        if left >= 5 && (null || five == u64::from_le_bytes(*b"+OK\r\n\0\0\0")) {
            self.begin_element(word as u8);
            window.at += 5;
            return self.element_done();
        }
        let (number, digits) = number_at(word, 1);
        if word as u8 != b'$' || digits == 0 || digits + 3 > left {
            return Event::None;
        }
        self.begin_element(b'$');
        self.phase = phase::BODY_CR;
        window.at += digits + 3;
        let event = skip(window, number as u64);
        if window.left() >= 2 && window.word(window.at) as u16 == u16::from_le_bytes(*b"\r\n") {
            window.at += 2;
            return self.element_done();
        }
        event
    }

    /// An element whose top-level value is known, or which is one itself and no attribute.
    #[inline(always)]
    fn begin_element(&mut self, element: u8) {
        if self.left == 0 {
            self.left = 1;
            self.top = element;
        }
        self.element = element;
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8, window: &mut Window) -> Event {
        match self.phase {
            phase::TYPE => self.begin(byte),
            phase::TEXT => {
                if byte == b'\r' {
                    self.phase = phase::TEXT_END;
                } else if byte == b'\n' {
                    return Event::Opaque;
                }
                Event::None
            }
            phase::TEXT_END | phase::BODY_LF => {
                if byte != b'\n' {
                    return Event::Opaque;
                }
                self.element_done()
            }
            phase::NUMBER => self.digit(byte),
            phase::NUMBER_END => {
                if byte != b'\n' {
                    return Event::Opaque;
                }
                self.number_done(window)
            }
            _ => {
                if byte != b'\r' {
                    return Event::Opaque;
                }
                self.phase = phase::BODY_LF;
                Event::None
            }
        }
    }

    /// The type byte of an element.
    #[inline(always)]
    fn begin(&mut self, byte: u8) -> Event {
        if self.left == 0 {
            self.left = 1;
            self.top = 0;
        }
        if self.top == 0 && self.left == 1 {
            // Elements of an attribute come while the value itself is still owed, so more than one is left.
            if byte != b'|' {
                self.top = byte;
            }
        } else if byte == b'>' {
            return Event::Opaque;
        }
        self.element = byte;
        self.number = 0;
        self.digits = 0;
        self.negative = 0;
        self.phase = match byte {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => phase::TEXT,
            b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => phase::NUMBER,
            _ => return Event::Opaque,
        };
        Event::None
    }

    /// One byte of a length or count.
    #[inline(always)]
    fn digit(&mut self, byte: u8) -> Event {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            let leading_zero = self.digits != 0 && self.number == 0;
            if leading_zero || self.digits >= 10 {
                return Event::Opaque;
            }
            self.number = self.number * 10 + digit as u64;
            self.digits += 1;
            return Event::None;
        }
        if byte == b'\r' && self.digits != 0 {
            self.phase = phase::NUMBER_END;
            return Event::None;
        }
        if byte == b'-' && self.digits == 0 && self.negative == 0 {
            self.negative = 1;
            return Event::None;
        }
        Event::Opaque
    }

    #[inline(always)]
    fn number_done(&mut self, window: &mut Window) -> Event {
        let element = self.element;
        if self.negative != 0 {
            // RESP2's nulls, and nothing else.
            let null = self.number == 1 && (element == b'$' || element == b'*');
            return if null { self.element_done() } else { Event::Opaque };
        }
        if element == b'$' || element == b'!' || element == b'=' {
            self.phase = phase::BODY_CR;
            return skip(window, self.number);
        }
        if self.number >= ELEMENTS_MAX || self.left >= ELEMENTS_MAX {
            return Event::Opaque;
        }
        match element {
            b'%' => self.left += self.number * 2,
            b'|' => {
                // The value that the attribute belongs to is still owed.
                self.left += self.number * 2;
                self.phase = phase::TYPE;
                return Event::None;
            }
            _ => self.left += self.number,
        }
        self.element_done()
    }

    #[inline(always)]
    fn element_done(&mut self) -> Event {
        self.phase = phase::TYPE;
        self.left -= 1;
        if self.left != 0 {
            return Event::None;
        }
        if self.top == b'>' { Event::Push } else { Event::Reply }
    }
}

/// Goes over `bytes` of the stream, as far as they are in the window; the rest is for the driver.
#[inline(always)]
fn skip(window: &mut Window, bytes: u64) -> Event {
    let here = (window.len - window.at) as u64;
    if bytes <= here {
        window.at += bytes as u32;
        return Event::None;
    }
    let beyond = bytes - here;
    if beyond > u32::MAX as u64 {
        return Event::Opaque;
    }
    window.at = window.len;
    window.skip = beyond as u32;
    Event::Skip
}
