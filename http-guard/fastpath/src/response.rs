//! Framing of the server's responses: which request is answered when (S1).
//!
//! Where a response ends depends on its request and its status (RFC 9112 section 6.3). What is not plain, and what only
//! ends with the connection, is [`Event::Opaque`]: it is never guessed at.

use xps_core::bound::keep_in_memory;
use xps_core::handler::Window;

use crate::body::{self, Body};
use crate::field::{Field, Fields, flag};
use crate::refusal::{is_control, is_token};
use crate::text::{self, Known};
use crate::word::{Letters, letters};

/// Most requests that may wait for their responses.
pub const OUTSTANDING_MAX: u32 = 63;
/// Bytes of heads read by one call.
const STEPS: usize = 20;

/// Requests of one segment, as far as their responses are read by them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// For each, the first one lowest, whether it is a HEAD.
    heads: u64,
    /// How many.
    count: u32,
    padding: u32,
}

impl Asked {
    /// None.
    pub const NONE: Self = Self { heads: 0, count: 0, padding: 0 };

    /// Another one.
    #[inline(always)]
    pub fn push(&mut self, is_head: bool) {
        self.heads |= (is_head as u64) << (self.count & 63);
        if self.count <= OUTSTANDING_MAX {
            self.count += 1;
        }
    }

    /// How many; more than [`OUTSTANDING_MAX`] are too many.
    #[inline(always)]
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

/// Requests that wait for their responses.
///
/// Two CPUs use it at once: the client's direction writes `heads` and `asked`, the server's `answered`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// A ring: whether request n is a HEAD is bit n modulo 64.
    heads: u64,
    asked: u32,
    answered: u32,
}

impl Outstanding {
    /// None.
    pub const NONE: Self = Self { heads: 0, asked: 0, answered: 0 };

    /// Requests go up to the server. False: too many wait, or one too many came at once; their responses will not be
    /// understood.
    #[inline(always)]
    pub fn passed(&mut self, requests: &Asked) -> bool {
        let (asked, count) = (self.asked, requests.count);
        if count > OUTSTANDING_MAX || asked.wrapping_sub(load(&self.answered)) > OUTSTANDING_MAX - count {
            return false;
        }
        let at = asked & 63;
        let places = rotate((1 << count) - 1, at);
        // Who reads a bit has seen its request's response, which comes after this.
        self.heads = self.heads & !places | rotate(requests.heads, at) & places;
        store(&mut self.asked, asked.wrapping_add(count));
        true
    }

    /// Whether every request that went to the server is answered.
    #[inline(always)]
    #[must_use]
    pub fn idle(&self) -> bool {
        load(&self.asked) == load(&self.answered)
    }

    /// How many requests wait.
    #[inline(always)]
    #[must_use]
    pub fn waiting(&self) -> u32 {
        load(&self.asked).wrapping_sub(load(&self.answered))
    }

    /// Whether the request that is answered next is a HEAD. There must be one.
    #[inline(always)]
    fn next_is_head(&self) -> bool {
        // SAFETY: a reference to a word.
        let heads = unsafe { (&raw const self.heads).read_volatile() };
        heads >> (self.answered & 63) & 1 != 0
    }

    #[inline(always)]
    fn answered(&mut self) {
        let answered = self.answered.wrapping_add(1);
        store(&mut self.answered, answered);
    }
}

/// A word that the other direction writes.
#[inline(always)]
fn load(word: &u32) -> u32 {
    // SAFETY: a reference.
    unsafe { core::ptr::from_ref(word).read_volatile() }
}

/// A word that the other direction reads.
#[inline(always)]
fn store(word: &mut u32, value: u32) {
    // SAFETY: a reference.
    unsafe { core::ptr::from_mut(word).write_volatile(value) }
}

/// `bits` rotated to the left by less than 64, without a shift by 64.
#[inline(always)]
const fn rotate(bits: u64, by: u32) -> u64 {
    let by = by & 63;
    bits << by | bits >> 1 >> (63 - by)
}

mod phase {
    /// In the version and status, or between two responses.
    pub(super) const STATUS: u8 = 0;
    pub(super) const REASON: u8 = 1;
    pub(super) const STATUS_LF: u8 = 2;
    pub(super) const LINE: u8 = 3;
    pub(super) const NAME: u8 = 4;
    pub(super) const BEFORE_VALUE: u8 = 5;
    pub(super) const VALUE: u8 = 6;
    pub(super) const VALUE_LF: u8 = 7;
    pub(super) const END_LF: u8 = 8;
    pub(super) const BODY: u8 = 9;
}

/// Length of `HTTP/1.1 200`.
const STATUS_BYTES: u32 = 12;
/// Names of the fields that tell where a response ends.
const LENGTH: Letters = letters("content-length");
const ENCODING: Letters = letters("transfer-encoding");

/// What the parser met.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: the window is read to its end, or the call has done its share.
    None = 0,
    /// A response is complete: one request is answered.
    End = 1,
    /// The stream goes on behind [`Window::skip`] bytes.
    Skip = 2,
    /// The stream is not understood from here on.
    Opaque = 3,
}

