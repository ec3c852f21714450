//! The page of the real binary in a browser: members and their states, on the user path, on loopback, without privilege.

#[path = "support/agent.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod agent;
#[path = "../../xps-runtime/tests/support/page.rs"]
mod page;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

use agent::{Agent, cluster};
use heartbeat::prober::event::State;
use page::{Browser, Expected};
use xps_runtime::admin::address::Address;

#[test]
fn the_page_shows_members_and_notices_an_end() {
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = free.local_addr().expect("its address").port();
    let members = [1, 2, 3].map(|i| (u32::from(i), SocketAddr::from((Ipv4Addr::new(127, 0, 12, i), port))));
    let folders = members.map(|_| tempfile::tempdir().expect("a folder"));
    let start = |i: usize, admin: Option<u16>| {
        let (node, address) = members[i];
        let text = format!(
            "{}[listen]\nport = {port}\naddresses = [\"{}\"]\n[path]\nmode = \"user\"\n[node]\nid = {node}\n",
            cluster(&members),
            address.ip()
        );
        let command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        let folder = folders[i].path();
        match admin {
            Some(port) => {
                let admin = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                Agent::start_at(command, folder, &text, admin)
            }
            None => Agent::start(command, folder, &text),
        }
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let admin = listener.local_addr().expect("its address").port();
    drop(listener);
    let [one, _two, three] = [start(0, Some(admin)), start(1, None), start(2, None)];
    for node in [2, 3] {
        one.sees(node, State::Alive);
    }
    drop(three);
    one.sees(3, State::Failed);
    let address = members[1].1.to_string();
    let texts = ["configured: the configuration asks for the user path", "failed", &address];
    // Its peer probes it all the time.
    let expected = Expected { name: "heartbeat", path: "user", texts: &texts, rises: "user" };
    let Some(mut browser) = Browser::look(admin, &expected) else { return };
    browser.says("live");
    drop(one);
    browser.goes_on();
    browser.says("gone");
    let _again = start(0, Some(admin));
    browser.goes_on();
    browser.says("back");
    browser.ends();
}
