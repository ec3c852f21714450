//! The simulated world: clients, their connections through the stack, Redis, the agent, the clock.

use std::collections::VecDeque;

use kv_fastpath::host::{Flow, Outcome, Snapshot, bulk, encode};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use crate::history::{Action, Operation, linearizable};
use crate::mutant::{Mutation, Tampered};

const KEYS: [&str; 3] = ["a", "key:000000000001", "longer than eight"];
const CLIENTS: usize = 4;
const STEPS: u64 = 800;
const OPERATIONS_MAX: usize = 100;

/// Steele, Lea, Flood: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// What a client waits for.
enum Expected {
    /// A reply that says nothing.
    Nothing,
    /// The write of these operations is done.
    Done(Vec<(usize, usize)>),
    /// The value that this operation reads.
    Value(usize, usize),
}

/// A client and its connection, in the order of the bytes' way.
struct Client {
    to_stack: VecDeque<Vec<u8>>,
    flow: Flow<Tampered>,
    to_redis: Vec<u8>,
    queue: Option<Vec<Vec<Vec<u8>>>>,
    from_redis: Vec<u8>,
    from_stack: Vec<u8>,
    expected: VecDeque<Expected>,
    /// On the plain port: never answered.
    plain: bool,
}

/// Where the agent is with a fill.
enum Fill {
    None,
    Asked { key: usize, snapshot: Snapshot, sent_ms: u64 },
    Answered { key: usize, snapshot: Snapshot, sent_ms: u64, value: Option<(u32, Option<u64>)> },
}

#[derive(Clone, Copy, Default)]
struct Stored {
    value: Option<u32>,
    deadline_ms: Option<u64>,
}

pub(crate) struct Simulation {
    random: Random,
    tables: Tampered,
    clients: Vec<Client>,
    redis: [Stored; KEYS.len()],
    fill: Fill,
    histories: [Vec<Operation>; KEYS.len()],
    step: u64,
    now_ms: u64,
    next_value: u32,
    /// How many replies a client waits for before it sends no more.
    outstanding_max: usize,
    reads_per_write: usize,
    pub(crate) hits: u64,
}

impl Simulation {
    pub(crate) fn new(seed: u64, mutation: Mutation) -> Self {
        let mut random = Random(seed);
        let tables = Tampered::new(mutation);
        let refreshes = random.below(2) == 0;
        tables.world.set(|settings| settings.refresh_ns = if refreshes { u64::MAX } else { 0 });
        let client = |i| Client {
            to_stack: VecDeque::new(),
            flow: Flow::new(tables.clone()).with_windows_of(if random.below(2) == 0 { 256 } else { 7 }),
            to_redis: vec![],
            queue: None,
            from_redis: vec![],
            from_stack: vec![],
            expected: VecDeque::new(),
            plain: i == 0,
        };
        let clients: Vec<Client> = (0..CLIENTS).map(client).collect();
        let (outstanding_max, reads_per_write) = (1 + random.below(3), 1 + random.below(8));
        Self {
            outstanding_max,
            reads_per_write,
            random,
            tables,
            clients,
            redis: Default::default(),
            fill: Fill::None,
            histories: Default::default(),
            step: 0,
            now_ms: 1,
            next_value: 0,
            hits: 0,
        }
    }

