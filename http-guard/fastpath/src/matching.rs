//! What rules have seen of a head: it is shown to the matcher while it is read.
//!
//! All of it lies in the flow, so a head may be cut anywhere. What depends on the tables is void when they have changed,
//! which their generation tells.

use core::cell::Cell;

use xps_core::bound::{masked, opaque};
use xps_core::handler::Window;

use crate::abi::{Matcher, SLOTS_MAX, Settings, subject};
use crate::guard::State;
use crate::head::{self, Visitor, each};
use crate::matcher::{DEAD, Matched};
use crate::path::{DEPTH_MAX, Sink};
use crate::word::Word;

/// Bits of [`Matching::flags`].
pub mod flag {
    /// A head has begun and not ended.
    pub const IN_HEAD: u8 = 1 << 0;
    /// Which set of tables the head is read by.
    pub const TABLES: u8 = 1 << 1;
    /// A request was refused behind which nothing is read: the connection ends.
    pub const ENDS: u8 = 1 << 2;
    /// More requests are outstanding than can be told apart: the server's responses say nothing any more.
    pub const CROWDED: u8 = 1 << 3;
    /// In a cookie's value.
    pub const COOKIE_VALUE: u8 = 1 << 4;
    /// Behind a cookie, before the next one's name.
    pub const COOKIE_SPACE: u8 = 1 << 5;
    /// The connection is counted as one of its client's.
    pub const COUNTED: u8 = 1 << 6;
    /// White space in a value, which is a part of it only if something follows.
    pub const VALUE_SPACE: u8 = 1 << 7;
}

/// State of the matching; all zero at a connection's start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Conditions that hold so far.
    pub matched: Matched,
    /// Hashes of the values that limits' keys are made of; 0: there is none.
    pub slots: [u64; SLOTS_MAX],
    /// Hash of the host.
    pub host: u64,
    /// The path's state behind each of its slashes.
    levels: [u16; DEPTH_MAX as usize],
    /// When the head began: `CLOCK_MONOTONIC` in units of 2^20 ns.
    pub begun: u32,
    /// Low bits of [`Matcher::generation`] of the tables that the head is read by.
    pub generation: u16,
    /// State of the subject that is being read.
    state: u16,
    /// The same at its last byte that is no white space.
    ended: u16,
    /// State of a cookie's name.
    cookie: u16,
    /// What is being read: a [`subject`].
    subject: u8,
    /// The slot of the cookie that is being read, plus one.
    cookie_slot: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    padding: u8,
}

const _: () = assert!(size_of::<Matching>() == 32 + 64 + 8 + 64 + 16);

/// An odd number with bits everywhere: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash with another byte or word. It begins with a secret, and what comes out is hashed again with the key's other parts.
#[inline(always)]
pub(crate) const fn mixed(hash: u64, more: u64) -> u64 {
    let hash = (hash ^ more).wrapping_mul(SPREAD);
    hash ^ hash >> 29
}

impl Matching {
    /// Whether a bit of [`flag`] is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Which set of tables the head is read by.
    #[inline(always)]
    #[must_use]
    pub const fn tables(&self) -> u32 {
        (self.flags & flag::TABLES != 0) as u32
    }

    /// A head that begins from now on is read by this set of tables.
    #[inline(always)]
    pub fn prepare(&mut self, tables: u32, now: u32) {
        self.flags = self.flags & !flag::TABLES | if tables == 0 { 0 } else { flag::TABLES };
        self.begun = now;
    }

    /// A head begins, for which all is [prepared](Self::prepare).
    #[inline(always)]
    pub fn begin(&mut self, matcher: &Matcher) {
        self.matched = Matched::NONE;
        let mut i = 0;
        while i < SLOTS_MAX {
            self.slots[i] = 0;
            i += 1;
        }
        self.host = 0;
        self.generation = matcher.generation as u16;
        self.state = matcher.start(subject::METHOD);
        self.subject = subject::METHOD as u8;
        self.cookie_slot = 0;
        self.flags = self.flags & (flag::TABLES | flag::CROWDED | flag::COUNTED) | flag::IN_HEAD;
    }

    /// A head is not read, but known: it holds what was learnt when it was read by this generation of this set of tables.
    #[inline(always)]
    pub fn recall(
        &mut self,
        tables: u32,
        generation: u32,
        matched: &Matched,
        slots: &[u64; SLOTS_MAX],
        host: u64,
    ) {
        self.matched = *matched;
        self.slots = *slots;
        self.host = host;
        self.generation = generation as u16;
        self.flags =
            (if tables == 0 { 0 } else { flag::TABLES }) | self.flags & (flag::CROWDED | flag::COUNTED);
    }

    /// The head has ended.
    #[inline(always)]
    pub fn end(&mut self) {
        self.flags &= !flag::IN_HEAD;
    }

