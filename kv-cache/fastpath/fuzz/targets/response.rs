//! Any bytes of a server: the same replies in whatever pieces, and the same boundaries as `redis-protocol`.
#![no_main]

use kv_fastpath::response::{Event, Parser};
use libfuzzer_sys::fuzz_target;
use redis_protocol::resp3::decode::complete::decode;
use xps_core::handler::{WINDOW, Window};

/// Where values end, and whether all was understood.
fn ends(bytes: &[u8], piece: usize) -> (Vec<usize>, bool) {
    let mut parser = Parser::START;
    let (mut ends, mut at) = (vec![], 0);
    while at < bytes.len() {
        let mut window = Window::EMPTY;
        let shown = &bytes[at..bytes.len().min(at + piece)];
        window.bytes[..shown.len()].copy_from_slice(shown);
        window.len = shown.len() as u32;
        loop {
            match parser.read(&mut window) {
                Event::None if window.at < window.len => {}
                Event::None => break,
                Event::Reply | Event::Push => ends.push(at + window.at as usize),
                Event::Skip => {
                    at += window.skip as usize;
                    break;
                }
                Event::Opaque => return (ends, false),
            }
        }
        at += window.at as usize;
    }
    (ends, true)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let (whole, understood) = ends(bytes, WINDOW);
    assert_eq!(ends(bytes, usize::from(piece) % 40 + 1), (whole.clone(), understood));
    if understood {
        // What the oracle takes, we take at the same places. It takes less: no attribute before a null, keys of some
        // types only.
        let mut at = 0;
        for end in whole {
            match decode(&bytes[at..]) {
                Ok(Some((_, used))) => at += used,
                _ => return,
            }
            assert_eq!(at, end);
        }
    }
});
