//! Connections that the stack ends.

use super::{Becomes, Case, Step, after, c, case, opened, packet, passed, s};
use crate::host::segment::{Text, client, server};
use crate::path::Socket;
use crate::splice::tcp_flag::{ACK, FIN, PSH, RST};
use crate::verdict::Reason;

use std::vec::Vec;

/// What counts when a request ends its connection.
const CLOSED: [(Reason, u64); 3] =
    [(Reason::Requests, 1), (Reason::RequestsAnswered, 1), (Reason::Closed, 1)];
const WAS_RESET: [(Reason, u64); 2] = [(Reason::Requests, 1), (Reason::WasReset, 1)];
const AFTER: [(Reason, u64); 1] = [(Reason::AfterClose, 1)];

/// A segment of the stack to the client, behind all that the server has sent in [`opened`].
fn told(seq: u32, ack: u32, payload: &[u8], flags: u8, window: u16) -> Text {
    Text { flags, window, ..server(seq, ack, payload) }
}

/// `BYE` with a FIN, which acknowledges up to `ack`.
fn words(ack: u32) -> Text {
    told(s(2), ack, b"BYE\n", ACK | PSH | FIN, u16::MAX)
}

/// The server's reset.
fn reset(seq: u32, ack: u32, window: u16) -> Text {
    Text { window, ..client(seq, ack, b"").flags(RST | ACK) }
}

fn ended(request: &Text, client: &Text, server: &Text, counts: &[(Reason, u64)]) -> Step {
    packet(request, Becomes::Both { client: client.frame(), server: server.frame() }, counts)
}

/// `QUIT` right behind [`opened`].
fn quit(v6: bool) -> Step {
    let request = client(c(2), s(2), b"QUIT\n").over(v6);
    ended(&request, &words(c(7)).over(v6), &reset(c(2), s(2), 1000).over(v6), &CLOSED)
}

fn after_quit(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    // The server is gone with its reset.
    after(false, [quit(false), Step::Socket(Socket::Free)].into_iter().chain(steps))
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = last_words();
    all.extend(behind_last_words());
    all.extend(without_words());
    all
}

fn last_words() -> Vec<Case> {
    let quit_with = |flags, payload: &[u8]| client(c(2), s(2), payload).flags(flags);
    let with_fin = quit_with(ACK | PSH | FIN, b"QUIT\n");
    let with_more = quit_with(ACK | PSH, b"QUIT\nPING\n");
    let (part, rest) = (client(c(2), s(2), b"QU"), client(c(4), s(2), b"IT\n"));
    // The first two bytes once more, which the server has.
    let whole = quit_with(ACK | PSH, b"QUIT\n");
    let fits = Text { window: 5, ..whole.clone() };
    let narrow = Text { window: 4, ..whole.clone() };
    let both_reset = told(s(2), c(7), b"", RST | ACK, 0);
    let lapsed =
        [Step::LeaseLapses, packet(&whole, passed(&whole), &[(Reason::Requests, 1), (Reason::NoLease, 1)])];
    let waiting = client(c(2), s(2), b"A\n");
    let pipelined = client(c(4), s(2), b"QUIT\n");
    let answered_part = packet(&part, passed(&part), &[(Reason::Incomplete, 1)]);
    std::vec![
        case("last words", after(false, [quit(false)])),
        case("last words over IPv6", after(true, [quit(true)])),
        case(
            "last words to a client that closes with its request",
            after(false, [ended(&with_fin, &words(c(8)), &reset(c(2), s(2), 1000), &CLOSED)])
        ),
        case(
            "last words, and more behind the request",
            after(false, [ended(&with_more, &words(c(12)), &reset(c(2), s(2), 1000), &CLOSED)])
        ),
        case(
            "last words where the server has a part of the request",
            after(
                false,
                [answered_part.clone(), ended(&rest, &words(c(7)), &reset(c(4), s(2), 1000), &CLOSED)]
            )
        ),
        case(
            "the same where that part comes once more",
            after(false, [answered_part, ended(&whole, &words(c(7)), &reset(c(4), s(2), 1000), &CLOSED)])
        ),
        case(
            "last words that fill the window with their FIN",
            after(false, [ended(&fits, &words(c(7)), &reset(c(2), s(2), 5), &CLOSED)])
        ),
        case(
            "last words whose FIN would be beyond the window",
            after(false, [ended(&narrow, &both_reset, &reset(c(2), s(2), 0), &WAS_RESET)])
        ),
        case(
            "no last words while the server owes an answer",
            after(
                false,
                [
                    packet(&waiting, passed(&waiting), &[(Reason::Requests, 1), (Reason::NotServed, 1)]),
                    ended(
                        &pipelined,
                        &told(s(2), c(9), b"", RST | ACK, 0),
                        &reset(c(4), s(2), 0),
                        &WAS_RESET
                    ),
                ]
            )
        ),
        case("nothing is held once the lease has lapsed", after(false, lapsed)),
    ]
}

