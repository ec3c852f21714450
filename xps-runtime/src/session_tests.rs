//! Sessions over in-memory pipes, with a handler that answers the line `PING` and counts what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use xps_core::handler::{Handler, Reply, Scan, Window};
use xps_core::verdict::{Reason, Verdict};

use super::*;

/// `!` makes a stream opaque; `?` does, too, and may not pass.
#[derive(Clone, Debug, Default)]
struct Lines {
    gone: Arc<AtomicU64>,
    opaque: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Default)]
struct Talk {
    /// Bytes of an unfinished line.
    open: u64,
    outstanding: u64,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    held: bool,
    lines: u32,
    pings: u32,
    last: u64,
}

impl Handler for Lines {
    type State = Talk;
    type Scratch = Seen;

    fn begin(&self, _: &FlowKey, scratch: &mut Seen) {
        *scratch = Seen::default();
    }

    fn request(&self, window: &mut Window, state: &mut Talk, scratch: &mut Seen) -> Scan {
        while let Some(byte) = window.next() {
            scratch.last = scratch.last << 8 | u64::from(byte);
            state.open += 1;
            scratch.held |= byte == b'?';
            if byte == b'!' || scratch.held {
                return Scan::Opaque;
            }
            if byte == b'\n' {
                scratch.lines += 1;
                scratch.pings +=
                    u32::from(state.open == 5 && scratch.last & 0xff_ffff_ffff == 0x50_494e_470a);
                state.open = 0;
            }
        }
        Scan::More
    }

    fn answer(&self, state: &mut Talk, scratch: &mut Seen, reply: &mut Reply, _: u32) -> Verdict {
        if state.open != 0 {
            return Verdict::Pass(Reason::Incomplete);
        }
        if state.outstanding != 0 {
            return Verdict::Pass(Reason::NotIdle);
        }
        if scratch.pings != scratch.lines {
            return Verdict::Pass(Reason::NotServed);
        }
        for _ in 0..scratch.lines {
            assert!(reply.append_word(u64::from_le_bytes(*b"FAST\n\0\0\0"), 5));
        }
        Verdict::Reply
    }

    fn holds(&self, scratch: &Seen) -> bool {
        scratch.held
    }

    fn passed(&self, state: &mut Talk, scratch: &mut Seen) {
        state.outstanding += u64::from(scratch.lines);
    }

    fn response(&self, window: &mut Window, state: &mut Talk, _: &mut Seen) -> Scan {
        while let Some(byte) = window.next() {
            state.outstanding -= u64::from(byte == b'\n');
        }
        Scan::More
    }

    fn opaque(&self, _: &mut Talk) {
        self.opaque.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, _: &FlowKey, _: &mut Talk) -> bool {
        true
    }

    fn requests(&self, scratch: &Seen) -> u32 {
        scratch.lines
    }
}

impl InProcess for Lines {
    type Handler = Self;

    fn handler(&self) -> &Self {
        self
    }

    fn start(&self) -> Talk {
        Talk::default()
    }

    fn scratch() -> Box<Seen> {
        Box::default()
    }

    fn is_idle(&self, state: &Talk) -> bool {
        state.outstanding == 0
    }

    fn gone(&self, _: &mut Talk) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }
}

struct Setup {
    client: DuplexStream,
    server: DuplexStream,
    lines: Lines,
    counts: Arc<SegmentCounts>,
    task: JoinHandle<End>,
}

/// A session whose pipes take `room` bytes at once.
fn setup(room: usize) -> Setup {
    let (client, mut near) = duplex(room);
    let (server, mut far) = duplex(room);
    let (lines, counts) = (Lines::default(), Arc::<SegmentCounts>::default());
    let (service, counting) = (lines.clone(), Arc::clone(&counts));
    let task = tokio::spawn(async move { Session::new(&service, &counting).run(&mut near, &mut far).await });
    Setup { client, server, lines, counts, task }
}

async fn read(stream: &mut DuplexStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
}

fn counted(setup: &Setup, reason: Reason) -> u64 {
    setup.counts.read()[reason as usize]
}

#[tokio::test]
async fn what_is_answered_never_reaches_the_server() {
    let mut setup = setup(1024);
    setup.client.write_all(b"PING\nPING\n").await.unwrap();
    read(&mut setup.client, b"FAST\nFAST\n").await;
    setup.client.write_all(b"other\n").await.unwrap();
    read(&mut setup.server, b"other\n").await;
    // One is outstanding: the next must not overtake it.
    setup.client.write_all(b"PING\n").await.unwrap();
    read(&mut setup.server, b"PING\n").await;
    setup.server.write_all(b"one\ntwo\n").await.unwrap();
    read(&mut setup.client, b"one\ntwo\n").await;
    setup.client.write_all(b"PI").await.unwrap();
    read(&mut setup.server, b"PI").await;
    setup.client.write_all(b"NG\n").await.unwrap();
    read(&mut setup.server, b"NG\n").await;
    setup.server.write_all(b"three\n").await.unwrap();
    read(&mut setup.client, b"three\n").await;
    setup.client.write_all(b"PING\n").await.unwrap();
    read(&mut setup.client, b"FAST\n").await;
    let counts = [Reason::Replied, Reason::NotServed, Reason::NotIdle, Reason::Incomplete];
    assert_eq!(counts.map(|reason| counted(&setup, reason)), [2, 2, 1, 1]);
    assert_eq!((counted(&setup, Reason::Requests), counted(&setup, Reason::RequestsAnswered)), (6, 3));
    let times = |served| setup.counts.latencies.read(served).buckets.iter().sum::<u64>();
    // Two replies; and twice the server was busy, the first time with two requests.
    assert_eq!((times(Served::Answered), times(Served::Passed)), (2, 2));
}

