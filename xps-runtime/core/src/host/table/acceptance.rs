//! Segments that the server's TCP would throw away (T1): none is read, and the right bytes at the same numbers are.

use std::vec::Vec;

use super::{C, Case, Step, after, c, case, dropped, hit, hit_step, packet, passed, requests_counted, s};
use crate::host::frame::Frame;
use crate::host::segment::{Text, client, server};
use crate::splice::tcp_flag::{ACK, FIN, PSH, SYN, URG};
use crate::verdict::Reason;

/// The client's timestamp option of its SYN, and the value in it.
const TSVAL: u32 = 0xffff_fff0;

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        let over = if v6 { " over IPv6" } else { "" };
        for (name, wrong, reason) in wrong(v6) {
            let steps = after(v6, [dropped(wrong, reason), hit_step(v6)]);
            all.push(case(&std::format!("not accepted: {name}{over}"), steps));
        }
    }
    all.extend(timestamps());
    all.push(behind_the_fin());
    all.push(a_window_probe());
    all
}

/// `PING` as it would be answered, but for one thing that is wrong with it.
fn wrong(v6: bool) -> Vec<(&'static str, Frame, Reason)> {
    let (request, _) = hit(v6);
    let flags = |flags| request.clone().flags(flags).frame();
    let with = |change: &dyn Fn(&mut Text)| {
        let mut text = request.clone();
        change(&mut text);
        text.frame()
    };
    let ip = 14;
    let mut all = std::vec![
        ("no ACK flag", flags(PSH), Reason::NoAckFlag),
        ("no flag at all", flags(0), Reason::NoAckFlag),
        ("SYN and ACK", flags(SYN | ACK), Reason::SynInside),
        ("urgent data", flags(ACK | PSH | URG), Reason::Urgent),
        ("an acknowledgement of what was not sent", with(&|text| text.ack = s(3)), Reason::AckUnsent),
        (
            "an acknowledgement from before the connection",
            with(&|text| text.ack = s(0).wrapping_sub(1)),
            Reason::AckTooOld
        ),
        ("far beyond the server's window", with(&|text| text.seq = c(70_000)), Reason::BeyondWindow),
        ("TCP-MD5", with(&|text| text.options = signature(19, 18)), Reason::BadTcpOption),
        ("TCP-AO", with(&|text| text.options = signature(29, 16)), Reason::BadTcpOption),
        (
            "an option without an end",
            with(&|text| text.options = std::vec![254, 9, 0, 0]),
            Reason::BadTcpOption
        ),
        (
            "an option without a length",
            with(&|text| text.options = std::vec![1, 1, 1, 254]),
            Reason::BadTcpOption
        ),
        (
            "a TCP header longer than the packet",
            changed(&request, &|bytes, tcp| bytes[tcp + 12] = 0xf0),
            Reason::Malformed
        ),
    ];
    let mut short = request.frame();
    short.bytes.pop();
    all.push(("fewer bytes than the IP header tells", short, Reason::Malformed));
    if !v6 {
        let mut sum = request.frame();
        sum.bytes[ip + 10] ^= 1;
        all.push(("a bad IP checksum", sum, Reason::BadIpChecksum));
        let route = std::vec![131, 7, 4, 10, 0, 0, 9, 0];
        all.push(("a source route", with(&|text| text.ip_options = route.clone()), Reason::IpOptions));
    }
    all
}

/// An option of this kind and length, padded.
fn signature(kind: u8, len: u8) -> Vec<u8> {
    let mut option = std::vec![kind, len];
    option.resize(usize::from(len).next_multiple_of(4), 1);
    option
}

/// The packet with bytes changed, given the offset of its TCP header. Its checksums stay what they were.
fn changed(text: &Text, change: &dyn Fn(&mut Vec<u8>, usize)) -> Frame {
    let mut frame = text.frame();
    change(&mut frame.bytes, if text.v6 { 54 } else { 34 });
    frame
}

