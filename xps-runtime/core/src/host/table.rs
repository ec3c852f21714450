//! The table of packets: what goes in, what comes out, what is counted. Run on the host by a test of this crate, and by
//! others against the kernel's programs.
//!
//! All packets have complete checksums, which is the harder form. The handler is the line service of the examples or one
//! that does the same: `PING\n` is answered with `PONG\n`, `QUIT\n` ends the connection with `BYE\n`, `ABRT\n` with a reset,
//! `HUSH\n` without a word; everything else goes to the server.

mod acceptance;
mod congestion;
mod ends;
mod local;
mod pieces;

use std::string::String;
use std::vec::Vec;

use super::frame::Frame;
use super::segment::{PLAIN_PORT, Text, client, server};
use crate::abi::Local;
use crate::path::Socket;
use crate::splice::tcp_flag::{ACK, FIN, PSH, RST};
use crate::verdict::Reason;

/// What a packet becomes.
#[derive(Clone, Debug)]
pub enum Becomes {
    /// It goes on, as this.
    Next(Frame),
    /// It is gone.
    Dropped,
    /// It is gone, and the client gets these. A kernel test sees the last one.
    Copies(Vec<Frame>),
    /// It goes back to the client, as this.
    Reply(Frame),
    /// It goes back to the server, as this.
    Acknowledgement(Frame),
    /// It goes back to the client, as this, and the server gets a packet of its own, which a kernel test does not see.
    Both {
        /// What the client gets.
        client: Frame,
        /// What the server gets.
        server: Frame,
    },
}

/// One step of a case.
#[derive(Clone, Debug)]
pub enum Step {
    /// A packet through ingress (`from_server` false) or egress.
    Packet {
        /// Whether the server sends it.
        from_server: bool,
        /// What goes in.
        frame: Frame,
        /// What comes out.
        becomes: Becomes,
        /// What it adds to the counters; those that are not named do not change.
        counts: Vec<(Reason, u64)>,
    },
    /// The server's socket is in this state from now on. A kernel test can only have [`Socket::Free`].
    Socket(Socket),
    /// The agent says this of an address from now on; `None`: it is no address of this host.
    Local([u8; 16], Option<Local>),
    /// The agent's lease lapses.
    LeaseLapses,
    /// The flow table has room for this many.
    FlowsMax(u32),
}

/// A case: a machine that knows nothing, and what happens to it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// The client's initial sequence number: the payload's numbers wrap.
const C: u32 = u32::MAX - 3;
/// The server's.
const S: u32 = 0x7fff_fffe;

fn packet(text: &Text, becomes: Becomes, counts: &[(Reason, u64)]) -> Step {
    Step::Packet { from_server: text.from_server, frame: text.frame(), becomes, counts: counts.to_vec() }
}

/// What goes on to the server.
fn passed(text: &Text) -> Becomes {
    next(text)
}

/// What goes on to the client.
fn returned(text: &Text) -> Becomes {
    next(text)
}

fn next(text: &Text) -> Becomes {
    Becomes::Next(text.frame())
}

/// A number of the client's, `n` bytes into its stream.
const fn c(n: u32) -> u32 {
    C.wrapping_add(1).wrapping_add(n)
}

/// A number of the server's.
const fn s(n: u32) -> u32 {
    S.wrapping_add(1).wrapping_add(n)
}

/// A handshake with these options of the client, and a first exchange that goes to the server: `A\n`, `B\n`.
fn opened(v6: bool, syn: &[u8]) -> Vec<Step> {
    exchanged(&client(C, 0, b"").over(v6).options(syn).opening(), &server(S, c(0), b"").over(v6).opening())
}

/// A handshake with this SYN and this SYN-ACK, and that exchange.
fn exchanged(syn: &Text, answer: &Text) -> Vec<Step> {
    let v6 = syn.v6;
    let ack = client(c(0), s(0), b"").over(v6);
    let request = client(c(0), s(0), b"A\n").over(v6);
    let response = server(s(0), c(2), b"B\n").over(v6);
    std::vec![
        Step::Socket(Socket::Free),
        packet(syn, passed(syn), &[]),
        packet(answer, returned(answer), &[]),
        Step::Socket(Socket::Live),
        packet(&ack, passed(&ack), &[(Reason::FlowOpened, 1), (Reason::NoPayload, 1)]),
        packet(&request, passed(&request), &[(Reason::Requests, 1), (Reason::NotServed, 1)]),
        packet(&response, returned(&response), &[]),
    ]
}

/// A segment with one request that goes to the server, for this reason.
fn requests_counted(reason: Reason) -> [(Reason, u64); 2] {
    [(Reason::Requests, 1), (reason, 1)]
}

