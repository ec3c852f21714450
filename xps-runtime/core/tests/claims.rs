//! The splice alone, with what other CPUs do between a claim and its end (S14).
//!
//! A model of the two streams says which bytes each side was given; whatever the interleaving, a number of the client's
//! numbering stands for one byte only.

use std::collections::HashMap;

use proptest::prelude::*;
use xps_core::handshake::{ACCELERATED, ANSWERED, Mark};
use xps_core::splice::accept::check::ALL;
use xps_core::splice::tcp_flag::{ACK, RST};
use xps_core::splice::{ClientStep, Injection, Segment, ServerStep, Splice};

/// What happens between a claim and its end.
#[derive(Clone, Copy, Debug)]
enum Between {
    /// The server sends so many new bytes.
    Sends(u32),
    /// The server repeats bytes from so far back.
    Repeats(u32),
    /// The server acknowledges all it has.
    Acknowledges,
    /// The client's segment comes again.
    Again,
    /// The client acknowledges all it was given.
    ClientAcknowledges,
}

#[derive(Clone, Debug)]
struct Round {
    request: u32,
    reply: Option<u32>,
    between: Vec<Between>,
    answered_by_server: u32,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        (1u32..50).prop_map(Between::Sends),
        (1u32..50).prop_map(Between::Repeats),
        Just(Between::Acknowledges),
        Just(Between::Again),
        Just(Between::ClientAcknowledges),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let reply = proptest::option::of(1u32..100);
    (1u32..60, reply, proptest::collection::vec(between(), 0..4), 0u32..40).prop_map(
        |(request, reply, between, answered_by_server)| Round { request, reply, between, answered_by_server },
    )
}

/// Who a byte is of, and which of its bytes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Server(u32),
    Reply(usize, u32),
}

/// What becomes of a client's segment, whose repetitions are the same bytes.
fn client(splice: &mut Splice, segment: &Segment) -> ClientStep {
    match splice.client(segment, ALL) {
        ClientStep::Compare => splice.repeated(segment),
        step => step,
    }
}

struct Model {
    splice: Splice,
    /// What each number of the client's numbering was used for.
    given: HashMap<u32, Byte>,
    /// The next number that the client expects if all arrives; the next that it sends.
    client_expects: u32,
    client_seq: u32,
    /// The server's next number, and the next that it expects.
    server_seq: u32,
    server_expects: u32,
    server_start: u32,
}

impl Model {
    fn give(&mut self, at: u32, byte: Byte) {
        let before = self.given.insert(at, byte);
        assert!(before.is_none_or(|before| before == byte), "{at} was {before:?} and is {byte:?}");
        if at == self.client_expects {
            self.client_expects = at.wrapping_add(1);
        }
    }

    fn server_segment(&mut self, seq: u32, payload: u32) {
        let segment =
            Segment { seq, ack: self.server_expects, flags: ACK, window: 9, payload, ..Segment::default() };
        let translated = match self.splice.server(&segment) {
            ServerStep::Pass(to) => to,
            ServerStep::Read { translated, .. } => {
                self.splice.server_claim = 0;
                translated
            }
            ServerStep::Acknowledge(to) => {
                assert!(
                    to.ack.wrapping_sub(self.server_seq) as i32 <= 0,
                    "an acknowledgement of what was not sent"
                );
                return;
            }
            ServerStep::Drop(_) => return,
            ServerStep::Reset(_) => panic!("nobody ends the connection here"),
            ServerStep::Unread(_) => panic!("the server has only what was read"),
        };
        for i in 0..payload {
            let byte = Byte::Server(seq.wrapping_sub(self.server_start).wrapping_add(i));
            self.give(translated.seq.wrapping_add(i), byte);
        }
    }

    fn client_segment(&self, payload: u32, ack: u32) -> Segment {
        Segment { seq: self.client_seq, ack, flags: ACK, window: 60_000, payload, ..Segment::default() }
    }

    fn happen(&mut self, what: Between, claimed: &Segment) {
        match what {
            Between::Sends(payload) => {
                let seq = self.server_seq;
                self.server_seq = seq.wrapping_add(payload);
                self.server_segment(seq, payload);
            }
            Between::Repeats(back) => {
                let back = back.min(self.server_seq.wrapping_sub(self.server_start));
                self.server_segment(self.server_seq.wrapping_sub(back), back);
            }
            Between::Acknowledges => self.server_segment(self.server_seq, 0),
            Between::Again => {
                let step = client(&mut self.splice, claimed);
                assert!(matches!(step, ClientStep::Drop(_)), "a claimed segment has {step:?} elsewhere");
            }
            Between::ClientAcknowledges => {
                let mut ack = self.client_segment(0, self.client_expects);
                ack.seq = claimed.end();
                let ClientStep::Pass(to) = client(&mut self.splice, &ack) else {
                    panic!("a bare acknowledgement passes")
                };
                assert!(
                    to.ack.wrapping_sub(self.server_seq) as i32 <= 0,
                    "an acknowledgement of what was not sent"
                );
            }
        }
    }

