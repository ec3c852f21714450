//! A request's first line: method, target, version (RFC 9112 section 3). Steps of [`Head`].

use xps_core::handler::Window;

use crate::Step;
use crate::authority::Authority;
use crate::head::{Head, Method, Settings, Visitor, phase};
use crate::refusal::Refusal;
use crate::word::{Word, letters};

const HEAD: u64 = letters("HEAD")[0];
const OPTIONS: u64 = letters("OPTIONS")[0];
const CONNECT: u64 = letters("CONNECT")[0];
const PREFACE: u64 = letters("PRI")[0];
const HTTP: u64 = letters("http")[0];
const HTTPS: u64 = letters("https")[0];
const VERSION_OLD: u64 = letters("HTTP/1.0")[0];
pub(crate) const VERSION: u64 = letters("HTTP/1.1")[0];

impl Head {
    /// A request's first byte.
    #[inline(always)]
    pub(crate) fn begin(&mut self, next: u8, window: &mut Window) {
        *self = Self::default();
        self.leave_to(next, window);
    }

    /// An empty line before a request.
    #[inline(always)]
    pub(crate) fn empty_line(&mut self, next: u8) {
        if self.after_body == 0 {
            return self.refuse(Refusal::EmptyLine);
        }
        self.phase = next;
    }

    #[inline(always)]
    pub(crate) fn method<V: Visitor>(&mut self, byte: u8, next: u8, visitor: &mut V) {
        if self.phase != next {
            *self = Self::default();
            self.phase = next;
        }
        self.fields.word.push(byte);
        visitor.method_byte(byte);
    }

    #[inline(always)]
    pub(crate) fn method_end<V: Visitor>(&mut self, next: u8, visitor: &mut V) {
        let word = &self.fields.word;
        let mut method = Method::Other;
        if word.is_short(HEAD) {
            method = Method::Head;
        }
        if word.is_short(OPTIONS) {
            method = Method::Options;
        }
        if word.is_short(PREFACE) {
            method = Method::Preface;
        }
        if word.is_empty() {
            return self.refuse(Refusal::BadMethod);
        }
        if word.is_short(CONNECT) {
            return self.refuse(Refusal::ConnectMethod);
        }
        self.method = method as u8;
        self.fields.word.clear();
        self.phase = next;
        visitor.method_end();
    }

    /// `*` as the target.
    #[inline(always)]
    pub(crate) fn asterisk<V: Visitor>(&mut self, next: u8, visitor: &mut V) {
        if self.is(Method::Preface) {
            return self.refuse(Refusal::Http2Preface);
        }
        if !self.is(Method::Options) {
            return self.refuse(Refusal::BadTarget);
        }
        visitor.path_byte(b'*');
        visitor.path_end();
        self.phase = next;
    }

    /// The colon behind a scheme.
    #[inline(always)]
    pub(crate) fn scheme_end(&mut self, next: u8) {
        if !self.fields.word.is_short(HTTP) && !self.fields.word.is_short(HTTPS) {
            return self.refuse(Refusal::BadTarget);
        }
        self.phase = next;
    }

    /// A slash before the authority.
    #[inline(always)]
    pub(crate) fn slash(&mut self, next: u8, settings: &Settings) {
        self.authority = Authority::start(settings.seed);
        self.phase = next;
    }

    /// The byte behind the target's authority. A target without a path has the root's.
    #[inline(always)]
    pub(crate) fn authority_end<V: Visitor>(&mut self, next: u8, window: &mut Window, visitor: &mut V) {
        if !self.authority.is_whole() {
            return self.refuse(Refusal::BadHost);
        }
        self.target_authority = self.authority.hash();
        self.absolute = 1;
        visitor.host_end();
        self.leave_to(next, window);
    }

    #[inline(always)]
    pub(crate) fn path<V: Visitor>(
        &mut self,
        byte: u8,
        next: u8,
        window: &mut Window,
        settings: &Settings,
        visitor: &mut V,
    ) {
        let root = self.phase == phase::ROOT;
        let byte = if root { b'/' } else { byte };
        let step = self.path.feed(byte, settings.merge_slashes != 0, visitor);
        self.refusal = self.path.refusal();
        if root || step as u32 == Step::Again as u32 {
            self.give_again(window);
        }
        self.phase = next;
    }

    /// The byte behind the path.
    #[inline(always)]
    pub(crate) fn path_end<V: Visitor>(&mut self, next: u8, visitor: &mut V) {
        let _ = self.path.finish(visitor);
        self.refusal = self.path.refusal();
        self.phase = next;
        self.fields.word.clear();
        visitor.path_end();
    }

    /// The carriage return behind the version.
    #[inline(always)]
    pub(crate) fn version_end(&mut self, next: u8) {
        let version = &self.fields.word;
        if version.is_short(VERSION_OLD) {
            self.old = 1;
        } else if !version.is_short(VERSION) {
            return self.refuse(other_version(version));
        }
        self.phase = next;
    }
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
