//! The header fields that frame a message or a connection, and their values.
//!
//! Only these are understood here; all others are shown to rules and otherwise left alone.

use crate::refusal::Refusal;
use crate::word::{Letters, Word, letters};

/// What a field is for.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Nothing that matters for framing.
    Other = 0,
    /// Content-Length.
    Length = 1,
    /// Transfer-Encoding.
    Encoding = 2,
    /// Host.
    Host = 3,
    /// Connection.
    Connection = 4,
    /// Expect.
    Expect = 5,
    /// Upgrade.
    Upgrade = 6,
    /// Others that a trailer may not be: they tell of trailers and codings themselves.
    Trailer = 7,
}

const LENGTH: Letters = letters("content-length");
const ENCODING: Letters = letters("transfer-encoding");
const HOST: Letters = letters("host");
const CONNECTION: Letters = letters("connection");
const EXPECT: Letters = letters("expect");
const UPGRADE: Letters = letters("upgrade");
const TRAILER: Letters = letters("trailer");
const TE: Letters = letters("te");

const CHUNKED: Letters = letters("chunked");
const CLOSE: Letters = letters("close");
const KEEP_ALIVE: Letters = letters("keep-alive");
const CONTINUE: Letters = letters("100-continue");

/// Longest length of a body: Nginx counts with signed numbers.
pub const LENGTH_MAX: u64 = i64::MAX as u64;

/// What the fields of a head said: bits of [`Fields::flags`].
pub mod flag {
    /// Content-Length is there.
    pub const LENGTH: u16 = 1 << 0;
    /// Transfer-Encoding is there.
    pub const ENCODING: u16 = 1 << 1;
    /// Its value is `chunked`.
    pub const CHUNKED: u16 = 1 << 2;
    /// Host is there.
    pub const HOST: u16 = 1 << 3;
    /// Connection lists `close`.
    pub const CLOSE: u16 = 1 << 4;
    /// Connection lists `keep-alive`.
    pub const KEEP_ALIVE: u16 = 1 << 5;
    /// Expect is `100-continue`.
    pub const CONTINUE: u16 = 1 << 6;
    /// Upgrade is there.
    pub const UPGRADE: u16 = 1 << 7;
}

impl Field {
    /// The field with this name in lower case.
    #[inline(always)]
    #[must_use]
    pub const fn named(name: &Word) -> Self {
        if name.is(&HOST) {
            Self::Host
        } else if name.is(&CONNECTION) {
            Self::Connection
        } else if name.is(&LENGTH) {
            Self::Length
        } else if name.is(&ENCODING) {
            Self::Encoding
        } else if name.is(&EXPECT) {
            Self::Expect
        } else if name.is(&UPGRADE) {
            Self::Upgrade
        } else if name.is(&TRAILER) || name.is(&TE) {
            Self::Trailer
        } else {
            Self::Other
        }
    }
}

/// What the fields say, the last one maybe not read to its end; all zero before them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The name or value that is being read, in lower case.
    pub word: Word,
    /// Content-Length so far.
    pub length: u64,
    /// Bits of [`flag`].
    pub flags: u16,
    /// The [`Field`] that is being read.
    field: u8,
    /// Whether white space was read that is not at the value's start.
    space: u8,
    padding: [u8; 4],
}

impl Fields {
    /// Before the fields.
    pub const START: Self =
        Self { word: Word::EMPTY, length: 0, flags: 0, field: 0, space: 0, padding: [0; 4] };

