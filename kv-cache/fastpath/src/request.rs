//! Streaming parser of requests, as Redis reads them (`networking.c`: `processMultibulkBuffer`, `processInlineBuffer`).
//!
//! The parser reads headers and tells what comes next; the bodies of arguments are for [`crate::argument`], which knows
//! what they are. Whatever Redis would answer with a protocol error, and whatever it takes without looking (it does not
//! check what ends a bulk string), is [`Event::Opaque`]: it is never guessed at.
//!
//! All state lies in [`Parser`], so the stream may be cut anywhere. The loops are short and bounded for the verifier.

use crate::connection::Noted;
use xps_core::bound::keep_in_memory;
use xps_core::handler::Window;
use xps_core::siphash::SipHash13;
use xps_core::word::store_u64;

use crate::command::{Class, NAME_BYTES, Name};

/// Where the parser stands in the stream.
pub mod phase {
    /// At the boundary between two requests.
    pub const START: u8 = 0;
    /// In the number behind `*`.
    pub const COUNT: u8 = 1;
    /// Before the line feed behind it.
    pub const COUNT_END: u8 = 2;
    /// Before a `$`.
    pub const DOLLAR: u8 = 3;
    /// In the number behind `$`.
    pub const LENGTH: u8 = 4;
    /// Before the line feed behind it.
    pub const LENGTH_END: u8 = 5;
    /// In an argument's bytes.
    pub const BODY: u8 = 6;
    /// Before the carriage return behind them.
    pub const BODY_CR: u8 = 7;
    /// Before the line feed behind that.
    pub const BODY_LF: u8 = 8;
    /// In an inline command.
    pub const INLINE: u8 = 9;
}

/// Most arguments of a request. Redis 6 takes no more; later ones do, but nobody is known to send them.
pub const ARGUMENTS_MAX: u64 = 1024 * 1024;
/// Longest argument in bytes: Redis' own default (`proto-max-bulk-len`).
pub const ARGUMENT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Longest inline command in bytes: up to here Redis takes it however it is cut into segments.
pub const INLINE_BYTES_MAX: u64 = 64 * 1024;
/// Header bytes read by one call: those of a usual command up to its name.
const HEADER_STEPS: usize = 12;
/// Bytes of an inline command read by one call; it is typed by hand, or nearly.
const INLINE_STEPS: usize = 8;
/// The digit at byte `at` of a word; more than 9 if it is none.
#[inline(always)]
pub(crate) const fn digit_at(word: u64, at: u32) -> u32 {
    ((word >> (at * 8)) as u32 & 0xff).wrapping_sub(b'0' as u32)
}

/// The number at byte `at` of a word and how many digits it has: one to four before a line's end, the first one not zero.
/// No digits if it is not of that form.
#[inline(always)]
pub(crate) const fn number_at(word: u64, at: u32) -> (u32, u32) {
    const LINE_END: u64 = b'\r' as u64 | (b'\n' as u64) << 8;
    let mut number = digit_at(word, at);
    if number == 0 || number > 9 {
        return (0, 0);
    }
    let mut digits = 1;
    while digits <= 4 {
        if word >> ((at + digits) * 8) & 0xffff == LINE_END {
            return (number, digits);
        }
        let digit = digit_at(word, at + digits);
        if digit > 9 {
            return (0, 0);
        }
        number = number * 10 + digit;
        digits += 1;
    }
    (0, 0)
}

/// What [`Parser::name_len`] is for a name that is too long to be looked up.
pub const NAME_TOO_LONG: u8 = NAME_BYTES as u8 + 1;

/// What the parser met.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: the window is read to its end, or the call has done its share.
    None = 0,
    /// An argument's header is read; [`Parser::body_left`] bytes of it follow.
    Body = 1,
    /// A request is complete.
    End = 2,
    /// An empty line, or an array of no elements: Redis takes it without a reply.
    Empty = 3,
    /// A word of an inline command has ended: the first or the second.
    Word = 4,
    /// The stream is not understood.
    Opaque = 5,
}

