//! http-guard as a [`Handler`]: requests in; those that rules refuse are answered, or end their connection, before the server
//! sees them complete (G1).

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::siphash;
use xps_core::verdict::{Reason, Verdict as Stack};

use crate::abi::{Answer, ClientKey, Conditions, Matcher, RULES_MAX, Rules, Settings};
use crate::head::{self, Method};
use crate::judge::{self, Judgement, Status, Verdict};
use crate::limit::{Charge, Rate};
use crate::matcher::Matched;
use crate::matching::{self, Matching, PathHash, flag};
use crate::recall::{self, Remembered};
use crate::request::{self, Request};
use crate::response::{self, Asked, Outstanding, Response};
use crate::rules::{Found, Search};
use crate::words::{self, WORDS_MAX, Words};

/// What the handler needs of the world: maps in the kernel, a process's memory elsewhere.
///
/// Pointers stay valid while the program runs. What they point to may be changed by the agent at any time, where the
/// handler looks at [`Matcher::generation`] afterwards.
pub trait Tables: Sized {
    /// What the agent tells the handler.
    fn settings(&self) -> Option<*const Settings>;
    /// The matcher of a set of tables.
    fn matcher(&self, tables: u32) -> Option<*const Matcher>;
    /// The rules of a set of tables.
    fn rules(&self, tables: u32) -> Option<*const Rules>;
    /// What holds for a client: that of the longest prefix.
    fn client(&self, key: &ClientKey) -> Option<*const Conditions>;
    /// Charges a request to the set of buckets with this index, under the set's lock.
    fn charge(&self, index: u32, tag: u64, rate: Rate) -> Charge;
    /// An answer.
    fn answer(&self, index: u32) -> Option<*const Answer>;
    /// Counts for a rule: [`crate::abi::counts_of`].
    fn count(&self, index: u32, status: Status);
    /// Counts a request that was refused by its syntax.
    fn count_refusal(&self, number: u8);
    /// Blocks a client for a time in nanoseconds. False if the table of blocks is full.
    fn block(&self, client: [u64; 2], time_ns: u64) -> bool;
    /// Whether a client is blocked now.
    fn is_blocked(&self, client: &[u64; 2]) -> bool;
    /// How many connections a client has.
    fn connections(&self, client: [u64; 2]) -> u64;
    /// A client has one more. How many it has now; 0 where the table has no place for it: then it is not counted.
    fn connected(&self, client: [u64; 2]) -> u64;
    /// A client has one less.
    fn disconnected(&self, client: [u64; 2]);
    /// Tells the agent of a refusal, or not, as [`Settings::refused_sample`] says. `cause` is a rule, or [`RULES_MAX`] and more:
    /// the number of a refusal behind it.
    fn report(&self, client: &[u8; 16], cause: u32);
    /// `CLOCK_MONOTONIC` in nanoseconds.
    fn now_ns(&self) -> u64;
    /// Where the paths of this connection are hashed: nowhere in the kernel, and limits that need it are not for it.
    #[inline(always)]
    fn path(&self) -> Option<&PathHash> {
        None
    }
    /// [`matching::read_head`] for these tables. In the kernel a function of its own, which is verified once.
    #[inline(always)]
    fn read_head(
        &self,
        window: &mut Window,
        state: &mut State,
        matcher: &Matcher,
        settings: &Settings,
    ) -> head::Event {
        matching::read_head(window, state, matcher, settings, self.path())
    }
    /// [`Search::step`]; in the kernel a function of its own, too.
    #[inline(always)]
    fn search(&self, rules: &Rules, matched: &Matched, search: &mut Search) -> Found {
        search.step(rules, matched)
    }
    /// [`judge::decides`] for these tables. In the kernel a function of its own, which is verified once.
    #[inline(always)]
    fn decides(&self, rule: u32, state: &mut State, scratch: &mut Scratch) -> bool {
        judge::decides(self, rule, state, scratch)
    }
    /// A place for a head that was read before, of [`recall::PLACES`]; the caller's own while it uses it. There are none where
    /// heads are not remembered.
    #[inline(always)]
    fn remembered(&self, _place: u32) -> Option<*mut Remembered> {
        None
    }
    /// [`words::write`] for these tables; in the kernel a function of its own, too.
    #[inline(always)]
    fn write(&self, words: Words, last: bool, reply: &mut Reply) -> bool {
        words::write(self, words, last, reply)
    }
}

