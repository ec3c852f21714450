//! `docs/metrics/heartbeat.md`: the metrics of the real binary with a member that answers.

#[path = "support/agent.rs"]
#[allow(dead_code, reason = "shared with other test programs; each uses a part")]
mod agent;
#[path = "../../xps-runtime/tests/support/docs.rs"]
mod docs;
#[path = "../../xps-runtime/tests/support/metrics.rs"]
mod metrics;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use agent::{Agent, cluster};
use heartbeat::bfd::view::{SessionState, SessionView};
use heartbeat::prober::event::State;
use heartbeat::telling::OWNER;
use heartbeat::telling::status::Status;
use heartbeat_fastpath::echo::EchoOutcome;
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
    let told = OWNER.get(&agents[0].admin, "/metrics").expect("metrics");
    // Sessions are told of once another system holds one, and echo packets in the stack: what would be told is asked of the code.
    let with_session = Status {
        bfd: vec![session()],
        bfd_unclaimed: [("bfd_no_session".to_owned(), 0)].into(),
        echoes: EchoOutcome::ALL.iter().map(|outcome| (outcome.label().to_owned(), 0)).collect(),
        ..Status::default()
    };
    let of_session = heartbeat::telling::metrics::text(&with_session, &[]).expect("metrics");
    let families = metrics::families(&(told + &of_session));
    let closed = [
        ("heartbeat_dropped_total", "reason"),
        ("heartbeat_member_changes_total", "state"),
        ("heartbeat_member_state", "state"),
        ("heartbeat_messages_unsent_total", "reason"),
        ("heartbeat_config_reloads_total", "result"),
        ("heartbeat_bfd_session_state", "state"),
        ("heartbeat_bfd_echoes_total", "result"),
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

/// Any session.
fn session() -> SessionView {
    SessionView {
        peer: [192, 0, 2, 1].into(),
        local: None,
        interface: None,
        multihop: false,
        state: SessionState::Down,
        diagnostic: String::new(),
        remote_state: SessionState::Down,
        remote_diagnostic: String::new(),
        discriminator: 1,
        remote_discriminator: 0,
        transmit_interval_us: 0,
        receive_interval_us: 0,
        detection_us: 0,
        echo_interval_us: None,
        echo_round_trip_us: None,
        up_for_us: None,
        ups: 0,
        downs: 0,
        packets_out: 0,
        packets_in: 0,
        echoes_out: 0,
        echoes_in: 0,
        dropped: BTreeMap::new(),
        trouble: None,
    }
}
