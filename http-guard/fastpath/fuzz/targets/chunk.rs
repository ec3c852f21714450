//! Any bytes as a chunked body: it ends where a reader of the whole says, has as many bytes, and is refused where that refuses.
#![no_main]

use http_fastpath::body::{EXTENSION_BYTES_MAX, SIZE_DIGITS_MAX};
use http_fastpath::field::LENGTH_MAX;
use http_fastpath::head::Settings;
use http_fastpath::host::requests;
use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What a body is to a reader that has all of it.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    /// Bytes of data, and where trailers begin.
    Whole(u64, usize),
    Incomplete,
    Refused,
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

fn token(text: &[u8]) -> usize {
    text.iter().take_while(|byte| is_token(byte)).count()
}

/// Length of a quoted string, or `None` if it does not end or has what it may not have.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let byte = *text.get(at)?;
        at += 1;
        match byte {
            b'"' => return Some(at),
            b'\\' => {
                let escaped = *text.get(at)?;
                if (escaped < 0x20 && escaped != b'\t') || escaped == 0x7f {
                    return None;
                }
                at += 1;
            }
            b'\t' => {}
            0..0x20 | 0x7f => return None,
            _ => {}
        }
    }
}

/// Whether this is any number of extensions (RFC 9112 section 7.1.1), without white space.
fn extensions(mut text: &[u8]) -> bool {
    while let Some((b';', rest)) = text.split_first() {
        let name = token(rest);
        if name == 0 {
            return false;
        }
        text = &rest[name..];
        if let Some((b'=', value)) = text.split_first() {
            let len = if value.first() == Some(&b'"') { quoted(value) } else { Some(token(value)) };
            match len {
                None | Some(0) => return false,
                Some(len) => text = &value[len..],
            }
        }
    }
    text.is_empty()
}

/// A line's text, if it is whole.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|window| window == b"\r\n").map(|end| &bytes[..end])
}

fn oracle(bytes: &[u8]) -> Body {
    let (mut at, mut data) = (0, 0u64);
    loop {
        let Some(line) = line(&bytes[at..]) else { return Body::Incomplete };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = str::from_utf8(&line[..digits]).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size <= LENGTH_MAX) else { return Body::Refused };
        let extension = &line[digits..];
        if digits > usize::from(SIZE_DIGITS_MAX)
            || extension.len() > usize::from(EXTENSION_BYTES_MAX)
            || !extensions(extension)
        {
            return Body::Refused;
        }
        at += line.len() + 2;
        if size == 0 {
            return Body::Whole(data, at);
        }
        let left = (bytes.len() - at) as u64;
        if size > left {
            return Body::Incomplete;
        }
        at += size as usize;
        data += size;
        match &bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Body::Incomplete,
            _ => return Body::Refused,
        }
    }
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (first, second, bytes) = input;
    let stream = [HEAD, bytes].concat();
    let whole = requests(&stream, &[], &Settings::DEFAULT);
    let mut cuts = [first, second].map(|cut| HEAD.len() + usize::from(cut) % (bytes.len() + 1));
    cuts.sort_unstable();
    assert_eq!(requests(&stream, &cuts, &Settings::DEFAULT), whole);
    let every: Vec<usize> = (1..stream.len()).collect();
    assert_eq!(requests(&stream, &every, &Settings::DEFAULT), whole);
    let seen = whole.seen.first().expect("the head passes");
    match oracle(bytes) {
        Body::Whole(data, end) if bytes[end..].starts_with(b"\r\n") => {
            assert!(seen.complete && seen.body_bytes == data, "{whole:?}, not {data} bytes");
        }
        Body::Whole(..) => {}
        Body::Refused => assert!(!seen.complete && whole.refusal.is_some(), "{whole:?} of what is refused"),
        // What is wrong already need not be waited for.
        Body::Incomplete => assert!(!seen.complete),
    }
});
