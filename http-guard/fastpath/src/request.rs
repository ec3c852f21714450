//! A client's stream: heads, bodies and trailers, one after the other.

use xps_core::handler::Window;

use crate::body::{self, Body};
use crate::field::flag;
use crate::head::{self, Head, Settings, Visitor};
use crate::refusal::Refusal;

/// What the parser met.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing yet: the window is read to its end, or the call has done its share.
    None = 0,
    /// A head is complete. If the stream now stands [at a boundary](Request::at_boundary) so is its request.
    Head = 1,
    /// A request's body, and what trails it, are complete.
    End = 2,
    /// The stream goes on behind [`Window::skip`] bytes.
    Skip = 3,
    /// The request is refused: [`Request::refusal`]. Where the next one would begin is not known.
    Refused = 4,
}

/// State of the parser; all zero at a connection's start.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The head that is being read, or the last one.
    pub head: Head,
    body: Body,
}

const _: () = assert!(size_of::<Request>() == 120);

impl Request {
    /// Whether the stream stands between two requests.
    #[inline(always)]
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.body.is_over() && self.head.at_boundary()
    }

    /// The body that is being read.
    #[inline(always)]
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Why the request is refused.
    #[inline(always)]
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        self.head.refusal()
    }

    /// Whether the request is refused for its body, or what trails it: its head has passed.
    #[inline(always)]
    #[must_use]
    pub const fn refused_in_body(&self) -> bool {
        self.body.refusal().is_some() || self.head.refusal().is_some() && self.head.ended_trailers()
    }

    /// Whether a body is being read, but for its trailers.
    #[inline(always)]
    #[must_use]
    pub const fn in_body(&self) -> bool {
        !self.body.is_over()
    }

    /// Reads until something is met.
    #[inline(always)]
    pub fn read<V: Visitor>(&mut self, window: &mut Window, settings: &Settings, visitor: &mut V) -> Event {
        if self.in_body() {
            return self.read_body(window);
        }
        let met = self.head.read(window, settings, visitor);
        self.head_met(met)
    }

    /// What follows from what was met in a head, or in trailers.
    #[inline(always)]
    pub fn head_met(&mut self, met: head::Event) -> Event {
        match met {
            head::Event::None => Event::None,
            head::Event::Refused => Event::Refused,
            head::Event::End => {
                if self.head.ended_trailers() {
                    self.head.body_ended();
                    return Event::End;
                }
                let fields = &self.head.fields;
                self.body = if fields.has(flag::CHUNKED) {
                    Body::CHUNKED
                } else {
                    // Without Content-Length it is zero (RFC 9112 section 6.3).
                    Body::of_length(fields.length)
                };
                Event::Head
            }
        }
    }

    /// Reads of a body until something is met.
    #[inline(always)]
    pub fn read_body(&mut self, window: &mut Window) -> Event {
        match self.body.read(window) {
            body::Event::None => Event::None,
            body::Event::Skip => Event::Skip,
            body::Event::End => {
                self.head.body_ended();
                Event::End
            }
            body::Event::Trailers => {
                self.head.begin_trailers();
                Event::None
            }
            body::Event::Refused => {
                if let Some(refusal) = self.body.refusal() {
                    self.head.refuse(refusal);
                }
                Event::Refused
            }
        }
    }
}
