//! Packets of other hosts and of other devices: untouched, and not counted (T4). And tags (T8).

use std::vec::Vec;

use super::{C, Case, HIT, S, Step, after, c, case, hit, next, opened, packet, passed, returned, s};
use crate::abi::Local;
use crate::host::frame::Frame;
use crate::host::segment::{ACCELERATED_PORT, PLAIN_PORT, SERVERS, Text, client, server};
use crate::host::table::Becomes;
use crate::verdict::Reason;

/// Packets that a service must not look at, from before a connection to its end.
fn foreign(v6: bool) -> Vec<Text> {
    let mut all = Vec::new();
    for port in [ACCELERATED_PORT, PLAIN_PORT] {
        let at = |text: Text| text.over(v6).port(port);
        let mut fragment = client(c(2), s(2), b"PING\n");
        fragment.fragment = 0x2000;
        all.extend([
            at(client(C, 0, b"").opening()),
            at(client(c(0), s(0), b"")),
            at(client(c(2), s(2), b"PING\n")),
            at(client(c(2), s(2), b"QUIT\n")),
            at(fragment),
        ]);
    }
    all.extend([server(S, c(0), b"").opening().over(v6), server(s(2), c(2), b"").over(v6)]);
    all
}

fn untouched(frame: Frame, from_server: bool) -> Step {
    Step::Packet { from_server, frame: frame.clone(), becomes: Becomes::Next(frame), counts: Vec::new() }
}

/// The frame with another link address, as its device sees it.
fn of_another_device(mut frame: Frame) -> Frame {
    frame.bytes[5] = 9;
    frame.for_this_host = false;
    frame
}

fn tagged(mut frame: Frame, tag: u16) -> Frame {
    frame.tag = Some(tag);
    frame
}

/// The frame with a tag in its bytes, before what is there.
fn nested(mut frame: Frame, tag: u16) -> Frame {
    let [high, low] = tag.to_be_bytes();
    frame.bytes.splice(12..12, [0x81, 0, high, low]);
    frame
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        let name = |text: &str| std::format!("{text}, IPv6: {v6}");
        let nobodys = Step::Local(SERVERS[usize::from(v6)], None);
        let steps = foreign(v6).into_iter().map(|text| untouched(text.frame(), text.from_server));
        let mut without = std::vec![nobodys.clone()];
        without.extend(steps.clone());
        all.push(case(&name("another host's address"), without));
        let mut later = after(v6, [nobodys]);
        later.extend(steps);
        all.push(case(&name("an address that went away"), later));
        let frames = foreign(v6).into_iter().filter(|text| !text.from_server).map(|text| text.frame());
        let steps = frames.map(|frame| untouched(of_another_device(frame), false));
        all.push(case(&name("another link address"), after(v6, steps)));
        all.push(excluded(v6));
        all.extend(tags(v6));
    }
    all
}

fn excluded(v6: bool) -> Case {
    let accelerated =
        |accelerated| Step::Local(SERVERS[usize::from(v6)], Some(Local { accelerated, ..Local::default() }));
    let syn = client(C, 0, b"").over(v6).opening();
    let mut steps = opened(v6, &[]);
    steps.extend([accelerated(0), packet(&syn, next(&syn), &[(Reason::AddressExcluded, 1)])]);
    // A connection that was taken goes on.
    let (request, reply) = hit(v6);
    steps.push(packet(&request, Becomes::Reply(reply.frame()), &HIT));
    case(&std::format!("an address that is not accelerated, IPv6: {v6}"), steps)
}

/// Priority tags are the device's own, others are not.
fn tags(v6: bool) -> [Case; 3] {
    const PRIORITY: u16 = 0xa000;
    const OTHER: u16 = 0xa005;
    let name = |text: &str| std::format!("{text}, IPv6: {v6}");
    let (request, reply) = hit(v6);
    let hit_of = |frame: Frame| Step::Packet {
        from_server: false,
        frame,
        becomes: Becomes::Reply(reply.frame()),
        counts: HIT.to_vec(),
    };
    let miss = client(c(2), s(2), b"X\n").over(v6);
    let Becomes::Next(to_server) = passed(&miss) else { unreachable!("it is passed") };
    let missed = |frame: Frame, tag: u16| Step::Packet {
        from_server: false,
        frame,
        becomes: Becomes::Next(tagged(to_server.clone(), tag)),
        counts: std::vec![(Reason::Requests, 1), (Reason::NotServed, 1)],
    };
    let response = server(s(2), c(4), b"Y\n").over(v6);
    let four = (0..4).fold(request.frame(), |frame, _| nested(frame, PRIORITY));
    let junk = Step::Packet {
        from_server: false,
        frame: tagged(four, PRIORITY),
        becomes: Becomes::Dropped,
        counts: std::vec![(Reason::Tags, 1)],
    };
    let other_behind = Step::Packet {
        from_server: false,
        frame: tagged(nested(request.frame(), OTHER), PRIORITY),
        becomes: Becomes::Next(tagged(request.frame(), OTHER)),
        counts: Vec::new(),
    };
    [
        case(&name("a hit with a priority tag"), after(v6, [hit_of(tagged(request.frame(), PRIORITY))])),
        case(&name("a miss with two priority tags, and a hit with four"), {
            let first = missed(tagged(nested(miss.frame(), PRIORITY), PRIORITY), PRIORITY);
            let mut steps = after(v6, [first, packet(&response, returned(&response), &[])]);
            let again = client(c(4), s(4), b"PING\n").over(v6);
            let frame = (0..3).fold(again.frame(), |frame, _| nested(frame, PRIORITY));
            let becomes = Becomes::Reply(Text { seq: s(4), ack: c(9), ..hit(v6).1 }.frame());
            let frame = tagged(frame, PRIORITY);
            steps.push(Step::Packet { from_server: false, frame, becomes, counts: HIT.to_vec() });
            steps
        }),
        case(
            &name("other tags, and more than anybody sends"),
            after(
                v6,
                [
                    untouched(tagged(request.frame(), OTHER), false),
                    other_behind,
                    junk,
                    hit_of(request.frame()),
                ],
            ),
        ),
    ]
}
