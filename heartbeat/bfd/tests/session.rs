//! The session by the sections of RFC 5880, one side alone.

use core::num::{NonZeroU8, NonZeroU32};

use heartbeat_bfd::config::{Config, Keys};
use heartbeat_bfd::session::{Change, Output, Refused, Session};
use heartbeat_fastpath::bfd::authentication::{Key, Type};
use heartbeat_fastpath::bfd::{Control, Diagnostic, Refusal, State, Unverified};

const MS: u64 = 1_000_000;
const MINE: u32 = 77;
const THEIRS: u32 = 88;
const STATES: [State; 4] = [State::AdminDown, State::Down, State::Init, State::Up];

fn config() -> Config {
    Config {
        desired_min_tx_us: 100_000,
        required_min_rx_us: 50_000,
        detect_multiplier: NonZeroU8::new(3).expect("not 0"),
        passive: false,
        echo_interval_us: None,
        required_min_echo_rx_us: 0,
    }
}

/// What the other side says.
fn says(state: State) -> Control {
    Control {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_multiplier: NonZeroU8::new(4).expect("not 0"),
        my_discriminator: NonZeroU32::new(THEIRS).expect("not 0"),
        your_discriminator: MINE,
        desired_min_tx_us: 20_000,
        required_min_rx_us: 200_000,
        required_min_echo_rx_us: 0,
    }
}

fn session(config: Config) -> Session {
    let mine = NonZeroU32::new(MINE).expect("not 0");
    Session::new(config, None, mine, 1, 0).expect("a configuration")
}

fn hear(session: &mut Session, now_ns: u64, control: &Control) {
    let bytes = control.encode();
    let packet = Unverified::read(&bytes).expect("a packet");
    session.handle(now_ns, &packet).expect("one of this session");
}

/// What was sent, and how the state has changed.
fn outputs(session: &mut Session) -> (Vec<Control>, Vec<Change>) {
    let (mut sent, mut changes) = (Vec::new(), Vec::new());
    for output in session.outputs() {
        match output {
            Output::Send(packet) => {
                let control = Unverified::read(packet.as_bytes()).and_then(|packet| packet.plain());
                sent.push(control.expect("a packet without authentication"));
            }
            Output::Changed(change) => changes.push(change),
            Output::Echo(_) => {}
        }
    }
    (sent, changes)
}

/// A session in this state, with nothing left to be drained, at the time 0.
fn in_state(config: Config, state: State) -> Session {
    let mut session = session(config);
    match state {
        State::AdminDown => session.hold_down(0, true),
        State::Down => {}
        State::Init => hear(&mut session, 0, &says(State::Down)),
        State::Up => hear(&mut session, 0, &says(State::Init)),
    }
    assert_eq!(session.view().state, state);
    outputs(&mut session);
    session
}

/// Up, and both sides know all intervals.
fn up(config: Config) -> Session {
    let mut session = in_state(config, State::Up);
    hear(&mut session, 0, &Control { is_final: true, ..says(State::Up) });
    // One packet that does not ask goes in between.
    hear(&mut session, 150 * MS, &says(State::Up));
    session.tick(250 * MS);
    hear(&mut session, 300 * MS, &Control { is_final: true, ..says(State::Up) });
    outputs(&mut session);
    session
}

/// Calls the session at its deadlines until then; when it sent what.
fn run(session: &mut Session, until_ns: u64) -> Vec<(u64, Control)> {
    let mut all = Vec::new();
    while let Some(at_ns) = session.next_deadline_ns().filter(|&at_ns| at_ns <= until_ns) {
        session.tick(at_ns);
        all.extend(outputs(session).0.into_iter().map(|control| (at_ns, control)));
    }
    all
}

