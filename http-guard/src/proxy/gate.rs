//! A client's stream as the handler reads it: where requests begin and end, and what becomes of them. It knows no sockets.

use std::net::IpAddr;
use std::time::Duration;

use http_fastpath::abi::{RULES_MAX, Settings};
use http_fastpath::field::flag as field;
use http_fastpath::guard::{HttpGuard, Scratch, State, Tables};
use http_fastpath::head::Method;
use http_fastpath::judge::{self, Verdict};
use http_fastpath::matching::flag;
use http_fastpath::refusal::Refusal;
use http_fastpath::request::Event;
use http_fastpath::words::{self, Words};
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, WINDOW, Window};

use crate::answers::BAD_GATEWAY;
use crate::path::process::view::View;

/// What was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Nothing: all bytes are read.
    More,
    /// A head's end.
    Head,
    /// A request's end, behind its body.
    End,
    /// Something that is refused.
    Refused,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It passes, after this time.
    Pass(Duration),
    /// It is answered here.
    Refuse(Words),
    /// Its connection is reset.
    Close,
    /// Its connection is left without an answer.
    Drop,
}

/// What a head says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    /// Whether the connection stays.
    pub(super) keeps_alive: bool,
    /// Bytes of the body, if that is known.
    pub(super) length: Option<u64>,
    /// Whether the client sends the body only when it is told to.
    pub(super) waits: bool,
}

/// The handler with its state of one connection.
pub(super) struct Gate {
    guard: HttpGuard<View>,
    state: State,
    scratch: Box<Scratch>,
    window: Box<Window>,
    /// Bytes of a body that need not be read.
    skip: u64,
}

impl Gate {
    pub(super) fn new(view: View) -> Self {
        Self {
            guard: HttpGuard { tables: view },
            state: State::default(),
            scratch: Box::new(Scratch::EMPTY),
            window: Box::new(Window::EMPTY),
            skip: 0,
        }
    }

    /// Whether a client may connect.
    pub(super) fn admits(&mut self, client: IpAddr) -> bool {
        self.guard.tables.refresh();
        // It counts in any case, as in the stack.
        self.guard.admits(&FlowKey { client: mapped(client), ..FlowKey::default() })
            || self.guard.tables.is_disabled()
    }

    /// What makes one client of addresses, where connections are counted.
    pub(super) fn prefix(&self, client: IpAddr) -> [u64; 2] {
        judge::prefix(&mapped(client), self.settings().map_or(128, |settings| settings.ipv6_prefix))
    }

    fn settings(&self) -> Option<&Settings> {
        // SAFETY: the view owns its settings, and changes them only where it is borrowed mutably.
        self.guard.tables.settings().map(|settings| unsafe { &*settings })
    }

    /// Whether the stream stands between two requests.
    pub(super) const fn at_boundary(&self) -> bool {
        self.state.request.at_boundary() && self.skip == 0
    }

    /// Reads until something is met. How many bytes were read, too.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Met) {
        if self.at_boundary() && !self.state.matching.has(flag::IN_HEAD) {
            self.guard.tables.refresh();
        }
        let mut at = 0;
        loop {
            let left = bytes.len() - at;
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(left);
            at += skipped;
            self.skip -= skipped as u64;
            if at == bytes.len() {
                return (at, Met::More);
            }
            let part = &bytes[at..bytes.len().min(at + WINDOW)];
            let window = &mut *self.window;
            window.bytes[..part.len()].copy_from_slice(part);
            (window.at, window.len, window.base, window.skip) = (0, part.len() as u32, 0, 0);
            while window.at < window.len {
                let met = match self.guard.read(window, &mut self.state, &mut self.scratch) {
                    Event::None => continue,
                    Event::Skip => {
                        self.skip = u64::from(window.skip);
                        break;
                    }
                    Event::Head => Met::Head,
                    Event::End => Met::End,
                    Event::Refused => Met::Refused,
                };
                return (at + window.at as usize, met);
            }
            at += window.at as usize;
        }
    }

    /// What the head that was met says.
    pub(super) const fn asked(&self) -> Asked {
        let head = &self.state.request.head;
        Asked {
            is_head: head.is(Method::Head),
            keeps_alive: head.keeps_alive(),
            length: if head.fields.has(field::CHUNKED) { None } else { Some(head.fields.length) },
            waits: head.fields.has(field::CONTINUE),
        }
    }

    /// What becomes of the request whose head was met.
    pub(super) fn judge(&mut self, client: IpAddr) -> Decision {
        // It is judged, charged and counted in any case, as in the stack.
        let decision = self.judged(client);
        if self.guard.tables.is_disabled() { Decision::Pass(Duration::ZERO) } else { decision }
    }

    fn judged(&mut self, client: IpAddr) -> Decision {
        self.scratch.client = mapped(client);
        if self.is_blocked() {
            return Decision::Close;
        }
        judge::judge(&self.guard.tables, &mut self.state, &mut self.scratch);
        let judgement = self.scratch.judgement;
        if judgement.verdict == Verdict::Pass {
            return Decision::Pass(Duration::from_nanos(judgement.wait_ns));
        }
        self.guard.tables.report(&self.scratch.client, judgement.rule);
        match judgement.verdict {
            Verdict::Drop => Decision::Drop,
            Verdict::Refuse => Decision::Refuse(Words::of_rule(0, &judgement, self.asked().is_head)),
            Verdict::Pass | Verdict::Close => Decision::Close,
        }
    }

    /// Behind a proxy one connection has many clients, so this is asked for each request.
    fn is_blocked(&self) -> bool {
        let Some(settings) = self.settings() else { return false };
        let client = judge::prefix(&self.scratch.client, settings.ipv6_prefix);
        settings.blocking != 0 && self.guard.tables.is_blocked(&client)
    }

    /// The answer to what was refused by its syntax, which is counted.
    pub(super) fn refused(&mut self, client: IpAddr) -> Option<Words> {
        let refusal: Refusal = self.state.request.refusal()?;
        self.guard.tables.count_refusal(refusal as u8);
        self.guard.tables.report(&mapped(client), RULES_MAX as u32 + refusal as u32);
        Some(Words::of_refusal(0, refusal as u8))
    }

    /// The bytes of an answer; `closes`: behind it the connection ends.
    pub(super) fn answer(&mut self, words: Words, closes: bool) -> Option<Box<Reply>> {
        self.guard.tables.tell_date();
        let mut reply = Box::new(Reply::EMPTY);
        words::write(&self.guard.tables, words, closes, &mut reply).then_some(reply)
    }
}

/// The answer for a server that cannot be reached.
pub(super) const fn unreachable(asked: Asked) -> Words {
    Words { index: BAD_GATEWAY, retry_s: 0, head_only: asked.is_head as u32 }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
