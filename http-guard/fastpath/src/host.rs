//! The parsers over streams in a process's memory, cut as one likes, and the handler over tables there: for tests.

pub mod world;

use std::vec;
use std::vec::Vec;

use xps_core::handler::{WINDOW, Window};

use crate::head::{Settings, Visitor};
use crate::path::{DEPTH_MAX, Sink};
use crate::refusal::Refusal;
use crate::request::{self, Request};
use crate::response::{self, Outstanding, Response};
use crate::word::Word;

/// Whoever reads windows; what it returns tells how far the next one is.
trait Reader {
    /// Reads a window to its end, or to a skip. False: it reads no further.
    fn window(&mut self, window: &mut Window) -> bool;
}

/// Shows the parts of a stream between `cuts`, which ascend, in windows, as the stack does.
fn show<R: Reader>(bytes: &[u8], cuts: &[usize], reader: &mut R) {
    let mut skip = 0;
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    for (start, end) in starts.zip(ends) {
        let mut at = start;
        while at < end {
            if skip >= end - at {
                skip -= end - at;
                break;
            }
            at += skip;
            let mut window = Window { base: (at - start) as u32, ..Window::EMPTY };
            let shown = &bytes[at..end.min(at + WINDOW)];
            window.bytes[..shown.len()].copy_from_slice(shown);
            window.len = shown.len() as u32;
            if !reader.window(&mut window) {
                return;
            }
            assert_eq!(window.at, window.len, "a window was left before its end");
            skip = window.skip as usize;
            at += shown.len();
        }
    }
}

/// A request as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: Vec<u8>,
    /// The normalised path.
    pub path: Vec<u8>,
    /// The host.
    pub host: Vec<u8>,
    /// Names, in lower case and as far as they are kept, and values.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of the body, without a chunked one's framing; zero until it is complete.
    pub body_bytes: u64,
    /// Whether the client wants the connection to stay.
    pub keeps_alive: bool,
    /// Whether it is read to its end.
    pub complete: bool,
}

/// Records what is told, and asserts that it is told in order.
#[derive(Debug, Default)]
pub struct Recorder {
    /// What was told since the last [`Self::take`].
    pub seen: Seen,
    slashes: Vec<usize>,
    value: Option<Vec<u8>>,
    space: Vec<u8>,
    ends: [u32; 3],
}

impl Recorder {
    /// The head that has ended.
    pub fn take(&mut self) -> Seen {
        assert_eq!(self.ends, [1; 3], "method, path and host end once each");
        assert!(self.value.is_none(), "a value did not end");
        std::mem::take(self).seen
    }
}

impl Sink for Recorder {
    fn path_byte(&mut self, byte: u8) {
        assert_eq!(self.ends[..2], [1, 0]);
        self.seen.path.push(byte);
    }

    fn open_segment(&mut self, depth: u32) {
        assert_eq!(self.seen.path.last(), Some(&b'/'));
        self.slashes.push(self.seen.path.len());
        assert_eq!(self.slashes.len(), depth as usize);
        assert!(depth <= DEPTH_MAX);
    }

    fn pop_to(&mut self, depth: u32) {
        assert!(depth >= 1 && (depth as usize) < self.slashes.len());
        self.slashes.truncate(depth as usize);
        self.seen.path.truncate(self.slashes[depth as usize - 1]);
    }
}

impl Visitor for Recorder {
    fn method_byte(&mut self, byte: u8) {
        assert_eq!(self.ends[0], 0);
        self.seen.method.push(byte);
    }

    fn bytes(&mut self, path: bool, eight: u64, bytes: u32) {
        let more = &eight.to_le_bytes()[..bytes as usize];
        if path {
            assert_eq!(self.ends[..2], [1, 0]);
            self.seen.path.extend(more);
        } else if self.ends[0] == 0 {
            self.seen.method.extend(more);
        }
    }

    fn method_end(&mut self) {
        self.ends[0] += 1;
    }

    fn path_end(&mut self) {
        self.ends[1] += 1;
    }

    fn host_byte(&mut self, byte: u8) {
        assert_eq!(self.ends[2], 0);
        self.seen.host.push(byte);
    }

