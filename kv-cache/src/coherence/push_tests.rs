//! Pushes, cut in all places; and against the decoder that takes whole ones.

use kv_fastpath::abi::KEY_BYTES_MAX;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::encode::complete::encode;
use redis_protocol::resp3::types::{OwnedFrame as Frame, Resp3Frame, VerbatimStringFormat};

use super::*;
use crate::entries::store::key_hash;

const SECRET: [u64; 2] = [3, 5];

/// What is read of a push.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    steps: Vec<Step>,
    /// How many bytes were taken.
    bytes: usize,
    error: Option<String>,
}

/// Reads a push that comes in these parts, up to its end or an error.
fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut push = Push::new(SECRET);
    let mut outcome = Outcome::default();
    for part in parts {
        let mut unread = part;
        loop {
            let step = push.next(&mut unread);
            match step {
                Ok(Step::More) => break,
                Ok(step) => outcome.steps.push(step),
                Err(error) => outcome.error = Some(error.to_string()),
            }
            if outcome.error.is_some() || outcome.steps.last() == Some(&Step::End) {
                outcome.bytes += part.len() - unread.len();
                return outcome;
            }
        }
        assert!(unread.is_empty(), "more is asked for before all is read");
        outcome.bytes += part.len();
    }
    outcome
}