/// State of the parser; all zero at a connection's start.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parser {
    /// Hash of the key that is being read.
    pub hash: SipHash13,
    /// The command's name as far as read, in lower case.
    pub name: Name,
    /// Number that is being read; length of an inline command so far.
    pub number: u64,
    /// Bytes of the argument that are still to come.
    pub body_left: u32,
    /// Bytes of the key that were read.
    pub key_at: u32,
    /// Arguments of this request, the name included.
    pub arguments: u32,
    /// Index of the current argument; of an inline command: where in its words.
    pub argument: u32,
    /// Index of the next argument that is a key.
    pub key_next: u32,
    /// Index of the last argument that is a key.
    pub key_last: u32,
    /// Distance between keys.
    pub key_step: u32,
    /// A [`phase`].
    pub phase: u8,
    /// Digits of the number so far.
    digits: u8,
    /// Whether the number is negative.
    negative: u8,
    /// Length of the name so far, or [`NAME_TOO_LONG`].
    pub name_len: u8,
    /// A [`crate::command::Class`], once the name is read.
    pub class: u8,
    /// A [`crate::argument::role`]: what the current argument is.
    pub role: u8,
    /// Low bits of [`crate::abi::Settings::epoch`] when a request was last passed so that the server sees that the
    /// connection is in use. No part of parsing: it is here since here is room.
    pub epoch: u8,
    /// What the request will hold.
    pub noted: Noted,
    padding: [u8; 3],
}

impl Parser {
    /// The parser at a connection's start.
    pub const START: Self = Self {
        hash: SipHash13::ZERO,
        name: [0; NAME_BYTES],
        number: 0,
        body_left: 0,
        key_at: 0,
        arguments: 0,
        argument: 0,
        key_next: 0,
        key_last: 0,
        key_step: 0,
        phase: phase::START,
        digits: 0,
        negative: 0,
        name_len: 0,
        class: 0,
        role: 0,
        epoch: 0,
        noted: Noted::NONE,
        padding: [0; 3],
    };

