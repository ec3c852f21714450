//! kv-cache as a [`Handler`]: requests in, hits out, and every write's buckets held until its reply leaves.

use xps_core::bound::keep_in_memory;
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::verdict::{Reason, Verdict};

use crate::abi::{KEY_BYTES_MAX, MISSED, Settings, users};
use crate::argument::role;
use crate::command::{Info, NAME_BYTES, Name};
use crate::connection::Connection;
use crate::request::{self, Parser};
use crate::whole::{self, Whole};
use crate::{answer, argument, response, update};

/// Most GETs of one segment that are answered together. A power of two.
pub const GETS_MAX: usize = 32;
/// Room for a key. A power of two, a multiple of 8.
pub const KEY_ROOM: usize = 256;

const _: () = assert!(GETS_MAX.is_power_of_two() && KEY_ROOM.is_power_of_two() && KEY_BYTES_MAX < KEY_ROOM);

/// What the handler needs of the world: maps in the kernel, `host::World` elsewhere.
///
/// Pointers stay valid while the program runs. What they point to may be changed by others at any time.
pub trait Tables {
    /// What a command may do; `None` if the server does not know it.
    fn command(&self, name: &Name) -> Option<Info>;
    /// A bucket's word; `index` is at most [`crate::abi::GLOBAL_BUCKET`].
    fn bucket(&self, index: u32) -> u64;
    /// Adds to a bucket's word: atomically, and as a full memory barrier.
    fn add(&self, index: u32, delta: u64);
    /// Start of an entry ([`crate::abi::EntryHead`], 8-byte aligned), with [`crate::abi::ENTRY_BYTES_MAX`] bytes readable
    /// from there. Counts a hit.
    fn locate(&self, id: u64) -> Option<*const u8>;
    /// The same place without counting, to be written to ([`update::refresh`]). `None` where entries are never changed.
    fn entry(&self, id: u64) -> Option<*mut u8>;
    /// What was read before is read before what is read afterwards, by all processors' order.
    fn fence(&self, scratch: &mut Scratch);
    /// What the agent tells the handler.
    fn settings(&self) -> Option<*const Settings>;
    /// Whether clients must log in before the server carries out anything ([`users::LOGIN`]), also where
    /// [`settings`](Self::settings) are kept from the handler.
    #[inline(always)]
    fn asks_for_login(&self) -> bool {
        let Some(settings) = self.settings() else { return false };
        // SAFETY: the pointer is valid while the program runs; the agent changes the words one at a time.
        unsafe { (&raw const (*settings).users).read_volatile() & users::LOGIN != 0 }
    }
    /// Whether the user, other than the default one, may read every key (C7).
    fn may_read(&self, user: u32) -> bool;
    /// Segments of connections that are not understood ([`xps_core::abi::State::foreign`]).
    fn foreign(&self) -> u64;
    /// Key of the keys' hash.
    fn secret(&self) -> [u64; 2];
    /// `CLOCK_TAI` in nanoseconds.
    fn tai_ns(&self) -> u64;
    /// Any number, for sampling.
    fn random(&self) -> u32;
    /// The entry that was just located is not current: that lookup was no hit. How urgent a new one is; `settled`: no write
    /// is pending that could change it again.
    fn stale(&self, id: u64, settled: bool) -> Urgency;
    /// Reports a miss, or not, as its urgency and [`Settings::miss_sample`] say. Of the key only `..key_len` counts.
    fn report_miss(&self, id: u64, database: u32, key: &[u8; KEY_ROOM], key_len: u32, urgency: Urgency);
    /// Counts in [`Settings::rechecks`] and tells the agent.
    fn ask_recheck(&self);
    /// [`answer::one`] for these tables. In the kernel a function of its own, so that its loops are verified once and not
    /// for each GET of a pipeline.
    #[inline(always)]
    fn answer_one(
        &self,
        database: u32,
        protocol: u32,
        index: u32,
        scratch: &mut Scratch,
        reply: &mut Reply,
    ) -> u32 {
        answer::one(self, database, protocol, index, scratch, reply)
    }
    /// [`update::refresh`] for these tables; in the kernel a function of its own, too.
    #[inline(always)]
    fn refresh(&self, database: u32, scratch: &mut Scratch) {
        update::refresh(self, database, scratch);
    }
}