/// What is collected about a segment. Per CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch {
    /// What became of the last request whose head was read.
    pub judgement: Judgement,
    /// The client's address, IPv4 as `::ffff:a.b.c.d`.
    pub client: [u8; 16],
    /// Hash of the path, where it is known: not in the kernel.
    pub path: u64,
    /// By what the client would be blocked. In memory, since the stack has no room for it.
    pub blocked: [u64; 2],
    /// Hash of the segment if it may be a head to [remember](recall); otherwise 0.
    pub head: u64,
    /// By what the client's prefixes are looked up: likewise.
    pub prefix: ClientKey,
    /// Zero.
    pub padding_of_prefix: u32,
    /// Requests that may pass.
    pub asked: Asked,
    /// Answers to those that may not; only `..refused` are valid.
    pub words: [Words; WORDS_MAX],
    /// Requests that are refused.
    pub refused: u32,
    /// Heads that were read to their end.
    pub requests: u32,
    /// Whether some of the segment was read.
    pub started: u8,
    /// Whether it began within a request.
    pub partial: u8,
    /// Whether the connection cannot go on behind what is refused.
    pub closes: u8,
    /// The worst that was decided.
    pub verdict: Verdict,
    /// Requests that the server has begun with and that are answered here: 1 where one is refused for its body.
    pub owed: u8,
    padding: [u8; 3],
}

impl Scratch {
    /// An empty scratch.
    pub const EMPTY: Self = Self {
        judgement: Judgement::NONE,
        client: [0; 16],
        path: 0,
        blocked: [0; 2],
        head: 0,
        prefix: ClientKey { bits: 0, generation: 0, padding: 0, address: [0; 16] },
        padding_of_prefix: 0,
        asked: Asked::NONE,
        words: [Words::NONE; WORDS_MAX],
        refused: 0,
        requests: 0,
        started: 0,
        partial: 0,
        closes: 0,
        verdict: Verdict::Pass,
        owed: 0,
        padding: [0; 3],
    };

    /// Something that was read decides that.
    #[inline(always)]
    fn decide(&mut self, verdict: Verdict) {
        if verdict as u8 > self.verdict as u8 {
            self.verdict = verdict;
        }
    }

    /// A request is refused with these words; `own` of those that may pass is the request itself. Too many, or some behind
    /// requests that may pass, cannot be told.
    #[inline(always)]
    fn refuse(&mut self, words: Words, own: u32) {
        let at = self.refused;
        self.refused = at + 1;
        if at as usize >= WORDS_MAX || self.asked.count() != own {
            self.decide(Verdict::Close);
            return;
        }
        // SAFETY: masked to the number of them.
        unsafe {
            *self.words.as_mut_ptr().add(xps_core::bound::masked::<{ WORDS_MAX as u32 - 1 }>(at)) = words;
        }
        self.decide(Verdict::Refuse);
    }
}

/// State of one connection; all zero at its start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The client's stream.
    pub request: Request,
    /// The server's stream.
    pub response: Response,
    /// Requests that wait for their responses.
    pub outstanding: Outstanding,
    /// What rules have seen of the head that is being read.
    pub matching: Matching,
}

const _: () = {
    assert!(size_of::<State>() <= xps_core::flow::HANDLER_STATE_MAX);
    assert!(align_of::<State>() == 8 && WORDS_MAX.is_power_of_two());
};

/// The handler over its tables.
#[derive(Clone, Copy, Debug)]
pub struct HttpGuard<T> {
    /// The world.
    pub tables: T,
}

/// Units of [`Matching::begun`] in nanoseconds, as a power of two.
pub const BEGUN_SHIFT: u32 = 20;