    /// Runs to the end. What went wrong, if something did.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while self.step < STEPS {
            self.step += 1;
            let client = self.random.below(CLIENTS);
            match self.random.below(20) {
                0..=1 => self.send(client),
                2..=5 => self.stack_request(client),
                6..=9 => self.redis_step(client),
                10..=12 => self.stack_response(client),
                13..=15 => self.receive(client),
                16..=18 => self.agent(),
                _ => self.tick(),
            }
        }
        // Everything that is on its way arrives.
        for _ in 0..200 {
            for client in 0..CLIENTS {
                self.step += 1;
                self.stack_request(client);
                self.redis_step(client);
                self.stack_response(client);
                self.receive(client);
            }
        }
        for (key, history) in KEYS.iter().zip(&self.histories) {
            if !linearizable(history) {
                return Err(format!("{key:?} was {history:#?}"));
            }
        }
        if self.clients.iter().any(|client| !client.expected.is_empty()) {
            return Err("a reply is missing".into());
        }
        let pending = self.tables.world.pending();
        if self.tables.mutation == Mutation::None && !pending.is_empty() {
            return Err(format!("pending at the end: {pending:?}"));
        }
        Ok(())
    }

    fn begin(&mut self, key: usize, action: Action) -> (usize, usize) {
        self.histories[key].push(Operation { action, from: self.step, to: u64::MAX });
        (key, self.histories[key].len() - 1)
    }

    fn value(&mut self) -> u32 {
        self.next_value += 1;
        self.next_value
    }

    /// A client sends something, in one segment or two.
    fn send(&mut self, i: usize) {
        let (key, other) = (self.random.below(KEYS.len()), self.random.below(KEYS.len()));
        let full = |key: usize| self.histories[key].len() >= OPERATIONS_MAX;
        if self.clients[i].expected.len() >= self.outstanding_max || full(key) || full(other) {
            return;
        }
        let name = KEYS[key].as_bytes();
        let mut expected = vec![];
        let kind = if self.random.below(self.reads_per_write + 1) == 0 {
            8 + self.random.below(8)
        } else {
            self.random.below(8)
        };
        let bytes = if kind < 8 {
            let mut bytes = encode(&[b"GET", name]);
            let (k, n) = self.begin(key, Action::Read(None));
            expected.push(Expected::Value(k, n));
            if kind == 0 {
                bytes.extend(encode(&[b"get", KEYS[other].as_bytes()]));
                let (k, n) = self.begin(other, Action::Read(None));
                expected.push(Expected::Value(k, n));
            }
            bytes
        } else {
            let written = if kind >= 14 { None } else { Some(self.value()) };
            let operation = self.begin(key, Action::Write(written));
            let value = written.map(|v| v.to_string()).unwrap_or_default();
            let value = value.as_bytes();
            let lifetime = (1 + self.random.below(4)).to_string();
            let mut done = vec![operation];
            let bytes = match kind {
                8 | 9 => encode(&[b"SET", name, value]),
                10 | 11 => encode(&[b"SET", name, value, b"PX", lifetime.as_bytes()]),
                12 => encode(&[b"EVAL", name, value]),
                13 => {
                    // Two keys at once; the value of the other is its own.
                    let mut bytes = encode(&[b"MULTI"]);
                    bytes.extend(encode(&[b"SET", name, value]));
                    expected.extend([Expected::Nothing, Expected::Nothing]);
                    if other != key {
                        let more = self.value();
                        done.push(self.begin(other, Action::Write(Some(more))));
                        bytes.extend(encode(&[b"SET", KEYS[other].as_bytes(), more.to_string().as_bytes()]));
                        expected.push(Expected::Nothing);
                    }
                    bytes.extend(encode(&[b"EXEC"]));
                    bytes
                }
                14 => encode(&[b"DEL", name]),
                _ => {
                    // More keys than the ring has slots.
                    let mut arguments = vec![&b"DEL"[..]];
                    arguments.extend([&b"x"[..]; 40]);
                    arguments.push(name);
                    encode(&arguments)
                }
            };
            expected.push(Expected::Done(done));
            bytes
        };
        let client = &mut self.clients[i];
        client.expected.extend(expected);
        let cut = if self.random.below(4) == 0 { self.random.below(bytes.len()) } else { 0 };
        let (first, second) = bytes.split_at(cut);
        client
            .to_stack
            .extend([first, second].into_iter().filter(|part| !part.is_empty()).map(<[u8]>::to_vec));
    }

    /// A segment reaches the stack.
    fn stack_request(&mut self, i: usize) {
        let client = &mut self.clients[i];
        let Some(segment) = client.to_stack.pop_front() else { return };
        match client.flow.request(&segment, !client.plain) {
            Outcome::Reply(reply) => {
                self.hits += u64::from(client.flow.requests());
                client.from_stack.extend(reply);
            }
            Outcome::Pass(_) => client.to_redis.extend(segment),
            Outcome::Ended => panic!("the server asks for no password"),
        }
    }

    /// Redis takes a command of a connection.
    fn redis_step(&mut self, i: usize) {
        let Ok(Some((frame, used))) = decode(&self.clients[i].to_redis) else { return };
        self.clients[i].to_redis.drain(..used);
        let OwnedFrame::Array(words) = frame else { panic!("clients send arrays") };
        let words: Vec<Vec<u8>> = words
            .into_iter()
            .map(|word| match word {
                OwnedFrame::BulkString(word) => word,
                other => panic!("clients send strings, not {other:?}"),
            })
            .collect();
        let reply = match (&words[0][..], self.clients[i].queue.is_some()) {
            (b"MULTI", false) => {
                self.clients[i].queue = Some(vec![]);
                b"+OK\r\n".to_vec()
            }
            (b"EXEC", true) => {
                let queue = self.clients[i].queue.take().unwrap_or_default();
                let replies: Vec<Vec<u8>> = queue.iter().map(|words| self.execute(words)).collect();
                [format!("*{}\r\n", replies.len()).into_bytes(), replies.concat()].concat()
            }
            (_, true) => {
                self.clients[i].queue.get_or_insert_default().push(words);
                b"+QUEUED\r\n".to_vec()
            }
            (b"SET", false) if words.len() == 3 && self.random.below(12) == 0 => b"-OOM\r\n".to_vec(),
            (_, false) => self.execute(&words),
        };
        self.clients[i].from_redis.extend(reply);
    }

    fn execute(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let index = |name: &[u8]| KEYS.iter().position(|key| key.as_bytes() == name);
        let number = |word: &[u8]| {
            std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()).expect("a number")
        };
        match &words[0][..] {
            b"GET" | b"get" => {
                let value = index(&words[1]).and_then(|key| self.redis[key].value);
                value.map_or_else(|| b"$-1\r\n".to_vec(), |value| bulk(value.to_string().as_bytes()))
            }
            b"DEL" => {
                for key in words[1..].iter().filter_map(|word| index(word)) {
                    self.redis[key] = Stored::default();
                }
                b":1\r\n".to_vec()
            }
            _ => {
                let deadline_ms = words.get(4).map(|word| self.now_ms + u64::from(number(word)));
                let key = index(&words[1]).expect("a key of ours");
                self.redis[key] = Stored { value: Some(number(&words[2])), deadline_ms };
                b"+OK\r\n".to_vec()
            }
        }
    }

    /// A segment of Redis leaves through the stack.
    fn stack_response(&mut self, i: usize) {
        let client = &mut self.clients[i];
        if client.from_redis.is_empty() {
            return;
        }
        let len = 1 + self.random.below(client.from_redis.len());
        let segment: Vec<u8> = client.from_redis.drain(..len).collect();
        assert!(client.flow.response(&segment));
        client.from_stack.extend(segment);
    }

    /// A client reads what has arrived.
    fn receive(&mut self, i: usize) {
        let client = &mut self.clients[i];
        while let Ok(Some((frame, used))) = decode(&client.from_stack) {
            client.from_stack.drain(..used);
            match client.expected.pop_front().expect("a reply to something") {
                Expected::Nothing => {}
                Expected::Done(operations) => {
                    for (key, n) in operations {
                        let operation = &mut self.histories[key][n];
                        operation.to = self.step;
                        if matches!(frame, OwnedFrame::Error(_)) {
                            operation.action = Action::Refused;
                        }
                    }
                }
                Expected::Value(key, n) => {
                    let value = match frame {
                        OwnedFrame::Null => None,
                        OwnedFrame::BulkString(value) => {
                            String::from_utf8(value).ok().and_then(|v| v.parse().ok())
                        }
                        other => panic!("a GET was answered {other:?}"),
                    };
                    let operation = &mut self.histories[key][n];
                    (operation.action, operation.to) = (Action::Read(value), self.step);
                }
            }
        }
    }

    /// The agent goes on with a fill, or begins one, or removes an entry.
    fn agent(&mut self) {
        let world = &self.tables.world;
        self.fill = match std::mem::replace(&mut self.fill, Fill::None) {
            Fill::None => {
                let key = self.random.below(KEYS.len());
                if self.random.below(20) == 0 {
                    world.remove(KEYS[key].as_bytes(), 0);
                }
                match world.snapshot(KEYS[key].as_bytes()) {
                    Some(snapshot) => Fill::Asked { key, snapshot, sent_ms: self.now_ms },
                    None => Fill::None,
                }
            }
            Fill::Asked { key, snapshot, sent_ms } => {
                let stored = self.redis[key];
                let left = stored.deadline_ms.map(|deadline| deadline - self.now_ms);
                Fill::Answered { key, snapshot, sent_ms, value: stored.value.map(|value| (value, left)) }
            }
            Fill::Answered { key, snapshot, sent_ms, value } => {
                if let Some((value, left)) = value {
                    let deadline = left.map_or(u64::MAX, |left| (sent_ms + left) * 1_000_000);
                    world.insert(
                        KEYS[key].as_bytes(),
                        0,
                        &bulk(value.to_string().as_bytes()),
                        snapshot,
                        deadline,
                    );
                }
                Fill::None
            }
        };
    }

    /// The clock goes on, and values expire.
    fn tick(&mut self) {
        self.now_ms += 1;
        self.tables.world.set_now_ns(self.now_ms * 1_000_000);
        for (key, stored) in self.redis.iter_mut().enumerate() {
            if let (Some(value), Some(deadline)) = (stored.value, stored.deadline_ms)
                && deadline <= self.now_ms
            {
                *stored = Stored::default();
                self.histories[key].push(Operation {
                    action: Action::Expire(value),
                    from: self.step,
                    to: self.step,
                });
            }
        }
    }
}