/// `PING` right behind [`opened`], and its reply.
fn hit(v6: bool) -> (Text, Text) {
    let request = client(c(2), s(2), b"PING\n").over(v6);
    // The stack's own headers: the packet's identification and flags are kept, its hops are new.
    let mut reply = server(s(2), c(7), b"PONG\n").over(v6);
    reply.flags = ACK | PSH;
    (request, reply)
}

const HIT: [(Reason, u64); 4] = [
    (Reason::Requests, 1),
    (Reason::RequestsAnswered, 1),
    (Reason::Replied, 1),
    (Reason::ServerAcknowledged, 1),
];

fn hit_step(v6: bool) -> Step {
    let (request, reply) = hit(v6);
    packet(&request, Becomes::Reply(reply.frame()), &HIT)
}

/// The same with a window that makes the complete checksum the number which an unfinished one would be.
fn lookalike(text: &Text) -> Text {
    let windows = (100..=u16::MAX).map(|window| Text { window, ..text.clone() });
    let checksum = |frame: &Frame| frame.bytes[50..52].to_vec();
    let mut alike = windows.filter(|text| {
        let mut frame = text.frame();
        let complete = checksum(&frame);
        frame.make_partial();
        complete == checksum(&frame)
    });
    alike.next().expect("a window for each sum")
}

/// A client's frame that is dropped, for this reason.
fn dropped(frame: Frame, reason: Reason) -> Step {
    Step::Packet { from_server: false, frame, becomes: Becomes::Dropped, counts: std::vec![(reason, 1)] }
}

fn case(name: &str, steps: Vec<Step>) -> Case {
    Case { name: name.into(), steps }
}

fn after(v6: bool, steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut all = opened(v6, &[]);
    all.extend(steps);
    all
}

fn after_hit(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut all = after(false, [hit_step(false)]);
    all.extend(steps);
    all
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all = opening();
    all.extend(exchange());
    all.extend(refusals());
    all.extend(endings());
    all.extend(congestion::cases());
    all.extend(ends::cases());
    all.extend(acceptance::cases());
    all.extend(local::cases());
    all.extend(pieces::cases());
    all
}

fn opening() -> Vec<Case> {
    let syn = client(C, 0, b"").opening();
    let mptcp = client(C, 0, b"").options(&[2, 4, 5, 180, 30, 4, 0, 0x81]).opening();
    let plain = client(C, 0, b"").port(PLAIN_PORT).opening();
    let mut data = client(C, 0, b"A\n").opening();
    data.window = 77;
    let elsewhere = client(C, 0, b"").port(22).opening();
    let late = client(c(50), s(50), b"A\n");
    let miss = client(c(7), s(7), b"X\n");
    let to_server = |text: &Text| {
        passed(&Text { seq: text.seq.wrapping_sub(5), ack: text.ack.wrapping_sub(5), ..text.clone() })
    };
    let mut cut = syn.clone();
    cut.fragment = 0;
    let answer = server(S, c(0), b"").opening();
    let smaller = answer.clone().options(&[2, 4, 2, 24]);
    let other_order = answer.clone().options(&[1, 1, 1, 1, 2, 4, 5, 180]);
    let unseen = client(c(0), s(0), b"");
    let reset = Text { ack: 0, ..client(c(80), 0, b"").flags(RST) };
    let challenge = server(s(90), c(80), b"");
    let mut again = opened(false, &[]);
    again.insert(3, packet(&syn, passed(&syn), &[]));
    std::vec![
        case("a SYN to another port", std::vec![packet(&elsewhere, next(&elsewhere), &[])]),
        case("a SYN to the plain port", std::vec![packet(&plain, next(&plain), &[])]),
        case("a handshake and a miss", opened(false, &[])),
        case("a handshake and a miss over IPv6", opened(true, &[])),
        case("a SYN with MPTCP", std::vec![packet(&mptcp, next(&mptcp), &[(Reason::NotSpliceable, 1)])]),
        case(
            "a client whose packets may be cut on the way",
            std::vec![
                packet(&cut, passed(&cut), &[]),
                packet(&answer, returned(&smaller), &[]),
                packet(&other_order, returned(&other_order), &[]),
                packet(&syn, passed(&syn), &[]),
                packet(&answer, returned(&answer), &[]),
            ]
        ),
        case("a SYN with data", std::vec![packet(&data, next(&data), &[(Reason::NotSpliceable, 1)])]),
        case(
            "the table is full",
            std::vec![Step::FlowsMax(0), packet(&syn, next(&syn), &[(Reason::FlowTableFull, 1)])]
        ),
        case(
            "a connection of the user path",
            std::vec![
                Step::FlowsMax(0),
                packet(&syn, next(&syn), &[(Reason::FlowTableFull, 1)]),
                Step::Socket(Socket::Opening),
                packet(&unseen, next(&unseen), &[]),
                Step::Socket(Socket::Live),
                packet(&late, next(&late), &[]),
                packet(&syn, next(&syn), &[(Reason::TupleInUse, 1)]),
            ]
        ),
        case("no socket and no handshake", std::vec![packet(&late, next(&late), &[])]),
        case(
            "a half-open connection whose mark was lost",
            std::vec![
                Step::Socket(Socket::Opening),
                dropped(unseen.frame(), Reason::HandshakeUnseen),
                dropped(late.frame(), Reason::HandshakeUnseen),
            ]
        ),
        case("the SYN again before the first acknowledgement", again),
        case(
            "the SYN again behind the first acknowledgement",
            after_hit([
                Step::Socket(Socket::Opening),
                packet(&syn, passed(&syn), &[]),
                Step::Socket(Socket::Live),
                packet(&miss, to_server(&miss), &[(Reason::Requests, 1), (Reason::NotServed, 1)]),
            ])
        ),
        case(
            "a SYN that meets an older connection at the server",
            std::vec![
                packet(&syn, passed(&syn), &[]),
                packet(&challenge, returned(&challenge), &[]),
                packet(&reset, passed(&reset), &[]),
                packet(&syn, passed(&syn), &[]),
            ]
        ),
        case("a reset without a handshake", std::vec![packet(&reset, next(&reset), &[])]),
        case(
            "another SYN after the server forgot the connection",
            after_hit([Step::Socket(Socket::Free), packet(&syn, passed(&syn), &[(Reason::FlowClosed, 1)]),])
        ),
    ]
}

