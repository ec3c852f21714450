//! The handler by itself, fed as the runtime feeds it.

use xps_core::flow::FlowKey;
use xps_core::handler::{Handler, Reply, Scan, WINDOW, Window};
use xps_core::verdict::{Reason, Verdict};
use xps_line::{Connection, Line, Lines};

/// Room for a reply, unless a test says otherwise.
const ROOM: u32 = 1448;

/// One connection.
#[derive(Default)]
struct Flow(Connection);

impl Flow {
    /// A segment of the client. What is not answered goes to the server.
    fn request(&mut self, bytes: &[u8]) -> Result<String, Reason> {
        self.request_with(bytes, ROOM)
    }

    fn request_with(&mut self, bytes: &[u8], room: u32) -> Result<String, Reason> {
        let mut lines = Lines::default();
        let mut reply = Reply::EMPTY;
        Line.begin(&FlowKey::default(), &mut lines);
        windows(bytes, |window| Line.request(window, &mut self.0, &mut lines));
        match Line.answer(&mut self.0, &mut lines, &mut reply, room) {
            Verdict::Reply => Ok(String::from_utf8(reply.bytes[..reply.len as usize].to_vec()).unwrap()),
            Verdict::Pass(reason) => {
                Line.passed(&mut self.0, &mut lines);
                Err(reason)
            }
            other => panic!("{other:?}"),
        }
    }

    /// A segment of the server.
    fn response(&mut self, bytes: &[u8]) {
        let mut lines = Lines::default();
        windows(bytes, |window| Line.response(window, &mut self.0, &mut lines));
    }
}

fn windows(bytes: &[u8], mut scan: impl FnMut(&mut Window) -> Scan) {
    for part in bytes.chunks(WINDOW) {
        let mut window = Window::EMPTY;
        window.bytes[..part.len()].copy_from_slice(part);
        window.len = part.len() as u32;
        assert_eq!(scan(&mut window), Scan::More);
        assert_eq!(window.at, window.len);
    }
}

#[test]
fn pings_are_answered() {
    let mut flow = Flow::default();
    assert_eq!(flow.request(b"PING\n"), Ok("PONG\n".to_owned()));
    assert_eq!(flow.request(b"PING\nPING\nPING\n"), Ok("PONG\n".repeat(3)));
    assert_eq!(flow.request("PING\n".repeat(128).as_bytes()), Ok("PONG\n".repeat(128)));
    assert_eq!(flow.request("PING\n".repeat(129).as_bytes()), Err(Reason::NotServed));
}

#[test]
fn what_only_looks_like_a_ping_is_the_servers() {
    for line in
        ["ping\n", "PINGS\n", "PIN\n", "XPING\n", "PING \n", "PING\r\n", "\n", "PINGPING\n", "\0PING\n"]
    {
        let mut flow = Flow::default();
        assert_eq!(flow.request(line.as_bytes()), Err(Reason::NotServed), "{line:?}");
        flow.response(b"?\n");
        assert_eq!(flow.request(b"PING\n"), Ok("PONG\n".to_owned()), "after {line:?}");
    }
    let long = format!("{}\n", "x".repeat(2 * WINDOW));
    assert_eq!(Flow::default().request(long.as_bytes()), Err(Reason::NotServed));
}

#[test]
fn a_reply_never_overtakes_the_servers() {
    let mut flow = Flow::default();
    assert_eq!(flow.request(b"one\ntwo\nPING\n"), Err(Reason::NotServed));
    assert_eq!(flow.request(b"PING\n"), Err(Reason::NotIdle));
    flow.response(b"1\n2\nPO");
    assert_eq!(flow.request(b"PING\n"), Err(Reason::NotIdle));
    flow.response(b"NG\nPONG\nPONG\n");
    assert_eq!(flow.request(b"PING\n"), Ok("PONG\n".to_owned()));
}

#[test]
fn a_line_of_which_the_server_has_the_beginning_is_the_servers() {
    for cut in 1..5 {
        let mut flow = Flow::default();
        let (first, rest) = b"PING\n".split_at(cut);
        assert_eq!(flow.request(first), Err(Reason::Incomplete));
        assert_eq!(flow.request(rest), Err(Reason::NotServed), "cut at {cut}");
        flow.response(b"PONG\n");
        assert_eq!(flow.request(b"PING\n"), Ok("PONG\n".to_owned()));
    }
}

#[test]
fn a_reply_keeps_to_its_room() {
    let mut flow = Flow::default();
    assert_eq!(flow.request_with(b"PING\nPING\n", 10), Ok("PONG\nPONG\n".to_owned()));
    assert_eq!(flow.request_with(b"PING\nPING\n", 9), Err(Reason::TooLarge));
}
