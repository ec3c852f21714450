//! The parsers against `redis-protocol`: the same boundaries, however the stream is cut.

use kv_fastpath::host::{Flow, Outcome, World};
use kv_fastpath::response::{Event, Parser};
use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};
use redis_protocol::{resp2, resp3};
use xps_core::handler::{WINDOW, Window};
use xps_core::verdict::Reason;

/// The stream of a server, shown to the parser in pieces of one length. Types of the replies, and how many bytes each
/// prefix of them takes; `None` where it is not understood.
fn replies(bytes: &[u8], piece: usize) -> Option<(Vec<u8>, Vec<usize>)> {
    let mut parser = Parser::START;
    let (mut kinds, mut ends) = (vec![], vec![]);
    let mut at = 0;
    while at < bytes.len() {
        let mut window = Window::EMPTY;
        let shown = &bytes[at..bytes.len().min(at + piece.min(WINDOW))];
        window.bytes[..shown.len()].copy_from_slice(shown);
        window.len = shown.len() as u32;
        loop {
            match parser.read(&mut window) {
                Event::None if window.at < window.len => {}
                Event::None => break,
                Event::Push => {}
                Event::Reply => {
                    assert!(parser.at_boundary());
                    kinds.push(parser.kind());
                    ends.push(at + window.at as usize);
                }
                Event::Skip => {
                    at += window.skip as usize;
                    break;
                }
                Event::Opaque => return None,
            }
        }
        at += window.at as usize;
    }
    Some((kinds, ends))
}

/// A request, its name of letters.
fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = prop_oneof![
        Just(b"GET".to_vec()),
        Just(b"set".to_vec()),
        Just(b"MSET".to_vec()),
        Just(b"client".to_vec()),
        Just(b"SELECT".to_vec()),
        vec(prop::char::range('a', 'z').prop_map(|c| c as u8), 0..50)
    ];
    let argument = prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 200..600)];
    (name, vec(argument, 0..6)).prop_map(|(name, arguments)| {
        let mut all = vec![name];
        // A NUL where a subcommand can stand is not understood, on purpose.
        all.extend(arguments.into_iter().map(|a| a.into_iter().map(|b| b.max(1)).collect()));
        all
    })
}

fn encode2(frame: &OwnedFrame) -> Vec<u8> {
    let mut bytes = vec![0; frame.encode_len(false)];
    let len = resp2::encode::encode(&mut bytes, frame, false).expect("room enough");
    bytes.truncate(len);
    bytes
}

fn frame2() -> impl Strategy<Value = OwnedFrame> {
    let leaf = prop_oneof![
        "[ -~]{0,40}".prop_map(|s| OwnedFrame::SimpleString(s.into_bytes())),
        "ERR [ -~]{0,40}".prop_map(OwnedFrame::Error),
        any::<i64>().prop_map(OwnedFrame::Integer),
        vec(any::<u8>(), 0..400).prop_map(OwnedFrame::BulkString),
        Just(OwnedFrame::Null),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| vec(inner, 0..8).prop_map(OwnedFrame::Array))
}

/// RESP3 as text: scalars that can be a map's key, everything else, attributes before it.
fn scalar3() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z ]{0,20}".prop_map(|s| format!("+{s}\r\n").into_bytes()),
        any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
        vec(any::<u8>(), 0..300).prop_map(|b| kv_fastpath::host::bulk(&b)),
        Just(b"#t\r\n".to_vec()),
        Just(b"#f\r\n".to_vec()),
    ]
}

