//! Streaming parser of request heads, strict (G3): RFC 9112 without what it tolerates.
//!
//! The parser tells a [`Visitor`] what rules match: the method, the normalised path, the host, header fields. It keeps
//! what frames the message. All state lies in [`Head`], so the stream may be cut anywhere. The same lines are read as
//! trailers of a chunked body, which are shown to nobody.
//!
//! One loop looks up each byte in a [table](crate::table); what is to be done with it is a few straight lines each.
//!
//! # Where it is stricter than the standard, or than Nginx
//!
//! - Lines end with CR and LF. Nginx takes a lone LF as well (RFC 9112 section 2.2 allows it), other servers do not.
//! - An empty line before a request line is taken once, and only behind a body: old clients send one there
//!   (section 2.2). Nginx skips any number anywhere.
//! - One space each between the three words of the request line. Nginx skips more.
//! - Methods are of capital letters, `-` and `_`, as with Nginx. CONNECT is refused with 405, as Nginx does.
//! - `*` is a target for OPTIONS only (section 3.2.4). Nginx takes it for none.
//! - A target with a scheme is one of `http` or `https`, and its authority is that of the Host field, letter by letter
//!   but for case (section 3.2.2). Nginx goes by the target and does not compare.
//! - Versions are 1.0 and 1.1. Nginx takes 1.2 and more, and requests without a version.
//! - Control bytes are refused in targets and values, but for tabs in values (RFC 9110 section 5.5). Nginx refuses
//!   those in targets, and NUL.
//! - Names of fields are tokens (section 5.6.2). Nginx ignores lines with other names, or an underscore.

use xps_core::bound::{keep_in_memory, masked};
use xps_core::handler::Window;

use crate::authority::Authority;
use crate::field::{Fields, flag};
use crate::leap::LEAPS;
use crate::path::{Path, Sink};
use crate::refusal::Refusal;
use crate::table::{self, action};
use crate::word::Word;

/// Takes what a head consists of, in the order of the stream. What a refused head has told so far is void.
pub trait Visitor: Sink {
    /// A byte of the method.
    fn method_byte(&mut self, byte: u8);
    /// The first `bytes` of eight bytes of the method, of the path, or of a name, whichever is being read. None is a slash of the
    /// path.
    fn bytes(&mut self, path: bool, eight: u64, bytes: u32);
    /// The method's end.
    fn method_end(&mut self);
    /// The path's end. A target's query is told to nobody.
    fn path_end(&mut self);
    /// A byte of the host, in lower case, without port: the target's if it has one, otherwise that of the Host field.
    fn host_byte(&mut self, byte: u8);
    /// The first `bytes` of eight bytes of the host, likewise.
    #[inline(always)]
    fn host_bytes(&mut self, eight: u64, bytes: u32) {
        each(eight, bytes, |byte| self.host_byte(byte));
    }
    /// The host's end. Told once for each head, for HTTP/1.0 without a host at its very end.
    fn host_end(&mut self);
    /// A field's name begins; it may be that of the Host field.
    #[inline(always)]
    fn name_begin(&mut self) {}
    /// A byte of the name, in lower case.
    #[inline(always)]
    fn name_byte(&mut self, _byte: u8) {}
    /// The whole name; [`Word::TOO_LONG`] if it is longer than is kept. The end of the Host field's name is not told.
    fn name_end(&mut self, name: &Word);
    /// Whether the value that was just begun is to be told; its end is told anyway.
    #[inline(always)]
    fn wants_value(&self) -> bool {
        true
    }
    /// A byte of the value. White space (`space`) belongs to it only if other bytes follow.
    fn value_byte(&mut self, byte: u8, space: bool);
    /// The value's end: that was at the last byte that is no white space.
    fn value_end(&mut self);
}

/// Calls `tell` with the first `bytes` of eight bytes.
#[inline(always)]
pub(crate) fn each(eight: u64, bytes: u32, mut tell: impl FnMut(u8)) {
    let mut i = 0;
    while i < 8 {
        if i >= bytes {
            break;
        }
        tell((eight >> (i * 8)) as u8);
        i += 1;
    }
}

/// What a head may be, and how paths are read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A secret: nobody can make two hosts that look the same.
    pub seed: u64,
    /// Most bytes of a request line, its end included.
    pub line_bytes_max: u32,
    /// Most bytes of a head, its end included; and of trailers.
    pub head_bytes_max: u32,
    /// Whether several slashes are one: Nginx's `merge_slashes`.
    pub merge_slashes: u32,
    /// Zero.
    pub padding: u32,
}

