//! Bodies: of a known length, or chunked, strict (G3).
//!
//! What a body says matters to nobody here, so its bytes are gone over. Of chunks the framing is read as RFC 9112 section 7.1
//! writes it, without the white space that it tolerates: servers have read sizes and extensions in different ways.

use xps_core::bound::keep_in_memory;
use xps_core::handler::Window;

use crate::field::LENGTH_MAX;
use crate::path::hexadecimal;
use crate::refusal::{Refusal, control, is_control, is_token};

/// Most digits of a chunk's size.
pub const SIZE_DIGITS_MAX: u8 = 16;
/// Most bytes of a chunk's extensions: nobody is known to send any, and each byte of them is read.
pub const EXTENSION_BYTES_MAX: u16 = 256;
/// Most bytes that are skipped at once: a sum of this and a segment's length must not overflow.
const SKIP_MAX: u64 = 1 << 30;
/// Bytes of framing read by one call.
const STEPS: usize = 16;

mod phase {
    /// There is no body, or it is over.
    pub(super) const NONE: u8 = 0;
    /// In a body of a known length.
    pub(super) const LENGTH: u8 = 1;
    /// In a chunk's bytes.
    pub(super) const DATA: u8 = 2;
    pub(super) const DATA_CR: u8 = 3;
    pub(super) const DATA_LF: u8 = 4;
    pub(super) const SIZE: u8 = 5;
    pub(super) const SIZE_LF: u8 = 6;
    /// Before an extension's name.
    pub(super) const BEFORE_NAME: u8 = 7;
    pub(super) const NAME: u8 = 8;
    /// Before an extension's value.
    pub(super) const BEFORE_VALUE: u8 = 9;
    pub(super) const VALUE: u8 = 10;
    pub(super) const QUOTED: u8 = 11;
    /// Behind a backslash.
    pub(super) const ESCAPED: u8 = 12;
    pub(super) const QUOTED_END: u8 = 13;
}

/// What the parser met.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: the window is read to its end, or the call has done its share.
    None = 0,
    /// The stream goes on behind [`Window::skip`] bytes.
    Skip = 1,
    /// The body is over.
    End = 2,
    /// The last chunk is over; trailers follow, of which there may be none but their end.
    Trailers = 3,
    /// The body is refused: [`Body::refusal`].
    Refused = 4,
}

/// State of the parser; all zero where there is no body.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Bytes that are still to come, of the body or of the chunk.
    left: u64,
    /// Bytes of extensions so far.
    extension: u16,
    phase: u8,
    /// Digits of the size so far.
    digits: u8,
    /// The number of a [`Refusal`].
    refusal: u8,
    padding: [u8; 3],
}

impl Body {
    /// No body.
    pub const NONE: Self =
        Self { left: 0, extension: 0, phase: phase::NONE, digits: 0, refusal: 0, padding: [0; 3] };

    /// A chunked body at its start.
    pub const CHUNKED: Self = Self { phase: phase::SIZE, ..Self::NONE };

    /// A body of so many bytes at its start.
    #[inline(always)]
    #[must_use]
    pub const fn of_length(bytes: u64) -> Self {
        let phase = if bytes == 0 { phase::NONE } else { phase::LENGTH };
        Self { left: bytes, phase, ..Self::NONE }
    }

