//! The handler over tables in a process's memory, and a connection that it is shown: for tests.

use std::boxed::Box;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::HashMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, WINDOW, Window};
use xps_core::path::Reading;
use xps_core::verdict::Verdict as Stack;

use crate::abi::{
    ANSWERS_MAX, Answer, ClientKey, Conditions, DATE_BYTES, Matcher, NUMBER_BYTES, RULES_MAX, Rule, Rules,
    Settings, answer_of, answer_of_refusal, subject,
};
use crate::guard::{HttpGuard, Scratch, State, Tables};
use crate::head;
use crate::judge::Status;
use crate::limit::{Charge, Rate, Set};
use crate::recall::{PLACES, Remembered};
use crate::refusal::Refusal;

/// Tables in memory. One set of them is in use, unless a test changes that.
pub struct World {
    settings: UnsafeCell<Settings>,
    matchers: [UnsafeCell<Box<Matcher>>; 2],
    rules: [UnsafeCell<Box<Rules>>; 2],
    answers: Vec<Answer>,
    sets: RefCell<HashMap<u32, Set>>,
    blocked: RefCell<HashMap<[u64; 2], u64>>,
    connections: RefCell<HashMap<[u64; 2], u64>>,
    heads: Box<[UnsafeCell<Remembered>]>,
    /// Whether heads are remembered.
    pub remembers: Cell<bool>,
    /// How many heads were recalled.
    pub recalled: Cell<u64>,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub now_ns: Cell<u64>,
    /// Clients' addresses and rules, or [`RULES_MAX`] and more for refusals, as they were reported.
    pub reports: RefCell<Vec<([u8; 16], u32)>>,
    /// How often what was counted for a rule.
    pub counts: RefCell<HashMap<(u32, u32), u64>>,
    states: Cell<u16>,
}

/// States of a hand-made matcher: each has a transition for each byte.
const STATES: u16 = 4000;

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Tables without rules, with an answer for each rule and refusal.
    #[must_use]
    pub fn new() -> Self {
        let matcher = || {
            let mut matcher = Matcher::empty();
            matcher.stride_bits = 8;
            matcher.hits_from = u32::MAX;
            for byte in 0..=255u8 {
                matcher.classes[usize::from(byte)] = byte;
            }
            UnsafeCell::new(matcher)
        };
        let rules = || UnsafeCell::new(Box::new(Rules::EMPTY));
        let mut answers = vec![Answer::EMPTY; 2 * ANSWERS_MAX as usize];
        for tables in 0..2 {
            for rule in 0..RULES_MAX as u32 {
                answers[answer_of(tables, rule, false) as usize] = answer(429, false);
                answers[answer_of(tables, rule, true) as usize] = answer(429, true);
            }
            for refusal in Refusal::ALL {
                answers[answer_of_refusal(tables, *refusal as u8) as usize] = answer(refusal.status(), true);
            }
        }
        Self {
            settings: UnsafeCell::new(Settings {
                head: head::Settings::DEFAULT,
                secret: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
                tables: 0,
                limits_mask: 0xff,
                date: 0,
                refused_sample: 1,
                clients: 0,
                ipv6_prefix: 64,
                blocking: 0,
                connections_max: 0,
                connections: Rate::default(),
                dates: [*b"Thu, 01 Jan 1970 00:00:00 GMT\0\0\0"; 2],
            }),
            matchers: [matcher(), matcher()],
            rules: [rules(), rules()],
            answers,
            sets: RefCell::default(),
            blocked: RefCell::default(),
            connections: RefCell::default(),
            heads: (0..PLACES).map(|_| UnsafeCell::default()).collect(),
            remembers: Cell::new(true),
            recalled: Cell::new(0),
            now_ns: Cell::new(1_000_000_000),
            reports: RefCell::default(),
            counts: RefCell::default(),
            states: Cell::new(0),
        }
    }

    /// Forgets which heads were read before: the agent changes tables and settings with their generation only.
    fn forget_heads(&self) {
        for head in &self.heads {
            // SAFETY: nothing runs, so nobody reads.
            unsafe { *head.get() = Remembered::default() };
        }
    }

    /// Changes the settings.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        self.forget_heads();
        // SAFETY: nothing runs, so nobody reads.
        change(unsafe { &mut *self.settings.get() });
    }

    /// Changes a matcher.
    pub fn change_matcher(&self, tables: usize, change: impl FnOnce(&mut Matcher)) {
        // SAFETY: as above.
        let matcher = unsafe { &mut *self.matchers[tables & 1].get() };
        let generation = matcher.generation;
        change(matcher);
        if matcher.generation == generation {
            self.forget_heads();
        }
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        // SAFETY: as above.
        unsafe { (*self.rules[0].get()).count = 0 };
    }

    /// Forgets what was charged, blocked, counted and reported.
    pub fn forget(&self) {
        self.sets.borrow_mut().clear();
        self.blocked.borrow_mut().clear();
        self.counts.borrow_mut().clear();
        self.reports.borrow_mut().clear();
    }

    /// Adds a rule to the first set of tables.
    pub fn add_rule(&self, rule: Rule) {
        // SAFETY: as above.
        let rules = unsafe { &mut *self.rules[0].get() };
        rules.rules[rules.count as usize % RULES_MAX] = rule;
        rules.count += 1;
    }

    /// Lets a value or path that is `word`, or begins with it, fulfil a condition.
    pub fn condition(&self, subject: u32, word: &[u8], begins: bool, number: usize) {
        let state = self.walk(subject, word);
        self.change_matcher(0, |matcher| {
            matcher.sets[number + 1][number / 64] |= 1 << (number % 64);
            matcher.ends[usize::from(state)] = number as u16 + 1;
            if begins {
                let row = usize::from(state) << 8;
                matcher.transitions[row..row + 256].fill(state);
            }
        });
    }

    /// Makes the value of a header, or of a cookie, a subject, whose slot of limits' keys is `slot` (0: none).
    pub fn value(&self, names: u32, name: &[u8], subject: u32, slot: u8) {
        let state = self.walk(names, name);
        self.change_matcher(0, |matcher| {
            matcher.ends[usize::from(state)] = subject as u16;
            matcher.slots[subject as usize] = slot;
            if names == subject::HEADER_NAME && name == b"cookie" {
                matcher.cookie = subject;
            }
        });
    }

    /// The state behind `word`, whose way is made if it is not there.
    fn walk(&self, subject: u32, word: &[u8]) -> u16 {
        let fresh = || {
            let state = self.states.get() + 1;
            assert!(state < STATES, "too many states");
            self.states.set(state);
            state
        };
        let mut end = 0;
        self.change_matcher(0, |matcher| {
            let start = &mut matcher.starts[subject as usize];
            if *start == 0 {
                *start = fresh();
            }
            end = *start;
            for byte in word {
                let next = &mut matcher.transitions[usize::from(end) << 8 | usize::from(*byte)];
                if *next == 0 {
                    *next = fresh();
                }
                end = *next;
            }
        });
        end
    }
}