impl Settings {
    /// Those of Nginx, as far as it has them.
    pub const DEFAULT: Self =
        Self { seed: 0, line_bytes_max: 8192, head_bytes_max: 8192, merge_slashes: 1, padding: 0 };
}

pub(crate) mod phase {
    /// Between two requests.
    pub(crate) const START: u8 = 0;
    /// In an empty line before a request.
    pub(crate) const START_LF: u8 = 1;
    /// Behind it.
    pub(crate) const START_AGAIN: u8 = 2;
    pub(crate) const METHOD: u8 = 3;
    /// Before the target.
    pub(crate) const TARGET: u8 = 4;
    pub(crate) const SCHEME: u8 = 5;
    /// Before the first slash behind the scheme.
    pub(crate) const SLASH: u8 = 6;
    /// Before the second one.
    pub(crate) const SLASH_AGAIN: u8 = 7;
    pub(crate) const AUTHORITY: u8 = 8;
    /// Behind an authority without a path: it is read as a slash.
    pub(crate) const ROOT: u8 = 9;
    pub(crate) const PATH: u8 = 10;
    /// In the query or fragment.
    pub(crate) const REST: u8 = 11;
    /// Behind `*`.
    pub(crate) const ASTERISK: u8 = 12;
    pub(crate) const VERSION: u8 = 13;
    pub(crate) const VERSION_LF: u8 = 14;
    /// At the start of a line.
    pub(crate) const LINE: u8 = 15;
    pub(crate) const NAME: u8 = 16;
    /// In white space before a value.
    pub(crate) const BEFORE_VALUE: u8 = 17;
    pub(crate) const VALUE: u8 = 18;
    pub(crate) const VALUE_LF: u8 = 19;
    /// In the empty line at the end.
    pub(crate) const END_LF: u8 = 20;
    /// In the value of the Host field.
    pub(crate) const HOST: u8 = 21;
    /// The last one.
    #[cfg(test)]
    pub(crate) const LAST: u8 = HOST;
}

/// What the parser met.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: the window is read to its end, or the call has done its share.
    None = 0,
    /// The head, or the trailers, are complete.
    End = 1,
    /// The request is refused: [`Head::refusal`].
    Refused = 2,
}

impl Event {
    /// The value that crossed a function's border as a number.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(value: u32) -> Self {
        match value {
            0 => Self::None,
            1 => Self::End,
            _ => Self::Refused,
        }
    }
}

/// Methods that matter for framing.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// All others.
    Other = 0,
    /// HEAD: its response has no body.
    Head = 1,
    /// OPTIONS: its target may be `*`.
    Options = 2,
    /// The method of HTTP/2's preface.
    Preface = 3,
}

/// Bytes read by one call.
const STEPS: usize = 5;

/// State of the parser; all zero at a connection's start. Between two heads it tells of the last one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// What the fields say.
    pub fields: Fields,
    pub(crate) authority: Authority,
    /// Hash of the target's authority, if it has one.
    pub(crate) target_authority: u64,
    pub(crate) path: Path,
    /// Bytes of the head, or of the trailers, so far.
    pub(crate) bytes: u32,
    pub(crate) phase: u8,
    /// A [`Method`].
    pub(crate) method: u8,
    /// Whether the version is 1.0.
    pub(crate) old: u8,
    /// Whether the target has an authority.
    pub(crate) absolute: u8,
    /// Whether these are trailers.
    pub(crate) trailers: u8,
    /// Whether a body was read since the last head.
    pub(crate) after_body: u8,
    /// The number of a [`Refusal`].
    pub(crate) refusal: u8,
    padding: u8,
}

