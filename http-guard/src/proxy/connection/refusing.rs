//! What clients are told instead of the server's answer.

use std::net::IpAddr;

use http_fastpath::words::Words;
use tokio::time::timeout;

use super::{Connection, Then};
use crate::proxy::counts::count;
use crate::proxy::gate::{Asked, Met};
use crate::proxy::socket;

/// Longest body of a refused request that is read and forgotten, so that the connection can stay.
const FORGOTTEN_BYTES_MAX: u64 = 64 * 1024;

impl Connection {
    /// A rule refuses a request: it is answered, and the connection stays if the next request can be found.
    pub(super) async fn refuse(&mut self, words: Words, asked: Asked) -> Then {
        let whole = self.gate.at_boundary() || self.input.scan(&mut self.gate).1 == Met::End;
        let short = !asked.waits && asked.length.is_some_and(|length| length <= FORGOTTEN_BYTES_MAX);
        if !asked.keeps_alive || !(whole || short) || *self.stop.borrow() {
            return self.last_words(words).await;
        }
        self.input.forget_passed();
        if !self.say(words, false).await {
            self.reset();
            return Then::Over;
        }
        if self.forget_body().await { Then::GoOn } else { Then::Over }
    }

    /// Reads a body that nobody wants. Whether it ends as it should.
    async fn forget_body(&mut self) -> bool {
        while !self.gate.at_boundary() {
            if !self.input.has_unread() {
                match timeout(self.settings.body_timeout, self.input.fill(&self.client)).await {
                    Ok(Ok(true)) => {}
                    Ok(_) => return false,
                    Err(_) => {
                        count(&self.proxy.counts.slow);
                        return false;
                    }
                }
            }
            if self.input.scan(&mut self.gate).1 == Met::Refused {
                socket::close(&self.client).await;
                return false;
            }
            self.input.forget_passed();
        }
        true
    }

    /// What comes is refused by its syntax; where the next request begins nobody knows.
    pub(super) async fn refused_by_syntax(&mut self, client: IpAddr) -> Then {
        let words = self.gate.refused(client);
        if self.passes_unread() {
            count(&self.proxy.counts.passed);
            return self.pass_unread(client).await;
        }
        count(&self.proxy.counts.refused);
        match words {
            Some(words) => self.last_words(words).await,
            None => {
                self.reset();
                Then::Over
            }
        }
    }

    /// Answers, and ends the connection on both sides.
    pub(super) async fn last_words(&mut self, words: Words) -> Then {
        self.upstream = None;
        if self.say(words, true).await {
            socket::close(&self.client).await;
        } else {
            self.reset();
        }
        Then::Over
    }

    /// Answers. Whether the client took it.
    async fn say(&mut self, words: Words, closes: bool) -> bool {
        let Some(reply) = self.gate.answer(words, closes) else { return false };
        let bytes = &reply.bytes[..reply.len as usize];
        let written = timeout(self.settings.body_timeout, socket::write(&self.client, bytes)).await;
        let written = matches!(written, Ok(Ok(())));
        if written {
            count(&self.proxy.counts.replies);
        }
        written
    }
}