/// How soon the agent should hear of a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once: the entry had hits while it was current, so a new one is worth the server's answer.
    Now,
    /// It is one of [`Settings::miss_sample`].
    Sampled,
    /// Not at all: a write is under way, so there is nothing to fetch yet.
    Never,
}

impl Urgency {
    /// One of how many such misses is reported (a power of two; 0: none), where one of `sample` is as a rule.
    #[inline(always)]
    #[must_use]
    pub const fn one_of(self, sample: u32) -> u32 {
        match self {
            Self::Now => 1,
            Self::Sampled => sample,
            Self::Never => 0,
        }
    }

    /// Of a stale entry with this count of hits, the lookup that found it so included; and the count from now on.
    #[inline(always)]
    #[must_use]
    pub const fn of_stale(hits: u16, settled: bool) -> (Self, u16) {
        // Of an entry of which the agent was told nothing is counted any more.
        let before = if hits == MISSED { MISSED } else { hits.saturating_sub(1) };
        if !settled {
            (Self::Never, before)
        } else if before == 0 || before == MISSED {
            (Self::Sampled, before)
        } else {
            (Self::Now, MISSED)
        }
    }
}

/// A GET of the segment.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Get {
    /// Hash of the key.
    pub hash: u64,
    /// Length of the key in bytes.
    pub key_len: u32,
    /// Zero.
    pub padding: u32,
}

/// What is collected about a segment. Per CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch {
    /// The GETs; only `..gets_len` are valid.
    pub gets: [Get; GETS_MAX],
    /// Their keys, each padded with zeros to a multiple of 8 bytes.
    pub keys: [[u8; KEY_ROOM]; GETS_MAX],
    /// Number of GETs. Behind theirs is kept the key of a SET that was just read, and what a GET will get after it.
    pub gets_len: u32,
    /// Length of that reply in bytes; 0: there was no such SET.
    pub value_len: u32,
    /// Complete requests that Redis replies to.
    pub requests: u32,
    /// Whether some of the segment was read.
    pub started: u8,
    /// Whether it began within a request.
    pub partial: u8,
    /// Whether there is anything but GETs that can be answered.
    pub other: u8,
    /// Whether there are more GETs than can be collected.
    pub crowded: u8,
    /// Whether GETs are not looked up, and so not collected: see [`Settings::bypass`].
    pub bypassed: u8,
    /// What the parser met in the step that is under way: a [`request::Event`].
    event: u8,
    /// What has ended with it: a [`role`].
    pub(crate) ended: u8,
    /// What the step leads to: a [`Scan`].
    scan: u8,
    /// The segment is not understood, and its client has not logged in to a server that asks for it.
    refused: u8,
    /// The bucket that what has ended may write, or [`crate::connection::NO_SLOT`].
    pub(crate) bucket: u32,
    /// What [`Tables::fence`] needs.
    pub order: u64,
    /// The name that a command is looked up by.
    pub name: Name,
}

impl Scratch {
    /// An empty scratch.
    pub const EMPTY: Self = Self {
        gets: [Get { hash: 0, key_len: 0, padding: 0 }; GETS_MAX],
        keys: [[0; KEY_ROOM]; GETS_MAX],
        gets_len: 0,
        value_len: 0,
        requests: 0,
        started: 0,
        partial: 0,
        other: 0,
        crowded: 0,
        bypassed: 0,
        event: 0,
        ended: 0,
        scan: 0,
        refused: 0,
        bucket: 0,
        order: 0,
        name: [0; NAME_BYTES],
    };

    /// Where a key is collected: [`KEY_ROOM`] bytes.
    #[inline(always)]
    #[must_use]
    pub const fn key(&mut self, index: u32) -> *mut u8 {
        // SAFETY: masked to the number of keys.
        unsafe { self.keys.as_mut_ptr().add(index as usize & (GETS_MAX - 1)).cast::<u8>() }
    }

