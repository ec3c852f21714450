//! Heads against `httparse`, paths against a plain implementation, chunks there and back.

use http_fastpath::head::Settings;
use http_fastpath::host::{Reading, requests};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn cuts(cuts: &[Index], len: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    cuts.sort_unstable();
    cuts
}

fn get(target: &[u8]) -> Vec<u8> {
    [b"GET ".as_slice(), target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()
}

/// The path that Nginx makes of a target in origin form; `None` where it refuses. From the rules, in passes: decode, with
/// what is escaped and ordinary marked, split at slashes, resolve dots.
fn normalised(target: &[u8], merge_slashes: bool) -> Option<Vec<u8>> {
    let end = target.iter().position(|byte| *byte == b'?' || *byte == b'#').unwrap_or(target.len());
    let raw = &target[..end];
    let mut decoded = vec![];
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'%' {
            decoded.push(raw[at]);
            at += 1;
            continue;
        }
        let digits = std::str::from_utf8(raw.get(at + 1..at + 3)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(u8::from_str_radix(digits, 16).ok().filter(|byte| *byte != 0)?);
        at += 3;
    }
    let segments: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').skip(1).collect();
    let mut kept: Vec<&[u8]> = vec![];
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match *segment {
            b"" if merge_slashes && !last => continue,
            b"." => {}
            b".." => {
                kept.pop()?;
            }
            segment => {
                kept.push(segment);
                if kept.len() > 32 {
                    return None;
                }
                continue;
            }
        }
        if last {
            kept.push(b"");
        }
    }
    Some(kept.iter().flat_map(|segment| [b"/".as_slice(), segment].concat()).collect())
}

fn path_of(reading: &Reading) -> Option<Vec<u8>> {
    reading.refusal.is_none().then(|| reading.seen[0].path.clone())
}

/// Targets made of what matters to normalisation.
fn target() -> impl Strategy<Value = Vec<u8>> {
    let pieces = select(vec![
        "/", "/", "/", ".", ".", "..", "../", "./", "a", "b", "%2e", "%2E", "%2f", "%2F", "%25", "%23",
        "%3f", "%61", "%00", "%", "%4", "%zz", "?", "#", "+", ";", "%20", "%ff", "\\",
    ]);
    vec(pieces, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
}

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"]).prop_map(str::to_owned),
        "[A-Z]{1,12}".prop_filter("not served", |method| method != "CONNECT")
    ]
}

