//! BFD: packets that other implementations send, wrong ones of each kind, and what holds for all.

use core::num::{NonZeroU8, NonZeroU32};

use heartbeat_fastpath::bfd::authentication::{AUTHENTICATED_BYTES, Key, Session, Type};
use heartbeat_fastpath::bfd::{CONTROL_BYTES, Control, Diagnostic, Refusal, State, Unverified};
use proptest::prelude::*;
use proptest::sample::select;

/// A packet of section 4.1, written out: down, no session on the other side known, 1 s each way.
const DOWN: [u8; CONTROL_BYTES] =
    [0x20, 0x40, 0x03, 0x18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 0];

fn down() -> Control {
    Control {
        diagnostic: Diagnostic::NONE,
        state: State::Down,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: NonZeroU8::new(3).expect("not 0"),
        my_discriminator: NonZeroU32::MIN,
        your_discriminator: 0,
        desired_min_tx_us: 1_000_000,
        required_min_rx_us: 1_000_000,
        required_min_echo_rx_us: 0,
    }
}

fn key(id: u8) -> Key {
    Key::new(id, &[b'a' + id; 7]).expect("a short secret")
}

fn plain(payload: &[u8]) -> Result<Control, Refusal> {
    Unverified::read(payload)?.plain()
}

fn receive(session: &mut Session, payload: &[u8]) -> Result<Control, Refusal> {
    session.receive(&Unverified::read(payload)?)
}

#[test]
fn a_packet_as_the_standard_draws_it() {
    assert_eq!(plain(&DOWN), Ok(down()));
    assert_eq!(down().encode(), DOWN);
    let bits = Control {
        diagnostic: Diagnostic::NEIGHBOR_SIGNALED_DOWN,
        state: State::Up,
        poll: true,
        demand: true,
        your_discriminator: 9,
        ..down()
    };
    assert_eq!(bits.encode()[..2], [0x23, 0xe2]);
    let others = Control { is_final: true, control_plane_independent: true, ..down() };
    assert_eq!(others.encode()[..2], [0x20, 0x58]);
}

#[test]
fn each_wrong_field_has_its_name() {
    for (name, at, byte, refusal) in [
        ("version 0", 0, 0x00, Refusal::WrongVersion),
        ("version 2", 0, 0x40, Refusal::WrongVersion),
        ("shorter than a packet", 3, 23, Refusal::WrongLength),
        ("longer than what came", 3, 25, Refusal::WrongLength),
        ("multiplier", 2, 0, Refusal::NoMultiplier),
        ("multipoint", 1, 0x41, Refusal::Multipoint),
        ("discriminator", 7, 0, Refusal::NoDiscriminator),
        ("init without a session", 1, 0x80, Refusal::NoSession),
        ("up without a session", 1, 0xc0, Refusal::NoSession),
        ("authentication without room for it", 1, 0x44, Refusal::WrongLength),
    ] {
        let mut bytes = DOWN;
        bytes[at] = byte;
        assert_eq!(plain(&bytes), Err(refusal), "{name}");
    }
    let mut admin_down = DOWN;
    admin_down[1] = 0;
    assert_eq!(plain(&admin_down), Ok(Control { state: State::AdminDown, ..down() }));
}

#[test]
fn a_packet_is_as_long_as_it_says() {
    for length in 0..CONTROL_BYTES {
        assert_eq!(plain(&DOWN[..length]), Err(Refusal::Truncated), "{length} bytes");
    }
    let mut long = [&DOWN[..], &[0; 8]].concat();
    assert_eq!(plain(&long), Err(Refusal::Oversized), "bytes behind it");
    long[3] = 32;
    assert_eq!(plain(&long), Err(Refusal::Oversized), "bytes within it");
    let bytes = down().encode_authenticated(Type::Keyed, &key(1), 1);
    for length in CONTROL_BYTES..AUTHENTICATED_BYTES {
        let mut session = Session::new(Type::Keyed, key(1));
        assert_eq!(receive(&mut session, &bytes[..length]), Err(Refusal::WrongLength), "{length} bytes");
        let mut short = bytes;
        short[3] = length as u8;
        let refusal = if length < CONTROL_BYTES + 2 {
            Refusal::WrongLength
        } else {
            Refusal::WrongAuthenticationLength
        };
        assert_eq!(receive(&mut session, &short[..length]), Err(refusal), "says {length} bytes");
    }
}

#[test]
fn both_sides_agree_whether_there_is_authentication() {
    let mut session = Session::new(Type::Keyed, key(1));
    assert_eq!(receive(&mut session, &DOWN), Err(Refusal::Unauthenticated));
    let bytes = down().encode_authenticated(Type::Keyed, &key(1), 1);
    assert_eq!(plain(&bytes), Err(Refusal::UnexpectedAuthentication));
    assert_eq!(receive(&mut Session::new(Type::Meticulous, key(1)), &bytes), Err(Refusal::WrongType));
    assert_eq!(receive(&mut Session::new(Type::Keyed, key(2)), &bytes), Err(Refusal::UnknownKey));
    let other = Key::new(1, b"another secret").expect("a short secret");
    assert_eq!(receive(&mut Session::new(Type::Keyed, other), &bytes), Err(Refusal::WrongHash));
    let mut section = bytes;
    section[25] = 27;
    assert_eq!(receive(&mut session, &section), Err(Refusal::WrongAuthenticationLength));
    assert_eq!(receive(&mut session, &bytes), Ok(down()));
}