/// An answer with all that is filled in.
fn answer(status: u16, closes: bool) -> Answer {
    let mut answer = Answer::EMPTY;
    let mut text = format!("HTTP/1.1 {status} Refused\r\nDate: ");
    answer.date_at = text.len() as u16;
    text += &format!("{:DATE_BYTES$}\r\nRetry-After: ", "");
    answer.retry_at = text.len() as u16;
    let connection = if closes { "Connection: close\r\n" } else { "" };
    text += &format!("{:NUMBER_BYTES$}\r\n{connection}Content-Length: 4\r\n\r\n", "");
    answer.head_len = text.len() as u16;
    text += "no.\n";
    answer.len = text.len() as u16;
    answer.bytes[..text.len()].copy_from_slice(text.as_bytes());
    answer
}

impl Tables for &World {
    fn settings(&self) -> Option<*const Settings> {
        Some(self.settings.get())
    }

    fn matcher(&self, tables: u32) -> Option<*const Matcher> {
        // SAFETY: nobody changes which box it is.
        Some(unsafe { &raw const **self.matchers[tables as usize & 1].get() })
    }

    fn rules(&self, tables: u32) -> Option<*const Rules> {
        // SAFETY: as above.
        Some(unsafe { &raw const **self.rules[tables as usize & 1].get() })
    }

    fn client(&self, _: &ClientKey) -> Option<*const Conditions> {
        None
    }

    fn charge(&self, index: u32, tag: u64, rate: Rate) -> Charge {
        self.sets.borrow_mut().entry(index).or_insert(Set::EMPTY).charge(tag, self.now_ns.get(), rate)
    }

    fn answer(&self, index: u32) -> Option<*const Answer> {
        self.answers.get(index as usize).map(core::ptr::from_ref)
    }

    fn count(&self, index: u32, status: Status) {
        *self.counts.borrow_mut().entry((index, status as u32)).or_default() += 1;
    }

    fn count_refusal(&self, number: u8) {
        assert!(Refusal::from_u8(number).is_some(), "refusal {number}");
    }

    fn block(&self, client: [u64; 2], time_ns: u64) -> bool {
        self.blocked.borrow_mut().insert(client, self.now_ns.get().saturating_add(time_ns));
        // SAFETY: nothing else runs. As in the kernel, settings change while the handler looks at them.
        unsafe { (*self.settings.get()).blocking = 1 };
        true
    }

    fn is_blocked(&self, client: &[u64; 2]) -> bool {
        self.blocked.borrow().get(client).is_some_and(|until_ns| *until_ns > self.now_ns.get())
    }

