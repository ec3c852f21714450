//! A push of the server's while it comes in: which keys it says were changed. Sans-IO.
//!
//! A push names all keys that one round of Redis's event loop has changed: half a million for one MSET, and a key may have
//! half a gigabyte. So nothing of it is kept: a key is hashed as its bytes come, which is all that its bucket takes, and
//! told at its end. What else there is in a push is counted, to know where it ends, and not judged.
//!
//! Redis invalidates by `["invalidate", [key, …]]`, or null in the list's place for a flush. Where another form comes
//! instead of these, any key may be meant.

use xps_core::siphash::SipHash13;

use crate::server::redis::RedisError;

const INVALIDATE: &[u8] = b"invalidate";

/// A push.
#[derive(Debug)]
pub(crate) struct Push {
    secret: [u64; 2],
    place: Place,
    part: Part,
    /// Values that have not begun yet, in whatever they are nested.
    values: u64,
    /// The key so far.
    hash: SipHash13,
}

/// Where the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Where a value begins.
    Value,
    /// In the length of a value of this kind.
    Length { kind: u8, so_far: Option<u64> },
    /// At the line feed behind it.
    LengthEnd { kind: u8, length: u64 },
    /// In a string with so many bytes left.
    Bytes { left: u64 },
    /// At the carriage return behind it.
    BytesReturn,
    /// At the line feed behind that.
    BytesEnd,
    /// In a line, perhaps behind a carriage return.
    Line { returned: bool },
}

/// What the next value is, or this one.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// What the push is about.
    Name,
    /// The list of keys.
    List,
    /// A key; so many are left.
    Key { left: u64 },
    /// Nothing that matters.
    Rest,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The key with this hash may have changed.
    Changed(u64),
    /// Any key may have changed.
    All,
    /// All of the push.
    End,
    /// All bytes there were.
    More,
}

impl Push {
    /// A push of whose bytes the first one, `>`, is read. `secret` is that of the keys' hashes.
    pub(crate) fn new(secret: [u64; 2]) -> Self {
        Self {
            secret,
            place: Place::Length { kind: b'>', so_far: None },
            part: Part::Name,
            values: 0,
            hash: SipHash13::ZERO,
        }
    }

    /// Reads on to the next thing to tell, and takes what it reads off `bytes`.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Result<Step, RedisError> {
        loop {
            if matches!(self.place, Place::Value) && self.values == 0 {
                return Ok(self.end());
            }
            if let Place::Bytes { left } = self.place {
                let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                let (content, rest) = bytes.split_at(here);
                *bytes = rest;
                self.content(content, left);
                let left = left - here as u64;
                self.place = if left == 0 { Place::BytesReturn } else { Place::Bytes { left } };
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(Step::More) };
            *bytes = rest;
            if let Some(step) = self.byte(byte)? {
                return Ok(step);
            }
        }
    }

    /// Reads a byte that is not a string's.
    fn byte(&mut self, byte: u8) -> Result<Option<Step>, RedisError> {
        let mut step = None;
        self.place = match (self.place, byte) {
            (Place::Value, _) => {
                let place = begin(byte)?;
                // What an attribute says comes before the value that it belongs to.
                self.values -= u64::from(byte != b'|');
                step = self.expect(byte);
                place
            }
            (Place::Length { kind, so_far }, b'0'..=b'9') => {
                let more = |length: u64| length.checked_mul(10)?.checked_add(u64::from(byte - b'0'));
                let length = more(so_far.unwrap_or(0)).ok_or_else(|| malformed("a length beyond all"))?;
                Place::Length { kind, so_far: Some(length) }
            }
            (Place::Length { kind, so_far: Some(length) }, b'\r') => Place::LengthEnd { kind, length },
            (Place::LengthEnd { kind, length }, b'\n') => self.sized(kind, length)?,
            (Place::Length { .. } | Place::LengthEnd { .. }, _) => {
                return Err(malformed("a length that is no number"));
            }
            (Place::BytesReturn, b'\r') => Place::BytesEnd,
            (Place::BytesEnd, b'\n') => {
                step = self.string_ended();
                Place::Value
            }
            (Place::Bytes { .. } | Place::BytesReturn | Place::BytesEnd, _) => {
                return Err(malformed("a string that is longer than it says"));
            }
            (Place::Line { returned: true }, b'\n') => Place::Value,
            (Place::Line { .. }, _) => Place::Line { returned: byte == b'\r' },
        };
        Ok(step)
    }

    /// A value of this kind begins.
    fn expect(&mut self, kind: u8) -> Option<Step> {
        let expected = match self.part {
            Part::Name | Part::Key { .. } => b'$',
            Part::List => b'*',
            Part::Rest => kind,
        };
        (kind != expected).then(|| {
            self.part = Part::Rest;
            Step::All
        })
    }

    /// A value's length is known.
    fn sized(&mut self, kind: u8, length: u64) -> Result<Place, RedisError> {
        match self.part {
            Part::Name if kind == b'$' && length != INVALIDATE.len() as u64 => self.part = Part::Rest,
            Part::List => self.part = keys(length),
            Part::Key { .. } => self.hash = SipHash13::new(self.secret),
            Part::Name | Part::Rest => {}
        }
        let values_each = match kind {
            b'$' | b'!' | b'=' => return Ok(Place::Bytes { left: length }),
            b'%' | b'|' => 2,
            _ => 1,
        };
        let values = length.checked_mul(values_each).and_then(|values| self.values.checked_add(values));
        self.values = values.ok_or_else(|| malformed("more values than can be counted"))?;
        Ok(Place::Value)
    }

    /// Bytes of a string of which `left` were left before.
    fn content(&mut self, bytes: &[u8], left: u64) {
        match self.part {
            Part::Name if !INVALIDATE[INVALIDATE.len() - left as usize..].starts_with(bytes) => {
                self.part = Part::Rest;
            }
            Part::Key { .. } => self.hash.bytes(bytes),
            Part::Name | Part::List | Part::Rest => {}
        }
    }

    fn string_ended(&mut self) -> Option<Step> {
        match self.part {
            Part::Name => self.part = Part::List,
            Part::Key { left } => {
                self.part = keys(left - 1);
                return Some(Step::Changed(self.hash.finish()));
            }
            Part::List | Part::Rest => {}
        }
        None
    }

    fn end(&mut self) -> Step {
        // What should have told the keys is not there.
        let untold = !matches!(self.part, Part::Rest);
        self.part = Part::Rest;
        if untold { Step::All } else { Step::End }
    }
}

/// What comes with so many keys left.
fn keys(left: u64) -> Part {
    if left == 0 { Part::Rest } else { Part::Key { left } }
}

/// What follows a value's first byte.
fn begin(kind: u8) -> Result<Place, RedisError> {
    match kind {
        b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => Ok(Place::Length { kind, so_far: None }),
        b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' => Ok(Place::Line { returned: false }),
        _ => Err(malformed("a value of no known kind")),
    }
}

fn malformed(what: &str) -> RedisError {
    RedisError::Protocol(format!("{what}, in a push"))
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
