//! Applications that call.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use heartbeat::lease::RenewError;
use heartbeat::lease::settings::By;

use crate::support::{Host, node, wait_for};

const CALLED: &str = "lease_by = \"call\"\nlease = \"1h\"";

#[tokio::test(flavor = "multi_thread")]
async fn calls_renew_only_who_is_kept_alive_by_them() {
    let host = Host::start(&[(7, CALLED), (8, "")]);
    assert!(!host.view(7).alive);
    host.leases.renew(node(7), Some(Duration::from_secs(600))).expect("renewed");
    let view = host.view(7);
    assert!(view.alive && view.remaining_ns <= 600_000_000_000, "{view:?}");
    host.leases.renew(node(7), None).expect("renewed");
    assert!(host.view(7).remaining_ns > 600_000_000_000);
    host.leases.renew(node(7), Some(Duration::ZERO)).expect("released");
    assert!(!host.view(7).alive);
    assert_eq!(host.told(7).len(), 3);
    let refused = host.leases.renew(node(8), None).expect_err("nobody is asked there");
    assert_eq!(refused, RenewError::NotByCall { node: node(8), by: By::Always });
    assert!(refused.to_string().contains("lease_by is \"always\" there"), "{refused}");
    assert_eq!(host.leases.renew(node(9), None), Err(RenewError::Unknown(node(9))));
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_call_and_nonsense_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lease.sock");
    let host = Host::try_start(&[(7, CALLED), (8, "")], Some(&path)).expect("leases");
    assert_eq!(fs::metadata(&path).expect("the socket").permissions().mode() & 0o777, 0o600);
    let application = UnixDatagram::unbound().expect("a socket");
    application.connect(&path).expect("somebody listens");
    application.send(b"7 600000\n").expect("sent");
    host.wait_alive(7);
    assert!(host.view(7).remaining_ns <= 600_000_000_000);
    for nonsense in [&b"alive"[..], b"", b"8", b"9", &[b'7'; 5000]] {
        application.send(nonsense).expect("sent");
    }
    wait_for("all is counted", || match host.leases.calls_refused() {
        5 => Ok(()),
        other => Err(other.to_string()),
    });
    assert_eq!(host.view(7).renewals, 1);
    application.send(b"7").expect("sent");
    host.wait(7, "is alive for the whole lease", |view| view.remaining_ns > 600_000_000_000);
    application.send(b"7 0").expect("sent");
    host.wait_lapsed(7);
    let error = Host::try_start(&[], Some(&path)).map(drop).expect_err("somebody listens there").to_string();
    assert!(error.contains("stop what listens there"), "{error}");
    drop(host);
    wait_for("the socket goes", || if path.exists() { Err("there".into()) } else { Ok(()) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_late_does_not_revive_an_agent_that_stops() {
    let host = Host::start(&[(7, CALLED), (8, "lease = \"10ms\"")]);
    host.wait_alive(8);
    host.stop.send(true).expect("somebody hears it");
    wait_for("calls are refused", || match host.leases.renew(node(7), None) {
        Err(RenewError::Stopping) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    host.wait_lapsed(8);
    let told = (host.told(7), host.told(8));
    host.leases.change(Vec::new()).expect("nothing to do");
    assert_eq!(host.leases.renew(node(7), None), Err(RenewError::Stopping));
    assert_eq!((host.told(7), host.told(8)), told);
}