    fn connections(&self, client: [u64; 2]) -> u64 {
        self.connections.borrow().get(&client).copied().unwrap_or_default()
    }

    fn connected(&self, client: [u64; 2]) -> u64 {
        let mut connections = self.connections.borrow_mut();
        let count = connections.entry(client).or_default();
        *count += 1;
        *count
    }

    fn disconnected(&self, client: [u64; 2]) {
        *self.connections.borrow_mut().entry(client).or_default() -= 1;
    }

    fn report(&self, client: &[u8; 16], cause: u32) {
        self.reports.borrow_mut().push((*client, cause));
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn remembered(&self, place: u32) -> Option<*mut Remembered> {
        self.remembers.get().then(|| self.heads[place as usize].get())
    }
}

/// What became of a segment of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went to the server.
    Passed,
    /// It was answered; the connection stays.
    Replied(String),
    /// The connection ended with these words.
    Closed(String),
    /// The connection was reset.
    Reset,
    /// The connection was left without a word.
    Silenced,
}

/// A connection.
pub struct Flow<'a> {
    handler: HttpGuard<&'a World>,
    /// The handler's state of it.
    pub state: State,
    scratch: Scratch,
    key: FlowKey,
    skips: [u32; 2],
    /// Bytes of a reply that there is room for.
    pub room: u32,
}

impl<'a> Flow<'a> {
    /// A connection of a client with this last byte of its address.
    #[must_use]
    pub fn new(world: &'a World, client: u8) -> Self {
        let key = FlowKey { client: xps_core::packet::mapped([10, 0, 0, client]), ..FlowKey::default() };
        let (handler, state, scratch) = (HttpGuard { tables: world }, State::default(), Scratch::EMPTY);
        Self { handler, state, scratch, key, skips: [0; 2], room: 1448 }
    }

    /// How many requests of the last segment may pass.
    #[must_use]
    pub const fn asked(&self) -> u32 {
        self.scratch.asked.count()
    }

    fn scan(&mut self, bytes: &[u8], response: bool) {
        let mut window = Window::EMPTY;
        let skip = &mut self.skips[usize::from(response)];
        let mut reading = Reading { position: *skip, end: bytes.len() as u32, ..Reading::default() };
        loop {
            if window.at >= window.len {
                if reading.position >= reading.end {
                    break;
                }
                let from = reading.position as usize;
                let shown = &bytes[from..bytes.len().min(from + WINDOW)];
                window = Window { base: reading.position, len: shown.len() as u32, ..Window::EMPTY };
                window.bytes[..shown.len()].copy_from_slice(shown);
            }
            let Self { handler, state, scratch, .. } = self;
            let scan = if response {
                handler.response(&mut window, state, scratch)
            } else if window.at == 0 && handler.recall(&window, state, scratch) {
                handler.tables.recalled.set(handler.tables.recalled.get() + 1);
                window.at = window.len;
                Scan::Settle
            } else {
                let scan = handler.request(&mut window, state, scratch);
                if scan == Scan::Settle {
                    handler.remember(&window, state, scratch);
                }
                scan
            };
            if scan == Scan::Settle {
                handler.settle(state, scratch);
            }
            assert!(scan != Scan::Opaque, "the handler gives up by itself");
            reading.advance(&mut window, scan);
        }
        self.skips[usize::from(response)] = reading.position - reading.end;
    }

    /// A segment of the client, which has all that the server has sent.
    pub fn request(&mut self, bytes: &[u8]) -> Outcome {
        self.handler.begin(&self.key, &mut self.scratch);
        self.scan(bytes, false);
        let Self { handler, state, scratch, room, .. } = self;
        let held = handler.holds(scratch);
        let mut reply = Reply::EMPTY;
        let text = |reply: &Reply| String::from_utf8_lossy(&reply.bytes[..reply.len as usize]).into_owned();
        match handler.answer(state, scratch, &mut reply, *room) {
            Stack::Reply => {
                assert!(held && reply.len != 0 && reply.len <= *room);
                Outcome::Replied(text(&reply))
            }
            Stack::Pass(_) => {
                assert!(!held, "what is held passes");
                handler.passed(state, scratch);
                Outcome::Passed
            }
            Stack::Drop(_) => {
                assert!(held && handler.silences(scratch));
                Outcome::Silenced
            }
            Stack::Close(_) => {
                assert!(held && !handler.silences(scratch));
                reply.len = 0;
                if handler.last_words(state, scratch, &mut reply, *room) {
                    assert!(reply.len != 0 && reply.len <= *room);
                    return Outcome::Closed(text(&reply));
                }
                Outcome::Reset
            }
        }
    }

    /// A segment of the server.
    pub fn response(&mut self, bytes: &[u8]) {
        self.scan(bytes, true);
    }

    /// The server answers so many requests.
    pub fn answered(&mut self, requests: u32) {
        for _ in 0..requests {
            self.response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    }
}