    /// Whether the stream stands between two requests.
    #[inline(always)]
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.phase == phase::START
    }

    /// Reads headers until something is met. Not to be called within an argument ([`phase::BODY`]).
    #[inline(always)]
    pub fn read(&mut self, window: &mut Window) -> Event {
        if self.phase == phase::INLINE { self.inline(window) } else { self.headers(window) }
    }

    #[inline(always)]
    fn headers(&mut self, window: &mut Window) -> Event {
        if self.whole_header(window) {
            return Event::Body;
        }
        for _ in 0..HEADER_STEPS {
            keep_in_memory();
            let Some(byte) = window.next() else { return Event::None };
            let event = self.header(byte);
            if event as u32 != Event::None as u32 {
                return event;
            }
            if self.phase == phase::INLINE {
                // Its bytes are read by the other loop, the first one included.
                window.at -= 1;
                return Event::None;
            }
        }
        Event::None
    }

    /// Reads the header of an argument, or of a request and of its name, that lies whole in the window in the form that
    /// clients send. False: nothing was read.
    #[inline(always)]
    fn whole_header(&mut self, window: &mut Window) -> bool {
        let (left, word) = (window.left(), window.word(window.at));
        if self.phase == phase::START {
            // `*n`, `$n` and their lines' ends, each number of one digit.
            const DIGITS: u64 = 0xff << 8 | 0xff << 40;
            let (arguments, length) = (digit_at(word, 1), digit_at(word, 5));
            if left < 8
                || word & !DIGITS != u64::from_le_bytes(*b"*\0\r\n$\0\r\n")
                || arguments == 0
                || length == 0
            {
                return false;
            }
            if arguments > 9 || length > 9 {
                return false;
            }
            self.begin_request(arguments);
            self.body_left = length;
            window.at += 8;
        } else if self.phase == phase::DOLLAR {
            // `$n` and its line's end, the number of one to four digits.
            if word as u8 != b'$' {
                return false;
            }
            let (length, digits) = number_at(word, 1);
            if digits == 0 || digits + 3 > left {
                return false;
            }
            self.body_left = length;
            window.at += digits + 3;
        } else {
            return false;
        }
        self.phase = phase::BODY;
        true
    }

    /// Reads the line's end behind an argument's bytes, if the window has it. [`Event::End`] if that was the last one.
    /// That of a name without arguments is left to [`read`](Self::read).
    #[inline(always)]
    pub fn whole_end(&mut self, window: &mut Window) -> Event {
        if self.arguments == 1
            || window.left() < 2
            || window.word(window.at) as u16 != u16::from_le_bytes(*b"\r\n")
        {
            return Event::None;
        }
        window.at += 2;
        self.argument_done()
    }

    #[inline(always)]
    fn argument_done(&mut self) -> Event {
        self.argument += 1;
        if self.argument >= self.arguments {
            self.phase = phase::START;
            return Event::End;
        }
        self.phase = phase::DOLLAR;
        Event::None
    }

    #[inline(always)]
    fn header(&mut self, byte: u8) -> Event {
        match self.phase {
            phase::START => {
                self.begin_number();
                if byte == b'*' {
                    self.phase = phase::COUNT;
                } else {
                    self.begin_request(0);
                    self.phase = phase::INLINE;
                }
                Event::None
            }
            phase::COUNT | phase::LENGTH => self.digit(byte),
            phase::COUNT_END => {
                if byte != b'\n' || self.number > ARGUMENTS_MAX {
                    return Event::Opaque;
                }
                if self.negative != 0 || self.number == 0 {
                    self.phase = phase::START;
                    return Event::Empty;
                }
                self.begin_request(self.number as u32);
                self.phase = phase::DOLLAR;
                Event::None
            }
            phase::DOLLAR => {
                if byte != b'$' {
                    return Event::Opaque;
                }
                self.begin_number();
                self.phase = phase::LENGTH;
                Event::None
            }
            phase::LENGTH_END => {
                if byte != b'\n' || self.number > ARGUMENT_BYTES_MAX {
                    return Event::Opaque;
                }
                self.body_left = self.number as u32;
                self.phase = phase::BODY;
                Event::Body
            }
            phase::BODY_CR => {
                if byte != b'\r' {
                    return Event::Opaque;
                }
                self.phase = phase::BODY_LF;
                Event::None
            }
            phase::BODY_LF => {
                if byte != b'\n' {
                    return Event::Opaque;
                }
                self.argument_done()
            }
            _ => Event::Opaque,
        }
    }

    /// One byte of a number, as `string2ll` takes it: no sign but `-` and no leading zero. An argument's length cannot
    /// be negative.
    #[inline(always)]
    fn digit(&mut self, byte: u8) -> Event {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            let leading_zero =
                if self.digits == 0 { digit == 0 && self.negative != 0 } else { self.number == 0 };
            if leading_zero || self.digits >= 10 {
                return Event::Opaque;
            }
            self.number = self.number * 10 + digit as u64;
            self.digits += 1;
            return Event::None;
        }
        if byte == b'\r' && self.digits != 0 {
            self.phase += 1;
            return Event::None;
        }
        if byte == b'-' && self.phase == phase::COUNT && self.digits == 0 && self.negative == 0 {
            self.negative = 1;
            return Event::None;
        }
        Event::Opaque
    }

    #[inline(always)]
    fn begin_number(&mut self) {
        self.number = 0;
        self.digits = 0;
        self.negative = 0;
    }

    #[inline(always)]
    fn begin_request(&mut self, arguments: u32) {
        self.arguments = arguments;
        self.argument = 0;
        self.name = [0; NAME_BYTES];
        self.name_len = 0;
        self.class = 0;
        self.key_next = 0;
        self.key_last = 0;
    }

    /// Reads a name that lies whole in the window and is no longer than eight bytes. False: nothing was read.
    #[inline(always)]
    pub fn whole_name(&mut self, window: &mut Window) -> bool {
        const HIGH: u64 = 0x8080_8080_8080_8080;
        const LOW: u64 = 0x0101_0101_0101_0101;
        let len = self.body_left;
        if self.name_len != 0 || len == 0 || len > 8 || len > window.left() {
            return false;
        }
        let unused = 64 - len * 8;
        let word = window.word(window.at) << unused >> unused;
        // Bytes that are not ASCII, and NULs in it, are for the other way.
        let padded = word | !(u64::MAX >> unused);
        if word & HIGH != 0 || padded.wrapping_sub(LOW) & !padded & HIGH != 0 {
            return false;
        }
        let at_least_a = word + LOW * (0x80 - b'A' as u64);
        let beyond_z = word + LOW * (0x7f - b'Z' as u64);
        let lower = word | (at_least_a & !beyond_z & HIGH) >> 2;
        // SAFETY: the name has more than eight bytes.
        unsafe { store_u64(self.name.as_mut_ptr(), lower.to_le()) };
        self.name_len = len as u8;
        self.body_left = 0;
        window.at += len;
        true
    }

    /// Appends a byte to the name. False for a NUL, at which Redis' own comparison of names would end.
    #[inline(always)]
    pub fn name_byte(&mut self, byte: u8) -> bool {
        if byte == 0 {
            return false;
        }
        if self.name_len as usize >= NAME_BYTES {
            self.name_len = NAME_TOO_LONG;
            return true;
        }
        let lower = if byte.wrapping_sub(b'A') < 26 { byte | 0x20 } else { byte };
        // SAFETY: masked to the length of the array, a power of two.
        unsafe { *self.name.as_mut_ptr().add(self.name_len as usize & (NAME_BYTES - 1)) = lower };
        self.name_len += 1;
        true
    }

    /// Whether the name is `get`.
    #[inline(always)]
    #[must_use]
    pub fn is_get(&self) -> bool {
        const GET: u32 = u32::from_le_bytes(*b"get\0");
        let start = [self.name[0], self.name[1], self.name[2], self.name[3]];
        self.name_len == 3 && u32::from_le_bytes(start) == GET
    }

    /// Reads an inline command. Arguments are split as `sdssplitargs` does, as far as it matters: the command's name, and the
    /// word behind it if that is a part of the name; quotes in these are not undone but [`Event::Opaque`]. Others are a
    /// matter within the line, which ends where it ends. A NUL, at which Redis' search for the line's end stops, is
    /// [`Event::Opaque`], too.
    #[inline(always)]
    fn inline(&mut self, window: &mut Window) -> Event {
        for _ in 0..INLINE_STEPS {
            keep_in_memory();
            let Some(byte) = window.next() else { return Event::None };
            self.number += 1;
            if byte == 0 || self.number > INLINE_BYTES_MAX {
                return Event::Opaque;
            }
            let blank = byte == b' ' || byte.wrapping_sub(b'\t') < 5;
            if self.argument & 1 == 0 {
                // Between words, or behind the second.
                if byte == b'\n' {
                    self.phase = phase::START;
                    return if self.argument == words::BEFORE { Event::Empty } else { Event::End };
                }
                if blank || self.argument == words::REST {
                    continue;
                }
                self.argument += 1;
            } else if blank {
                self.argument += 1;
                // The blank may be the line's end: it is read again.
                window.at -= 1;
                self.number -= 1;
                return Event::Word;
            }
            if byte == b'"' || byte == b'\'' {
                if self.argument == words::SECOND && self.class != Class::Container as u8 {
                    self.argument = words::REST;
                    continue;
                }
                return Event::Opaque;
            }
            if !self.name_byte(byte) {
                return Event::Opaque;
            }
        }
        Event::None
    }
}

/// Where in an inline command: odd numbers are words.
pub mod words {
    /// Before the first word.
    pub const BEFORE: u32 = 0;
    /// Behind the first word.
    pub const FIRST_DONE: u32 = 2;
    /// In the second.
    pub const SECOND: u32 = 3;
    /// Behind the second.
    pub const REST: u32 = 4;
}