    /// A GET's place.
    #[inline(always)]
    #[must_use]
    pub const fn get(&mut self, index: u32) -> *mut Get {
        // SAFETY: masked to the number of GETs.
        unsafe { self.gets.as_mut_ptr().add(index as usize & (GETS_MAX - 1)) }
    }
}

/// State of one connection; all zero at its start.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The client's stream.
    pub request: Parser,
    /// The server's stream.
    pub response: response::Parser,
    /// What the commands mean.
    pub connection: Connection,
}

const _: () = {
    assert!(size_of::<State>() <= xps_core::flow::HANDLER_STATE_MAX);
    assert!(align_of::<State>() == 8);
    assert!(size_of::<Scratch>() == GETS_MAX * (KEY_ROOM + 16) + 40 + NAME_BYTES);
};

impl State {
    /// A connection at its start.
    pub const START: Self =
        Self { request: Parser::START, response: response::Parser::START, connection: Connection::START };
}

/// The handler over its tables.
#[derive(Clone, Copy, Debug)]
pub struct KvCache<T> {
    /// The world.
    pub tables: T,
}

impl<T: Tables> KvCache<T> {
    /// Whether the agent finds that looking GETs up does not pay, and this segment is none of the few by which it sees
    /// when that changes.
    #[inline(always)]
    fn steps_aside(&self) -> bool {
        let Some(settings) = self.tables.settings() else { return false };
        // SAFETY: the pointer is valid while the program runs; the agent changes the words one at a time.
        let one_of = unsafe { (&raw const (*settings).bypass).read_volatile() };
        one_of != 0 && self.tables.random() & one_of.wrapping_sub(1) != 0
    }

    /// Whether the server asks for a password that, as far as is known, this client has not given: what is not understood
    /// of it may be refused (C11). If that is wrong a connection ends, and nothing else is wrong.
    #[inline(always)]
    fn is_stranger(&self, connection: &Connection) -> bool {
        self.tables.asks_for_login() && !connection.user.ever_granted()
    }
}

impl<T: Tables> Handler for KvCache<T> {
    type State = State;
    type Scratch = Scratch;

    #[inline(always)]
    fn begin(&self, _: &FlowKey, scratch: &mut Scratch) {
        scratch.gets_len = 0;
        scratch.value_len = 0;
        scratch.requests = 0;
        scratch.started = 0;
        scratch.partial = 0;
        scratch.other = 0;
        scratch.crowded = 0;
        scratch.refused = 0;
        scratch.bypassed = u8::from(self.steps_aside());
    }

    /// One call reads a GET that lies whole in the window, or headers up to an argument and the argument.
    #[inline(always)]
    fn request(&self, window: &mut Window, state: &mut State, scratch: &mut Scratch) -> Scan {
        let parser = &mut state.request;
        let mut event = request::Event::None;
        if scratch.started == 0 {
            scratch.started = 1;
            if !parser.at_boundary() {
                scratch.partial = 1;
            }
            if state.connection.is_over() {
                event = request::Event::Opaque;
            }
        }
        // Only the last request of a segment refreshes an entry.
        scratch.value_len = 0;
        let mut ended = role::SKIP;
        scratch.scan = Scan::Again as u8;
        let mut read = Whole::None;
        if event as u32 == request::Event::None as u32 && parser.at_boundary() {
            read = whole::read(&self.tables, window, parser, scratch);
        }
        if read as u32 == Whole::Get as u32 {
            scratch.requests += 1;
            return going_on(window);
        }
        if read as u32 == Whole::Set as u32 {
            (event, ended) = (request::Event::End, role::SET_KEY);
            scratch.other = 1;
        } else if event as u32 == request::Event::None as u32 && parser.phase != request::phase::BODY {
            event = parser.read(window);
        }
        match event {
            request::Event::Opaque => scratch.scan = Scan::Opaque as u8,
            request::Event::Empty => scratch.other = 1,
            request::Event::End => {
                if ended == role::SKIP {
                    ended = argument::end(parser);
                }
            }
            request::Event::Word => ended = argument::word(parser),
            request::Event::Body | request::Event::None => {
                if event == request::Event::Body {
                    argument::begin(&self.tables, parser, scratch);
                }
                if parser.phase == request::phase::BODY {
                    scratch.scan = argument::body(window, parser, scratch, &mut ended) as u8;
                }
                if parser.phase == request::phase::BODY_CR {
                    event = parser.whole_end(window);
                }
            }
        }
        // From memory: in registers what was met would be a constant for each way to get here, and the verifier would walk what
        // follows once for each.
        scratch.event = event as u8;
        scratch.ended = ended;
        keep_in_memory();
        if scratch.ended != role::SKIP {
            argument::settle(&self.tables, state, scratch);
        }
        keep_in_memory();
        if scratch.event == request::Event::End as u8 {
            let State { request, connection, .. } = state;
            let number = connection.requests().wrapping_add(scratch.requests);
            let in_slots = request.noted.in_slots();
            if connection.complete(&self.tables, &mut request.noted, number) {
                self.tables.ask_recheck();
            }
            if !in_slots || !connection.may_hit() {
                scratch.value_len = 0;
            }
            scratch.requests += 1;
        }
        keep_in_memory();
        let scan = Scan::from_u32(scratch.scan.into());
        if scan == Scan::Opaque {
            scratch.refused = u8::from(self.is_stranger(&state.connection));
        }
        if scan == Scan::Again { going_on(window) } else { scan }
    }

