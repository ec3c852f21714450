//! A request's first line: method, target, version (RFC 9112 section 3). Steps of [`Head`].

use crate::Step;
use crate::authority::Authority;
use crate::head::{Head, Method, Settings, Visitor, phase};
use crate::refusal::{Refusal, control, is_control};
use crate::word::{Letters, Word, letters};

const HEAD: Letters = letters("HEAD");
const OPTIONS: Letters = letters("OPTIONS");
const CONNECT: Letters = letters("CONNECT");
const PREFACE: Letters = letters("PRI");
const HTTP: Letters = letters("http");
const HTTPS: Letters = letters("https");
const VERSION_OLD: Letters = letters("HTTP/1.0");
pub(crate) const VERSION: Letters = letters("HTTP/1.1");

impl Head {
    /// Before a request's first byte.
    #[inline(always)]
    pub(crate) fn start(&mut self, byte: u8) -> Step {
        if byte == b'\r' {
            if self.phase != phase::START || self.after_body == 0 {
                return self.refuse(Refusal::EmptyLine);
            }
            return self.go_on(phase::START_LF);
        }
        *self = Self::default();
        self.leave_to(phase::METHOD)
    }

    #[inline(always)]
    pub(crate) fn method<V: Visitor>(&mut self, byte: u8, visitor: &mut V) -> Step {
        if matches!(byte, b'A'..=b'Z' | b'-' | b'_') {
            self.fields.word.push(byte);
            visitor.method_byte(byte);
            return Step::Taken;
        }
        if byte != b' ' || self.fields.word.is_empty() {
            return self.refuse(control(byte, Refusal::BadMethod));
        }
        let method = &self.fields.word;
        if method.is(&CONNECT) {
            return self.refuse(Refusal::ConnectMethod);
        }
        let method = if method.is(&HEAD) {
            Method::Head
        } else if method.is(&OPTIONS) {
            Method::Options
        } else if method.is(&PREFACE) {
            Method::Preface
        } else {
            Method::Other
        };
        self.method = method as u8;
        self.fields.word.clear();
        visitor.method_end();
        self.go_on(phase::TARGET)
    }

    /// The target's first byte, or a scheme and what is between it and the authority.
    #[inline(always)]
    pub(crate) fn target<V: Visitor>(&mut self, byte: u8, settings: &Settings, visitor: &mut V) -> Step {
        if self.phase == phase::SCHEME {
            if byte.is_ascii_alphabetic() {
                self.fields.word.push(byte.to_ascii_lowercase());
                return Step::Taken;
            }
            if byte == b':' && (self.fields.word.is(&HTTP) || self.fields.word.is(&HTTPS)) {
                return self.go_on(phase::SLASH);
            }
        } else if self.phase == phase::TARGET {
            match byte {
                b'/' => return self.leave_to(phase::PATH),
                b'a'..=b'z' | b'A'..=b'Z' => return self.leave_to(phase::SCHEME),
                b'*' if self.is(Method::Options) => {
                    visitor.path_byte(byte);
                    visitor.path_end();
                    return self.go_on(phase::ASTERISK);
                }
                b'*' if self.is(Method::Preface) => return self.refuse(Refusal::Http2Preface),
                b' ' | b'\r' => return self.refuse(Refusal::BadRequestLine),
                _ => {}
            }
        } else if byte == b'/' {
            self.authority = Authority::start(settings.seed);
            return self.go_on(self.phase + 1);
        }
        self.refuse(control(byte, Refusal::BadTarget))
    }

    #[inline(always)]
    pub(crate) fn target_authority<V: Visitor>(&mut self, byte: u8, visitor: &mut V) -> Step {
        if matches!(byte, b'/' | b'?' | b' ') {
            if !self.authority.is_whole() {
                return self.refuse(Refusal::BadHost);
            }
            self.target_authority = self.authority.hash();
            self.absolute = 1;
            visitor.host_end();
            return self.leave_to(if byte == b'/' { phase::PATH } else { phase::ROOT });
        }
        let mut told = 0;
        let step = self.authority.feed(byte, &mut told);
        if step as u32 == Step::Refused as u32 {
            return self.refuse(control(byte, Refusal::BadHost));
        }
        if told != 0 {
            visitor.host_byte(told);
        }
        step
    }

    #[inline(always)]
    pub(crate) fn path<V: Visitor>(&mut self, byte: u8, settings: &Settings, visitor: &mut V) -> Step {
        let root = self.phase == phase::ROOT;
        let step = if !root && matches!(byte, b' ' | b'?' | b'#') {
            let step = self.path.finish(visitor);
            self.phase = if byte == b' ' { phase::VERSION } else { phase::REST };
            self.fields.word.clear();
            if step as u32 == Step::Taken as u32 {
                visitor.path_end();
            }
            step
        } else if is_control(byte) {
            return self.refuse(in_target(byte));
        } else {
            let step = self.path.feed(if root { b'/' } else { byte }, settings.merge_slashes != 0, visitor);
            self.phase = phase::PATH;
            if root && step as u32 == Step::Taken as u32 { Step::Again } else { step }
        };
        if step as u32 == Step::Refused as u32 {
            self.refusal = self.path.refusal();
        }
        step
    }

    /// What of the target is behind its path.
    #[inline(always)]
    pub(crate) fn rest(&mut self, byte: u8) -> Step {
        if byte == b' ' {
            return self.go_on(phase::VERSION);
        }
        if is_control(byte) {
            return self.refuse(in_target(byte));
        }
        if self.phase == phase::ASTERISK { self.refuse(Refusal::BadTarget) } else { Step::Taken }
    }

    #[inline(always)]
    pub(crate) fn version(&mut self, byte: u8) -> Step {
        if byte != b'\r' {
            if is_control(byte) || byte == b' ' {
                return self.refuse(control(byte, Refusal::BadRequestLine));
            }
            self.fields.word.push(byte);
            return Step::Taken;
        }
        let version = &self.fields.word;
        if version.is(&VERSION_OLD) {
            self.old = 1;
        } else if !version.is(&VERSION) {
            return self.refuse(other_version(version));
        }
        self.go_on(phase::VERSION_LF)
    }
}

/// What a control byte in the target is refused as. A line's end there is that of a request without a version.
#[inline(always)]
const fn in_target(byte: u8) -> Refusal {
    if byte == b'\r' { Refusal::NoVersion } else { control(byte, Refusal::Control) }
}

/// What is wrong with a version that is not known.
#[inline(always)]
const fn other_version(version: &Word) -> Refusal {
    const NAME: u64 = letters("HTTP/")[0];
    if version.is_empty() {
        return Refusal::NoVersion;
    }
    let letters = version.letters()[0];
    let (major, dot) = ((letters >> 40) as u8, (letters >> 48) as u8);
    if version.len() >= 8 && letters & 0xff_ffff_ffff == NAME && major >= b'1' && major <= b'9' && dot == b'.'
    {
        Refusal::BadVersion
    } else {
        Refusal::BadRequestLine
    }
}