/// What one byte of a head led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Taken,
    Again,
    Head,
    Opaque,
}

/// State of the parser; all zero at a connection's start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response {
    fields: Fields,
    body: Body,
    status: u16,
    phase: u8,
    /// Whether the version is 1.0.
    old: u8,
    /// Whether the lines that are read are trailers.
    trailers: u8,
    /// Whether the stream is not understood any more.
    lost: u8,
    padding: [u8; 2],
}

impl Response {
    /// Whether the stream stands between two responses. An interim one is none.
    #[inline(always)]
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.phase == phase::STATUS && self.fields.word.is_empty()
    }

    /// The stream is not understood any more. Reading it ends here.
    #[inline(always)]
    pub fn lose(&mut self) {
        // SAFETY: a reference; the client's direction reads it.
        unsafe { (&raw mut self.lost).write_volatile(1) };
    }

    /// Whether the stream is not understood any more.
    #[inline(always)]
    #[must_use]
    pub fn is_lost(&self) -> bool {
        // SAFETY: a reference; the server's direction writes it.
        unsafe { (&raw const self.lost).read_volatile() != 0 }
    }

    /// Whether the connection speaks another protocol from here on: the server has said so (RFC 9110 section 15.2.2).
    #[inline(always)]
    #[must_use]
    pub fn has_switched(&self) -> bool {
        self.is_lost() && self.status == 101
    }

    /// Status of the response that is being read, or of the last one.
    #[inline(always)]
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Reads until something is met.
    #[inline(always)]
    pub fn read(&mut self, window: &mut Window, outstanding: &mut Outstanding) -> Event {
        if self.phase == phase::BODY {
            return match self.body.read(window) {
                body::Event::None => Event::None,
                body::Event::Skip => Event::Skip,
                body::Event::End => self.end(outstanding),
                body::Event::Trailers => {
                    self.phase = phase::LINE;
                    self.trailers = 1;
                    Event::None
                }
                body::Event::Refused => Event::Opaque,
            };
        }
        for _ in 0..STEPS {
            keep_in_memory();
            if self.skips(window) {
                continue;
            }
            let Some(byte) = window.next() else { return Event::None };
            match self.byte(byte) {
                Read::Taken => {}
                Read::Again => window.at -= 1,
                Read::Opaque => return Event::Opaque,
                Read::Head if self.trailers != 0 => return self.end(outstanding),
                Read::Head => return self.head_ended(outstanding),
            }
        }
        Event::None
    }

    /// Goes over bytes that say nothing of where the response ends. Whether there are such.
    #[inline(always)]
    fn skips(&mut self, window: &mut Window) -> bool {
        let at = window.at;
        if self.phase == phase::STATUS {
            return self.skips_status(window);
        }
        if self.phase == phase::LINE {
            self.skips_name(window);
        }
        keep_in_memory();
        let free = self.phase == phase::REASON || self.phase == phase::VALUE && self.fields.is_free();
        if free && text::skip_line(window, u32::MAX, &mut 0) {
            self.phase = phase::LINE;
        }
        window.at != at
    }

    /// Goes over version and status as a whole. Whether they are there.
    #[inline(always)]
    fn skips_status(&mut self, window: &mut Window) -> bool {
        const VERSION: u64 = letters("HTTP/1.1")[0];
        if !self.fields.word.is_empty() || window.left() < STATUS_BYTES {
            return false;
        }
        let status = window.word(window.at + 8) & 0xffff_ffff;
        if window.word(window.at) != VERSION || text::has_nul(status | !0xffff_ffff) {
            return false;
        }
        self.fields = Fields::START;
        self.trailers = 0;
        self.fields.word.push_twelve(VERSION, status);
        window.at += STATUS_BYTES;
        true
    }

    /// Goes over the name of Content-Length, as it is usually written; a line that begins like nothing that tells where the
    /// response ends is free.
    #[inline(always)]
    fn skips_name(&mut self, window: &mut Window) {
        const CONTENT: Known = Known::new("content-");
        const LENGTH: Known = Known::new("length: ");
        const TRANSFER: Known = Known::new("transfer");
        if window.left() < 16 || self.trailers != 0 {
            return;
        }
        let (start, rest) = (window.word(window.at), window.word(window.at + 8));
        let content = CONTENT.begins(start);
        if content && LENGTH.begins(rest) {
            if self.fields.begin_value(Field::Length).is_ok() {
                self.phase = phase::BEFORE_VALUE;
                window.at += 16;
            }
        } else if !(content && rest as u8 | 0x20 == b'l' || TRANSFER.begins(start)) && is_token(start as u8) {
            self.ignore_line();
        }
    }

    /// Whatever the line that has begun says, it does not tell where the response ends.
    #[inline(always)]
    fn ignore_line(&mut self) {
        self.fields.ignore();
        self.phase = phase::VALUE;
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8) -> Read {
        match self.phase {
            phase::STATUS => return self.status_byte(byte),
            phase::REASON => {
                if byte == b'\r' {
                    self.phase = phase::STATUS_LF;
                } else if is_control(byte) && byte != b'\t' {
                    return Read::Opaque;
                }
            }
            phase::LINE => {
                self.fields.word.clear();
                if byte == b'\r' {
                    self.phase = phase::END_LF;
                } else if !is_token(byte) {
                    return Read::Opaque;
                } else if self.trailers != 0 || !matches!(byte | 0x20, b'c' | b't') {
                    self.ignore_line();
                } else {
                    self.phase = phase::NAME;
                    return Read::Again;
                }
            }
            phase::NAME => return self.name(byte),
            phase::BEFORE_VALUE => {
                if byte != b' ' && byte != b'\t' {
                    self.phase = phase::VALUE;
                    return Read::Again;
                }
            }
            phase::VALUE => return self.value(byte),
            _ => return self.line_feed(byte),
        }
        Read::Taken
    }

    /// A byte of `HTTP/1.1 200` or of what is behind it.
    #[inline(always)]
    fn status_byte(&mut self, byte: u8) -> Read {
        const OLD: u64 = letters("HTTP/1.0")[0];
        const NEW: u64 = letters("HTTP/1.1")[0];
        let len = self.fields.word.len();
        if len == 0 {
            self.fields = Fields::START;
            self.trailers = 0;
        }
        if len < STATUS_BYTES {
            if byte == 0 {
                return Read::Opaque;
            }
            self.fields.word.push(byte);
            return Read::Taken;
        }
        let [version, rest, ..] = *self.fields.word.letters();
        let digit = |at: u32| ((rest >> (at * 8)) as u8).wrapping_sub(b'0') as u16;
        let (first, second, third) = (digit(1), digit(2), digit(3));
        let digits = matches!(first, 1..=9) && second <= 9 && third <= 9;
        if rest as u8 != b' ' || !digits || (version != OLD && version != NEW) {
            return Read::Opaque;
        }
        self.old = u8::from(version == OLD);
        self.status = first * 100 + second * 10 + third;
        self.phase = match byte {
            b' ' => phase::REASON,
            b'\r' => phase::STATUS_LF,
            _ => return Read::Opaque,
        };
        Read::Taken
    }

    /// A byte of a name that is, so far, one of those that tell where the response ends.
    #[inline(always)]
    fn name(&mut self, byte: u8) -> Read {
        let word = &mut self.fields.word;
        let (length, encoding) = (word.is(&LENGTH), word.is(&ENCODING));
        if is_token(byte) {
            word.push(byte.to_ascii_lowercase());
            if !word.begins(&LENGTH) && !word.begins(&ENCODING) {
                self.ignore_line();
            }
            return Read::Taken;
        }
        if !length && !encoding {
            self.ignore_line();
            return Read::Again;
        }
        let field = if length { Field::Length } else { Field::Encoding };
        if byte != b':' || self.fields.begin_value(field).is_err() {
            return Read::Opaque;
        }
        self.phase = phase::BEFORE_VALUE;
        Read::Taken
    }

    #[inline(always)]
    fn value(&mut self, byte: u8) -> Read {
        if byte == b'\r' {
            self.phase = phase::VALUE_LF;
            return Read::Taken;
        }
        let known = if byte == b' ' || byte == b'\t' {
            self.fields.space(byte).is_ok()
        } else {
            !is_control(byte) && self.fields.value(byte).is_ok()
        };
        if known { Read::Taken } else { Read::Opaque }
    }

    #[inline(always)]
    fn line_feed(&mut self, byte: u8) -> Read {
        if byte != b'\n' {
            return Read::Opaque;
        }
        if self.phase == phase::END_LF {
            return Read::Head;
        }
        if self.phase == phase::VALUE_LF && self.fields.end_value(self.old != 0).is_err() {
            return Read::Opaque;
        }
        self.phase = phase::LINE;
        Read::Taken
    }

    #[inline(always)]
    fn head_ended(&mut self, outstanding: &mut Outstanding) -> Event {
        // What nobody asked for, such as a time-out's 408, is followed by a close, or by what nobody knows.
        if outstanding.idle() || self.status == 101 {
            return Event::Opaque;
        }
        if self.status < 200 {
            self.begin();
            return Event::None;
        }
        if outstanding.next_is_head() || self.status == 204 || self.status == 304 {
            return self.end(outstanding);
        }
        self.body = if self.fields.has(flag::CHUNKED) {
            Body::CHUNKED
        } else if self.fields.has(flag::LENGTH) {
            Body::of_length(self.fields.length)
        } else {
            return Event::Opaque;
        };
        if self.body.is_over() {
            return self.end(outstanding);
        }
        self.phase = phase::BODY;
        Event::None
    }

    /// Before a response.
    #[inline(always)]
    fn begin(&mut self) {
        self.phase = phase::STATUS;
        self.fields.word.clear();
    }

    #[inline(always)]
    fn end(&mut self, outstanding: &mut Outstanding) -> Event {
        self.begin();
        outstanding.answered();
        Event::End
    }
}
