//! What is to become of a stream: the handler is run over the same segments, in this process.

use http_fastpath::abi::{Rule, subject};
use http_fastpath::head::Settings;
use http_fastpath::host::world::{Flow, Outcome, World};
use http_fastpath::host::{Seen, requests};
use http_fastpath::rules::Action;

use crate::lab::Mode;
use crate::streams::{Served, Stream};

/// The beginning of paths that are denied.
const DENIED: &[u8] = b"/private";

/// A stream, and what the guard does with it.
pub(crate) struct Plan {
    pub(crate) stream: Stream,
    /// Requests that are read to their end.
    complete: Vec<Request>,
    /// How many of them stand in the segments that pass on the kernel path, or are answered there.
    judged: usize,
    /// What the guard says at the kernel path's end, if it surely says something.
    last_words: Option<u16>,
}

struct Request {
    served: Served,
    denied: bool,
    /// Whether it says anything of a body.
    framed: bool,
    /// Whether the next one is served as well, as far as both sides know.
    goes_on: bool,
    /// Whether Nginx refuses it, or may, whoever sends it.
    origin_refuses: bool,
}

impl Request {
    fn of(seen: &Seen) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (method, path, host) = (text(&seen.method), seen.path.clone(), text(&seen.host));
        let denied = path.starts_with(DENIED);
        // Nginx looks for "close" anywhere in such a field.
        let connection = seen.fields.iter().any(|(name, _)| name == b"connection");
        let frames: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"expect"];
        let framed = seen.fields.iter().any(|(name, _)| frames.contains(&&name[..]));
        // Of some fields Nginx takes no second one. In a target it takes fewer characters for a host than in a field.
        let twice = |name| seen.fields.iter().filter(|(other, _)| other == name).count() > 1;
        let origin_refuses = method == "TRACE"
            || path == b"*"
            || seen.fields.iter().any(|(name, _)| twice(name))
            || host.contains(|letter: char| !letter.is_ascii_alphanumeric() && !"-.:[]".contains(letter));
        Self {
            goes_on: seen.keeps_alive && !connection,
            served: Served { method, path, host, body_bytes: seen.body_bytes },
            denied,
            framed,
            origin_refuses,
        }
    }
}

/// The handler's tables, with the rule that denies.
pub(crate) fn world() -> World {
    let world = World::new();
    world.condition(subject::PATH, DENIED, true, 0);
    let mut rule = Rule { action: Action::Deny as u32, ..Rule::default() };
    rule.need[0] = 1;
    world.add_rule(rule);
    world
}

fn complete(bytes: &[u8]) -> Vec<Request> {
    let seen = requests(bytes, &[], &Settings::DEFAULT).seen;
    seen.iter().filter(|seen| seen.complete).map(Request::of).collect()
}

impl Plan {
    /// What becomes of a stream that is cut there. Each part is sent when those before it are answered.
    pub(crate) fn new(world: &World, bytes: Vec<u8>, cuts: &[usize]) -> Self {
        let mut flow = Flow::new(world, 1);
        let (mut start, mut judged, mut answers, mut last_words, mut open) = (0, 0, 0, None, true);
        let mut stream = Stream { bytes: bytes.clone(), cuts: Vec::new() };
        for end in cuts.iter().copied().chain([bytes.len()]) {
            if open {
                let known = complete(&bytes[..end]).len();
                match flow.request(&bytes[start..end]) {
                    Outcome::Passed => {
                        flow.answered((known - judged) as u32);
                        answers += known - judged;
                        judged = known;
                    }
                    Outcome::Replied(text) => {
                        answers += text.matches("HTTP/1.1 ").count();
                        judged = known;
                    }
                    Outcome::Closed(text) => {
                        let last =
                            text.rsplit_once("HTTP/1.1 ").and_then(|(_, last)| last.get(..3)?.parse().ok());
                        // Of one that is cut Nginx has a part, and may be the first to refuse it.
                        let whole = requests(&bytes[..start], &[], &Settings::DEFAULT).at_boundary;
                        // Tables in memory have one status for all rules.
                        let last = last.map(|last| if last == 429 { 403 } else { last });
                        (last_words, open) = (last.filter(|_| whole), false);
                    }
                    Outcome::Reset | Outcome::Silenced => open = false,
                }
            }
            stream.cuts.push((end, answers));
            start = end;
        }
        Self { stream, complete: complete(&bytes), judged, last_words }
    }

    /// Requests that Nginx is to serve, in order, if it does not refuse them itself.
    pub(crate) fn passes(&self, mode: Mode) -> impl Iterator<Item = &Served> {
        self.judged(mode).iter().filter(|request| !request.denied).map(|request| &request.served)
    }

    /// What is wrong with what Nginx has served, and with the statuses that the client was told, if something is.
    pub(crate) fn fault(&self, mode: Mode, served: &[Served], statuses: &[u16]) -> Option<&'static str> {
        if served.iter().any(|served| served.path.starts_with(DENIED)) {
            return Some("Nginx served what is denied");
        }
        let (mut left, mut goes_on) = (served.iter().peekable(), true);
        for request in self.judged(mode) {
            let is_served = !request.denied && left.next_if_eq(&&request.served).is_some();
            if !request.denied && !is_served && goes_on && !request.origin_refuses {
                let other = "Nginx reads it otherwise";
                return Some(if left.peek().is_some() {
                    other
                } else {
                    "Nginx did not serve all that passes"
                });
            }
            // A refused request that may have a body may end its connection.
            let ends = request.denied && request.framed;
            goes_on &= request.goes_on && !request.origin_refuses && !ends;
        }
        if left.next().is_some() {
            return Some("Nginx served more than passes");
        }
        let told =
            mode == Mode::User || self.last_words.is_none() || statuses.last() == self.last_words.as_ref();
        (goes_on && !told).then_some("its last words did not come")
    }

    fn judged(&self, mode: Mode) -> &[Request] {
        match mode {
            Mode::Kernel | Mode::InPlace => &self.complete[..self.judged],
            // One is looked at after the other, wherever they stand.
            Mode::User => &self.complete,
        }
    }
}