    /// The stack ends the connection with this segment, if the server does not move before: with a reply if there is one.
    fn end(&mut self, last: &Round) {
        let segment = self.client_segment(last.request, self.client_expects);
        let ClientStep::Read { skip: 0, .. } = client(&mut self.splice, &segment) else {
            panic!("new bytes in order are read")
        };
        for what in &last.between {
            self.happen(*what, &segment);
        }
        self.client_seq = segment.end();
        let ended = last.reply.and_then(|len| Some((self.splice.end(&segment, 0, len).ok()?, len)));
        if let Some((words, len)) = ended {
            assert!(words.last && words.owes && words.owed.seq == self.server_expects);
            assert_eq!(words.ack, segment.end());
            // Its FIN has a number, too.
            for i in 0..=len {
                self.give(words.seq.wrapping_add(i), Byte::Reply(usize::MAX, i));
            }
            let more = self.client_segment(7, segment.ack);
            for (again, ack) in [(&segment, segment.end()), (&more, more.end()), (&segment, more.end())] {
                let step = client(&mut self.splice, again);
                let same = |told: Injection| told.seq == words.seq && told.ack == ack && told.last;
                assert!(matches!(step, ClientStep::Resend(told) if same(told)), "{step:?}");
            }
            self.client_seq = more.end();
            assert!(matches!(self.client_after_end(0), ClientStep::AfterClose { flags: 0, .. }));
            let step = self.client_after_end(9);
            let (seq, ack) = (self.client_expects, self.client_seq.wrapping_add(9));
            let ClientStep::AfterClose { flags: ACK, told } = step else { panic!("{step:?}") };
            assert_eq!((told.seq, told.ack), (seq, ack));
        } else {
            let told = self.splice.abort(&segment, 0, false);
            assert_eq!((told.seq, told.ack), (segment.ack, segment.end()));
            let step = client(&mut self.splice, &segment);
            const RESET: u8 = RST | ACK;
            assert!(matches!(step, ClientStep::AfterClose { flags: RESET, .. }), "{step:?}");
        }
        assert_eq!(self.splice.server_reset().seq, self.server_expects);
        let (seq, ack) = (self.server_seq, self.server_expects);
        let late = Segment { seq, ack, flags: ACK, window: 9, payload: 3, ..Segment::default() };
        let step = self.splice.server(&late);
        assert!(matches!(step, ServerStep::Reset(to) if to.seq == ack), "{step:?}");
    }

    fn client_after_end(&mut self, payload: u32) -> ClientStep {
        let segment = self.client_segment(payload, self.client_expects);
        client(&mut self.splice, &segment)
    }
}

fn run(client_isn: u32, server_isn: u32, rounds: &[Round], last: Option<&Round>) {
    let mut splice = Splice::default();
    let flags = ACCELERATED | ANSWERED;
    splice.open(&Mark { client_isn, server_isn, mss: 1460, flags, server_window: 60_000, ..Mark::default() });
    let (client_seq, server_seq) = (client_isn.wrapping_add(1), server_isn.wrapping_add(1));
    let mut model = Model {
        splice,
        given: HashMap::new(),
        client_expects: server_seq,
        client_seq,
        server_seq,
        server_expects: client_seq,
        server_start: server_seq,
    };
    let mut unsent = 0;
    for (nth, round) in rounds.iter().enumerate() {
        let segment = model.client_segment(round.request, model.client_expects);
        let ClientStep::Read { skip: 0, refused } = client(&mut model.splice, &segment) else {
            panic!("new bytes in order are read")
        };
        for what in &round.between {
            model.happen(*what, &segment);
        }
        model.client_seq = segment.end();
        let injected = match round.reply {
            Some(len) if refused.is_none() => {
                model.splice.inject(&segment, len).ok().map(|injection| (injection, len))
            }
            _ => None,
        };
        if let Some((injection, len)) = injected {
            assert_eq!(injection.ack, segment.end());
            for i in 0..len {
                model.give(injection.seq.wrapping_add(i), Byte::Reply(nth, i));
            }
            let step = client(&mut model.splice, &segment);
            assert!(matches!(step, ClientStep::Resend(again) if again.seq == injection.seq), "{step:?}");
        } else {
            let to = model.splice.pass_claimed(&segment);
            assert_eq!(to.seq, model.server_expects, "the server's stream has no gap");
            model.server_expects = to.seq.wrapping_add(round.request);
            let step = client(&mut model.splice, &segment);
            assert!(!matches!(step, ClientStep::Resend(_)), "{step:?}");
            unsent += round.answered_by_server;
        }
        if unsent > 20 {
            model.happen(Between::Sends(unsent), &segment);
            unsent = 0;
        }
    }
    if let Some(last) = last {
        model.end(last);
    }
    // Every byte that the server sent has one place, in order.
    let mut places: Vec<_> = model
        .given
        .iter()
        .filter_map(|(at, byte)| match byte {
            Byte::Server(n) => Some((*n, at.wrapping_sub(model.server_start))),
            Byte::Reply(..) => None,
        })
        .collect();
    places.sort_unstable();
    assert!(places.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_number_stands_for_one_byte(
        client_isn in prop_oneof![Just(u32::MAX - 30), any::<u32>()],
        server_isn in prop_oneof![Just(u32::MAX - 30), Just(i32::MAX as u32 - 30), any::<u32>()],
        rounds in proptest::collection::vec(round(), 1..12),
        last in proptest::option::of(round()),
    ) {
        run(client_isn, server_isn, &rounds, last.as_ref());
    }
}
