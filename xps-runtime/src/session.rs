//! A connection of the user path with a service's handler in between: the same handler, the same verdicts, over two
//! sockets instead of in the stack.
//!
//! What arrives at once from the client is a segment. The handler reads it before the server can see it; a segment that
//! it answers never reaches the server, every other one goes on unchanged and whole. Replies of the server are read
//! before the client can see them. Each client has a connection to the server of its own, so whatever state the server
//! keeps for a connection is right by construction.
//!
//! Memory is bounded: a direction is read only while nothing of it waits to be written, and a segment is answered only
//! while nothing waits for the client.
//!
//! A server that resets may have said something before, such as why: the client still gets that. If the client vanishes,
//! the server's replies are still read to their end: until then the server may be at work for it,
//! and the handler may hold something on its behalf.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, REPLY_MAX, Reply, Scan, WINDOW, Window};
use xps_core::verdict::{Reason, Verdict};

use crate::latency::Served;
pub use crate::segments::SegmentCounts;

/// Bytes that are read at once.
const SEGMENT: usize = 16 * 1024;

/// A handler that can serve in a process.
pub trait InProcess: Clone + Send + Sync + 'static {
    /// The handler.
    type Handler: Handler<State: Send, Scratch: 'static> + 'static;

    /// The handler over its tables.
    fn handler(&self) -> &Self::Handler;

    /// A connection at its start.
    fn start(&self) -> State<Self>;

    /// Room for what is collected about a segment.
    fn scratch() -> Box<Scratch<Self>>;

    /// Whether everything that was passed to the server is answered.
    fn is_idle(&self, state: &State<Self>) -> bool;

    /// The server has closed the connection: it does nothing for it any more, and what is held is given back.
    fn gone(&self, state: &mut State<Self>);
}

type State<H> = <<H as InProcess>::Handler as Handler>::State;
type Scratch<H> = <<H as InProcess>::Handler as Handler>::Scratch;

/// What one segment needs and no connection keeps.
struct Workspace<H: InProcess> {
    bytes: Box<[u8; SEGMENT]>,
    window: Box<Window>,
    scratch: Box<Scratch<H>>,
    reply: Box<Reply>,
}