    #[inline(always)]
    fn answer(&self, state: &mut State, scratch: &mut Scratch, reply: &mut Reply, room: u32) -> Verdict {
        if scratch.partial != 0 || !state.request.at_boundary() {
            return Verdict::Pass(Reason::Incomplete);
        }
        if scratch.other != 0 {
            return Verdict::Pass(Reason::NotServed);
        }
        if scratch.bypassed != 0 {
            return Verdict::Pass(Reason::Bypassed);
        }
        if scratch.gets_len == 0 {
            return Verdict::Pass(Reason::NotServed);
        }
        if scratch.crowded != 0 {
            return Verdict::Pass(Reason::TooLarge);
        }
        if !state.connection.may_hit() {
            return Verdict::Pass(Reason::Suspended);
        }
        if !state.connection.idle() || !state.response.at_boundary() {
            return Verdict::Pass(Reason::NotIdle);
        }
        match answer::answer(&self.tables, &state.connection, &mut state.request.epoch, scratch, reply, room)
        {
            None => Verdict::Reply,
            Some(reason) => Verdict::Pass(reason),
        }
    }

    /// Only what is not understood: on both ports, so that such a connection needs no hold (C11).
    #[inline(always)]
    fn holds(&self, scratch: &Scratch) -> bool {
        scratch.refused != 0
    }

    #[inline(always)]
    fn passed(&self, state: &mut State, scratch: &mut Scratch) {
        state.connection.passed(scratch.requests);
        if scratch.value_len != 0 {
            self.tables.refresh(state.connection.database.get(), scratch);
        }
    }

    /// One call reads up to the end of one reply.
    #[inline(always)]
    fn response(&self, window: &mut Window, state: &mut State, _: &mut Scratch) -> Scan {
        if state.connection.deaf() {
            window.at = window.len;
            return Scan::More;
        }
        match state.response.read(window) {
            response::Event::None | response::Event::Push => going_on(window),
            response::Event::Skip => Scan::Skip,
            response::Event::Opaque => Scan::Opaque,
            response::Event::Reply => {
                let kind = state.response.kind();
                if state.connection.replied(&self.tables, kind) || state.connection.unasked(kind) {
                    going_on(window)
                } else {
                    Scan::Opaque
                }
            }
        }
    }

    #[inline(always)]
    fn opaque(&self, state: &mut State) {
        state.connection.opaque(&self.tables);
    }

    #[inline(always)]
    fn ended(&self, _: &FlowKey, state: &mut State) -> bool {
        state.connection.holds_nothing()
    }

    #[inline(always)]
    fn requests(&self, scratch: &Scratch) -> u32 {
        scratch.requests
    }
}

#[inline(always)]
pub(crate) fn going_on(window: &Window) -> Scan {
    if window.at < window.len { Scan::Again } else { Scan::More }
}