    #[inline(always)]
    fn slot(&mut self, number: u32) -> &mut u64 {
        // SAFETY: masked to the number of slots.
        unsafe {
            &mut *self.slots.as_mut_ptr().add(masked::<{ SLOTS_MAX as u32 - 1 }>(number.wrapping_sub(1)))
        }
    }
}

/// Hash of a path, for limits whose keys have it, and what it was at each slash. A connection's, beside its [`Matching`]: flows in
/// the kernel have no room for it.
#[derive(Debug, Default)]
pub struct PathHash {
    hash: Cell<u64>,
    levels: [Cell<u64>; DEPTH_MAX as usize],
}

impl PathHash {
    /// The hash of what was shown of the path.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash.get()
    }

    fn level(&self, depth: u32) -> &Cell<u64> {
        &self.levels[masked::<{ DEPTH_MAX - 1 }>(depth.wrapping_sub(1))]
    }
}

/// Reads some bytes of a head, or until it ends, and shows them to the matcher.
#[inline(always)]
pub fn read_head(
    window: &mut Window,
    state: &mut State,
    matcher: &Matcher,
    settings: &Settings,
    path: Option<&PathHash>,
) -> head::Event {
    let State { request, matching, .. } = state;
    let mut shown = Shown { matching, tables: matcher, settings, path };
    request.head.read(window, &settings.head, &mut shown)
}

/// Shows a head to the matcher.
struct Shown<'a> {
    matching: &'a mut Matching,
    tables: &'a Matcher,
    settings: &'a Settings,
    /// Where the path is hashed.
    path: Option<&'a PathHash>,
}

impl<'a> Shown<'a> {
    /// The tables, addressed anew each time: addresses that LLVM makes beforehand take the stack's place, and time.
    #[inline(always)]
    fn matcher(&self) -> &'a Matcher {
        // SAFETY: it is what it was.
        unsafe { &*opaque(self.tables) }
    }

    /// What hashes begin with.
    #[inline(always)]
    fn secret(&self) -> u64 {
        // SAFETY: as above.
        unsafe { (*opaque(self.settings)).secret[0] }
    }

    #[inline(always)]
    fn step(&mut self, byte: u8) {
        // Three loads, one waiting for the other, are worth a branch.
        if self.matching.state != DEAD {
            self.matching.state = self.matcher().step(self.matching.state, byte);
        }
    }

    #[inline(always)]
    fn start(&mut self, subject: u32) {
        self.matching.subject = subject as u8;
        self.matching.state = self.matcher().start(subject);
        self.matching.ended = self.matching.state;
    }

    #[inline(always)]
    fn begin_host(&mut self) {
        if u32::from(self.matching.subject) != subject::HOST {
            self.start(subject::HOST);
            self.matching.host = self.secret() | 1;
        }
    }

    #[inline(always)]
    fn end(&mut self) {
        self.matcher().end(self.matching.state, &mut self.matching.matched);
    }

    /// Adds a byte of the value that is being read to its slot, if it has one.
    #[inline(always)]
    fn hash(&mut self, slot: u32, byte: u8) {
        if slot != 0 {
            let hash = self.matching.slot(slot);
            *hash = mixed(*hash, byte.into());
        }
    }

    /// A value begins. One that is empty is not the same as none, nor are two fields the same as one.
    #[inline(always)]
    fn begin_slot(&mut self, slot: u32) {
        if slot != 0 {
            let secret = self.secret();
            let hash = self.matching.slot(slot);
            *hash = (*hash ^ secret).wrapping_mul(SPREAD) | 1;
        }
    }

    #[inline(always)]
    fn is_cookie(&self) -> bool {
        let subject = u32::from(self.matching.subject);
        subject != subject::NONE && subject == self.matcher().cookie
    }

    #[inline(always)]
    fn begin_cookie(&mut self) {
        self.matching.cookie = self.matcher().start(subject::COOKIE_NAME);
        self.matching.cookie_slot = 0;
        self.matching.flags &= !flag::COOKIE_VALUE;
        self.matching.flags |= flag::COOKIE_SPACE;
    }

    /// A byte of the field Cookie (RFC 6265 section 4.2.1): `name=value; name=value`.
    #[inline(always)]
    fn cookie_byte(&mut self, byte: u8) {
        if byte == b';' {
            self.begin_cookie();
        } else if self.matching.has(flag::COOKIE_VALUE) {
            self.hash(u32::from(self.matching.cookie_slot), byte);
        } else if byte == b'=' {
            let subject = self.matcher().named(self.matching.cookie);
            self.matching.cookie_slot =
                if subject == subject::NONE { 0 } else { self.matcher().slot(subject) as u8 };
            self.begin_slot(u32::from(self.matching.cookie_slot));
            self.matching.flags |= flag::COOKIE_VALUE;
        } else {
            self.matching.flags &= !flag::COOKIE_SPACE;
            self.matching.cookie = self.matcher().step(self.matching.cookie, byte);
        }
    }
}