    /// Whether a flag is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether the field that is being read is this one.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, field: Field) -> bool {
        self.field == field as u8
    }

    /// The field is of no matter, whatever its name is.
    #[inline(always)]
    pub fn ignore(&mut self) {
        self.field = Field::Other as u8;
        self.space = 0;
        self.word.clear();
    }

    /// A name has ended: the word. Its value begins with [`Self::value_begun`].
    #[inline(always)]
    pub(crate) fn name_ended(&mut self) {
        self.field = Field::named(&self.word) as u8;
    }

    /// A name has ended.
    #[inline(always)]
    pub fn begin_value(&mut self, field: Field) -> Result<(), Refusal> {
        self.field = field as u8;
        self.value_begun()
    }

    /// The value of the field begins. One that says where a message ends may be there once only, even if both say the same.
    #[inline(always)]
    pub(crate) fn value_begun(&mut self) -> Result<(), Refusal> {
        self.space = 0;
        self.word.clear();
        let (flag, refusal) = if self.is(Field::Length) {
            (flag::LENGTH, Refusal::RepeatedLength)
        } else if self.is(Field::Encoding) {
            (flag::ENCODING, Refusal::RepeatedEncoding)
        } else if self.is(Field::Host) {
            (flag::HOST, Refusal::RepeatedHost)
        } else {
            if self.is(Field::Upgrade) {
                self.flags |= flag::UPGRADE;
            }
            return Ok(());
        };
        if self.flags & flag != 0 {
            return Err(refusal);
        }
        self.flags |= flag;
        Ok(())
    }

    /// White space in a value. Nginx takes a tab for a part of the value, others trim it: no field that frames has one.
    #[inline(always)]
    pub fn space(&mut self, byte: u8) -> Result<(), Refusal> {
        self.space = 1;
        if byte == b'\t' {
            if self.is(Field::Length) {
                return Err(Refusal::BadLength);
            }
            if self.is(Field::Encoding) {
                return Err(Refusal::UnknownEncoding);
            }
            if self.is(Field::Host) {
                return Err(Refusal::BadHost);
            }
        }
        Ok(())
    }

    /// Whether white space came before this byte of the value; not that at its start.
    #[inline(always)]
    #[must_use]
    pub const fn after_space(&self) -> bool {
        self.space != 0
    }

    /// The value's first byte comes: white space so far was none of it.
    #[inline(always)]
    pub fn end_of_space(&mut self) {
        self.space = 0;
    }

    /// Whether the value that is being read matters for no framing.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.is(Field::Other) || self.is(Field::Upgrade) || self.is(Field::Trailer)
    }

    /// Another byte of a value, no white space.
    #[inline(always)]
    pub fn value(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.is(Field::Length) {
            return self.digit(byte);
        }
        if self.is(Field::Encoding) || self.is(Field::Connection) || self.is(Field::Expect) {
            if self.is(Field::Connection) && byte == b',' {
                self.option();
                self.word.clear();
            } else {
                if self.space != 0 && !self.word.is_empty() {
                    self.word.spoil();
                }
                self.word.push(byte.to_ascii_lowercase());
            }
        }
        self.space = 0;
        Ok(())
    }

    /// A byte of Content-Length (RFC 9112 section 6.3): digits only, no sign, no list.
    #[inline(always)]
    fn digit(&mut self, byte: u8) -> Result<(), Refusal> {
        if byte == b',' {
            return Err(Refusal::RepeatedLength);
        }
        let digit = byte.wrapping_sub(b'0') as u64;
        if digit > 9 || self.space != 0 {
            return Err(Refusal::BadLength);
        }
        if self.length > LENGTH_MAX / 10 || self.length * 10 > LENGTH_MAX - digit {
            return Err(Refusal::LengthOverflow);
        }
        self.length = self.length * 10 + digit;
        self.word.push(byte);
        Ok(())
    }

    /// An element of Connection has ended (RFC 9110 section 7.6.1).
    #[inline(always)]
    fn option(&mut self) {
        if self.word.is(&CLOSE) {
            self.flags |= flag::CLOSE;
        } else if self.word.is(&KEEP_ALIVE) {
            self.flags |= flag::KEEP_ALIVE;
        }
    }

    /// The value's end. `old` tells HTTP/1.0.
    #[inline(always)]
    pub fn end_value(&mut self, old: bool) -> Result<(), Refusal> {
        if self.is(Field::Length) {
            if self.word.is_empty() {
                return Err(Refusal::BadLength);
            }
        } else if self.is(Field::Encoding) {
            if old {
                return Err(Refusal::EncodingInOldVersion);
            }
            // What other codings there are: who knows them removes them, who does not reads the body by other rules.
            if !self.word.is(&CHUNKED) {
                return Err(Refusal::UnknownEncoding);
            }
            self.flags |= flag::CHUNKED;
        } else if self.is(Field::Connection) {
            self.option();
        } else if self.is(Field::Expect) && self.word.is(&CONTINUE) {
            self.flags |= flag::CONTINUE;
        }
        if self.has(flag::LENGTH) && self.has(flag::ENCODING) {
            return Err(Refusal::LengthAndEncoding);
        }
        Ok(())
    }
}
