//! Framing of responses: which request is answered when.

use http_fastpath::host::{Answers, responses};
use http_fastpath::response::{Asked, OUTSTANDING_MAX, Outstanding};
use proptest::collection::vec;
use proptest::prelude::*;

fn outstanding(heads: &[bool]) -> Outstanding {
    let (mut outstanding, mut asked) = (Outstanding::NONE, Asked::NONE);
    heads.iter().for_each(|head| asked.push(*head));
    assert!(outstanding.passed(&asked));
    outstanding
}

/// What these requests' responses are read as, however they are cut.
fn read(heads: &[bool], bytes: &[u8]) -> Answers {
    let whole = responses(bytes, &[], &mut outstanding(heads));
    for cut in 1..bytes.len() {
        assert_eq!(responses(bytes, &[cut], &mut outstanding(heads)), whole, "cut at {cut}");
    }
    let every: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(responses(bytes, &every, &mut outstanding(heads)), whole);
    whole
}

fn answers(statuses: &[u16]) -> Answers {
    Answers { statuses: statuses.to_vec(), opaque: false, at_boundary: true }
}

fn opaque(statuses: &[u16]) -> Answers {
    Answers { statuses: statuses.to_vec(), opaque: true, at_boundary: false }
}

#[test]
fn responses_end_where_their_length_says() {
    let ok = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(read(&[false], ok.as_bytes()), answers(&[200]));
    assert_eq!(read(&[false; 2], format!("{ok}{ok}").as_bytes()), answers(&[200, 200]));
    assert_eq!(read(&[false], b"HTTP/1.1 404 \r\ncontent-length:0\r\n\r\n"), answers(&[404]));
    assert_eq!(read(&[false], b"HTTP/1.0 429\r\nContent-Length: 1 \r\n\r\nx"), answers(&[429]));
    assert!(!read(&[false], &ok.as_bytes()[..ok.len() - 1]).at_boundary);
}

#[test]
fn lines_that_begin_alike_say_nothing_of_it() {
    for line in [
        "Connection: keep-alive",
        "Content-Type: text/html; charset=utf-8, Content-Length: 7",
        "Content-Lengthy: 7",
        "Content-Language: en",
        "Content-Lang: en",
        "Content-L: 7",
        "Content length: 7",
        "Transfer-Encodings: chunked",
        "Transfer-Rate: chunked",
        "Te: x",
        "T",
        "c",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 5\r\n{line}\r\n\r\nhello");
        assert_eq!(read(&[false], bytes.as_bytes()), answers(&[200]), "{line}");
    }
}

#[test]
fn chunked_responses_end_with_their_trailers() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    assert_eq!(read(&[false], format!("{chunked}\r\n").as_bytes()), answers(&[200]));
    assert_eq!(
        read(&[false], format!("{chunked}Content-Length: 9\r\nX:\r\n\r\n").as_bytes()),
        answers(&[200])
    );
    assert!(!read(&[false], chunked.as_bytes()).at_boundary);
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
    for (head, status) in [(true, 200), (true, 404), (false, 204), (false, 304)] {
        for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            let bytes = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
            let next = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
            assert_eq!(read(&[head], bytes.as_bytes()), answers(&[status]));
            assert_eq!(
                read(&[head, false], format!("{bytes}{next}").as_bytes()),
                answers(&[status, 200]),
                "{bytes}"
            );
        }
    }
}

#[test]
fn interim_responses_answer_nothing() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let end = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(read(&[false], interim.as_bytes()).statuses, []);
    assert_eq!(read(&[false], format!("{interim}{end}").as_bytes()), answers(&[200]));
}

#[test]
fn what_is_not_plain_is_opaque() {
    for bytes in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-\0ength: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 020 OK\r\n\r\n",
        "HTTP/1.1 20\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "<html>a response of HTTP/0.9</html>",
    ] {
        assert_eq!(read(&[false], bytes.as_bytes()), opaque(&[]), "{bytes}");
    }
    // Nobody asked.
    let late = b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(read(&[], late), opaque(&[]));
    assert_eq!(read(&[false], &[late.as_slice(), late].concat()), opaque(&[408]));
}

#[test]
fn so_many_requests_may_wait() {
    let (mut some, mut one) = (Asked::NONE, Asked::NONE);
    one.push(true);
    (0..OUTSTANDING_MAX).for_each(|_| some.push(false));
    let mut waiting = Outstanding::NONE;
    assert!(waiting.passed(&some) && !waiting.idle());
    assert!(!waiting.passed(&one), "one too many");
    some.push(false);
    let mut none = Outstanding::NONE;
    assert!(!none.passed(&some) && none.idle(), "one too many at once");
    (0..1000).for_each(|_| some.push(false));
    assert!(some.count() > OUTSTANDING_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Requests and responses in turn, so that the ring of methods goes round.
    #[test]
    fn each_request_is_answered_by_its_own(turns in vec(vec(any::<bool>(), 0..=63), 1..8)) {
        let mut outstanding = Outstanding::NONE;
        for heads in turns {
            let mut asked = Asked::NONE;
            heads.iter().for_each(|head| asked.push(*head));
            prop_assert!(outstanding.passed(&asked));
            let mut bytes = vec![];
            for head in &heads {
                bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
                // Whoever takes one kind for the other finds no status line next.
                bytes.extend_from_slice(if *head { b"" } else { b"hello" });
            }
            let answers = responses(&bytes, &[], &mut outstanding);
            prop_assert!(!answers.opaque && answers.at_boundary && outstanding.idle());
            prop_assert_eq!(answers.statuses.len(), heads.len());
        }
    }
}
