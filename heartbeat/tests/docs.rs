//! `docs/metrics/heartbeat.md`: the metrics of the real binary with a member that answers.

#[path = "support/agent.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod agent;
#[path = "../../xps-runtime/tests/support/docs.rs"]
mod docs;
#[path = "../../xps-runtime/tests/support/metrics.rs"]
mod metrics;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use agent::{Agent, cluster};
use heartbeat::prober::event::State;
use heartbeat::telling::OWNER;
use heartbeat_fastpath::refusal::Refusal;

#[test]
fn the_page_says_what_the_sidecar_tells() {
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = free.local_addr().expect("its address").port();
    let members = [1, 2].map(|i| (u32::from(i), SocketAddr::from((Ipv4Addr::new(127, 0, 11, i), port))));
    let folders = members.map(|_| tempfile::tempdir().expect("a folder"));
    let agents = [0, 1].map(|i| {
        let (node, address) = members[i];
        let text = format!(
            "{}[listen]\nport = {port}\naddresses = [\"{}\"]\n[path]\nmode = \"user\"\n[node]\nid = {node}\n",
            cluster(&members),
            address.ip()
        );
        Agent::start(Command::new(env!("CARGO_BIN_EXE_heartbeat")), folders[i].path(), &text)
    });
    agents[0].sees(2, State::Alive);
    let families = metrics::families(&OWNER.get(&agents[0].admin, "/metrics").expect("metrics"));
    let closed = [
        ("heartbeat_dropped_total", "reason"),
        ("heartbeat_member_changes_total", "state"),
        ("heartbeat_member_state", "state"),
        ("heartbeat_messages_unsent_total", "reason"),
        ("heartbeat_config_reloads_total", "result"),
    ];
    docs::check(
        "metrics/heartbeat.md",
        &metrics::page("Metrics of heartbeat", &families, "heartbeat_", &closed),
    );
    let strangers: Vec<_> =
        families.keys().filter(|name| !name.starts_with("heartbeat_") && !name.starts_with("xps_")).collect();
    assert!(strangers.is_empty(), "on no page: {strangers:?}");
}

#[test]
fn every_reason_to_drop_is_told_what_to_do_about() {
    let page = docs::read("troubleshooting.md");
    let labels = Refusal::ALL.iter().map(|refusal| refusal.label());
    let missing: Vec<_> = labels.filter(|label| !page.contains(&format!("`{label}`"))).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md does not tell of {missing:?}");
}
