//! Replies in pieces, and errors that quote them (T6).

use std::vec::Vec;

use super::super::frame::{Checksum, Frame};
use super::super::segment::{Text, client, server};
use super::{Becomes, Case, HIT, Step, after, after_hit, c, case, hit, packet, s};
use crate::checksum::{fold, of_bytes};
use crate::path::headers::PIECE_BYTES;
use crate::splice::tcp_flag::{ACK, PSH};
use crate::verdict::Reason;

/// So many `PING`s have a reply that is longer than a piece.
const MANY: usize = 100;
/// How long it is, and its request.
const BYTES: u32 = MANY as u32 * 5;

pub(super) fn cases() -> Vec<Case> {
    let mut all = again(false);
    all.extend(again(true));
    all.extend(errors(false));
    all.extend(errors(true));
    all
}

fn again(v6: bool) -> Vec<Case> {
    let request = client(c(2), s(2), &b"PING\n".repeat(MANY)).over(v6);
    let whole = server(s(2), c(2 + BYTES), &b"PONG\n".repeat(MANY)).over(v6).flags(ACK | PSH);
    let hit = packet(
        &request,
        Becomes::Reply(whole.frame()),
        &[
            (Reason::Requests, MANY as u64),
            (Reason::RequestsAnswered, MANY as u64),
            (Reason::Replied, 1),
            (Reason::ServerAcknowledged, 1),
        ],
    );
    // Neither acknowledges the request.
    let first = Text {
        ack: c(2),
        flags: ACK,
        payload: whole.payload[..PIECE_BYTES as usize].to_vec(),
        ..whole.clone()
    };
    let last = Text {
        seq: s(2 + PIECE_BYTES),
        ack: c(2),
        payload: whole.payload[PIECE_BYTES as usize..].to_vec(),
        ..whole
    };
    let in_pieces = [(Reason::Resent, 1), (Reason::InPieces, 1)];
    let resent = packet(&request, Becomes::Copies(std::vec![first.frame(), last.frame()]), &in_pieces);
    let rest = packet(&request, Becomes::Copies(std::vec![last.frame()]), &in_pieces);
    let part = client(c(2 + BYTES), s(2 + PIECE_BYTES), b"").over(v6);
    let all = client(c(2 + BYTES), s(2 + BYTES), b"").over(v6);
    let to_server = |text: &Text| Becomes::Next(Text { seq: c(2), ack: s(2), ..text.clone() }.frame());
    let no_payload = (Reason::NoPayload, 1);
    let more = Text { payload: b"PING\n".repeat(MANY + 1), ..request.clone() };
    let missing = server(s(2 + BYTES), c(2), b"").over(v6);
    std::vec![
        case("a long reply is repeated in pieces", after(v6, [hit.clone(), resent.clone()])),
        case(
            "a piece that the client has is left out",
            after(v6, [hit.clone(), packet(&part, to_server(&part), &[no_payload]), rest])
        ),
        case(
            "the request is acknowledged when the client has all pieces",
            after(
                v6,
                [
                    hit.clone(),
                    resent.clone(),
                    packet(&part, to_server(&part), &[no_payload]),
                    packet(&all, to_server(&all), &[no_payload, (Reason::ClientAcknowledged, 1)]),
                    packet(&all, to_server(&all), &[no_payload]),
                ]
            )
        ),
        case(
            "an answered request comes again with another behind it",
            after(
                v6,
                [
                    hit,
                    resent,
                    packet(&all, to_server(&all), &[no_payload, (Reason::ClientAcknowledged, 1)]),
                    packet(&more, Becomes::Reply(acknowledgement(missing)), &[(Reason::StaleOverlap, 1)]),
                ]
            )
        ),
    ]
}

/// What the client is told that repeats what it need not.
fn acknowledgement(text: Text) -> Frame {
    Text { ack: c(2 + BYTES), ..text }.frame()
}