fn exchange() -> Vec<Case> {
    let (request, reply) = hit(false);
    let two = client(c(2), s(2), b"PING\nPING\n");
    let mut two_replies = reply.clone();
    (two_replies.payload, two_replies.ack) = (b"PONG\nPONG\n".to_vec(), c(12));
    let ack = client(c(7), s(7), b"");
    let miss = client(c(7), s(7), b"X\n");
    let response = server(s(2), c(4), b"Y\n");
    let old = server(s(0), c(2), b"B\n");
    let early = server(s(2), c(2), b"");
    let to_server = |text: &Text, seq, ack| Text { seq, ack, ..text.clone() }.frame();
    let to_client = |text: &Text, seq, ack| Text { seq, ack, ..text.clone() }.frame();
    let keepalive = client(c(6), s(7), b"");
    let sack = client(c(7), s(7), b"").options(&[1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    let blanked = client(c(7), s(7), b"").options(&[1, 1, 254, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    let mut bare = client(c(2), s(2), b"");
    (bare.window, bare.hops) = (1000, 64);
    std::vec![
        case("a hit", after(false, [hit_step(false)])),
        case("a hit over IPv6", after(true, [hit_step(true)])),
        case(
            "a hit whose checksum looks unfinished",
            after(false, [packet(&lookalike(&request), Becomes::Reply(reply.frame()), &HIT)])
        ),
        case(
            "two requests in a segment",
            after(
                false,
                [packet(
                    &two,
                    Becomes::Reply(two_replies.frame()),
                    &[
                        (Reason::Requests, 2),
                        (Reason::RequestsAnswered, 2),
                        (Reason::Replied, 1),
                        (Reason::ServerAcknowledged, 1),
                    ]
                )]
            )
        ),
        case(
            "the same request again",
            after_hit([packet(&request, Becomes::Reply(reply.frame()), &[(Reason::Resent, 1)])])
        ),
        case(
            "the same request after its reply was acknowledged",
            after_hit([
                packet(&ack, Becomes::Next(to_server(&ack, c(2), s(2))), &[(Reason::NoPayload, 1)]),
                packet(
                    &request,
                    Becomes::Next(to_server(&request, c(2).wrapping_sub(5), s(2))),
                    &[(Reason::Retransmission, 1)]
                ),
            ])
        ),
        case(
            "a miss after a hit, and its response",
            after_hit([
                packet(
                    &miss,
                    Becomes::Next(to_server(&miss, c(2), s(2))),
                    &[(Reason::Requests, 1), (Reason::NotServed, 1)]
                ),
                packet(&response, Becomes::Next(to_client(&response, s(7), c(9))), &[]),
            ])
        ),
        case(
            "an old segment of the server after a hit",
            after_hit([packet(
                &old,
                Becomes::Acknowledgement(bare.frame()),
                &[(Reason::StaleServerSegment, 1), (Reason::ServerAcknowledged, 1)]
            )])
        ),
        case(
            "an acknowledgement of the server before the client has the reply",
            after_hit([packet(&early, Becomes::Next(to_client(&early, s(7), c(2))), &[])])
        ),
        case(
            "a keepalive",
            after_hit([packet(
                &keepalive,
                Becomes::Next(to_server(&keepalive, c(1), s(2))),
                &[(Reason::NoPayload, 1)]
            )])
        ),
        case(
            "SACK blocks",
            after_hit([packet(
                &sack,
                Becomes::Next(to_server(&blanked, c(2), s(2))),
                &[(Reason::NoPayload, 1)]
            )])
        ),
    ]
}

fn refusals() -> Vec<Case> {
    let (request, _) = hit(false);
    let requests = requests_counted;
    let refused =
        |name, text: &Text, reason| case(name, after(false, [packet(text, passed(text), &requests(reason))]));
    let mut narrow = request.clone();
    narrow.window = 4;
    let mut fragment = request.clone();
    fragment.fragment = 0x2000;
    let mut six = hit(true).0;
    six.fragment = 0x2000;
    let beyond = client(c(3), s(2), b"PING\n");
    let part = client(c(2), s(2), b"PI");
    let rest = client(c(4), s(2), b"NG\n");
    let behind = client(c(2), s(1), b"PING\n");
    let mut bad = request.frame();
    bad.bytes[50] ^= 1;
    let bad = dropped(bad, Reason::BadChecksum);
    let mut unfinished = lookalike(&request).frame();
    unfinished.bytes[55] ^= 1;
    let unfinished = dropped(unfinished, Reason::BadChecksum);
    let mut small = opened(false, &[2, 4, 0, 4]);
    small.push(packet(&request, passed(&request), &requests(Reason::TooLarge)));
    let lapsed = [Step::LeaseLapses, packet(&request, passed(&request), &requests(Reason::NoLease))];
    std::vec![
        refused("a window that is too small", &narrow, Reason::TooLarge),
        case("a segment size that is too small", small),
        refused("an acknowledgement behind the server's bytes", &behind, Reason::NotIdle),
        case("a lease that has lapsed", after(false, lapsed)),
        case(
            "beyond the next byte",
            after(false, [packet(&beyond, Becomes::Dropped, &[(Reason::OutOfOrder, 1)])])
        ),
        case("a fragment", after(false, [packet(&fragment, Becomes::Dropped, &[(Reason::Fragment, 1)])])),
        case("a fragment of IPv6", after(true, [packet(&six, Becomes::Dropped, &[(Reason::Fragment, 1)])])),
        case("a bad checksum", after(false, [bad])),
        case("a bad checksum that looks unfinished", after(false, [unfinished])),
        case(
            "a request in two segments",
            after(
                false,
                [
                    packet(&part, passed(&part), &[(Reason::Incomplete, 1)]),
                    packet(&rest, passed(&rest), &[(Reason::Requests, 1), (Reason::NotIdle, 1)]),
                ]
            )
        ),
    ]
}

fn endings() -> Vec<Case> {
    let to_server =
        |text: &Text| Text { seq: text.seq.wrapping_sub(5), ack: text.ack.wrapping_sub(5), ..text.clone() };
    let to_client =
        |text: &Text| Text { seq: text.seq.wrapping_add(5), ack: text.ack.wrapping_add(5), ..text.clone() };
    let fin = client(c(7), s(7), b"").flags(FIN | ACK);
    let server_fin = server(s(2), c(3), b"").flags(FIN | ACK);
    let last = client(c(8), s(8), b"");
    let reset = client(c(7), s(7), b"").flags(RST | ACK);
    let server_reset = server(s(2), c(2), b"").flags(RST | ACK);
    std::vec![
        case(
            "the client closes, then the server",
            after_hit([
                packet(&fin, passed(&to_server(&fin)), &[(Reason::NotIdle, 1)]),
                packet(&server_fin, returned(&to_client(&server_fin)), &[]),
                packet(&last, passed(&to_server(&last)), &[(Reason::NoPayload, 1), (Reason::FlowClosed, 1)]),
            ])
        ),
        case(
            "the client resets",
            after_hit([packet(&reset, passed(&to_server(&reset)), &[(Reason::NoPayload, 1)])])
        ),
        case(
            "the server resets",
            after_hit([packet(&server_reset, returned(&to_client(&server_reset)), &[])])
        ),
    ]
}
