//! Congestion that requests have met, and what client and server are told of it (T7, RFC 3168).

use super::{
    Becomes, C, Case, HIT, S, Step, c, case, exchanged, packet, passed, requests_counted, returned, s,
};
use crate::host::segment::{Text, client, server};
use crate::outlet::{CE, ECT_0};
use crate::splice::tcp_flag::{ACK, CWR, ECE, PSH, SYN};
use crate::verdict::Reason;

use std::vec::Vec;

/// What counts when a request is answered and the server is told nothing.
const ANSWERED: [(Reason, u64); 3] =
    [(Reason::Requests, 1), (Reason::RequestsAnswered, 1), (Reason::Replied, 1)];

/// A handshake in which the client offers ECN, and the server takes it unless it says `refused`; and a first exchange.
fn opened(v6: bool, refused: bool) -> Vec<Step> {
    let syn = client(C, 0, b"").over(v6).opening().flags(SYN | ECE | CWR);
    let answer = server(S, c(0), b"").over(v6).opening().flags(SYN | ACK | if refused { 0 } else { ECE });
    exchanged(&syn, &answer)
}

/// The `n`th `PING`, with these flags and this codepoint.
fn ping(n: u32, flags: u8, codepoint: u8) -> Text {
    client(c(2 + 5 * n), s(2 + 5 * n), b"PING\n").flags(ACK | PSH | flags).service(codepoint)
}

/// The reply to it.
fn pong(n: u32, flags: u8, codepoint: u8) -> Text {
    server(s(2 + 5 * n), c(7 + 5 * n), b"PONG\n").flags(ACK | PSH | flags).service(codepoint)
}

/// The server hears with the `n`th `PING` that the window is reduced, in its own numbers: it knows of none.
fn heard(request: &Text, reply: &Text, counts: &[(Reason, u64)]) -> Step {
    let server = client(c(2), s(2), b"").over(request.v6).flags(ACK | CWR);
    let mut counts = counts.to_vec();
    counts.push((Reason::ServerAcknowledged, 1));
    packet(request, Becomes::Both { client: reply.frame(), server: server.frame() }, &counts)
}

/// The first `PING` meets congestion.
fn met(v6: bool) -> Step {
    packet(&ping(0, 0, CE).over(v6), Becomes::Reply(pong(0, ECE, ECT_0).over(v6).frame()), &HIT)
}

/// The `n`th `PING` and its reply, which does or does not tell of congestion.
fn next(n: u32, echo: u8) -> Step {
    packet(&ping(n, 0, ECT_0), Becomes::Reply(pong(n, echo, ECT_0).frame()), &ANSWERED)
}

fn after(v6: bool, steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut all = opened(v6, false);
    all.extend(steps);
    all
}

pub(super) fn cases() -> Vec<Case> {
    let reduced = |n, codepoint, echo, v6| {
        heard(&ping(n, CWR, codepoint).over(v6), &pong(n, echo, ECT_0).over(v6), &ANSWERED)
    };
    let again = |n, flags| ping(n, flags, 0);
    let bare = client(c(7), s(7), b"").flags(ACK | CWR);
    let to_server = Text { seq: c(2), ack: s(2), ..bare.clone() };
    let old = Text { seq: c(6), ..bare.clone() };
    let old_to_server = Text { seq: c(1), ack: s(2), ..old.clone() };
    let passes = client(c(2), s(2), b"X\n").service(CE);
    let response = server(s(2), c(4), b"Y\n").flags(ACK | PSH | ECE).service(ECT_0);
    let reduced_then = client(c(4), s(4), b"X\n").flags(ACK | PSH | CWR).service(ECT_0);
    let ignored = packet(&ping(0, CWR, CE), Becomes::Reply(pong(0, 0, 0).frame()), &HIT);
    let ignored_then = packet(&ping(1, CWR, 0), Becomes::Reply(pong(1, 0, 0).frame()), &ANSWERED);
    let mut without = opened(false, true);
    without.extend([ignored, ignored_then]);
    std::vec![
        case(
            "congestion is told until the client has reduced, and the server hears that",
            after(false, [met(false), next(1, ECE), reduced(2, ECT_0, 0, false), next(3, 0)])
        ),
        case("the same over IPv6", after(true, [met(true), reduced(1, ECT_0, 0, true)])),
        case(
            "a client that has reduced and meets congestion again",
            after(false, [met(false), reduced(1, CE, ECE, false), next(2, ECE)])
        ),
        case(
            "a repetition says that the client has reduced",
            after(
                false,
                [
                    met(false),
                    packet(&again(0, 0), Becomes::Reply(pong(0, ECE, 0).frame()), &[(Reason::Resent, 1)]),
                    heard(&again(0, CWR), &pong(0, 0, 0), &[(Reason::Resent, 1)]),
                    next(1, 0),
                ]
            )
        ),
        case(
            "a bare acknowledgement says that the client has reduced",
            after(
                false,
                [met(false), packet(&bare, passed(&to_server), &[(Reason::NoPayload, 1)]), next(1, 0)]
            )
        ),
        case(
            "one that the server throws away says nothing",
            after(
                false,
                [met(false), packet(&old, passed(&old_to_server), &[(Reason::NoPayload, 1)]), next(1, ECE)]
            )
        ),
        case(
            "a request that passes tells the server of both",
            after(
                false,
                [
                    packet(&passes, passed(&passes), &requests_counted(Reason::NotServed)),
                    packet(&response, returned(&response), &[]),
                    packet(&reduced_then, passed(&reduced_then), &requests_counted(Reason::NotServed)),
                ]
            )
        ),
        case("a connection without ECN", without),
    ]
}
