//! What heads tell beside their framing: fields, the connection, limits, boundaries.

use http_fastpath::head::{Method, Settings};
use http_fastpath::host::{Reading, Recorder, requests};
use http_fastpath::refusal::Refusal;
use http_fastpath::request::{Event, Request};
use xps_core::handler::Window;

fn read(bytes: &[u8]) -> Reading {
    let whole = requests(bytes, &[], &Settings::DEFAULT);
    for cut in 1..bytes.len() {
        assert_eq!(requests(bytes, &[cut], &Settings::DEFAULT), whole, "cut at {cut}");
    }
    whole
}

/// A request with these lines behind Host.
fn with(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

fn values(bytes: &[u8]) -> Vec<(String, String)> {
    let reading = read(bytes);
    assert_eq!(reading.refusal, None);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    reading.seen[0].fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// A request's head in one window, read to its end.
fn request(bytes: &[u8]) -> Request {
    let mut window = Window::EMPTY;
    window.bytes[..bytes.len()].copy_from_slice(bytes);
    window.len = bytes.len() as u32;
    let (mut request, mut recorder) = (Request::default(), Recorder::default());
    while request.read(&mut window, &Settings::DEFAULT, &mut recorder) == Event::None {
        assert!(window.at < window.len, "no end");
    }
    request
}

#[test]
fn values_are_trimmed_at_both_ends_and_not_within() {
    let lines = "A: b\r\nC:d \t \r\nE: \t f  g\th\t\r\nI:\r\nJ: \t\r\nK::\r\n";
    let expected = [("a", "b"), ("c", "d"), ("e", "f  g\th"), ("i", ""), ("j", ""), ("k", ":")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(values(&with(lines)), expected);
}

#[test]
fn the_host_field_is_told_as_the_host_only() {
    assert_eq!(values(b"GET / HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n"), [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn names_are_kept_up_to_their_longest() {
    let name = "N".repeat(32);
    assert_eq!(values(&with(&format!("{name}: x\r\n")))[0].0, name.to_lowercase());
    let longer = values(&with(&format!("{name}N: x\r\n")));
    assert_eq!(longer[0].1, "x");
}

#[test]
fn connections_stay_as_the_client_says() {
    let stays = |version: &str, line: &str| {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n");
        read(bytes.as_bytes()).seen[0].keeps_alive
    };
    assert!(stays("1.1", "") && !stays("1.0", ""));
    for close in ["close", "CLOSE", " close ", "x, close", "close,x", "close , x", "\tclose\t,", ",,close"] {
        assert!(!stays("1.1", &format!("Connection:{close}\r\n")), "{close:?}");
    }
    for no_close in ["closed", "x-close", "close x", "x close", "clo se", "close;a", "\"close\"", ""] {
        assert!(stays("1.1", &format!("Connection: {no_close}\r\n")), "{no_close:?}");
    }
    assert!(!stays("1.1", "Connection: x\r\nConnection: close\r\nConnection: y\r\n"));
    assert!(stays("1.0", "Connection: Keep-Alive\r\n") && !stays("1.0", "Connection: keep-alive, close\r\n"));
    assert!(!stays("1.0", "Keep-Alive: 5\r\n"));
}

#[test]
fn a_head_tells_what_answers_depend_on() {
    use http_fastpath::field::flag::{CONTINUE, UPGRADE};
    let plain = request(&with(""));
    assert!(!plain.head.fields.has(CONTINUE) && !plain.head.fields.has(UPGRADE) && !plain.head.is_old());
    assert!(plain.head.is(Method::Other) && plain.at_boundary());
    let asks = request(&with("Expect: 100-continue\r\nUpgrade: h2c\r\nContent-Length: 3\r\n"));
    assert!(asks.head.fields.has(CONTINUE) && asks.head.fields.has(UPGRADE) && !asks.at_boundary());
    assert_eq!(asks.head.fields.length, 3);
    assert!(!request(&with("Expect: 100-continue x\r\n")).head.fields.has(CONTINUE));
    let head = request(b"HEAD / HTTP/1.0\r\n\r\n");
    assert!(head.head.is(Method::Head) && head.head.is_old());
    assert!(request(b"HEADS / HTTP/1.0\r\n\r\n").head.is(Method::Other));
}

#[test]
fn limits_are_exact() {
    let long = |path: usize, value: usize| {
        let (path, value) = ("p".repeat(path), "v".repeat(value));
        format!("GET /{path} HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n").into_bytes()
    };
    let settings = Settings { line_bytes_max: 1000, head_bytes_max: 2000, ..Settings::DEFAULT };
    let refusal = |bytes: &[u8]| requests(bytes, &[], &settings).refusal;
    let around = long(0, 0).len();
    let line = "GET / HTTP/1.1\r\n".len();
    assert_eq!(refusal(&long(1000 - line, 0)), None);
    assert_eq!(refusal(&long(1001 - line, 0)), Some(Refusal::TargetTooLong));
    assert_eq!(refusal(&long(5000, 0)), Some(Refusal::TargetTooLong));
    assert_eq!(refusal(&long(0, 2000 - around)), None);
    assert_eq!(refusal(&long(0, 2001 - around)), Some(Refusal::HeadTooLarge));
    // Each head anew, and trailers by themselves.
    let twice = [long(0, 2000 - around), long(0, 2000 - around)].concat();
    assert_eq!(requests(&twice, &[], &settings).seen.len(), 2);
    let chunked = |trailer: usize| {
        let trailer = "t".repeat(trailer);
        with(&format!("Transfer-Encoding: chunked\r\n\r\n0\r\nX: {trailer}\r\n"))
    };
    assert_eq!(refusal(&chunked(2000 - 7)), None);
    assert_eq!(refusal(&chunked(2001 - 7)), Some(Refusal::HeadTooLarge));
}

#[test]
fn an_empty_line_behind_a_body_is_a_boundary() {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    assert!(read(post.as_bytes()).at_boundary);
    assert!(!read(format!("{post}\r").as_bytes()).at_boundary);
    assert!(read(format!("{post}\r\n").as_bytes()).at_boundary);
    assert_eq!(read(format!("{post}\r\n\r").as_bytes()).refusal, Some(Refusal::EmptyLine));
}

#[test]
fn large_bodies_are_skipped_up_to_their_last_byte() {
    let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".to_vec();
    let body = bytes.len();
    bytes.resize(body + 100_000, b'\n');
    for cuts in [vec![], vec![body], vec![body + 1], vec![body + 99_999], vec![body, body + 50_000]] {
        let reading = requests(&bytes, &cuts, &Settings::DEFAULT);
        assert!(reading.at_boundary && reading.seen[0].complete, "{cuts:?}");
        assert_eq!(reading.seen[0].body_bytes, 100_000);
        let short = requests(&bytes[..bytes.len() - 1], &cuts, &Settings::DEFAULT);
        assert!(!short.at_boundary && !short.seen[0].complete, "{cuts:?}");
    }
}
