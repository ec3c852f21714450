//! Any bytes of a server: the same responses however they are cut, never more of them than there were requests, and heads
//! that `httparse` reads as well.
#![no_main]

use http_fastpath::host::responses;
use http_fastpath::response::{Asked, Outstanding};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (heads, piece, bytes) = input;
    let outstanding = || {
        let (mut outstanding, mut asked) = (Outstanding::NONE, Asked::NONE);
        (0..8).for_each(|bit| asked.push(heads >> bit & 1 != 0));
        assert!(outstanding.passed(&asked));
        outstanding
    };
    let mut waiting = outstanding();
    let whole = responses(bytes, &[], &mut waiting);
    assert!(whole.statuses.len() <= 8);
    assert_eq!(waiting.idle(), whole.statuses.len() == 8);
    let cuts: Vec<usize> = (1..bytes.len()).step_by(usize::from(piece) % 40 + 1).collect();
    assert_eq!(responses(bytes, &cuts, &mut outstanding()), whole);
    if let Some(status) = whole.statuses.first() {
        let (mut at, mut last) = (0, 100);
        // Interim responses come before.
        while last < 200 {
            let mut headers = [httparse::EMPTY_HEADER; 4096];
            let mut oracle = httparse::Response::new(&mut headers);
            match oracle.parse(&bytes[at..]) {
                Ok(httparse::Status::Complete(len)) => at += len,
                // It wants a reason of visible letters.
                _ => return,
            }
            last = oracle.code.unwrap_or_default();
        }
        assert_eq!(last, *status);
    }
});