    /// Whether there is no body, or it is over.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.phase == phase::NONE
    }

    /// Why the body is refused.
    #[inline(always)]
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        Refusal::from_u8(self.refusal)
    }

    /// Bytes of data that are known to come next; zero within framing.
    #[inline(always)]
    #[must_use]
    pub const fn data_left(&self) -> u64 {
        if self.in_data() { self.left } else { 0 }
    }

    #[inline(always)]
    const fn in_data(&self) -> bool {
        self.phase == phase::LENGTH || self.phase == phase::DATA
    }

    /// Reads until something is met. One call goes over data, or reads framing.
    #[inline(always)]
    pub fn read(&mut self, window: &mut Window) -> Event {
        if self.in_data() {
            return self.data(window);
        }
        for _ in 0..STEPS {
            keep_in_memory();
            let Some(byte) = window.next() else { return Event::None };
            if let Err(refusal) = self.framing(byte) {
                self.refusal = refusal as u8;
                return Event::Refused;
            }
            if self.phase == phase::NONE {
                return Event::Trailers;
            }
            if self.phase == phase::DATA {
                return Event::None;
            }
        }
        Event::None
    }

    /// Goes over data. Its last byte is not skipped but read: what is behind a skip is not told, and whoever stands there
    /// must know that the body is over.
    #[inline(always)]
    fn data(&mut self, window: &mut Window) -> Event {
        let here = window.left() as u64;
        if self.left > here {
            let beyond = self.left - here;
            let skip = if beyond > SKIP_MAX { SKIP_MAX } else { beyond - 1 };
            self.left = beyond - skip;
            window.at = window.len;
            window.skip = skip as u32;
            return if skip == 0 { Event::None } else { Event::Skip };
        }
        window.at += self.left as u32;
        self.left = 0;
        if self.phase == phase::LENGTH {
            self.phase = phase::NONE;
            return Event::End;
        }
        self.phase = phase::DATA_CR;
        Event::None
    }

    #[inline(always)]
    fn framing(&mut self, byte: u8) -> Result<(), Refusal> {
        match self.phase {
            phase::SIZE => self.size(byte),
            phase::SIZE_LF | phase::DATA_LF => {
                if byte != b'\n' {
                    return Err(Refusal::BareCr);
                }
                if self.phase == phase::DATA_LF {
                    self.phase = phase::SIZE;
                    self.digits = 0;
                } else {
                    self.phase = if self.left == 0 { phase::NONE } else { phase::DATA };
                }
                Ok(())
            }
            phase::DATA_CR => {
                if byte != b'\r' {
                    return Err(if byte == b'\n' { Refusal::BareLf } else { Refusal::BadChunkEnd });
                }
                self.phase = phase::DATA_LF;
                Ok(())
            }
            _ => self.extension(byte),
        }
    }

    /// A byte of a chunk's size. Signs, prefixes, spaces are none.
    #[inline(always)]
    fn size(&mut self, byte: u8) -> Result<(), Refusal> {
        let digit = hexadecimal(byte);
        if digit <= 15 {
            if self.digits >= SIZE_DIGITS_MAX || self.left > LENGTH_MAX >> 4 {
                return Err(Refusal::BadChunkSize);
            }
            self.left = self.left << 4 | digit as u64;
            self.digits += 1;
            return Ok(());
        }
        let known = self.digits != 0;
        match byte {
            b'\r' if known => self.phase = phase::SIZE_LF,
            b';' if known => {
                self.phase = phase::BEFORE_NAME;
                self.extension = 0;
            }
            b'\r' => return Err(Refusal::BadChunkSize),
            _ => return Err(control(byte, Refusal::BadChunkSize)),
        }
        Ok(())
    }

    /// A byte of a chunk's extensions (RFC 9112 section 7.1.1). What they mean is ignored, as by all.
    #[inline(always)]
    fn extension(&mut self, byte: u8) -> Result<(), Refusal> {
        self.extension += 1;
        if self.extension > EXTENSION_BYTES_MAX {
            return Err(Refusal::BadChunkExtension);
        }
        let was = self.phase;
        if was == phase::QUOTED || was == phase::ESCAPED {
            if is_control(byte) && byte != b'\t' {
                return Err(control(byte, Refusal::BadChunkExtension));
            }
            self.phase = match byte {
                b'"' if was == phase::QUOTED => phase::QUOTED_END,
                b'\\' if was == phase::QUOTED => phase::ESCAPED,
                _ => phase::QUOTED,
            };
            return Ok(());
        }
        if is_token(byte) && was != phase::QUOTED_END {
            self.phase = match was {
                phase::BEFORE_NAME => phase::NAME,
                phase::BEFORE_VALUE => phase::VALUE,
                _ => was,
            };
            return Ok(());
        }
        let ends = was == phase::NAME || was == phase::VALUE || was == phase::QUOTED_END;
        self.phase = match byte {
            b'\r' if ends => phase::SIZE_LF,
            b';' if ends => phase::BEFORE_NAME,
            b'=' if was == phase::NAME => phase::BEFORE_VALUE,
            b'"' if was == phase::BEFORE_VALUE => phase::QUOTED,
            _ => return Err(control(byte, Refusal::BadChunkExtension)),
        };
        Ok(())
    }
}
