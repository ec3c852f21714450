//! The client's application.

use std::rc::Rc;

use smoltcp::socket::tcp::{RecvError, Socket};

use crate::handler::Values;
use crate::protocol::{BIG, CLOSE, GET, KEYS, Message, QUIT, RESET, SET, SILENCE, take};
use crate::random::Random;
use crate::simulation::Ending;

pub struct Client {
    values: Rc<Values>,
    ending: Ending,
    requests: Vec<Message>,
    /// Versions of the keys when each request was begun to be sent.
    sent_at: Vec<u32>,
    /// Bytes that are not sent yet.
    unsent: Vec<u8>,
    received: Vec<u8>,
    replies: usize,
    /// Requests that may be on the way at once.
    pipeline: usize,
    closed: bool,
    finished: bool,
    /// The request behind which the stack ends the connection.
    refused: Option<usize>,
    /// Whether it sends what it has begun to send, although the other side has closed.
    stubborn: bool,
    pub started: bool,
    pub aborted: bool,
}

impl Client {
    pub fn new(random: &Random, values: &Rc<Values>, ending: Ending) -> Self {
        let gets = random.pick(&[500, 900, 1000]);
        let len = random.pick(&[1, 3, 20, 60]);
        let mut requests: Vec<_> = (0..len)
            .map(|id| {
                let kind = if random.chance(gets) { GET } else { random.pick(&[SET, SET, BIG]) };
                let body = match random.below(20) {
                    0 if kind != GET => random.between(1000, 5000),
                    0 | 1 => random.between(100, 300),
                    _ => random.between(0, 15),
                };
                let key = random.below(KEYS as u64) as usize;
                Message { kind, key, id, version: None, body: body as usize }
            })
            .collect();
        if matches!(ending, Ending::ServerFirst | Ending::Both) {
            requests.last_mut().expect("at least one").kind = QUIT;
        }
        let kind = match ending {
            Ending::LastWords => Some(CLOSE),
            Ending::Reset => Some(RESET),
            Ending::Silence => Some(SILENCE),
            _ => None,
        };
        let refused = kind.map(|kind| {
            let at = random.below(requests.len() as u64) as usize;
            requests[at].kind = kind;
            if random.chance(400) {
                requests[at].body = random.between(100, 9000) as usize;
            }
            at
        });
        Self {
            values: Rc::clone(values),
            ending,
            refused,
            stubborn: random.chance(300),
            requests,
            sent_at: Vec::new(),
            unsent: Vec::new(),
            received: Vec::new(),
            replies: 0,
            pipeline: random.pick(&[1, 1, 1, 3, 16]),
            closed: false,
            finished: false,
            started: false,
            aborted: false,
        }
    }

    pub fn requests_len(&self) -> usize {
        self.requests.len()
    }

    pub fn refused(&self) -> Option<u32> {
        self.refused.map(|at| at as u32)
    }

    pub fn progress(&self) -> String {
        format!(
            "{} of {} replies, {:?} refused, finished {}, closed {}",
            self.replies,
            self.requests.len(),
            self.refused,
            self.finished,
            self.closed
        )
    }

    /// Whether it would do something by itself after some time.
    pub fn wants_time(&self, socket: &Socket<'_>) -> bool {
        let more =
            self.sent_at.len() < self.requests.len() && self.sent_at.len() - self.replies < self.pipeline;
        socket.may_send() && !self.closed && socket.can_send() && (more || !self.unsent.is_empty())
            || socket.can_recv()
    }

    pub fn step(&mut self, socket: &mut Socket<'_>, random: &Random) -> Result<(), String> {
        self.started |= socket.may_send();
        self.receive(socket, random)?;
        self.send(socket, random)?;
        self.close(socket);
        Ok(())
    }

    fn receive(&mut self, socket: &mut Socket<'_>, random: &Random) -> Result<(), String> {
        // A slow reader lets its window close.
        if random.chance(300) {
            return Ok(());
        }
        let mut buffer = [0; 4096];
        let most = random.pick(&[50, 4096, 4096]);
        match socket.recv_slice(&mut buffer[..most]) {
            Ok(len) => self.received.extend_from_slice(&buffer[..len]),
            Err(RecvError::Finished) => self.finished = true,
            Err(RecvError::InvalidState) => {}
        }
        while let Some(reply) = take(&mut self.received)? {
            let Some(request) = self.requests.get(self.replies) else {
                return Err(format!("{reply:?} too many"));
            };
            let (Some(version), Some(since)) = (reply.version, self.sent_at.get(self.replies)) else {
                return Err(format!("{reply:?} to {request:?}, which was not sent"));
            };
            if self.refused.is_some_and(|at| self.replies > at || self.replies == at && request.kind != CLOSE)
            {
                return Err(format!("{reply:?} behind the end"));
            }
            let now = self.values.version(request.key);
            if reply != request.reply(version, self.values.longest) || !(*since..=now).contains(&version) {
                return Err(format!("{reply:?} to {request:?}, versions {since} to {now}"));
            }
            self.replies += 1;
        }
        Ok(())
    }

    fn send(&mut self, socket: &mut Socket<'_>, random: &Random) -> Result<(), String> {
        if self.closed || !socket.can_send() || random.chance(300) {
            return Ok(());
        }
        if self.unsent.is_empty() && (self.replies == self.sent_at.len() || random.chance(200)) {
            let burst = random.between(1, self.pipeline as u64) as usize;
            while self.sent_at.len() < self.requests.len() && self.sent_at.len() < self.replies + burst {
                let request = self.requests[self.sent_at.len()];
                self.sent_at.push(self.values.version(request.key));
                self.unsent.extend(request.bytes());
            }
        }
        let cut = random.chance(150);
        let most = if cut {
            random.between(1, 40).min(self.unsent.len() as u64) as usize
        } else {
            self.unsent.len()
        };
        let len = socket.send_slice(&self.unsent[..most]).map_err(|error| format!("{error:?}"))?;
        self.unsent.drain(..len);
        Ok(())
    }

    fn close(&mut self, socket: &mut Socket<'_>) {
        let sent = self.sent_at.len() == self.requests.len() && self.unsent.is_empty();
        let done = match self.ending {
            Ending::ClientFirst => self.replies == self.requests.len(),
            Ending::HalfClose | Ending::Both => sent,
            Ending::ServerFirst => self.finished,
            Ending::LastWords | Ending::Reset | Ending::Silence => {
                if self.finished && !self.stubborn {
                    self.unsent.clear();
                }
                self.finished && self.unsent.is_empty()
            }
            Ending::ClientAborts | Ending::ServerAborts => false,
        };
        if done && !self.closed && socket.may_send() {
            self.closed = true;
            socket.close();
        }
    }

    /// Whether it is told nothing any more.
    pub fn told(&self) -> bool {
        self.refused.is_some_and(|at| self.replies > at)
    }

    /// After an orderly end.
    pub fn check_end(&self) -> Result<(), String> {
        if let Some(at) = self.refused {
            // All or nothing: a stream that ends in order has the last words, one that is reset has no part of them.
            let whole = self.replies == at + 1 && self.received.is_empty();
            if self.finished != whole && (self.finished || self.replies > at) {
                return Err(format!("the end is not as it was told: {}", self.progress()));
            }
            return Ok(());
        }
        if self.replies != self.requests.len() || !self.received.is_empty() {
            return Err(format!("the connection ended early: {}", self.progress()));
        }
        if self.ending == Ending::ServerFirst && !self.finished {
            return Err("the server's end did not arrive".to_owned());
        }
        Ok(())
    }
}