#[test]
fn states_follow_each_other_as_section_6_2_draws_it() {
    use State::{AdminDown, Down, Init, Up};
    for (state, after) in [
        // The other side says: AdminDown, Down, Init, Up.
        (AdminDown, [AdminDown, AdminDown, AdminDown, AdminDown]),
        (Down, [Down, Init, Up, Down]),
        (Init, [Down, Init, Up, Up]),
        (Up, [Down, Down, Up, Up]),
    ] {
        for (heard, after) in STATES.into_iter().zip(after) {
            let mut session = in_state(config(), state);
            hear(&mut session, MS, &says(heard));
            assert_eq!(session.view().state, after, "{state:?} hears {heard:?}");
            let (sent, changes) = outputs(&mut session);
            // A change is told at once, and only a change.
            assert_eq!(changes.len(), usize::from(state != after), "{state:?} hears {heard:?}");
            assert_eq!(sent.len(), changes.len(), "{state:?} hears {heard:?}");
            assert!(
                sent.iter().all(|control| control.state == after && control.your_discriminator == THEIRS)
            );
            if after == Down && state != Down {
                assert_eq!(changes[0].diagnostic, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
            }
        }
    }
}

#[test]
fn what_is_silent_for_the_detection_time_is_lost() {
    for (state, changes) in [(State::Init, true), (State::Up, true), (State::Down, false)] {
        let mut session = in_state(config(), state);
        if state == State::Down {
            hear(&mut session, 0, &says(State::Up));
        }
        // The multiplier of the other side, and the longer of the intervals.
        assert_eq!(session.view().detection_ns, 4 * 50 * MS, "{state:?}");
        outputs(&mut session);
        session.tick(200 * MS - 1);
        assert_eq!((session.view().state, session.view().remote.discriminator), (state, THEIRS));
        session.tick(200 * MS);
        let expected = Change { from: state, to: State::Down, diagnostic: Diagnostic::TIME_EXPIRED };
        let (sent, found) = outputs(&mut session);
        assert_eq!(found, if changes { vec![expected] } else { vec![] }, "{state:?}");
        // That is told by the old number, which is then forgotten (section 6.8.1).
        let told = sent.iter().filter(|sent| sent.state == State::Down && sent.your_discriminator == THEIRS);
        assert_eq!(told.count(), usize::from(changes), "{state:?}");
        assert_eq!(session.view().remote.discriminator, 0);
    }
}

#[test]
fn what_arrived_late_is_not_held_against_the_other_side() {
    let mut session = in_state(config(), State::Up);
    hear(&mut session, 1000 * MS, &says(State::Up));
    session.tick(1000 * MS);
    assert_eq!(session.view().state, State::Up);
}

#[test]
fn packets_are_slow_until_the_session_is_up_and_spread_by_chance() {
    let mut session = session(config());
    let sent = run(&mut session, 60_000 * MS);
    let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.len() > 55 && gaps.iter().all(|gap| (750 * MS..=1000 * MS).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 850 * MS) && gaps.iter().any(|gap| *gap > 900 * MS), "{gaps:?}");
    assert!(sent.iter().all(|(_, control)| control.desired_min_tx_us == 1_000_000));
    // With a multiplier of 1 no packet may come so late that it is missed (section 6.8.7).
    let mut single = self::session(Config { detect_multiplier: NonZeroU8::MIN, ..config() });
    let sent = run(&mut single, 60_000 * MS);
    assert!(sent.windows(2).all(|pair| (750 * MS..=900 * MS).contains(&(pair[1].0 - pair[0].0))));
}

#[test]
fn neither_side_sends_more_often_than_the_other_can_receive() {
    let mut session = up(config());
    assert_eq!(session.view().transmit_interval_ns, 200 * MS);
    let start_ns = 300 * MS;
    hear(&mut session, start_ns, &Control { required_min_rx_us: 10_000, ..says(State::Up) });
    assert_eq!(session.view().transmit_interval_ns, 100 * MS);
    // One that wants nothing gets nothing but answers (section 6.8.7).
    hear(&mut session, start_ns, &Control { required_min_rx_us: 0, ..says(State::Up) });
    assert_eq!(run(&mut session, start_ns + 70 * MS), []);
    hear(&mut session, start_ns, &Control { required_min_rx_us: 0, poll: true, ..says(State::Up) });
    assert_eq!(outputs(&mut session).0.len(), 1);
}

#[test]
fn a_poll_is_answered_at_once_in_every_state_but_when_held_down() {
    for state in STATES {
        let mut session = in_state(config(), state);
        hear(&mut session, MS, &Control { poll: true, ..says(State::Up) });
        let finals = outputs(&mut session).0.into_iter().filter(|control| control.is_final);
        let finals: Vec<_> = finals.inspect(|control| assert!(!control.poll)).collect();
        assert_eq!(finals.len(), usize::from(state != State::AdminDown), "{state:?}");
    }
}

