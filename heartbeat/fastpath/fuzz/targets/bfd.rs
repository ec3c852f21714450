//! Any payload, as it came and with the hash that it should have: what is read is written the same, and a packet is for a
//! session with authentication or for one without.
#![no_main]

use heartbeat_fastpath::bfd::authentication::{AUTHENTICATED_BYTES, Key, Session, Type};
use heartbeat_fastpath::bfd::{Control, Refusal, Unverified};
use libfuzzer_sys::fuzz_target;

fn receive(kind: Type, key: Key, payload: &[u8]) -> Result<Control, Refusal> {
    Session::new(kind, key).receive(&Unverified::read(payload)?)
}

fuzz_target!(|payload: &[u8]| {
    let Ok(unverified) = Unverified::read(payload) else { return };
    let plain = unverified.plain();
    if let Ok(control) = plain {
        assert_eq!(control.encode(), payload, "a packet has one form");
    }
    let id = payload.get(26).copied().unwrap_or_default();
    let key = Key::new(id, b"secret").expect("a short secret");
    for kind in [Type::Keyed, Type::Meticulous] {
        let received = receive(kind, key, payload);
        assert!(plain.is_err() || received == Err(Refusal::Unauthenticated));
        if payload.len() != AUTHENTICATED_BYTES {
            assert!(received.is_err());
            continue;
        }
        if let Ok(control) = received {
            let mut session = Session::new(kind, key);
            assert_eq!(session.receive(&unverified), Ok(control));
            let again = session.receive(&unverified);
            assert_eq!(again.is_ok(), kind == Type::Keyed, "only a meticulous number is used up");
        }
        // What the packet would say with a hash that is right.
        let mut plain = payload[..24].to_vec();
        plain[1] &= !0x04;
        plain[3] = 24;
        let control = Unverified::read(&plain)
            .and_then(|packet| packet.plain())
            .expect("the same, without authentication");
        let sequence = u32::from_be_bytes([payload[28], payload[29], payload[30], payload[31]]);
        let bytes = control.encode_authenticated(kind, &key, sequence);
        assert_eq!(receive(kind, key, &bytes), Ok(control));
        assert_eq!(bytes[..24], payload[..24], "a header has one form");
    }
});
