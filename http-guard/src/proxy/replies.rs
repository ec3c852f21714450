//! The server's stream: where responses begin and end. It knows no sockets.

use http_fastpath::response::{Asked, Event, Outstanding, Response};
use xps_core::handler::{WINDOW, Window};

/// What the server has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// All bytes are read, the response goes on.
    More,
    /// The response is complete.
    End,
    /// The connection speaks another protocol from here on.
    Switched,
    /// The response ends with the connection.
    Opaque,
}

/// State of the server's stream.
pub(super) struct Replies {
    response: Response,
    outstanding: Outstanding,
    window: Box<Window>,
    skip: u64,
    /// Whether the client was given any of the response.
    pub(super) begun: bool,
    opaque: bool,
}

impl Replies {
    pub(super) fn new() -> Self {
        Self {
            response: Response::default(),
            outstanding: Outstanding::NONE,
            window: Box::new(Window::EMPTY),
            skip: 0,
            begun: false,
            opaque: false,
        }
    }

    /// A request goes to the server.
    pub(super) fn ask(&mut self, is_head: bool) {
        let mut asked = Asked::NONE;
        asked.push(is_head);
        self.begun = false;
        if !self.outstanding.passed(&asked) {
            self.opaque = true;
        }
    }

    /// What comes now was not asked for, or cannot be told from it.
    pub(super) const fn lose(&mut self) {
        self.opaque = true;
    }

    /// Reads until something is met. How many bytes were read, too.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Said) {
        if self.opaque {
            return (bytes.len(), Said::Opaque);
        }
        let mut at = 0;
        loop {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len() - at);
            at += skipped;
            self.skip -= skipped as u64;
            if at == bytes.len() {
                return (at, Said::More);
            }
            let part = &bytes[at..bytes.len().min(at + WINDOW)];
            let window = &mut *self.window;
            window.bytes[..part.len()].copy_from_slice(part);
            (window.at, window.len, window.base, window.skip) = (0, part.len() as u32, 0, 0);
            while window.at < window.len {
                match self.response.read(window, &mut self.outstanding) {
                    Event::None => {}
                    Event::Skip => {
                        self.skip = u64::from(window.skip);
                        break;
                    }
                    Event::End => return (at + window.at as usize, Said::End),
                    Event::Opaque => {
                        self.response.lose();
                        self.opaque = true;
                        return if self.response.has_switched() {
                            (at + window.at as usize, Said::Switched)
                        } else {
                            (bytes.len(), Said::Opaque)
                        };
                    }
                }
            }
            at += window.at as usize;
        }
    }
}