#[test]
fn what_becomes_slower_waits_until_the_other_side_knows() {
    let mut session = up(config());
    let slower = Config { desired_min_tx_us: 900_000, ..config() };
    session.reconfigure(310 * MS, slower).expect("a configuration");
    let told = outputs(&mut session).0;
    assert!(told[0].poll && told[0].desired_min_tx_us == 900_000, "{told:?}");
    assert_eq!(session.view().transmit_interval_ns, 200 * MS);
    hear(&mut session, 320 * MS, &Control { is_final: true, ..says(State::Up) });
    assert_eq!(session.view().transmit_interval_ns, 900 * MS);
}

#[test]
fn packets_are_not_missed_that_the_other_side_does_not_yet_send() {
    let mut session = up(Config { required_min_rx_us: 400_000, ..config() });
    let faster = Config { required_min_rx_us: 30_000, ..config() };
    session.reconfigure(310 * MS, faster).expect("a configuration");
    assert_eq!(session.view().detection_ns, 4 * 400 * MS);
    hear(&mut session, 320 * MS, &Control { is_final: true, ..says(State::Up) });
    assert_eq!(session.view().detection_ns, 4 * 30 * MS);
}

#[test]
fn one_change_follows_the_other() {
    let mut session = up(config());
    let to = |desired_min_tx_us| Config { desired_min_tx_us, ..config() };
    session.reconfigure(310 * MS, to(500_000)).expect("a configuration");
    session.reconfigure(311 * MS, to(800_000)).expect("a configuration");
    let told = outputs(&mut session).0;
    assert!(told.iter().all(|control| control.desired_min_tx_us == 500_000), "{told:?}");
    hear(&mut session, 312 * MS, &Control { is_final: true, ..says(State::Up) });
    assert_eq!(session.view().transmit_interval_ns, 500 * MS);
    // A late repetition of that answer is none to what comes next.
    hear(&mut session, 313 * MS, &Control { is_final: true, ..says(State::Up) });
    let mut asked = Vec::new();
    for now_ms in (320..2000).step_by(10) {
        session.tick(now_ms * MS);
        hear(&mut session, now_ms * MS, &says(State::Up));
        asked.extend(outputs(&mut session).0.into_iter().map(|told| (told.poll, told.desired_min_tx_us)));
    }
    assert_eq!(asked[..2], [(false, 500_000), (true, 800_000)], "{asked:?}");
}

#[test]
fn a_passive_side_waits_to_be_asked_and_waits_again() {
    let mut session = session(Config { passive: true, ..config() });
    assert_eq!(session.next_deadline_ns(), None);
    hear(&mut session, 5000 * MS, &Control { your_discriminator: 0, ..says(State::Down) });
    assert_eq!(outputs(&mut session).0.len(), 1);
    session.tick(10_000 * MS);
    outputs(&mut session);
    assert_eq!(session.next_deadline_ns(), None, "the other side is lost");
}

#[test]
fn one_in_demand_mode_gets_packets_only_when_there_is_something_to_ask() {
    let mut session = up(config());
    let demanding = Control { demand: true, ..says(State::Up) };
    hear(&mut session, 300 * MS, &demanding);
    assert_eq!(run(&mut session, 480 * MS), []);
    // What changed is asked until it is answered (sections 6.6 and 6.8.17).
    let changed = Config { detect_multiplier: NonZeroU8::new(9).expect("not 0"), ..config() };
    session.reconfigure(481 * MS, changed).expect("a configuration");
    hear(&mut session, 482 * MS, &demanding);
    let sent =
        [outputs(&mut session).0, run(&mut session, 680 * MS).into_iter().map(|sent| sent.1).collect()];
    let sent = sent.concat();
    assert!(sent.len() > 1 && sent.iter().all(|control| control.poll), "{sent:?}");
    hear(&mut session, 681 * MS, &Control { is_final: true, ..demanding });
    assert_eq!(run(&mut session, 860 * MS), []);
    // It answers polls, and leaves demand mode when the session is down.
    hear(&mut session, 861 * MS, &Control { state: State::Down, ..demanding });
    assert_eq!(outputs(&mut session).0[0].state, State::Down);
    assert!(!run(&mut session, 3000 * MS).is_empty());
}