fn frame3() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        scalar3(),
        "[a-z ]{0,20}".prop_map(|s| format!("-ERR {s}\r\n").into_bytes()),
        Just(b"_\r\n".to_vec()),
        Just(b",3.25\r\n".to_vec()),
        Just(b",inf\r\n".to_vec()),
        Just(b"(3492890328409238509324850943850943825024385\r\n".to_vec()),
        "[a-z\r\n]{0,40}".prop_map(|s| format!("!{}\r\n{s}\r\n", s.len()).into_bytes()),
        "[a-z\r\n]{0,40}".prop_map(|s| format!("={}\r\ntxt:{s}\r\n", s.len() + 4).into_bytes()),
    ];
    let nested = leaf.prop_recursive(4, 40, 6, |inner| {
        let list = |kind: char, items: Vec<Vec<u8>>| {
            [format!("{kind}{}\r\n", items.len()).into_bytes(), items.concat()].concat()
        };
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(move |items| list('*', items)),
            vec(scalar3(), 0..6).prop_map(move |items| list('~', items)),
            vec((scalar3(), inner), 0..4).prop_map(|pairs| {
                let mut bytes = format!("%{}\r\n", pairs.len()).into_bytes();
                pairs.into_iter().for_each(|(key, value)| bytes.extend([key, value].concat()));
                bytes
            }),
        ]
    });
    (prop::option::weighted(0.2, vec((scalar3(), scalar3()), 1..3)), nested).prop_map(
        |(attributes, value)| {
            let mut bytes = vec![];
            // The oracle takes no attribute before a null.
            if let Some(pairs) = attributes.filter(|_| value[0] != b'_') {
                bytes.extend(format!("|{}\r\n", pairs.len()).bytes());
                pairs.into_iter().for_each(|(key, value)| bytes.extend([key, value].concat()));
            }
            bytes.extend(value);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_end_where_the_oracle_says(requests in vec(request(), 1..6), cuts in vec(any::<prop::sample::Index>(), 0..6), window in 1..=256usize) {
        let mut stream = vec![];
        for request in &requests {
            let frame = OwnedFrame::Array(request.iter().cloned().map(OwnedFrame::BulkString).collect());
            stream.extend(encode2(&frame));
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let world = World::new();
        let mut flow = Flow::new(&world).with_windows_of(window);
        let mut seen = 0;
        for part in cuts.windows(2) {
            let outcome = flow.request(&stream[part[0]..part[1]], true);
            prop_assert_ne!(outcome, Outcome::Pass(Reason::Opaque));
            seen += flow.requests() as usize;
            let (mut complete, mut at) = (0, 0);
            while let Ok(Some((_, used))) = resp2::decode::decode(&stream[at..part[1]]) {
                at += used;
                complete += 1;
            }
            prop_assert_eq!(seen, complete);
            prop_assert_eq!(flow.state.request.at_boundary(), at == part[1]);
        }
        prop_assert_eq!(seen, requests.len());
        flow.forget();
        prop_assert_eq!(world.pending(), []);
    }

    #[test]
    fn resp2_replies_end_where_the_oracle_says(frames in vec(frame2(), 1..6), piece in 1..=256usize, cut: prop::sample::Index) {
        let stream: Vec<u8> = frames.iter().flat_map(encode2).collect();
        let stream = &stream[..cut.index(stream.len()) + 1];
        let (mut expected, mut at) = (vec![], 0);
        while let Ok(Some((_, used))) = resp2::decode::decode(&stream[at..]) {
            at += used;
            expected.push(at);
        }
        let (kinds, ends) = replies(stream, piece).expect("well formed");
        prop_assert_eq!(&ends, &expected);
        let mut start = 0;
        for (kind, end) in kinds.iter().zip(ends) {
            prop_assert_eq!(*kind, stream[start]);
            start = end;
        }
    }

    #[test]
    fn resp3_replies_end_where_the_oracle_says(frames in vec(frame3(), 1..6), piece in 1..=256usize, cut: prop::sample::Index) {
        let stream: Vec<u8> = frames.concat();
        let stream = &stream[..cut.index(stream.len()) + 1];
        let (mut expected, mut at) = (vec![], 0);
        while let Ok(Some((_, used))) = resp3::decode::complete::decode(&stream[at..]) {
            at += used;
            expected.push(at);
        }
        let (_, ends) = replies(stream, piece).expect("well formed");
        prop_assert_eq!(ends, expected);
    }

    /// Whatever comes: no panic, and the same in whatever pieces.
    #[test]
    fn pieces_do_not_matter(noise in vec(prop_oneof![
        Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b'1'), Just(b'0'), Just(b'-'), Just(b'+'), Just(b'|'), Just(b'>'), Just(b'a'), any::<u8>()
    ], 0..80), piece in 1..=256usize) {
        prop_assert_eq!(replies(&noise, piece), replies(&noise, 1));
        let world = World::new();
        let (mut whole, mut bytewise) = (Flow::new(&world).with_windows_of(piece), Flow::new(&world).with_windows_of(1));
        whole.request(&noise, false);
        let mut requests = 0;
        for byte in &noise {
            if bytewise.is_opaque() {
                break;
            }
            bytewise.request(&[*byte], false);
            requests += bytewise.requests();
        }
        prop_assert_eq!(whole.is_opaque(), bytewise.is_opaque());
        prop_assert_eq!(whole.requests(), requests);
        whole.forget();
        bytewise.forget();
        prop_assert_eq!(world.pending(), []);
    }

    /// After every reply nothing is pending, whatever was asked.
    #[test]
    fn all_that_is_held_is_given_back(commands in vec((0..12usize, 0..50u32), 0..200), rates in vec(any::<bool>(), 0..400)) {
        let world = World::new();
        let mut flow = Flow::new(&world);
        let (mut commands, mut outstanding) = (commands.into_iter(), 0);
        for forward in rates.into_iter().chain(std::iter::repeat(false)) {
            let next = if forward { commands.next() } else { None };
            if let Some((which, key)) = next {
                let key = format!("key{key}");
                let words: Vec<&str> = match which {
                    0 => vec!["SET", &key, "1"],
                    1 => vec!["DEL", &key, "x", "y", "z"],
                    2 => vec!["MULTI"],
                    3 => vec!["EXEC"],
                    4 => vec!["EVAL", "x", "0"],
                    5 => vec!["GET", &key],
                    6 => vec!["SELECT", "1"],
                    7 => vec!["ACL", "SETUSER", "x"],
                    8 => vec!["WATCH", &key],
                    9 => vec!["MSET", &key, "1", "b", "2"],
                    10 => vec!["DISCARD"],
                    _ => vec!["PING"],
                };
                let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
                prop_assert!(matches!(flow.request(&kv_fastpath::host::encode(&words), true), Outcome::Pass(_)));
                outstanding += 1;
            } else if outstanding > 0 {
                prop_assert!(flow.response(b"+OK\r\n"));
                outstanding -= 1;
            } else if !forward {
                break;
            }
        }
        prop_assert_eq!(world.pending(), []);
        prop_assert!(flow.state.connection.holds_nothing());
    }
}

#[test]
fn what_redis_refuses_or_does_not_check_is_not_understood() {
    for stream in [
        "*\r\n",
        "*a\r\n",
        "*+1\r\n",
        "*01\r\n",
        "*-0\r\n",
        "*-\r\n",
        "*--1\r\n",
        "*1 \r\n",
        "*1\rx",
        "*1\n",
        "*1048577\r\n",
        "*99999999999\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$+1\r\n",
        "*1\r\n$01\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*1\r\n",
        "*1\r\n\r\n",
        "*1\r\n$1\rx",
        "*1\r\n$4\r\nPINGx",
        "*1\r\n$4\r\nPING\rx",
        "*1\r\n$4\r\nPING\n",
        "'a' b\r\n",
        "client \"id\"\r\n",
        "a\0b\r\n",
        "a b c\0\r\n",
        "*2\r\n$6\r\nclient\r\n$3\r\ni\0d\r\n",
    ] {
        let world = World::new();
        let mut flow = Flow::new(&world);
        assert_eq!(flow.request(stream.as_bytes(), true), Outcome::Pass(Reason::Opaque), "{stream:?}");
    }
    let long = [&b"PING "[..], &[b'x'; 70_000]].concat();
    assert_eq!(Flow::new(&World::new()).request(&long, true), Outcome::Pass(Reason::Opaque));
    let fits = [&b"PING "[..], &[b'x'; 65_000], b"\r\n"].concat();
    assert_eq!(Flow::new(&World::new()).request(&fits, true), Outcome::Pass(Reason::NotServed));
}

#[test]
fn replies_of_other_forms_are_not_understood() {
    for stream in [
        "x\r\n",
        "\r\n",
        "+OK\n",
        "+OK\rx",
        "$a\r\n",
        "$\r\n",
        "$-2\r\n",
        "$-0\r\n",
        "$?\r\n",
        "*?\r\n",
        "%-1\r\n",
        "$01\r\n",
        "$1\rx",
        "$1\r\nax",
        "$1\r\na\rx",
        "*1\r\n>1\r\n+x\r\n",
        "|1\r\n>1\r\n",
        ".\r\n",
        "*99999999999\r\n",
    ] {
        assert_eq!(replies(stream.as_bytes(), 256), None, "{stream:?}");
    }
    for (stream, kinds) in [
        ("$-1\r\n*-1\r\n*0\r\n", "$**"),
        (">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n+OK\r\n", "+"),
        ("|1\r\n+ttl\r\n:3600\r\n*2\r\n+a\r\n|1\r\n+x\r\n+y\r\n+b\r\n-ERR\r\n", "*-"),
        ("%1\r\n+a\r\n%1\r\n+b\r\n*0\r\n_\r\n", "%_"),
        ("*2\r\n*2\r\n*0\r\n$-1\r\n~1\r\n,1\r\n:1\r\n", "*:"),
        ("%0\r\n|0\r\n+x\r\n", "%+"),
    ] {
        let (seen, ends) = replies(stream.as_bytes(), 256).expect(stream);
        assert_eq!((std::str::from_utf8(&seen), ends.last()), (Ok(kinds), Some(&stream.len())), "{stream:?}");
    }
}