#[tokio::test]
async fn half_closes_pass_and_both_ends_end_it() {
    let mut setup = setup(16);
    setup.client.write_all(b"bye\n").await.unwrap();
    setup.client.shutdown().await.unwrap();
    let mut all = Vec::new();
    setup.server.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"bye\n");
    setup.server.write_all(b"late\n").await.unwrap();
    drop(setup.server);
    let mut all = Vec::new();
    setup.client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"late\n");
    assert!(matches!(setup.task.await.unwrap(), End::Closed));
    assert_eq!(setup.lines.gone.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn neither_side_makes_it_hoard() {
    let mut setup = setup(64);
    // The client asks and does not read: at some point nothing is taken any more, on either side.
    let asking = async {
        for _ in 0..100_000 {
            setup.client.write_all(b"PING\n").await.unwrap();
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), asking).await.is_err());
    assert!(counted(&setup, Reason::Requests) < 10_000);
}

#[tokio::test]
async fn the_servers_end_is_awaited_when_the_client_is_gone() {
    let mut setup = setup(1024);
    setup.client.write_all(b"work\n").await.unwrap();
    read(&mut setup.server, b"work\n").await;
    drop(setup.client);
    setup.server.write_all(b"done\n").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(setup.lines.gone.load(Ordering::Relaxed), 0, "the server may still be at work");
    drop(setup.server);
    setup.task.await.unwrap();
    assert_eq!(setup.lines.gone.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_is_not_understood_passes_from_then_on() {
    let mut setup = setup(1024);
    setup.client.write_all(b"what!\n").await.unwrap();
    read(&mut setup.server, b"what!\n").await;
    setup.server.write_all(b"a\nb\nc\n").await.unwrap();
    read(&mut setup.client, b"a\nb\nc\n").await;
    setup.client.write_all(b"PING\n").await.unwrap();
    read(&mut setup.server, b"PING\n").await;
    assert_eq!(setup.lines.opaque.load(Ordering::Relaxed), 1);
    assert_eq!(counted(&setup, Reason::Opaque), 2);
}

#[tokio::test]
async fn what_is_neither_understood_nor_may_pass_ends_the_connection() {
    let mut setup = setup(1024);
    setup.client.write_all(b"a\n").await.unwrap();
    read(&mut setup.server, b"a\n").await;
    setup.client.write_all(b"b\nwhat?\n").await.unwrap();
    assert!(matches!(setup.task.await.unwrap(), End::Reset));
    let mut rest = Vec::new();
    setup.server.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    assert_eq!(setup.lines.opaque.load(Ordering::Relaxed), 0);
    assert_eq!(setup.lines.gone.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_a_server_says_before_its_reset_reaches_the_client() {
    use socket2::SockRef;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (connected, listener.accept().await.unwrap().0)
    }

    let (mut client, mut near) = pair().await;
    let (mut far, mut server) = pair().await;
    far.write_all(b"not understood").await.unwrap();
    server.readable().await.unwrap();
    server.write_all(b"why\n").await.unwrap();
    // With something unread, a close is a reset.
    drop(server);
    far.readable().await.unwrap();
    client.write_all(b"more\n").await.unwrap();
    near.readable().await.unwrap();
    let (lines, counts) = (Lines::default(), SegmentCounts::default());
    let mut session = Session::new(&lines, &counts);
    session.state.outstanding = 1;
    assert!(matches!(session.run(&mut near, &mut far).await, End::Reset));
    SockRef::from(&near).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(near);
    let mut got = Vec::new();
    assert!(client.read_to_end(&mut got).await.is_err());
    assert_eq!(got, b"why\n");
}

#[tokio::test]
async fn times_end_when_the_client_has_its_reply_and_the_server_no_more_to_do() {
    use std::time::Duration;
    let mut setup = setup(5);
    let count = |setup: &Setup, served| setup.counts.latencies.read(served).buckets.iter().sum::<u64>();
    let pause = Duration::from_millis(30);
    // The pipe takes five bytes at once: the second reply waits for the reader of the first.
    for _ in 0..2 {
        setup.client.write_all(b"PING\n").await.unwrap();
        tokio::time::sleep(pause).await;
    }
    assert_eq!(count(&setup, Served::Answered), 1);
    read(&mut setup.client, b"FAST\nFAST\n").await;
    // The next request is read after the reply was written.
    setup.client.write_all(b"x").await.unwrap();
    read(&mut setup.server, b"x").await;
    // Part of a request, however long it stays one, keeps the server from nothing.
    tokio::time::sleep(pause).await;
    setup.client.write_all(b"\n").await.unwrap();
    read(&mut setup.server, b"\n").await;
    setup.server.write_all(b"y\n").await.unwrap();
    read(&mut setup.client, b"y\n").await;
    assert_eq!((count(&setup, Served::Answered), count(&setup, Served::Passed)), (2, 1));
    let sum_ns = setup.counts.latencies.read(Served::Answered).sum_ns;
    assert!(Duration::from_nanos(sum_ns) >= pause);
}
