//! The handler by itself, fed as the runtime feeds it: what it writes down.

use std::cell::{Cell, RefCell};

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, REPLY_MAX, Reply, Scan, WINDOW, Window};
use xps_core::verdict::{Reason, Verdict};
use xps_recorder::check::Check;
use xps_recorder::record::{Settings, kind};
use xps_recorder::{Connection, Lines, Recorder, Tables};

/// What it wrote: kind, position, bytes.
type Written = (u32, u32, Vec<u8>);

#[derive(Default)]
struct Memory {
    settings: Cell<Settings>,
    written: RefCell<Vec<Written>>,
}

impl Tables for &Memory {
    fn settings(&self) -> Settings {
        self.settings.get()
    }

    fn write(&self, kind: u32, _: &FlowKey, position: u32, len: u32, bytes: Option<&[u8; WINDOW]>) {
        let bytes = bytes.map_or(Vec::new(), |bytes| bytes[..len as usize].to_vec());
        self.written.borrow_mut().push((kind, position, bytes));
    }
}

/// A segment of the client; the reply, or why it passed.
fn segment(memory: &Memory, state: &mut Connection, bytes: &[u8]) -> Result<Vec<u8>, Reason> {
    let recorder = Recorder { tables: memory };
    let (mut lines, mut reply) = (Lines::default(), Reply::EMPTY);
    recorder.begin(&FlowKey::default(), &mut lines);
    for part in bytes.chunks(WINDOW) {
        let mut window = Window::EMPTY;
        window.bytes[..part.len()].copy_from_slice(part);
        window.len = part.len() as u32;
        assert_eq!(recorder.request(&mut window, state, &mut lines), Scan::More);
        assert_eq!(window.at, window.len);
    }
    match recorder.answer(state, &mut lines, &mut reply, REPLY_MAX as u32) {
        Verdict::Reply => Ok(reply.bytes[..reply.len as usize].to_vec()),
        Verdict::Pass(reason) => {
            recorder.passed(state, &mut lines);
            Err(reason)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_bytes_are_written_down_with_their_positions() {
    let (memory, mut state) = (Memory::default(), Connection::default());
    let long: Vec<u8> = (0..600).map(|i| i as u8).collect();
    assert_eq!(segment(&memory, &mut state, &long), Err(Reason::NotServed));
    assert_eq!(segment(&memory, &mut state, b"!x\n"), Err(Reason::NotServed));
    let written = memory.written.take();
    let kinds: Vec<_> = written.iter().map(|(kind, position, _)| (*kind, *position)).collect();
    let expected = [(kind::READ, 0), (kind::READ, 256), (kind::READ, 512), (kind::PASSED, 600)];
    assert_eq!(kinds[..4], expected);
    assert_eq!(kinds[4..], [(kind::READ, 600), (kind::PASSED, 603)]);
    let bytes: Vec<u8> = written.into_iter().flat_map(|(_, _, bytes)| bytes).collect();
    assert_eq!(bytes, [&long[..], b"!x\n"].concat());
}

#[test]
fn one_line_that_asks_is_answered_when_nothing_is_outstanding() {
    let (memory, mut state) = (Memory::default(), Connection::default());
    memory.settings.set(Settings { answers: 1, disabled_checks: 0 });
    assert_eq!(segment(&memory, &mut state, b"!x\n"), Ok(b"+\n".to_vec()));
    assert_eq!(memory.written.borrow().last().map(|record| record.0), Some(kind::ANSWERED));
    assert_eq!(segment(&memory, &mut state, b"!x\n!y\n"), Err(Reason::NotServed));
    assert_eq!(segment(&memory, &mut state, b"!x\n"), Err(Reason::NotIdle));
    let recorder = Recorder { tables: &memory };
    let mut window = Window::EMPTY;
    window.bytes[..6].copy_from_slice(b"-\n-\n-\n"[..6].as_ref());
    window.len = 6;
    assert_eq!(recorder.response(&mut window, &mut state, &mut Lines::default()), Scan::More);
    assert_eq!(segment(&memory, &mut state, b"half"), Err(Reason::NotServed));
    assert_eq!(segment(&memory, &mut state, b"!x\n"), Err(Reason::NotServed), "it begins within a line");
}

#[test]
fn each_check_has_a_bit_and_a_name_of_its_own() {
    let memory = Memory::default();
    for (i, check) in Check::ALL.into_iter().enumerate() {
        assert_eq!(check.bit(), 1 << i, "{}", check.name());
        memory.settings.set(Settings { answers: 0, disabled_checks: check.bit() });
        assert_eq!(Recorder { tables: &memory }.checks(), !check.bit());
        assert!(Check::ALL[..i].iter().all(|other| other.name() != check.name()));
    }
}