/// A connection with timestamps: options in another order count like the usual ones.
fn timestamps() -> Vec<Case> {
    let syn_options = |tsval: u32| {
        let mut options = std::vec![2, 4, 5, 180, 1, 1, 8, 10];
        options.extend(tsval.to_be_bytes());
        options.extend([0; 4]);
        options
    };
    let syn = client(C, 0, b"").options(&syn_options(TSVAL)).opening();
    let answer = server(super::S, c(0), b"").options(&syn_options(7)).opening();
    let at = |text: Text, later: u32| text.timestamps(TSVAL.wrapping_add(later), 7);
    let ack = at(client(c(0), s(0), b""), 20);
    let request = at(client(c(0), s(0), b"A\n"), 21);
    let old = at(client(c(2), s(0), b"B\n"), 19);
    let one_less = at(client(c(2), s(0), b"B\n"), 20);
    // The same time in front of two bytes of padding, not behind.
    let mut elsewhere = old.clone();
    elsewhere.options.rotate_left(2);
    let mut twice = at(client(c(2), s(0), b"B\n"), 22);
    twice.options.extend_from_slice(&old.options);
    // Later than the one before, but more than half the numbers from the one that the server has echoed.
    let leap = at(client(c(2), s(0), b"B\n"), 1 << 30);
    let further = at(client(c(4), s(0), b"C\n"), 5 << 29);
    let echo = server(s(0), c(4), b"").timestamps(8, TSVAL.wrapping_add(1 << 30));
    let opened = || {
        std::vec![
            packet(&syn, passed(&syn), &[]),
            packet(&answer, super::returned(&answer), &[]),
            Step::Socket(crate::path::Socket::Live),
            packet(&ack, passed(&ack), &[(Reason::FlowOpened, 1), (Reason::NoPayload, 1)]),
            packet(&request, passed(&request), &requests_counted(Reason::NotServed)),
        ]
    };
    let with_all = |name: &str, more: &[Step]| {
        let mut steps = opened();
        steps.extend_from_slice(more);
        case(name, steps)
    };
    let with = |name: &str, step: Step| with_all(name, &[step]);
    let leaps = packet(&leap, passed(&leap), &requests_counted(Reason::NotIdle));
    std::vec![
        with_all(
            "a timestamp that the server may take for an old one",
            &[leaps.clone(), dropped(further.frame(), Reason::OldTimestamp)]
        ),
        with_all(
            "a timestamp that is late, but not to a server that has echoed the one before",
            &[
                leaps,
                packet(&echo, super::returned(&echo), &[]),
                packet(&further, passed(&further), &requests_counted(Reason::NotIdle)),
            ]
        ),
        with("an old timestamp", dropped(old.frame(), Reason::OldTimestamp)),
        with("an old timestamp, laid out in another way", dropped(elsewhere.frame(), Reason::OldTimestamp)),
        with("two timestamps, of which the last is old", dropped(twice.frame(), Reason::OldTimestamp)),
        with(
            "a timestamp older by one",
            packet(&one_less, passed(&one_less), &requests_counted(Reason::NotIdle))
        ),
    ]
}

fn behind_the_fin() -> Case {
    let fin = client(c(2), s(2), b"").flags(FIN | ACK);
    let more = client(c(3), s(2), b"PING\n");
    let steps =
        [packet(&fin, passed(&fin), &[(Reason::NotIdle, 1)]), dropped(more.frame(), Reason::AfterFin)];
    case("not accepted: bytes behind the FIN", after(false, steps))
}

/// The server has closed its window; whoever probes it hears of it, and the byte goes nowhere.
fn a_window_probe() -> Case {
    let more = client(c(2), s(2), b"A\n");
    let mut full = server(s(2), c(4), b"");
    full.window = 0;
    let mut opened = after(false, []);
    // The window of 500 bytes behind the first exchange is used up to its end.
    let rest = client(c(4), s(2), &[b'x'; 498]);
    let probe = client(c(502), s(2), b"y");
    let asked = client(c(501), s(2), b"");
    opened.extend([
        packet(&more, passed(&more), &requests_counted(Reason::NotServed)),
        packet(&rest, passed(&rest), &[(Reason::NotIdle, 1)]),
        packet(&full, super::returned(&full), &[]),
        packet(&probe, passed(&asked), &[(Reason::BeyondWindow, 1)]),
    ]);
    case("a window probe", opened)
}
