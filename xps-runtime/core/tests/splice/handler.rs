//! A handler for the simulation's protocol.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, WINDOW, Window};
use xps_core::verdict::{Reason, Verdict};

use crate::protocol::{CLOSE, GET, KEYS, Message, SILENCE, is_refused};
use crate::random::{Random, mix};

/// What server and stack both know.
pub struct Values {
    /// Version of each key; it only grows.
    pub versions: [Cell<u32>; KEYS],
    /// How many of 1000 requests the stack can answer.
    pub hits: u64,
    /// Longest body of an answer.
    pub longest: usize,
    pub random: Random,
    /// Called while the handler looks something up.
    pub preempt: RefCell<Option<Rc<dyn Fn()>>>,
}

impl Values {
    pub fn version(&self, key: usize) -> u32 {
        self.versions[key].get()
    }

    pub fn change(&self) {
        let key = &self.versions[self.random.below(KEYS as u64) as usize];
        key.set(key.get() + 1);
    }
}

/// `GUARDS`: it wants to see all.
pub struct Service<const GUARDS: bool>(pub Rc<Values>);

/// Where in a message a stream stands.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    column: u32,
    stage: u32,
    kind: u8,
    key: u8,
    id: u32,
    number: u32,
    left: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Connection {
    request: Parser,
    response: Parser,
    asked: u32,
    answered: u32,
    /// Whether the server holds a part of a request.
    begun: bool,
    /// The kind of a request behind which nothing is read.
    refused: u8,
    opaque: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Segment {
    all: u32,
    gets: u32,
    keys: [u8; 16],
    ids: [u32; 16],
    /// Settled when the segment was read for the first time: the stack has no answer to some of it.
    miss: bool,
    /// The kind of a request that must not reach the server.
    refused: u8,
}

enum Step {
    Window,
    Skip,
    Message,
    Refused,
}

impl Parser {
    fn at_boundary(&self) -> bool {
        self.column == 0
    }

    fn read(&mut self, window: &mut Window) -> Step {
        for _ in 0..WINDOW {
            if self.stage == 2 && self.left > 0 {
                // Short bodies are read, longer ones skipped.
                if self.left > 20 {
                    window.skip = self.left;
                    self.left = 0;
                    return Step::Skip;
                }
                let Some(_) = window.next() else { return Step::Window };
                self.left -= 1;
                continue;
            }
            let Some(byte) = window.next() else { return Step::Window };
            self.column += 1;
            match (self.stage, self.column) {
                (0, 1) => self.kind = byte,
                (0, 2) => self.key = byte - b'0',
                (0 | 1, _) if byte.is_ascii_digit() => {
                    self.number = self.number * 10 + u32::from(byte - b'0')
                }
                (0, _) => {
                    // A version follows the id in replies, which nobody reads.
                    self.id = self.number;
                    self.number = 0;
                    self.stage = u32::from(byte == b':');
                }
                (1, _) => {
                    assert_eq!(byte, b':', "the handler is shown bytes out of place");
                    self.left = self.number;
                    self.stage = 2;
                    if is_refused(self.kind) {
                        return Step::Refused;
                    }
                }
                _ => {
                    assert_eq!(byte, b'\n', "the handler is shown bytes out of place");
                    self.column = 0;
                    self.stage = 0;
                    self.number = 0;
                    return Step::Message;
                }
            }
        }
        Step::Window
    }
}

impl<const GUARDS: bool> Service<GUARDS> {
    /// Writes the answers to all that was read of the segment. Whether they fit.
    fn write(&self, segment: &Segment, reply: &mut Reply, room: u32) -> bool {
        for i in 0..segment.gets as usize {
            self.write_one(GET, segment.keys[i], segment.ids[i], reply);
        }
        reply.len <= room
    }

    fn write_one(&self, kind: u8, key: u8, id: u32, reply: &mut Reply) {
        let request = Message { kind, key: usize::from(key), id, version: None, body: 0 };
        let mut bytes = request.reply(self.0.version(request.key), self.0.longest).bytes();
        let len = bytes.len() as u32;
        bytes.resize(bytes.len() + 8, 0xee);
        // SAFETY: eight bytes follow the reply.
        if !unsafe { reply.append(bytes.as_ptr(), len) } {
            reply.len = u32::MAX / 2;
        }
    }

    fn preempt(&self) {
        let preempt = self.0.preempt.borrow().clone();
        if let Some(preempt) = preempt {
            preempt();
        }
    }
}

impl<const GUARDS: bool> Handler for Service<GUARDS> {
    type State = Connection;
    type Scratch = Segment;

    const READS_ALL: bool = GUARDS;

    fn begin(&self, _: &FlowKey, segment: &mut Segment) {
        *segment = Segment { all: 0, gets: 0, keys: [0; 16], ids: [0; 16], miss: false, refused: 0 };
    }

    fn request(&self, window: &mut Window, state: &mut Connection, segment: &mut Segment) -> Scan {
        assert_eq!(state.refused, 0, "something is read behind the end");
        match state.request.read(window) {
            Step::Window => Scan::More,
            Step::Skip => Scan::Skip,
            Step::Refused => {
                state.refused = state.request.kind;
                segment.refused = state.request.kind;
                window.at = window.len;
                window.skip = 1 << 20;
                Scan::Skip
            }
            Step::Message => {
                let Parser { kind, key, id, .. } = state.request;
                if kind == GET && segment.all < 16 {
                    segment.keys[segment.all as usize] = key;
                    segment.ids[segment.all as usize] = id;
                    segment.gets += 1;
                    segment.miss |= mix(u64::from(id) ^ 0x55aa) % 1000 >= self.0.hits;
                }
                segment.all += 1;
                Scan::Again
            }
        }
    }

    fn holds(&self, segment: &Segment) -> bool {
        segment.refused != 0
    }

    fn silences(&self, segment: &Segment) -> bool {
        segment.refused == SILENCE
    }

    fn answer(&self, state: &mut Connection, segment: &mut Segment, reply: &mut Reply, room: u32) -> Verdict {
        match segment.refused {
            0 => {}
            SILENCE => return Verdict::Drop(Reason::Silenced),
            _ => return Verdict::Close(Reason::Closed),
        }
        if !state.request.at_boundary() || state.begun || segment.all == 0 {
            return Verdict::Pass(Reason::Incomplete);
        }
        if state.asked != state.answered || !state.response.at_boundary() {
            return Verdict::Pass(Reason::NotIdle);
        }
        if segment.gets != segment.all {
            return Verdict::Pass(Reason::NotServed);
        }
        if segment.miss {
            return Verdict::Pass(Reason::Miss);
        }
        if !self.write(segment, reply, room) {
            return Verdict::Pass(Reason::TooLarge);
        }
        self.preempt();
        Verdict::Reply
    }

    /// The answers to what came before in the segment, if it can be answered, and one more.
    fn last_words(
        &self,
        state: &mut Connection,
        segment: &mut Segment,
        reply: &mut Reply,
        room: u32,
    ) -> bool {
        let idle = state.asked == state.answered && state.response.at_boundary();
        // What the server has a part of is the refused request, unless others end in this segment.
        let told = segment.gets == segment.all && !segment.miss && !(state.begun && segment.all != 0);
        if segment.refused != CLOSE || !idle || !told || !self.write(segment, reply, room) {
            return false;
        }
        let Parser { key, id, .. } = state.request;
        self.write_one(CLOSE, key, id, reply);
        self.preempt();
        reply.len <= room
    }

    fn passed(&self, state: &mut Connection, segment: &mut Segment) {
        state.asked = state.asked.wrapping_add(segment.all);
        state.begun = !state.request.at_boundary();
    }

    fn response(&self, window: &mut Window, state: &mut Connection, _: &mut Segment) -> Scan {
        match state.response.read(window) {
            Step::Window => Scan::More,
            Step::Skip => Scan::Skip,
            Step::Refused => unreachable!("the server answers no such request"),
            Step::Message => {
                state.answered = state.answered.wrapping_add(1);
                assert!(
                    state.asked.wrapping_sub(state.answered) < 1 << 31,
                    "a reply was seen before its request"
                );
                Scan::Again
            }
        }
    }

    fn opaque(&self, state: &mut Connection) {
        state.opaque += 1;
        assert_eq!(state.opaque, 1);
    }

    fn ended(&self, _: &FlowKey, _: &mut Connection) -> bool {
        true
    }

    fn requests(&self, segment: &Segment) -> u32 {
        segment.all
    }
}