    fn host_end(&mut self) {
        self.ends[2] += 1;
    }

    fn name_end(&mut self, name: &Word) {
        let kept = name.letters().iter().flat_map(|letters| letters.to_le_bytes());
        let name = kept.take_while(|byte| *byte != 0).collect();
        assert!(self.value.replace(vec![]).is_none());
        self.seen.fields.push((name, vec![]));
    }

    fn value_byte(&mut self, byte: u8, space: bool) {
        let value = self.value.as_mut().expect("a name came before");
        if space {
            assert!(!value.is_empty(), "white space at the start");
            self.space.push(byte);
            return;
        }
        value.append(&mut self.space);
        value.push(byte);
    }

    fn value_end(&mut self) {
        self.space.clear();
        self.seen.fields.last_mut().expect("a name came before").1 =
            self.value.take().expect("a name came before");
    }
}

/// What became of a client's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Requests whose heads passed.
    pub seen: Vec<Seen>,
    /// Why the next one, or the body of the last one, was refused.
    pub refusal: Option<Refusal>,
    /// Whether the stream ends between two requests.
    pub at_boundary: bool,
}

struct Requests {
    settings: Settings,
    request: Request,
    recorder: Recorder,
    reading: Reading,
}

impl Reader for Requests {
    fn window(&mut self, window: &mut Window) -> bool {
        loop {
            let before = self.request.body().data_left();
            let event = self.request.read(window, &self.settings, &mut self.recorder);
            if before != 0 {
                let after = self.request.body().data_left();
                self.reading.seen.last_mut().expect("a head came before").body_bytes += before - after;
            }
            match event {
                request::Event::Head => {
                    let complete = self.request.at_boundary();
                    let keeps_alive = self.request.head.keeps_alive();
                    self.reading.seen.push(Seen { complete, keeps_alive, ..self.recorder.take() });
                }
                request::Event::End => {
                    self.reading.seen.last_mut().expect("a head came before").complete = true;
                }
                request::Event::Refused => {
                    self.reading.refusal = self.request.refusal();
                    assert!(self.reading.refusal.is_some());
                    return false;
                }
                request::Event::Skip => return true,
                request::Event::None => {}
            }
            if window.at >= window.len {
                return true;
            }
        }
    }
}

/// Reads a client's stream, cut into segments.
#[must_use]
pub fn requests(bytes: &[u8], cuts: &[usize], settings: &Settings) -> Reading {
    let mut reader = Requests {
        settings: *settings,
        request: Request::default(),
        recorder: Recorder::default(),
        reading: Reading::default(),
    };
    show(bytes, cuts, &mut reader);
    // What was skipped may not have come.
    if let Some(last) = reader.reading.seen.last_mut().filter(|last| !last.complete) {
        last.body_bytes = 0;
    }
    reader.reading.at_boundary = reader.reading.refusal.is_none() && reader.request.at_boundary();
    reader.reading
}

/// What became of a server's stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Statuses of the responses that are complete.
    pub statuses: Vec<u16>,
    /// Whether the stream is no longer understood.
    pub opaque: bool,
    /// Whether the stream ends between two responses.
    pub at_boundary: bool,
}

struct Responses<'a> {
    response: Response,
    outstanding: &'a mut Outstanding,
    answers: Answers,
}

impl Reader for Responses<'_> {
    fn window(&mut self, window: &mut Window) -> bool {
        loop {
            match self.response.read(window, self.outstanding) {
                response::Event::End => self.answers.statuses.push(self.response.status()),
                response::Event::Opaque => {
                    self.answers.opaque = true;
                    return false;
                }
                response::Event::Skip => return true,
                response::Event::None => {}
            }
            if window.at >= window.len {
                return true;
            }
        }
    }
}

/// Reads a server's stream, cut into segments.
pub fn responses(bytes: &[u8], cuts: &[usize], outstanding: &mut Outstanding) -> Answers {
    let mut reader = Responses { response: Response::default(), outstanding, answers: Answers::default() };
    show(bytes, cuts, &mut reader);
    reader.answers.at_boundary = !reader.answers.opaque && reader.response.at_boundary();
    reader.answers
}