impl Sink for Shown<'_> {
    #[inline(always)]
    fn path_byte(&mut self, byte: u8) {
        self.step(byte);
        if let Some(path) = self.path {
            path.hash.set(mixed(path.hash.get(), byte.into()));
        }
    }

    #[inline(always)]
    fn open_segment(&mut self, depth: u32) {
        let level = masked::<{ DEPTH_MAX - 1 }>(depth.wrapping_sub(1));
        // SAFETY: masked to the number of levels.
        unsafe { *self.matching.levels.as_mut_ptr().add(level) = self.matching.state };
        if let Some(path) = self.path {
            path.level(depth).set(path.hash.get());
        }
    }

    #[inline(always)]
    fn pop_to(&mut self, depth: u32) {
        let level = masked::<{ DEPTH_MAX - 1 }>(depth.wrapping_sub(1));
        // SAFETY: masked to the number of levels.
        self.matching.state = unsafe { *self.matching.levels.as_ptr().add(level) };
        if let Some(path) = self.path {
            path.hash.set(path.level(depth).get());
        }
    }
}

impl Visitor for Shown<'_> {
    #[inline(always)]
    fn method_byte(&mut self, byte: u8) {
        if !self.matching.has(flag::IN_HEAD) {
            self.matching.begin(self.matcher());
            if let Some(path) = self.path {
                path.hash.set(self.secret() | 1);
            }
        }
        self.step(byte);
    }

    #[inline(always)]
    fn bytes(&mut self, path: bool, eight: u64, bytes: u32) {
        if self.matching.state != DEAD {
            let (matcher, mut state) = (self.matcher(), self.matching.state);
            each(eight, bytes, |byte| state = matcher.step(state, byte));
            self.matching.state = state;
        }
        if let Some(hashed) = self.path.filter(|_| path) {
            each(eight, bytes, |byte| hashed.hash.set(mixed(hashed.hash.get(), byte.into())));
        }
    }

    #[inline(always)]
    fn method_end(&mut self) {
        self.end();
        self.start(subject::PATH);
    }

    #[inline(always)]
    fn path_end(&mut self) {
        self.end();
        self.start(subject::NONE);
    }

    #[inline(always)]
    fn host_byte(&mut self, byte: u8) {
        self.begin_host();
        self.step(byte);
        self.matching.host = mixed(self.matching.host, byte.into());
    }

    #[inline(always)]
    fn host_bytes(&mut self, eight: u64, bytes: u32) {
        self.begin_host();
        let (matcher, mut state, mut hash) = (self.matcher(), self.matching.state, self.matching.host);
        // One loop: from where it ends the verifier knows how many bytes there were, and would go on with each number.
        each(eight, bytes, |byte| {
            state = matcher.step(state, byte);
            hash = mixed(hash, byte.into());
        });
        self.matching.state = state;
        self.matching.host = hash;
    }

    #[inline(always)]
    fn host_end(&mut self) {
        if u32::from(self.matching.subject) != subject::HOST {
            self.start(subject::HOST);
        }
        self.end();
        // An absolute target's host comes before its path.
        self.start(subject::PATH);
    }

    #[inline(always)]
    fn name_begin(&mut self) {
        self.start(subject::HEADER_NAME);
    }

    #[inline(always)]
    fn name_byte(&mut self, byte: u8) {
        self.step(byte);
    }

    #[inline(always)]
    fn name_end(&mut self, name: &Word) {
        let known = name.len() != Word::TOO_LONG;
        let subject = if known { self.matcher().named(self.matching.state) } else { subject::NONE };
        self.start(subject);
        if subject != subject::NONE {
            self.begin_slot(self.matcher().slot(subject));
            if self.is_cookie() {
                self.begin_cookie();
            }
        }
    }

    #[inline(always)]
    fn wants_value(&self) -> bool {
        u32::from(self.matching.subject) != subject::NONE
    }

    /// Expressions may find something in white space also where the value turns out to have ended before it: who wants that can
    /// send another byte behind it as well.
    #[inline(always)]
    fn value_byte(&mut self, byte: u8, space: bool) {
        let subject = u32::from(self.matching.subject);
        if subject == subject::NONE {
            return;
        }
        self.step(byte);
        self.matcher().hit(self.matching.state, &mut self.matching.matched);
        if space {
            self.matching.flags |= flag::VALUE_SPACE;
        } else {
            self.matching.ended = self.matching.state;
            let slot = self.matcher().slot(subject);
            if self.matching.has(flag::VALUE_SPACE) {
                // However much there was of it.
                self.matching.flags &= !flag::VALUE_SPACE;
                self.hash(slot, b' ');
            }
            self.hash(slot, byte);
        }
        if self.is_cookie() && !(space && self.matching.has(flag::COOKIE_SPACE)) {
            self.cookie_byte(byte);
        }
    }

    #[inline(always)]
    fn value_end(&mut self) {
        if u32::from(self.matching.subject) != subject::NONE {
            self.matcher().end(self.matching.ended, &mut self.matching.matched);
        }
        self.matching.flags &= !flag::VALUE_SPACE;
        self.start(subject::NONE);
    }
}