fn behind_last_words() -> Vec<Case> {
    let request = client(c(2), s(2), b"QUIT\n");
    let again =
        |request: &Text, ack| packet(request, Becomes::Reply(words(ack).frame()), &[(Reason::Resent, 1)]);
    let acknowledged = |request: &Text, ack, counts: &[(Reason, u64)]| {
        packet(request, Becomes::Reply(told(s(7), ack, b"", ACK, u16::MAX).frame()), counts)
    };
    let early = client(c(7), s(2), b"MORE\n");
    let late = client(c(7), s(7), b"MORE\n");
    let beyond = client(c(9), s(7), b"RE\n");
    let ack = client(c(7), s(7), b"");
    let probe = client(c(6), s(7), b"");
    let fin = client(c(7), s(7), b"").flags(FIN | ACK);
    let stray_reset = client(c(8), s(7), b"").flags(RST | ACK);
    let client_reset = client(c(7), s(7), b"").flags(RST | ACK);
    let response = server(s(2), c(2), b"B\n");
    let asks_back = server(s(2), c(1), b"");
    let server_reset = server(s(2), c(2), b"").flags(RST | ACK);
    let gone = [(Reason::AfterClose, 1), (Reason::FlowClosed, 1)];
    std::vec![
        case("the same request again after its last words", after_quit([again(&request, c(7))])),
        case(
            "more of the client before it has the last words",
            after_quit([again(&early, c(12)), again(&request, c(12))])
        ),
        case(
            "more of the client behind the last words",
            after_quit([
                packet(&ack, Becomes::Dropped, &AFTER),
                acknowledged(&beyond, c(7), &AFTER),
                acknowledged(&late, c(12), &AFTER),
                acknowledged(&late, c(12), &AFTER),
            ])
        ),
        case("a probe behind the last words", after_quit([acknowledged(&probe, c(7), &AFTER)])),
        case("the client closes after the last words", after_quit([acknowledged(&fin, c(8), &gone)])),
        case(
            "the client resets after the last words",
            after_quit([
                packet(&stray_reset, Becomes::Dropped, &AFTER),
                packet(&client_reset, Becomes::Dropped, &gone),
            ])
        ),
        case(
            "the server speaks after the last words",
            after_quit([
                packet(&response, Becomes::Acknowledgement(reset(c(2), s(4), 0).frame()), &AFTER),
                packet(&asks_back, Becomes::Acknowledgement(reset(c(1), s(2), 0).frame()), &AFTER),
                packet(&server_reset, Becomes::Dropped, &AFTER),
            ])
        ),
    ]
}

fn without_words() -> Vec<Case> {
    let (part, abort) = (client(c(2), s(2), b"AB"), client(c(2), s(2), b"ABRT\n"));
    let both = |v6: bool| {
        let client = told(s(2), c(7), b"", RST | ACK, 0).over(v6);
        ended(&abort.clone().over(v6), &client, &reset(c(2), s(2), 0).over(v6), &WAS_RESET)
    };
    let told_again = Becomes::Reply(told(s(2), c(7), b"", RST | ACK, 0).frame());
    let silent = client(c(2), s(2), b"HUSH\n");
    let more = client(c(7), s(2), b"MORE\n");
    let silenced = [(Reason::Requests, 1), (Reason::Silenced, 1)];
    let hush = packet(&silent, Becomes::Next(reset(c(2), s(2), 0).frame()), &silenced);
    let waiting = client(c(2), s(2), b"A\n");
    let pipelined = client(c(4), s(2), b"HUSH\n");
    let mut busy = opened(false, &[]);
    busy.extend([
        packet(&waiting, passed(&waiting), &[(Reason::Requests, 1), (Reason::NotServed, 1)]),
        packet(&pipelined, Becomes::Next(reset(c(4), s(2), 0).frame()), &silenced),
    ]);
    std::vec![
        case("a reset on both sides", after(false, [both(false), packet(&abort, told_again, &AFTER)])),
        case("a reset on both sides over IPv6", after(true, [both(true)])),
        case(
            "a reset where the server has a part that comes once more",
            after(
                false,
                [
                    packet(&part, passed(&part), &[(Reason::Incomplete, 1)]),
                    ended(&abort, &told(s(2), c(7), b"", RST | ACK, 0), &reset(c(4), s(2), 0), &WAS_RESET),
                ]
            )
        ),
        case(
            "silence",
            after(
                false,
                [hush, packet(&silent, Becomes::Dropped, &AFTER), packet(&more, Becomes::Dropped, &AFTER),]
            )
        ),
        case("silence while the server owes an answer", busy),
    ]
}