fn errors(v6: bool) -> Vec<Case> {
    let (request, reply) = hit(v6);
    let hit = packet(&request, Becomes::Reply(reply.frame()), &HIT);
    let ack = client(c(7), s(7), b"").over(v6);
    let acknowledged = packet(
        &ack,
        Becomes::Next(Text { seq: c(2), ack: s(2), ..ack.clone() }.frame()),
        &[(Reason::NoPayload, 1)],
    );
    let quoted = |seq: u32, kind: Kind, becomes: u32| {
        let counts = if becomes == seq { Vec::new() } else { std::vec![(Reason::IcmpError, 1)] };
        let segment = server(seq, c(7), b"PONG\n").over(v6);
        let becomes = Becomes::Next(error(kind, &segment, becomes));
        Step::Packet { from_server: false, frame: error(kind, &segment, seq), becomes, counts }
    };
    let mut all = Vec::new();
    for kind in [Kind::TooBig, Kind::Unreachable, Kind::TimeExceeded] {
        all.push(case(
            "an error about an answer",
            after(v6, [hit.clone(), quoted(s(2), kind, s(2)), quoted(s(5), kind, s(2))]),
        ));
        all.push(case(
            "an error about the server's bytes behind an answer",
            after(
                v6,
                [hit.clone(), acknowledged.clone(), quoted(s(7), kind, s(2)), quoted(s(9), kind, s(4))],
            ),
        ));
        all.push(case(
            "an error about bytes that are acknowledged is none that the server believes",
            after(
                v6,
                [hit.clone(), acknowledged.clone(), quoted(s(3), kind, s(1)), quoted(s(0), kind, s(0))],
            ),
        ));
    }
    all.push(case("an error before any answer", after(v6, [quoted(s(1), Kind::TooBig, s(1))])));
    all.push(case("what is no error", after(v6, [hit, quoted(s(5), Kind::Echo, s(5))])));
    if !v6 {
        let mut stranger = server(s(5), c(7), b"PONG\n");
        stranger.port = 22;
        let frame = error(Kind::TooBig, &stranger, stranger.seq);
        let becomes = Becomes::Next(frame.clone());
        all.push(case(
            "an error about another port",
            after_hit([Step::Packet { from_server: false, frame, becomes, counts: Vec::new() }]),
        ));
    }
    all
}

/// An ICMP message.
#[derive(Clone, Copy, Debug)]
enum Kind {
    TooBig,
    Unreachable,
    TimeExceeded,
    Echo,
}

/// A router's message to the server, with the segment behind it; of that the number is `seq`.
fn error(kind: Kind, quoted: &Text, seq: u32) -> Frame {
    let (number, code, rest): (u8, u8, u32) = match (kind, quoted.v6) {
        (Kind::TooBig, false) => (3, 4, 1300),
        (Kind::TooBig, true) => (2, 0, 1300),
        (Kind::Unreachable, v6) => (if v6 { 1 } else { 3 }, 1, 0),
        (Kind::TimeExceeded, v6) => (if v6 { 3 } else { 11 }, 0, 0),
        (Kind::Echo, v6) => (if v6 { 128 } else { 8 }, 0, 0),
    };
    let mut icmp = std::vec![number, code, 0, 0];
    icmp.extend(rest.to_be_bytes());
    icmp.extend_from_slice(quoted.frame().ip());
    let at = 8 + if quoted.v6 { 40 } else { 20 } + 4;
    icmp[at..at + 4].copy_from_slice(&seq.to_be_bytes());
    let mut ip = Vec::new();
    let mut sum = of_bytes(&icmp);
    if quoted.v6 {
        ip.extend([0x60, 0, 0, 0]);
        ip.extend((icmp.len() as u16).to_be_bytes());
        ip.extend([58, 64]);
        let key = quoted.key();
        let mut router = key.client;
        router[15] = 9;
        ip.extend(router);
        ip.extend(key.server);
        sum += of_bytes(&ip[8..40]) + 58 + icmp.len() as u64;
    } else {
        ip.extend([0x45, 0]);
        ip.extend((20 + icmp.len() as u16).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 2]);
        let header = !fold(of_bytes(&ip));
        ip[10..12].copy_from_slice(&header.to_be_bytes());
    }
    icmp[2..4].copy_from_slice(&(!fold(sum)).to_be_bytes());
    ip.extend(icmp);
    Frame::of_ip(&ip, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], Checksum::Complete)
}
