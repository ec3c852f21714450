//! A session that hears any packets at any time, while operators hold it, its application fails and its intervals change: what is
//! refused changes nothing, what is sent is a packet of this session, deadlines lie ahead, and who is not heard is not taken for alive.
#![no_main]

use std::num::{NonZeroU8, NonZeroU32};

use heartbeat_bfd::config::{Config, INTERVAL_MAX_US, INTERVAL_MIN_US};
use heartbeat_bfd::session::{Output, Session};
use heartbeat_fastpath::bfd::{CONTROL_BYTES, State, Unverified};
use libfuzzer_sys::fuzz_target;

const MINE: NonZeroU32 = NonZeroU32::new(77).unwrap();
/// Where a packet has the number of the receiver's session.
const YOURS: std::ops::Range<usize> = 8..12;
/// A call has few consequences.
const OUTPUTS_MAX: usize = 8;

/// How often a session is called that hears nothing.
const ROUNDS: usize = 2_000;

/// Takes bytes from the front.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn interval_us(&mut self) -> Option<u32> {
        let span = INTERVAL_MAX_US - INTERVAL_MIN_US + 1;
        Some(INTERVAL_MIN_US + u32::from_be_bytes(self.bytes()?) % span)
    }

    fn config(&mut self) -> Option<Config> {
        let [multiplier, switches] = self.bytes()?;
        Some(Config {
            desired_min_tx_us: self.interval_us()?,
            required_min_rx_us: self.interval_us()?,
            detect_multiplier: NonZeroU8::new(multiplier).unwrap_or(NonZeroU8::MIN),
            passive: switches & 1 != 0,
            echo_interval_us: if switches & 2 != 0 { Some(self.interval_us()?) } else { None },
            required_min_echo_rx_us: if switches & 4 != 0 { self.interval_us()? } else { 0 },
        })
    }
}

fn drain(session: &mut Session) -> usize {
    let view = session.view();
    let mut count = 0;
    for output in session.outputs() {
        count += 1;
        if let Output::Send(packet) = output {
            let control = Unverified::read(packet.as_bytes()).and_then(|packet| packet.plain());
            let control = control.expect("a packet without authentication");
            assert_eq!(control.my_discriminator, MINE);
            assert!(!(control.poll && control.is_final), "a question is no answer");
        }
    }
    assert!(count <= OUTPUTS_MAX, "{count} outputs of one call: {view:?}");
    count
}

fn step(session: &mut Session, now_ns: &mut u64, input: &mut Input<'_>) -> Option<()> {
    let [what, detail] = input.bytes()?;
    match what % 8 {
        0 => {
            *now_ns = session.next_deadline_ns().map_or(*now_ns, |at_ns| at_ns.max(*now_ns));
            session.tick(*now_ns);
        }
        1 => {
            *now_ns += u64::from(u16::from_be_bytes(input.bytes()?)) * 1_000_000;
            session.tick(*now_ns);
        }
        2 => session.hold_down(*now_ns, detail & 1 != 0),
        3 => session.set_path(*now_ns, detail & 1 != 0),
        4 => session.reconfigure(*now_ns, input.config()?).expect("intervals within bounds"),
        5 => {
            session.handle_echo(*now_ns, &input.bytes::<16>()?);
        }
        _ => {
            let mut payload = input.bytes::<CONTROL_BYTES>()?;
            if detail & 1 != 0 {
                payload[YOURS].copy_from_slice(&MINE.get().to_be_bytes());
            }
            let Ok(packet) = Unverified::read(&payload) else { return Some(()) };
            let before = session.view();
            if session.handle(*now_ns, &packet).is_err() {
                assert_eq!(session.view(), before, "a packet that is refused changes nothing");
                assert_eq!(session.outputs().count(), 0, "nor does it have consequences");
            }
        }
    }
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let Some(config) = input.config() else { return };
    let mut now_ns = 0;
    let mut session = Session::new(config, None, MINE, 1, now_ns).expect("intervals within bounds");
    while step(&mut session, &mut now_ns, &mut input).is_some() {
        drain(&mut session);
        let view = session.view();
        if view.state == State::Up {
            assert!(
                matches!(view.remote.state, State::Init | State::Up),
                "up, and the other side is not: {view:?}"
            );
            assert!(view.remote.discriminator != 0, "up with nobody: {view:?}");
        }
    }
    falls_silent(&mut session, now_ns);
});

/// From now on nothing is heard: the session ends within its detection time, by deadlines that come one after the other. That time
/// may become longer meanwhile: what this side has announced begins to count.
fn falls_silent(session: &mut Session, since_ns: u64) {
    let (mut now_ns, mut longest_ns) = (since_ns, session.view().detection_ns);
    for round in 0..ROUNDS {
        if !matches!(session.view().state, State::Init | State::Up) {
            return;
        }
        let next_ns = session.next_deadline_ns().expect("the other side is waited for");
        assert!(round == 0 || next_ns > now_ns, "a deadline that stays");
        // Packets are many where the time is long.
        now_ns = if round < ROUNDS / 2 { now_ns.max(next_ns) } else { now_ns.max(since_ns + longest_ns) };
        session.tick(now_ns);
        drain(session);
        longest_ns = longest_ns.max(session.view().detection_ns);
        let is_over = now_ns >= since_ns + longest_ns;
        assert!(!is_over || !matches!(session.view().state, State::Init | State::Up), "{:?}", session.view());
    }
    panic!("it does not end: {:?}", session.view());
}