/// From Python: `hashlib.sha1(packet[:32] + secret.ljust(20, b"\0"))`.
#[test]
fn the_hash_is_sha1_over_the_packet_with_the_secret_in_its_place() {
    let key = Key::new(2, b"secret").expect("a short secret");
    let bytes = down().encode_authenticated(Type::Meticulous, &key, 0x0102_0304);
    assert_eq!(bytes[..4], [0x20, 0x44, 0x03, 52]);
    assert_eq!(bytes[24..32], [5, 28, 2, 0, 1, 2, 3, 4]);
    let hash: String = bytes[32..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "51aa81c5d7a4f95f0c3c9a34b2789ae7f26cb882");
}

#[test]
fn sequences_go_on_by_three_detection_times_at_most() {
    for (kind, steps) in [
        (Type::Keyed, [(0, true), (0, true), (9, true), (19, false), (18, true), (17, false), (18, true)]),
        (
            Type::Meticulous,
            [(0, true), (0, false), (9, true), (19, false), (18, true), (17, false), (18, false)],
        ),
    ] {
        // Also where numbers begin again at 0.
        for start in [0, 5000, u32::MAX - 5] {
            let mut session = Session::new(kind, key(1));
            for (index, (step, taken)) in steps.into_iter().enumerate() {
                let bytes = down().encode_authenticated(kind, &key(1), start.wrapping_add(step));
                let expected = if taken { Ok(down()) } else { Err(Refusal::Replayed) };
                assert_eq!(receive(&mut session, &bytes), expected, "{kind:?}, step {index} from {start}");
            }
            let back = down().encode_authenticated(kind, &key(1), start);
            assert_eq!(receive(&mut session, &back), Err(Refusal::Replayed));
            session.forget_sequence();
            assert_eq!(receive(&mut session, &back), Ok(down()));
        }
    }
}

#[test]
fn a_wrong_hash_teaches_no_sequence() {
    let mut session = Session::new(Type::Meticulous, key(1));
    let mut wrong = down().encode_authenticated(Type::Meticulous, &key(1), 1 << 30);
    wrong[51] ^= 1;
    assert_eq!(receive(&mut session, &wrong), Err(Refusal::WrongHash));
    let right = down().encode_authenticated(Type::Meticulous, &key(1), 7);
    assert_eq!(receive(&mut session, &right), Ok(down()));
}

#[test]
fn keys_are_changed_without_a_gap() {
    let mut session = Session::new(Type::Keyed, key(1));
    let hear = |session: &mut Session, id| {
        receive(session, &down().encode_authenticated(Type::Keyed, &key(id), 1)).err()
    };
    assert_eq!(hear(&mut session, 2), Some(Refusal::UnknownKey));
    assert!(session.set_keys(key(1), Some(key(2))));
    assert_eq!((hear(&mut session, 1), hear(&mut session, 2)), (None, None));
    assert!(session.set_keys(key(2), None));
    assert_eq!((hear(&mut session, 1), hear(&mut session, 2)), (Some(Refusal::UnknownKey), None));
    let same = Key::new(2, b"another secret").expect("a short secret");
    assert!(!session.set_keys(key(2), Some(same)), "two keys with one number");
}

#[test]
fn secrets_have_a_length_and_are_not_shown() {
    assert_eq!(Key::new(1, b""), None);
    assert_eq!(Key::new(1, &[1; 21]), None);
    let key = Key::new(1, &[0xab; 20]).expect("as long as may be");
    assert!(!format!("{key:?}").contains("171"));
}

prop_compose! {
    fn control()(
        diagnostic in 0..32u8,
        state in select(vec![State::AdminDown, State::Down, State::Init, State::Up]),
        bits: [bool; 4],
        detect_multiplier in 1..=u8::MAX,
        my_discriminator in 1..=u32::MAX,
        your_discriminator in 1..=u32::MAX,
        intervals: [u32; 3],
    ) -> Control {
        Control {
            diagnostic: Diagnostic::from_number(diagnostic),
            state,
            poll: bits[0],
            is_final: bits[1],
            control_plane_independent: bits[2],
            demand: bits[3],
            detect_multiplier: NonZeroU8::new(detect_multiplier).expect("from 1 on"),
            my_discriminator: NonZeroU32::new(my_discriminator).expect("from 1 on"),
            your_discriminator,
            desired_min_tx_us: intervals[0],
            required_min_rx_us: intervals[1],
            required_min_echo_rx_us: intervals[2],
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_read(control in control(), sequence: u32, meticulous: bool) {
        prop_assert_eq!(plain(&control.encode()), Ok(control));
        let kind = if meticulous { Type::Meticulous } else { Type::Keyed };
        let bytes = control.encode_authenticated(kind, &key(1), sequence);
        prop_assert_eq!(receive(&mut Session::new(kind, key(1)), &bytes), Ok(control));
    }

    #[test]
    fn no_bit_of_an_authenticated_packet_may_change(control in control(), sequence: u32) {
        let bytes = control.encode_authenticated(Type::Keyed, &key(1), sequence);
        for bit in 0..AUTHENTICATED_BYTES * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(receive(&mut Session::new(Type::Keyed, key(1)), &changed).is_err(), "bit {}", bit);
        }
    }
}