fn field() -> impl Strategy<Value = (String, String)> {
    ("[!#$%&'*+.^_`|~0-9A-Za-z-]{0,30}", "([!-~]([ \t!-~]{0,40}[!-~])?)?")
        .prop_map(|(name, value)| (format!("X{name}"), value))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn well_formed_heads_are_read_as_the_oracle_reads_them(
        method in method(),
        path in "/[a-z0-9/]{0,20}",
        version in select(vec!["1.0", "1.1"]),
        fields in vec((field(), "[ \t]{0,3}", "[ \t]{0,3}"), 0..8),
        host_at in any::<Index>(),
        at in vec(any::<Index>(), 0..4),
    ) {
        let mut lines: Vec<String> =
            fields.iter().map(|((name, value), before, behind)| format!("{name}:{before}{value}{behind}\r\n")).collect();
        lines.insert(host_at.index(lines.len() + 1), "Host: a.example\r\n".to_owned());
        let bytes = format!("{method} {path} HTTP/{version}\r\n{}\r\n", lines.concat()).into_bytes();

        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut oracle = httparse::Request::new(&mut headers);
        prop_assert_eq!(oracle.parse(&bytes), Ok(httparse::Status::Complete(bytes.len())));

        let reading = requests(&bytes, &cuts(&at, bytes.len()), &Settings::DEFAULT);
        prop_assert_eq!(reading.refusal, None);
        prop_assert!(reading.at_boundary);
        let seen = &reading.seen[0];
        prop_assert_eq!(Some(&seen.method[..]), oracle.method.map(str::as_bytes));
        prop_assert_eq!(Some(seen.path.clone()), normalised(oracle.path.unwrap_or_default().as_bytes(), true));
        prop_assert_eq!(&seen.host[..], b"a.example");
        let told: Vec<_> = oracle.headers.iter().filter(|header| header.name != "Host").map(|header| {
            // The oracle leaves tabs at the end of a value.
            (header.name.to_lowercase().into_bytes(), header.value.trim_ascii().to_vec())
        }).collect();
        prop_assert_eq!(&seen.fields, &told);
    }

    /// Whatever passes, the oracle takes for a whole head, too, of the same length.
    #[test]
    fn a_damaged_head_is_refused_or_read_as_the_oracle_reads_it(
        (bytes, place, byte) in (
            vec(field(), 0..4).prop_map(|fields| {
                let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                format!("GET /a/b HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n").into_bytes()
            }),
            any::<Index>(),
            prop_oneof![select(b"\r\n \t:\0/,%".to_vec()), any::<u8>()],
        ),
    ) {
        let mut bytes = bytes;
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let reading = requests(&bytes, &[], &Settings::DEFAULT);
        let every: Vec<usize> = (1..bytes.len()).collect();
        prop_assert_eq!(&requests(&bytes, &every, &Settings::DEFAULT), &reading);
        // The oracle wants UTF-8 in the target, Nginx takes any bytes.
        let text = std::str::from_utf8(&bytes).is_ok() || place > 20;
        if text && reading.refusal.is_none() && reading.at_boundary && reading.seen.len() == 1 {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut oracle = httparse::Request::new(&mut headers);
            prop_assert_eq!(oracle.parse(&bytes), Ok(httparse::Status::Complete(bytes.len())));
            prop_assert_eq!(oracle.headers.len(), reading.seen[0].fields.len() + 1);
        }
    }

    #[test]
    fn paths_are_normalised_as_the_rules_say(target in target(), merge in any::<bool>(), at in vec(any::<Index>(), 0..3)) {
        let bytes = get(&target);
        let settings = Settings { merge_slashes: merge.into(), ..Settings::DEFAULT };
        let reading = requests(&bytes, &cuts(&at, bytes.len()), &settings);
        prop_assert_eq!(path_of(&reading), normalised(&target, merge), "{}", String::from_utf8_lossy(&target));
    }

    #[test]
    fn any_printable_path_is_normalised(target in "/[!-~\u{80}-\u{ff}]{0,40}", merge in any::<bool>()) {
        let bytes = get(target.as_bytes());
        let settings = Settings { merge_slashes: merge.into(), ..Settings::DEFAULT };
        prop_assert_eq!(path_of(&requests(&bytes, &[], &settings)), normalised(target.as_bytes(), merge));
    }

    #[test]
    fn chunks_come_to_their_end(
        chunks in vec(vec(any::<u8>(), 1..400), 0..6),
        zeros in 0..4usize,
        extension in select(vec!["", ";a", ";a=b", ";a=\"b;\\\"\""]),
        trailer in select(vec!["", "X: y\r\n"]),
        at in vec(any::<Index>(), 0..6),
    ) {
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            bytes.extend(format!("{}{:x}{extension}\r\n", "0".repeat(zeros), chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(format!("0{extension}\r\n{trailer}\r\n").bytes());
        bytes.extend(get(b"/next"));
        let reading = requests(&bytes, &cuts(&at, bytes.len()), &Settings::DEFAULT);
        prop_assert_eq!(reading.refusal, None);
        prop_assert!(reading.at_boundary);
        prop_assert_eq!(reading.seen[0].body_bytes, chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>());
        prop_assert_eq!(&reading.seen[1].path, b"/next");
    }

    /// Nothing that comes makes the parser fail, or depend on how it comes.
    #[test]
    fn noise_is_read_the_same_however_it_is_cut(bytes in vec(prop_oneof![any::<u8>(), select(b"GET / HTTP1.\r\n:a0;".to_vec())], 0..200), at in vec(any::<Index>(), 0..6)) {
        let whole = requests(&bytes, &[], &Settings::DEFAULT);
        prop_assert_eq!(requests(&bytes, &cuts(&at, bytes.len()), &Settings::DEFAULT), whole);
    }
}