/// Calls of [`Tables::read_head`] that one step makes at most.
const CALLS: u32 = 8;

/// What tells connections from all else that is charged.
const CONNECTIONS: u64 = u64::from_be_bytes(*b"connects");

impl<T: Tables> HttpGuard<T> {
    /// Reads until a head, a request or the window ends. After [`request::Event::Head`] it can be [judged](judge::judge).
    #[inline(always)]
    pub fn read(&self, window: &mut Window, state: &mut State, scratch: &mut Scratch) -> request::Event {
        let Some(settings) = self.tables.settings() else { return request::Event::Refused };
        // SAFETY: maps' values stay while the program runs.
        let settings = unsafe { &*settings };
        let in_head = state.matching.has(flag::IN_HEAD);
        if !in_head && judge::is_blocked(&self.tables, settings, scratch) {
            // It was blocked on another connection.
            scratch.decide(Verdict::Close);
            return request::Event::Refused;
        }
        let tables = if in_head { state.matching.tables() } else { settings.tables & 1 };
        let Some(matcher) = self.tables.matcher(tables) else { return request::Event::Refused };
        // SAFETY: likewise; see `judge` on its generation.
        let matcher = unsafe { &*matcher };
        if in_head && matcher.generation as u16 != state.matching.generation {
            // The tables it was read by are gone. The client may ask again.
            scratch.decide(Verdict::Close);
            return request::Event::Refused;
        }
        if state.request.in_body() {
            return state.request.read_body(window);
        }
        if !in_head {
            state.matching.prepare(tables, (self.tables.now_ns() >> BEGUN_SHIFT) as u32);
        }
        let mut met = head::Event::None;
        for _ in 0..CALLS {
            met = self.tables.read_head(window, state, matcher, settings);
            if met as u32 != head::Event::None as u32 || window.at >= window.len {
                break;
            }
        }
        let event = state.request.head_met(met);
        if event as u32 == request::Event::Head as u32 {
            state.matching.end();
            if let Some(path) = self.tables.path() {
                scratch.path = path.hash();
            }
        }
        event
    }

    /// Judges the request whose head was read.
    #[inline(always)]
    fn head_ended(&self, state: &mut State, scratch: &mut Scratch) {
        judge::judge(&self.tables, state, scratch);
        scratch.requests += 1;
        let head = &state.request.head;
        let is_head = head.is(Method::Head);
        let verdict = scratch.judgement.verdict;
        if verdict as u8 == Verdict::Pass as u8 {
            if scratch.refused != 0 {
                // One is answered here and one there: the client could not tell their order.
                scratch.decide(Verdict::Close);
            }
            scratch.asked.push(is_head);
            return;
        }
        self.tables.report(&scratch.client, scratch.judgement.rule);
        if verdict as u8 != Verdict::Refuse as u8 {
            scratch.decide(verdict);
            state.matching.flags |= flag::ENDS;
            return;
        }
        let words = Words::of_rule(state.matching.tables(), &scratch.judgement, is_head);
        if !head.keeps_alive() {
            scratch.closes = 1;
            state.matching.flags |= flag::ENDS;
        }
        scratch.refuse(words, 0);
    }

    /// The stream is refused by its syntax.
    #[inline(always)]
    fn syntax_refused(&self, state: &State, scratch: &mut Scratch) {
        scratch.closes = 1;
        match state.request.refusal() {
            Some(refusal) => {
                let Some(settings) = self.tables.settings() else { return };
                // SAFETY: maps' values stay while the program runs.
                let tables = unsafe { (&raw const (*settings).tables).read_volatile() } & 1;
                self.tables.count_refusal(refusal as u8);
                self.tables.report(&scratch.client, RULES_MAX as u32 + refusal as u32);
                let words = Words::of_refusal(tables, refusal as u8);
                if !state.request.refused_in_body() {
                    scratch.requests += 1;
                    scratch.refuse(words, 0);
                    return;
                }
                // Its head stands in this segment, or the server has it and waits for the rest.
                let here = u32::from(scratch.asked.count() != 0);
                scratch.owed = 1 - here as u8;
                scratch.refuse(words, here);
            }
            None => scratch.decide(Verdict::Close),
        }
    }