impl Head {
    /// Whether the stream stands between two requests, as far as heads go.
    #[inline(always)]
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.phase == phase::START || self.phase == phase::START_AGAIN
    }

    /// Why the request is refused.
    #[inline(always)]
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        Refusal::from_u8(self.refusal)
    }

    /// Whether the method is this one.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, method: Method) -> bool {
        self.method == method as u8
    }

    /// Whether the version is 1.0.
    #[inline(always)]
    #[must_use]
    pub const fn is_old(&self) -> bool {
        self.old != 0
    }

    /// Whether the client wants the connection to stay (RFC 9112 section 9.3).
    #[inline(always)]
    #[must_use]
    pub const fn keeps_alive(&self) -> bool {
        !self.fields.has(flag::CLOSE) && (self.old == 0 || self.fields.has(flag::KEEP_ALIVE))
    }

    /// The body is over: an empty line may follow.
    #[inline(always)]
    pub fn body_ended(&mut self) {
        self.phase = phase::START;
        self.after_body = 1;
        self.bytes = 0;
    }

    /// What comes next are a chunked body's trailers.
    #[inline(always)]
    pub fn begin_trailers(&mut self) {
        self.phase = phase::LINE;
        self.trailers = 1;
        self.bytes = 0;
    }

    /// Whether what ended were trailers.
    #[inline(always)]
    #[must_use]
    pub const fn ended_trailers(&self) -> bool {
        self.trailers != 0
    }

    /// Refuses the request for what was found elsewhere.
    #[inline(always)]
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal = refusal as u8;
    }

    /// Reads until the head, or the trailers, end.
    ///
    /// What an action finds out is written to memory, and looked at there: so what follows all of them is verified once.
    #[inline(always)]
    pub fn read<V: Visitor>(&mut self, window: &mut Window, settings: &Settings, visitor: &mut V) -> Event {
        for _ in 0..STEPS {
            keep_in_memory();
            if LEAPS >> (self.phase & 31) & 1 != 0 {
                self.leap(window, settings, visitor);
                keep_in_memory();
            }
            let Some(byte) = window.next() else { return Event::None };
            let phase = self.phase;
            self.step(byte, window, settings, visitor);
            keep_in_memory();
            if self.refusal != 0 {
                return Event::Refused;
            }
            self.bytes = self.bytes.wrapping_add(1);
            if phase <= phase::VERSION_LF && self.bytes > settings.line_bytes_max {
                self.refuse(Refusal::TargetTooLong);
                return Event::Refused;
            }
            if self.bytes > settings.head_bytes_max {
                self.refuse(Refusal::HeadTooLarge);
                return Event::Refused;
            }
            if phase == phase::END_LF {
                self.phase = phase::START;
                return Event::End;
            }
        }
        Event::None
    }

    /// Does what the table says of a byte. What is refused is written to [`Self::refusal`]. A byte that is to be given again is
    /// not counted.
    #[inline(always)]
    fn step<V: Visitor>(&mut self, byte: u8, window: &mut Window, settings: &Settings, visitor: &mut V) {
        let kind = table::kind_of(byte);
        let class = u32::from(kind) & (table::CLASSES as u32 - 1);
        let at = (u32::from(self.phase) * table::CLASSES as u32) | class;
        // SAFETY: masked to the length of the table.
        let cell = unsafe { *table::CELL.as_ptr().add(masked::<{ table::CELLS as u32 - 1 }>(at)) };
        let (action, argument) = (cell as u8, (cell >> 8) as u8);
        match action {
            action::GO => self.phase = argument,
            action::LEAVE => self.leave_to(argument, window),
            action::BEGIN => self.begin(argument, window),
            action::EMPTY_LINE => self.empty_line(argument),
            action::METHOD => self.method(byte, argument, visitor),
            action::METHOD_END => self.method_end(argument, visitor),
            action::ASTERISK => self.asterisk(argument, visitor),
            action::SCHEME => self.fields.word.push(byte | kind & table::SIZE_BIT),
            action::SCHEME_END => self.scheme_end(argument),
            action::SLASH => self.slash(argument, settings),
            action::HOST => self.host(byte, window, visitor),
            action::AUTHORITY_END => self.authority_end(argument, window, visitor),
            action::PATH => self.path(byte, argument, window, settings, visitor),
            action::PATH_END => self.path_end(argument, visitor),
            action::VERSION => self.fields.word.push(byte),
            action::VERSION_END => self.version_end(argument),
            action::NAME => self.name(byte | kind & table::SIZE_BIT, argument, visitor),
            action::NAME_END => self.name_end(argument, settings, visitor),
            action::SPACE => self.space(byte),
            action::VALUE_BEGIN => self.value_begin(argument, window),
            action::VALUE => self.value(byte, visitor),
            action::LINE_END => self.line_end(argument, visitor),
            action::END => self.end(visitor),
            _ => self.refusal = argument,
        }
    }

    /// The byte belongs to another phase: it is given again.
    #[inline(always)]
    pub(crate) fn leave_to(&mut self, phase: u8, window: &mut Window) {
        self.phase = phase;
        self.give_again(window);
    }

    /// The byte is given again, and not counted this time.
    #[inline(always)]
    pub(crate) fn give_again(&mut self, window: &mut Window) {
        window.at = window.at.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(1);
    }

    /// Refuses the request if something was wrong.
    #[inline(always)]
    pub(crate) fn refuse_for(&mut self, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            self.refuse(refusal);
        }
    }
}