thread_local! {
    /// The workspace of this thread, of whichever handler it served last.
    static WORKSPACE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

fn with_workspace<H: InProcess, R>(work: impl FnOnce(&mut Workspace<H>) -> R) -> R {
    WORKSPACE.with(|place| {
        let mut place = place.borrow_mut();
        if place.as_ref().is_none_or(|any| !any.is::<Workspace<H>>()) {
            *place = Some(Box::new(Workspace::<H> {
                bytes: Box::new([0; SEGMENT]),
                window: Box::new(Window::EMPTY),
                scratch: H::scratch(),
                reply: Box::new(Reply::EMPTY),
            }));
        }
        let any = place.as_mut().and_then(|any| any.downcast_mut::<Workspace<H>>());
        work(any.expect("it was just made"))
    })
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// Bytes that were read and not written, from `at` on.
    pending: Vec<u8>,
    at: usize,
    /// Its sender has closed.
    ended: bool,
    /// Its receiver was told so.
    closed: bool,
    /// Bytes that the handler does not want to see.
    skip: u64,
    /// The handler does not understand it any more.
    opaque: bool,
    /// Bytes so far.
    bytes: u64,
}

impl Lane {
    fn is_clear(&self) -> bool {
        self.at == self.pending.len()
    }

    /// Writes what is pending.
    fn flush(&mut self, to: Pin<&mut impl AsyncWrite>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut to = to;
        while !self.is_clear() {
            match ready!(to.as_mut().poll_write(cx, &self.pending[self.at..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.at += written,
            }
        }
        self.pending.clear();
        self.at = 0;
        if self.pending.capacity() > 4 * SEGMENT {
            self.pending = Vec::new();
        }
        to.poll_flush(cx)
    }

    /// Writes `bytes`, or keeps what cannot be written now. Nothing may be pending.
    fn send(&mut self, bytes: &[u8], to: Pin<&mut impl AsyncWrite>, cx: &mut Context<'_>) -> io::Result<()> {
        let written = match to.poll_write(cx, bytes) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// Both sides have closed.
    Closed,
    /// The client has vanished, or reset the connection.
    ClientGone,
    /// The server has reset the connection, or the handler asked for that: the client must not take its stream as whole.
    Reset,
}

/// A connection: bytes of either direction so far, and the handler's state.
pub struct Session<'a, H: InProcess> {
    service: &'a H,
    counts: &'a SegmentCounts,
    state: State<H>,
    up: Lane,
    down: Lane,
    client_gone: bool,
    /// The server has reset the connection: once the client has what came before, its end is a reset too.
    torn: bool,
    /// When the segment was read whose reply is not written yet.
    answering: Option<Instant>,
    /// Since when the server is at work for it.
    busy: Option<Instant>,
}

impl<H: InProcess> Drop for Session<'_, H> {
    fn drop(&mut self) {
        self.service.gone(&mut self.state);
    }
}

impl<'a, H: InProcess> Session<'a, H> {
    /// A connection at its start.
    #[must_use]
    pub fn new(service: &'a H, counts: &'a SegmentCounts) -> Self {
        let (up, down) = (Lane::default(), Lane::default());
        let state = service.start();
        let (client_gone, torn, answering, busy) = (false, false, None, None);
        Self { service, counts, state, up, down, client_gone, torn, answering, busy }
    }

    /// Serves until the end. Gives bytes to the server and to the client, too.
    pub async fn run(
        &mut self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> End {
        std::future::poll_fn(|cx| self.poll(Pin::new(&mut *client), Pin::new(&mut *server), cx)).await
    }

    /// Bytes that came from the client, and from the server.
    #[must_use]
    pub const fn bytes(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    fn poll(
        &mut self,
        mut client: Pin<&mut (impl AsyncRead + AsyncWrite)>,
        mut server: Pin<&mut (impl AsyncRead + AsyncWrite)>,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        if !self.client_gone
            && let Poll::Ready(Err(fault)) = self.poll_up(client.as_mut(), server.as_mut(), cx)
        {
            match fault {
                Fault::Client => self.lose_client(),
                Fault::Server => self.tear(),
                Fault::Refused => return Poll::Ready(End::Reset),
            }
        }
        if let Poll::Ready(Err(fault)) = self.poll_down(client.as_mut(), server.as_mut(), cx) {
            match fault {
                Fault::Client => self.lose_client(),
                Fault::Server | Fault::Refused => {
                    self.tear();
                    self.down.ended = true;
                }
            }
        }
        if self.torn && !self.client_gone {
            if !self.down.ended {
                return Poll::Pending;
            }
            // Nothing more comes: what waits for the client goes out first.
            return match self.down.flush(client, cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(_) => Poll::Ready(End::Reset),
            };
        }
        if self.client_gone {
            // What was asked for completely is carried out; the server's end of stream tells when.
            if !self.up.closed {
                match server.as_mut().poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => self.up.closed = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(End::ClientGone),
                    Poll::Pending => {}
                }
            }
            return match self.poll_down(client, server, cx) {
                Poll::Ready(Err(_)) => Poll::Ready(End::ClientGone),
                _ if self.down.ended => Poll::Ready(End::ClientGone),
                _ => Poll::Pending,
            };
        }
        if self.up.closed && self.down.closed { Poll::Ready(End::Closed) } else { Poll::Pending }
    }

    /// The server takes nothing more.
    fn tear(&mut self) {
        self.torn = true;
        (self.up.ended, self.up.closed) = (true, true);
        (self.up.pending, self.up.at) = (Vec::new(), 0);
    }

    fn lose_client(&mut self) {
        self.client_gone = true;
        self.up.ended = true;
        for lane in [&mut self.up, &mut self.down] {
            lane.pending = Vec::new();
            lane.at = 0;
        }
    }

    /// Client to server.
    fn poll_up(
        &mut self,
        mut client: Pin<&mut (impl AsyncRead + AsyncWrite)>,
        mut server: Pin<&mut (impl AsyncRead + AsyncWrite)>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            ready!(self.up.flush(server.as_mut(), cx)).map_err(|_| Fault::Server)?;
            if self.up.ended {
                if !self.up.closed {
                    ready!(server.as_mut().poll_shutdown(cx)).map_err(|_| Fault::Server)?;
                    self.up.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(with_workspace::<H, _>(|workspace| {
                let read =
                    ready!(fill(&mut workspace.bytes, client.as_mut(), cx)).map_err(|_| Fault::Client)?;
                self.up.ended = read == 0;
                if read != 0 {
                    self.request(workspace, read, client.as_mut(), server.as_mut(), cx)?;
                }
                Poll::Ready(Ok::<_, Fault>(()))
            }))?;
        }
    }

    /// A segment of the client.
    fn request(
        &mut self,
        workspace: &mut Workspace<H>,
        len: usize,
        client: Pin<&mut impl AsyncWrite>,
        server: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let start = Instant::now();
        self.up.bytes += len as u64;
        // A stream has no addresses; whoever looks at them is not served here.
        self.service.handler().begin(&FlowKey::default(), &mut workspace.scratch);
        let understood = self.scan(workspace, len, Side::Client);
        let requests = u64::from(self.service.handler().requests(&workspace.scratch));
        self.counts.add(Reason::Requests, requests);
        let verdict = if !understood {
            if self.service.handler().holds(&workspace.scratch) {
                Verdict::Close(Reason::WasReset)
            } else {
                Verdict::Pass(Reason::Opaque)
            }
        } else if !self.down.is_clear() {
            Verdict::Pass(Reason::NotIdle)
        } else {
            workspace.reply.len = 0;
            let Workspace { scratch, reply, .. } = workspace;
            self.service.handler().answer(&mut self.state, scratch, reply, REPLY_MAX as u32)
        };
        match verdict {
            Verdict::Reply => {
                self.counts.add(Reason::Replied, 1);
                self.counts.add(Reason::RequestsAnswered, requests);
                let reply = &workspace.reply.bytes[..workspace.reply.len as usize];
                self.down.send(reply, client, cx).map_err(|_| Fault::Client)?;
                self.answering = Some(start);
                self.reply_written();
                Ok(())
            }
            Verdict::Pass(reason) => {
                self.counts.add(reason, 1);
                if understood {
                    self.service.handler().passed(&mut self.state, &mut workspace.scratch);
                    if self.busy.is_none() && !self.service.is_idle(&self.state) {
                        self.busy = Some(start);
                    }
                }
                self.up.send(&workspace.bytes[..len], server, cx).map_err(|_| Fault::Server)
            }
            Verdict::Drop(reason) | Verdict::Close(reason) => {
                // A stream has no packet that could come again: there is only the whole connection.
                self.counts.add(reason, 1);
                Err(Fault::Refused)
            }
        }
    }

    /// Server to client.
    fn poll_down(
        &mut self,
        mut client: Pin<&mut (impl AsyncRead + AsyncWrite)>,
        mut server: Pin<&mut (impl AsyncRead + AsyncWrite)>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            ready!(self.down.flush(client.as_mut(), cx)).map_err(|_| Fault::Client)?;
            self.reply_written();
            if self.down.ended {
                if !self.down.closed && !self.client_gone && !self.torn {
                    ready!(client.as_mut().poll_shutdown(cx)).map_err(|_| Fault::Client)?;
                    self.down.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(with_workspace::<H, _>(|workspace| {
                let read =
                    ready!(fill(&mut workspace.bytes, server.as_mut(), cx)).map_err(|_| Fault::Server)?;
                self.down.ended = read == 0;
                self.down.bytes += read as u64;
                self.scan(workspace, read, Side::Server);
                if !self.client_gone {
                    let bytes = &workspace.bytes[..read];
                    self.down.send(bytes, client.as_mut(), cx).map_err(|_| Fault::Client)?;
                }
                if let Some(since) = self.busy
                    && self.service.is_idle(&self.state)
                {
                    self.busy = None;
                    self.counts.latencies.add(Served::Passed, since.elapsed());
                }
                Poll::Ready(Ok::<_, Fault>(()))
            }))?;
        }
    }

    /// Takes note of a reply's time once the client has all of it.
    fn reply_written(&mut self) {
        if self.down.is_clear()
            && let Some(start) = self.answering.take()
        {
            self.counts.latencies.add(Served::Answered, start.elapsed());
        }
    }

    /// Shows the handler a segment, window by window. Whether it understood all of it.
    fn scan(&mut self, workspace: &mut Workspace<H>, len: usize, from: Side) -> bool {
        let lane = match from {
            Side::Client => &mut self.up,
            Side::Server => &mut self.down,
        };
        if lane.opaque {
            return false;
        }
        let Workspace { bytes, window, scratch, .. } = workspace;
        let mut at = 0;
        loop {
            let skipped = usize::try_from(lane.skip).unwrap_or(usize::MAX).min(len - at);
            at += skipped;
            lane.skip -= skipped as u64;
            if at == len {
                return true;
            }
            let part = &bytes[at..len.min(at + WINDOW)];
            window.bytes[..part.len()].copy_from_slice(part);
            (window.at, window.len, window.base, window.skip) = (0, part.len() as u32, at as u32, 0);
            loop {
                let scan = match from {
                    Side::Client => self.service.handler().request(window, &mut self.state, scratch),
                    Side::Server => self.service.handler().response(window, &mut self.state, scratch),
                };
                match scan {
                    Scan::Again => continue,
                    Scan::Settle => {
                        self.service.handler().settle(&mut self.state, scratch);
                        if window.at < window.len {
                            continue;
                        }
                    }
                    Scan::More => {}
                    Scan::Skip => lane.skip = u64::from(window.skip),
                    Scan::Opaque => {
                        lane.opaque = true;
                        // What is held goes nowhere: the connection ends.
                        if !(matches!(from, Side::Client) && self.service.handler().holds(scratch)) {
                            self.lose_sense();
                        }
                        return false;
                    }
                }
                break;
            }
            at += window.at as usize;
        }
    }

    /// The handler is told once, whichever direction it was.
    fn lose_sense(&mut self) {
        if self.up.opaque != self.down.opaque {
            self.service.handler().opaque(&mut self.state);
        }
        (self.up.opaque, self.down.opaque) = (true, true);
    }
}

/// Who sends.
#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

/// Whose connection is broken.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Client,
    Server,
    /// The handler wants it to end.
    Refused,
}

fn fill(
    bytes: &mut [u8; SEGMENT],
    from: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    ready!(from.poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
