//! The server's application.

use std::rc::Rc;

use smoltcp::socket::tcp::{RecvError, Socket, State};

use crate::handler::Values;
use crate::protocol::{QUIT, is_refused, take};
use crate::random::Random;

pub struct Server {
    values: Rc<Values>,
    received: Vec<u8>,
    unsent: Vec<u8>,
    last: Option<u32>,
    quits: bool,
    closed: bool,
    client_finished: bool,
    /// The request that must not come, nor any behind it.
    refused: Option<u32>,
    pub aborted: bool,
}

impl Server {
    pub fn new(values: &Rc<Values>, refused: Option<u32>) -> Self {
        Self {
            values: Rc::clone(values),
            received: Vec::new(),
            unsent: Vec::new(),
            last: None,
            quits: false,
            closed: false,
            client_finished: false,
            refused,
            aborted: false,
        }
    }

    /// Whether it would do something by itself after some time.
    pub fn wants_time(&self) -> bool {
        !self.closed
            && (!self.received.is_empty() || !self.unsent.is_empty() || self.client_finished || self.quits)
    }

    /// `weary`: it has waited too long.
    pub fn step(&mut self, socket: &mut Socket<'_>, random: &Random, weary: bool) -> Result<(), String> {
        if random.chance(200) || self.closed {
            return Ok(());
        }
        let mut buffer = [0; 4096];
        match socket.recv_slice(&mut buffer) {
            Ok(len) => self.received.extend_from_slice(&buffer[..len]),
            Err(RecvError::Finished) => self.client_finished = true,
            Err(RecvError::InvalidState) => {}
        }
        while !random.chance(100) {
            let Some(request) = take(&mut self.received)? else { break };
            if self.quits || self.last.is_some_and(|last| last >= request.id) || request.version.is_some() {
                return Err(format!("{request:?} after {:?}", self.last));
            }
            if is_refused(request.kind) || self.refused.is_some_and(|refused| request.id >= refused) {
                return Err(format!("{request:?} has passed"));
            }
            self.last = Some(request.id);
            self.quits = request.kind == QUIT;
            let reply = request.reply(self.values.version(request.key), self.values.longest);
            self.unsent.extend(reply.bytes());
        }
        if socket.can_send() && !self.unsent.is_empty() {
            let most = if random.chance(100) { random.between(1, 50) as usize } else { usize::MAX };
            let len = socket
                .send_slice(&self.unsent[..most.min(self.unsent.len())])
                .map_err(|e| format!("{e:?}"))?;
            self.unsent.drain(..len);
        }
        let whole = self.received.is_empty() && self.unsent.is_empty();
        if weary || whole && (self.quits || self.client_finished) && socket.state() != State::Listen {
            self.closed = true;
            socket.close();
        }
        Ok(())
    }
}