#[test]
fn the_operator_holds_it_down_and_says_so() {
    let mut session = up(config());
    session.hold_down(310 * MS, true);
    let (sent, changes) = outputs(&mut session);
    let held = (State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN);
    assert_eq!((sent[0].state, sent[0].diagnostic), held);
    assert_eq!((changes[0].to, changes[0].diagnostic), held);
    // An application that fails meanwhile changes nothing, until it is released.
    session.set_path(320 * MS, false);
    assert_eq!(session.view().state, State::AdminDown);
    session.hold_down(330 * MS, false);
    let view = session.view();
    assert_eq!((view.state, view.diagnostic), (State::Down, Diagnostic::CONCATENATED_PATH_DOWN));
}

#[test]
fn a_path_that_is_down_keeps_the_session_down() {
    let mut session = up(config());
    session.set_path(310 * MS, false);
    let (sent, changes) = outputs(&mut session);
    let expected = (State::Down, Diagnostic::CONCATENATED_PATH_DOWN);
    assert_eq!((sent[0].state, sent[0].diagnostic), expected);
    assert_eq!((changes[0].to, changes[0].diagnostic), expected);
    for (now_ms, state) in [(311, State::Up), (312, State::Down), (313, State::Init)] {
        hear(&mut session, now_ms * MS, &says(state));
        assert_eq!((session.view().state, session.view().diagnostic), expected, "hears {state:?}");
    }
    session.set_path(320 * MS, true);
    hear(&mut session, 321 * MS, &says(State::Down));
    hear(&mut session, 322 * MS, &says(State::Up));
    assert_eq!((session.view().state, session.view().diagnostic), (State::Up, Diagnostic::NONE));
}

#[test]
fn a_packet_of_another_session_changes_nothing() {
    let mut session = in_state(config(), State::Up);
    let bytes = Control { your_discriminator: MINE + 1, ..says(State::Down) }.encode();
    let packet = Unverified::read(&bytes).expect("a packet");
    assert_eq!(session.handle(MS, &packet), Err(Refused::OtherSession));
    let authenticated = says(State::Down).encode_authenticated(Type::Keyed, &key(1), 5);
    let packet = Unverified::read(&authenticated).expect("a packet");
    let refused = Refused::Packet(Refusal::UnexpectedAuthentication);
    assert_eq!(session.handle(MS, &packet), Err(refused));
    assert_eq!(session.view().state, State::Up);
    session.tick(200 * MS);
    assert_eq!(session.view().state, State::Down, "it was taken for a sign of life");
}

fn key(number: u8) -> Key {
    Key::new(number, &[number; 8]).expect("a short secret")
}

fn sequences(session: &mut Session, until_ns: u64) -> Vec<u32> {
    let mut all = Vec::new();
    while let Some(at_ns) = session.next_deadline_ns().filter(|&at_ns| at_ns <= until_ns) {
        session.tick(at_ns);
        for output in session.outputs() {
            if let Output::Send(packet) = output {
                let sequence = packet.as_bytes()[28..32].try_into().expect("four bytes");
                all.push(u32::from_be_bytes(sequence));
            }
        }
    }
    all
}

#[test]
fn sequence_numbers_rise_with_each_packet_or_with_what_it_says() {
    for kind in [Type::Keyed, Type::Meticulous] {
        let keys = Keys { kind, key: key(1), other: None };
        let mine = NonZeroU32::new(MINE).expect("not 0");
        let mut session = Session::new(config(), Some(&keys), mine, 1, 0).expect("a configuration");
        let rises = |all: &[u32]| all.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect::<Vec<_>>();
        let all = sequences(&mut session, 5000 * MS);
        let expected = if kind == Type::Meticulous { 1 } else { 0 };
        assert!(all.len() > 4 && rises(&all).iter().all(|rise| *rise == expected), "{kind:?}: {all:?}");
        session.set_path(5000 * MS, false);
        let last = all[all.len() - 1];
        let Some(Output::Send(packet)) = session.outputs().next() else { panic!("nothing is said") };
        assert_eq!(packet.as_bytes()[28..32], last.wrapping_add(1).to_be_bytes(), "{kind:?}");
    }
}