    /// Writes the answers to what is refused. Whether they fit.
    #[inline(always)]
    fn write(&self, scratch: &Scratch, reply: &mut Reply, room: u32, last: bool) -> bool {
        let mut i = 0;
        while i < WORDS_MAX as u32 {
            xps_core::bound::keep_in_memory();
            if i >= scratch.refused {
                break;
            }
            // SAFETY: masked to the number of them.
            let words = unsafe {
                *scratch.words.as_ptr().add(xps_core::bound::masked::<{ WORDS_MAX as u32 - 1 }>(i))
            };
            if !self.tables.write(words, last && i + 1 == scratch.refused, reply) || reply.len > room {
                return false;
            }
            i += 1;
        }
        true
    }

    /// Whether the server has answered everything that it was asked, but for so many requests, and stands between two
    /// responses.
    #[inline(always)]
    fn waits_for(state: &State, requests: u32) -> bool {
        state.outstanding.waiting() == requests
            && state.response.at_boundary()
            && !state.response.is_lost()
            && !state.matching.has(flag::CROWDED)
    }
}

impl<T: Tables> Handler for HttpGuard<T> {
    type State = State;
    type Scratch = Scratch;

    const READS_ALL: bool = true;
    const OBSERVES: bool = false;
    const REMEMBERS: bool = true;

    #[inline(always)]
    fn admits(&self, key: &FlowKey) -> bool {
        let Some(settings) = self.tables.settings() else { return true };
        // SAFETY: maps' values stay while the program runs.
        let settings = unsafe { &*settings };
        if settings.blocking == 0 && settings.connections.interval_ns == 0 && settings.connections_max == 0 {
            return true;
        }
        let [high, low] = judge::prefix(&key.client, settings.ipv6_prefix);
        if settings.blocking != 0 && self.tables.is_blocked(&[high, low]) {
            return false;
        }
        if settings.connections_max != 0
            && self.tables.connections([high, low]) >= u64::from(settings.connections_max)
        {
            return false;
        }
        if settings.connections.interval_ns == 0 {
            return true;
        }
        let tag = siphash::of_words(settings.secret, [CONNECTIONS, high, low]);
        let charge = judge::charge_tag(&self.tables, settings.limits_mask, tag, settings.connections);
        !matches!(charge, Charge::Refused { .. })
    }

    #[inline(always)]
    fn begin(&self, key: &FlowKey, scratch: &mut Scratch) {
        scratch.client = key.client;
        scratch.head = 0;
        scratch.asked = Asked::NONE;
        scratch.refused = 0;
        scratch.requests = 0;
        scratch.started = 0;
        scratch.partial = 0;
        scratch.closes = 0;
        scratch.owed = 0;
        scratch.verdict = Verdict::Pass;
    }

    #[inline(always)]
    fn request(&self, window: &mut Window, state: &mut State, scratch: &mut Scratch) -> Scan {
        if scratch.started == 0 {
            scratch.started = 1;
            if !state.request.at_boundary() {
                scratch.partial = 1;
            }
        }
        let ends = state.matching.has(flag::ENDS);
        if ends || state.response.has_switched() {
            if ends && scratch.verdict as u8 == Verdict::Pass as u8 {
                // What was refused before has passed since nobody vouched for the tables then.
                scratch.decide(Verdict::Close);
            }
            window.at = window.len;
            return Scan::More;
        }
        match self.read(window, state, scratch) {
            request::Event::None | request::Event::End => {}
            request::Event::Skip => return Scan::Skip,
            request::Event::Head => return Scan::Settle,
            request::Event::Refused => {
                state.matching.flags |= flag::ENDS;
                return Scan::Settle;
            }
        }
        if window.at < window.len { Scan::Again } else { Scan::More }
    }

    #[inline(always)]
    fn recall(&self, window: &Window, state: &mut State, scratch: &mut Scratch) -> bool {
        let begins = scratch.started == 0
            && state.request.at_boundary()
            && !state.matching.has(flag::ENDS)
            && !state.response.has_switched();
        if begins && recall::recall(&self.tables, window, state, scratch) {
            scratch.started = 1;
            return true;
        }
        false
    }