/// What is read of these bytes, which begin behind `>`: cut anywhere, it is the same.
fn read_cut(bytes: &[u8]) -> Outcome {
    let whole = read([bytes]);
    assert_eq!(read(bytes.chunks(1)), whole, "byte by byte");
    for cut in 0..=bytes.len() {
        assert_eq!(read([&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    whole
}

/// Asserts that these bytes are one whole push, which says this.
fn assert_says(bytes: &[u8], steps: impl IntoIterator<Item = Step>) {
    let steps = steps.into_iter().chain([Step::End]).collect();
    let expected = Outcome { steps, bytes: bytes.len(), error: None };
    assert_eq!(read_cut(bytes), expected, "{}", bytes.escape_ascii());
}

fn changed(key: &[u8]) -> Step {
    Step::Changed(key_hash(SECRET, key))
}

#[test]
fn keys_are_told_one_by_one() {
    let long = vec![b'k'; 4 * KEY_BYTES_MAX];
    let with_long =
        [b"2\r\n$10\r\ninvalidate\r\n*2\r\n$1000\r\n", long.as_slice(), b"\r\n$1\r\na\r\n"].concat();
    let cases: [(&[u8], Vec<Step>); _] = [
        (b"2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", vec![changed(b"a")]),
        (
            b"2\r\n$10\r\ninvalidate\r\n*3\r\n$2\r\n\r\n\r\n$0\r\n\r\n$8\r\n>1\r\n$1\r\n\r\n",
            vec![changed(b"\r\n"), changed(b""), changed(b">1\r\n$1\r\n")],
        ),
        (&with_long, vec![changed(&long), changed(b"a")]),
        // No keys.
        (b"2\r\n$10\r\ninvalidate\r\n*0\r\n", vec![]),
        // A flush.
        (b"2\r\n$10\r\ninvalidate\r\n_\r\n", vec![Step::All]),
        // More than Redis tells today.
        (b"3\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n", vec![changed(b"a")]),
    ];
    for (bytes, expected) in cases {
        assert_says(bytes, expected);
    }
}

#[test]
fn what_is_not_a_list_of_keys_means_all() {
    let cases: [(&[u8], Vec<Step>); _] = [
        (b"0\r\n", vec![]),
        (b"1\r\n$10\r\ninvalidate\r\n", vec![]),
        (b"2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n", vec![]),
        (b"2\r\n$10\r\ninvalidate\r\n$1\r\na\r\n", vec![]),
        (b"2\r\n$10\r\ninvalidate\r\n~1\r\n$1\r\na\r\n", vec![]),
        (b"2\r\n$10\r\ninvalidate\r\n|1\r\n+a\r\n+b\r\n*1\r\n$1\r\na\r\n", vec![]),
        (b"2\r\n|0\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n", vec![]),
        (b"2\r\n$10\r\ninvalidate\r\n*3\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n", vec![changed(b"a")]),
        (b"2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n", vec![changed(b"a")]),
    ];
    for (bytes, expected) in cases {
        assert_says(bytes, expected.into_iter().chain([Step::All]));
    }
}

#[test]
fn other_pushes_say_nothing() {
    let cases: [&[u8]; _] = [
        b"3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$10\r\ninvalidate\r\n",
        b"2\r\n$10\r\ninvalidatf\r\n*1\r\n$1\r\na\r\n",
        b"2\r\n$9\r\ninvalidat\r\n*1\r\n$1\r\na\r\n",
        b"2\r\n$11\r\ninvalidates\r\n*1\r\n$1\r\na\r\n",
        b"2\r\n$0\r\n\r\n_\r\n",
        b"9\r\n$1\r\na\r\n%1\r\n+a\r\n*2\r\n:1\r\n~0\r\n|1\r\n+a\r\n+b\r\n#t\r\n,1.5\r\n(12\r\n=5\r\ntxt:a\r\n\
          !3\r\nERR\r\n-ERR a\rb\n\r\r\n>1\r\n*1\r\n_\r\n",
    ];
    for bytes in cases {
        assert_says(bytes, []);
    }
}

#[test]
fn what_is_no_push_is_an_error() {
    let cases: [(&[u8], &str); _] = [
        (b"\r\n", "a length that is no number"),
        (b"x\r\n", "a length that is no number"),
        (b"-1\r\n", "a length that is no number"),
        (b"2x", "a length that is no number"),
        (b"2\r\r", "a length that is no number"),
        (b"2\n", "a length that is no number"),
        (b"18446744073709551616", "a length beyond all"),
        (b"1\r\n%9223372036854775808\r\n", "more values than can be counted"),
        (b"2\r\n*18446744073709551615\r\n", "more values than can be counted"),
        (b"1\r\nx", "a value of no known kind"),
        (b"1\r\n\r", "a value of no known kind"),
        (b"1\r\n$?\r\n", "a length that is no number"),
        (b"2\r\n$10\r\ninvalidate\r\n*-1\r\n", "a length that is no number"),
        (b"2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nab", "a string that is longer than it says"),
        (b"2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\rb", "a string that is longer than it says"),
    ];
    for (bytes, what) in cases {
        let error = format!("Redis's answer was not understood: {what}, in a push");
        assert_eq!(read_cut(bytes).error, Some(error), "{}", bytes.escape_ascii());
    }
}

/// What a push says, by its whole.
fn told(push: &Frame) -> Vec<Step> {
    let Frame::Push { data, .. } = push else { panic!("{push:?} is no push") };
    let mut told = match data.as_slice() {
        [name, ..] if is_blob(name) && name.as_bytes() != Some(INVALIDATE) => vec![],
        [name, Frame::Array { data: keys, attributes: None }, ..] if is_blob(name) => {
            let good = keys.iter().take_while(|key| is_blob(key));
            let mut told: Vec<_> = good.map(|key| changed(key.as_bytes().expect("a string"))).collect();
            // A key of another form would be one that is missed.
            if told.len() < keys.len() {
                told.push(Step::All);
            }
            told
        }
        _ => vec![Step::All],
    };
    told.push(Step::End);
    told
}

fn is_blob(frame: &Frame) -> bool {
    matches!(frame, Frame::BlobString { attributes: None, .. })
}

fn blob(data: impl Into<Vec<u8>>) -> Frame {
    Frame::BlobString { data: data.into(), attributes: None }
}

fn scalar() -> impl Strategy<Value = Frame> {
    let attributes = None;
    let data = vec(select(b"\r\n$*>0a".as_slice()), 0..12);
    let name = option::of(Just(INVALIDATE.to_vec())).prop_map(Option::unwrap_or_default);
    let line = "[a-z$*>\r]{0,8}[a-z]";
    prop_oneof![
        8 => prop_oneof![data.clone(), name, vec(any::<u8>(), 0..300)].prop_map(blob),
        1 => data.clone().prop_map(|data| Frame::BlobError { data, attributes: None }),
        1 => data.prop_map(|data| {
            Frame::VerbatimString { data, format: VerbatimStringFormat::Text, attributes: None }
        }),
        1 => line.prop_map(|line| Frame::SimpleString { data: line.into_bytes(), attributes: None }),
        1 => line.prop_map(|data| Frame::SimpleError { data, attributes: None }),
        1 => any::<i64>().prop_map(|data| Frame::Number { data, attributes: None }),
        1 => any::<bool>().prop_map(|data| Frame::Boolean { data, attributes: None }),
        1 => (-1e9..1e9).prop_map(|data| Frame::Double { data, attributes: None }),
        1 => Just(Frame::BigNumber { data: b"123".to_vec(), attributes }),
        1 => Just(Frame::Null),
    ]
}

fn value() -> impl Strategy<Value = Frame> {
    let scalars = || vec(scalar(), 0..4);
    scalar().prop_recursive(3, 24, 4, move |value| {
        let pairs = || vec((scalar(), value.clone()), 0..3);
        let attributes = option::of(pairs().prop_map(|pairs| pairs.into_iter().collect()));
        prop_oneof![
            (vec(value.clone(), 0..4), attributes)
                .prop_map(|(data, attributes)| Frame::Array { data, attributes }),
            vec(value.clone(), 0..4).prop_map(|data| Frame::Push { data, attributes: None }),
            pairs().prop_map(|pairs| Frame::Map { data: pairs.into_iter().collect(), attributes: None }),
            scalars().prop_map(|data| Frame::Set { data: data.into_iter().collect(), attributes: None }),
        ]
    })
}

fn push() -> impl Strategy<Value = Frame> {
    let keys = vec(prop_oneof![30 => vec(any::<u8>(), 0..300).prop_map(blob), 1 => value()], 0..20);
    let keys = keys.prop_map(|data| Frame::Array { data, attributes: None });
    let invalidation = (keys, vec(value(), 0..2))
        .prop_map(|(keys, more)| [blob(INVALIDATE), keys].into_iter().chain(more).collect());
    let of_value = value().prop_map(|value| vec![blob(INVALIDATE), value]);
    prop_oneof![3 => invalidation, 1 => of_value, 1 => vec(value(), 0..4)]
        .prop_map(|data| Frame::Push { data, attributes: None })
}

fn encoded(push: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; push.encode_len(false)];
    encode(&mut bytes, push, false).expect("a frame that can be written");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_decoder_of_whole_frames(push in push(), cuts in vec(any::<Index>(), 0..6)) {
        let bytes = encoded(&push);
        let (decoded, length) = decode(&bytes).expect("RESP3").expect("whole");
        prop_assert_eq!(length, bytes.len());
        let bytes = &bytes[1..];
        let expected = Outcome { steps: told(&decoded), bytes: bytes.len(), error: None };
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(&read(cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]])), &expected);
        prop_assert_eq!(&read(bytes.chunks(1)), &expected);
        prop_assert_eq!(&read([bytes, b"+OK\r\n"]), &expected);
    }

    #[test]
    fn of_a_damaged_push_nothing_is_missed(push in push(), at: Index, byte in select(b"\r\n019$*>|_+%a".as_slice())) {
        let mut bytes = encoded(&push);
        let at = 1 + at.index(bytes.len() - 1);
        bytes[at] = byte;
        let outcome = read([&bytes[1..]]);
        prop_assert_eq!(&read(bytes[1..].chunks(1)), &outcome);
        // An error is always right; the decoder takes some damage for good.
        if outcome.error.is_none() && let Ok(decoded) = decode(&bytes) {
            let ended = outcome.steps.last() == Some(&Step::End);
            let ours = ended.then_some((outcome.steps, outcome.bytes + 1));
            prop_assert_eq!(ours, decoded.map(|(frame, length)| (told(&frame), length)));
        }
    }
}