#[test]
fn a_sequence_number_is_forgotten_after_two_detection_times() {
    let keys = Keys { kind: Type::Meticulous, key: key(1), other: None };
    let mine = NonZeroU32::new(MINE).expect("not 0");
    let mut session = Session::new(config(), Some(&keys), mine, 1, 0).expect("a configuration");
    let mut say = |now_ms: u64, sequence| {
        session.tick(now_ms * MS);
        let bytes = says(State::Down).encode_authenticated(Type::Meticulous, &key(1), sequence);
        session.handle(now_ms * MS, &Unverified::read(&bytes).expect("a packet"))
    };
    assert_eq!(say(0, 1000), Ok(()));
    assert_eq!(say(100, 1), Err(Refused::Packet(Refusal::Replayed)));
    // The detection time is 200 ms, and what was refused does not count.
    assert_eq!(say(399, 1), Err(Refused::Packet(Refusal::Replayed)));
    assert_eq!(say(400, 1), Ok(()));
}

fn echoing() -> Config {
    Config { echo_interval_us: Some(10_000), ..config() }
}

/// Runs until then; what was sent as echo packets.
fn echoes(session: &mut Session, until_ns: u64) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(at_ns) = session.next_deadline_ns().filter(|&at_ns| at_ns <= until_ns) {
        session.tick(at_ns);
        for output in session.outputs() {
            if let Output::Echo(bytes) = output {
                all.push((at_ns, bytes.to_vec()));
            }
        }
    }
    all
}

#[test]
fn echo_packets_are_sent_only_to_one_who_is_up_and_sends_them_back() {
    let willing = |state| Control { required_min_echo_rx_us: 20_000, ..says(state) };
    let mut session = up(echoing());
    assert_eq!(echoes(&mut session, 310 * MS), [], "it sends none back");
    hear(&mut session, 311 * MS, &willing(State::Init));
    assert_eq!(echoes(&mut session, 320 * MS), [], "it is not up");
    hear(&mut session, 321 * MS, &willing(State::Up));
    let sent = echoes(&mut session, 380 * MS);
    // As seldom as the other side wants, and spread.
    assert!((3..=5).contains(&sent.len()), "{sent:?}");
    // Control packets are to come slowly then (section 6.8.3).
    hear(&mut session, 380 * MS, &Control { is_final: true, ..willing(State::Up) });
    assert_eq!(session.view().receive_interval_ns, 1000 * MS);
    hear(&mut session, 381 * MS, &says(State::Up));
    assert_eq!(session.view().echo_interval_ns, None);
}

#[test]
fn echo_packets_that_stay_away_end_the_session() {
    let willing = Control { required_min_echo_rx_us: 10_000, ..says(State::Up) };
    let mut session = up(echoing());
    hear(&mut session, 301 * MS, &willing);
    let sent = echoes(&mut session, 320 * MS);
    let (at_ns, bytes) = &sent[0];
    assert!(session.handle_echo(321 * MS, bytes));
    assert_eq!(session.view().echo_round_trip_ns, Some(321 * MS - at_ns));
    // Nobody else makes one up, nor one that is longer.
    for i in 0..bytes.len() {
        let mut other = bytes.clone();
        other[i] ^= 1;
        assert!(!session.handle_echo(321 * MS, &other), "byte {i}");
    }
    assert!(!session.handle_echo(321 * MS, &[&bytes[..], &[0]].concat()));
    let second_ns = sent[1].0;
    session.tick(second_ns + 30 * MS - 1);
    assert_eq!(session.view().state, State::Up);
    session.tick(second_ns + 30 * MS);
    assert_eq!((session.view().state, session.view().diagnostic), (State::Down, Diagnostic::ECHO_FAILED));
}

#[test]
fn who_sent_no_echo_packet_misses_none() {
    let willing = Control { required_min_echo_rx_us: 10_000, ..says(State::Up) };
    let mut session = up(echoing());
    hear(&mut session, 301 * MS, &willing);
    for (at_ns, bytes) in echoes(&mut session, 320 * MS) {
        assert!(session.handle_echo(at_ns + MS, &bytes));
    }
    // It stands still for long, and what came meanwhile is there.
    hear(&mut session, 10_000 * MS, &willing);
    session.tick(10_000 * MS);
    assert_eq!(session.view().state, State::Up);
}

#[test]
fn configurations_that_are_none() {
    for wrong in [
        Config { desired_min_tx_us: 999, ..config() },
        Config { required_min_rx_us: 0, ..config() },
        Config { required_min_rx_us: 60_000_001, ..config() },
        Config { echo_interval_us: Some(10), ..config() },
        Config { required_min_echo_rx_us: u32::MAX, ..config() },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
        let mut session = session(config());
        assert!(session.reconfigure(0, wrong).is_err(), "{wrong:?}");
        assert_eq!(*session.config(), config());
    }
}
