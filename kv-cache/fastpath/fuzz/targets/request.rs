//! Any bytes of a client: the same requests in whatever pieces, and the same boundaries as `redis-protocol` where both
//! understand them.
#![no_main]

use std::sync::LazyLock;

use kv_fastpath::host::{Flow, World};
use libfuzzer_sys::fuzz_target;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

static WORLD: LazyLock<World> = LazyLock::new(World::new);

fn is_request(frame: &OwnedFrame) -> bool {
    matches!(frame, OwnedFrame::Array(words) if words.iter().all(|word| matches!(word, OwnedFrame::BulkString(_))))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let mut whole = Flow::new(&*WORLD);
    whole.request(bytes, false);
    let mut pieces = Flow::new(&*WORLD).with_windows_of(usize::from(piece) % 64 + 1);
    let mut requests = 0;
    for part in bytes.chunks(usize::from(piece) / 8 + 1) {
        if pieces.is_opaque() {
            break;
        }
        pieces.request(part, false);
        requests += pieces.requests();
    }
    assert_eq!(whole.is_opaque(), pieces.is_opaque());
    assert_eq!(whole.requests(), requests);
    if !whole.is_opaque() {
        assert_eq!(whole.state.request.at_boundary(), pieces.state.request.at_boundary());
        let (mut expected, mut at) = (0, 0);
        while let Ok(Some((frame, used))) = decode(&bytes[at..]) {
            if !is_request(&frame) {
                return;
            }
            expected += u32::from(!matches!(frame, OwnedFrame::Array(words) if words.is_empty()));
            at += used;
        }
        assert!(requests >= expected);
    }
    whole.forget();
    pieces.forget();
});