    #[inline(always)]
    fn remember(&self, window: &Window, state: &State, scratch: &mut Scratch) {
        if scratch.head != 0 && window.at == window.len && !state.matching.has(flag::ENDS) {
            recall::remember(&self.tables, window, state, scratch);
        }
        // What follows is another one.
        scratch.head = 0;
    }

    #[inline(always)]
    fn settle(&self, state: &mut State, scratch: &mut Scratch) {
        if state.matching.has(flag::ENDS) {
            self.syntax_refused(state, scratch);
        } else {
            self.head_ended(state, scratch);
        }
    }

    #[inline(always)]
    fn holds(&self, scratch: &Scratch) -> bool {
        scratch.verdict as u8 != Verdict::Pass as u8
    }

    #[inline(always)]
    fn silences(&self, scratch: &Scratch) -> bool {
        scratch.verdict as u8 == Verdict::Drop as u8
    }

    #[inline(always)]
    fn answer(&self, state: &mut State, scratch: &mut Scratch, reply: &mut Reply, room: u32) -> Stack {
        if scratch.verdict as u8 == Verdict::Pass as u8 {
            return Stack::Pass(Reason::NotServed);
        }
        if scratch.verdict as u8 == Verdict::Drop as u8 {
            return Stack::Drop(Reason::Silenced);
        }
        let clean = scratch.verdict as u8 == Verdict::Refuse as u8
            && scratch.partial == 0
            && scratch.closes == 0
            && state.request.at_boundary()
            && Self::waits_for(state, 0);
        if clean && self.write(scratch, reply, room, false) {
            return Stack::Reply;
        }
        Stack::Close(Reason::Closed)
    }

    #[inline(always)]
    fn last_words(&self, state: &mut State, scratch: &mut Scratch, reply: &mut Reply, room: u32) -> bool {
        scratch.verdict as u8 == Verdict::Refuse as u8
            && Self::waits_for(state, u32::from(scratch.owed))
            && self.write(scratch, reply, room, true)
    }

    #[inline(always)]
    fn passed(&self, state: &mut State, scratch: &mut Scratch) {
        if !state.outstanding.passed(&scratch.asked) {
            state.matching.flags |= flag::CROWDED;
        }
    }

    #[inline(always)]
    fn response(&self, window: &mut Window, state: &mut State, _: &mut Scratch) -> Scan {
        if state.response.is_lost() {
            window.at = window.len;
            return Scan::More;
        }
        match state.response.read(window, &mut state.outstanding) {
            response::Event::None | response::Event::End => {}
            response::Event::Skip => return Scan::Skip,
            response::Event::Opaque => {
                state.response.lose();
                window.at = window.len;
            }
        }
        if window.at < window.len { Scan::Again } else { Scan::More }
    }

    #[inline(always)]
    fn opaque(&self, _: &mut State) {}

    #[inline(always)]
    fn opened(&self, key: &FlowKey, state: &mut State) {
        let Some(settings) = self.tables.settings() else { return };
        // SAFETY: maps' values stay while the program runs.
        let settings = unsafe { &*settings };
        if settings.connections_max != 0 {
            state.matching.flags |= flag::COUNTED;
            self.tables.connected(judge::prefix(&key.client, settings.ipv6_prefix));
        }
    }

    #[inline(always)]
    fn ended(&self, key: &FlowKey, state: &mut State) -> bool {
        if state.matching.has(flag::COUNTED) {
            let Some(settings) = self.tables.settings() else { return false };
            // SAFETY: maps' values stay while the program runs.
            let settings = unsafe { &*settings };
            state.matching.flags &= !flag::COUNTED;
            self.tables.disconnected(judge::prefix(&key.client, settings.ipv6_prefix));
        }
        true
    }

    #[inline(always)]
    fn requests(&self, scratch: &Scratch) -> u32 {
        scratch.requests
    }
}
