//! Nodes that come, change and go while leases are renewed.

use std::path::Path;

use heartbeat_lease::Lease;

use crate::support::{Host, list, node, wait_for};

const CALLED: &str = "lease_by = \"call\"\nlease = \"1h\"";

fn shared(file: &Path, lease: &str) -> String {
    format!("lease_by = \"shared\"\nlease = \"{lease}\"\nlease_file = \"{}\"\n", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_keeps_its_lease() {
    let host = Host::start(&[(7, CALLED), (8, CALLED)]);
    host.leases.renew(node(7), None).expect("renewed");
    host.leases.renew(node(8), None).expect("renewed");
    let told = host.told(7);
    // 7 stays, 8 may promise less, 9 is new.
    let shorter = "lease_by = \"call\"\nlease = \"60s\"";
    host.leases.change(list(&[(9, "lease = \"10ms\""), (7, CALLED), (8, shorter)])).expect("changed");
    assert_eq!(host.told(7), told);
    assert!(host.view(7).alive && host.view(7).renewals == 1);
    let view = host.view(8);
    assert!(view.alive && view.remaining_ns <= 60_000_000_000 && view.renewals == 1, "{view:?}");
    host.wait_alive(9);
    host.leases.change(list(&[(8, shorter)])).expect("changed");
    let gone = host.told(9);
    assert!(host.leases.renew(node(7), None).is_err() && host.leases.views().len() == 1);
    host.leases.change(list(&[(8, shorter), (10, "lease = \"10ms\"")])).expect("changed");
    host.wait(10, "is renewed", |view| view.renewals > 10);
    assert_eq!(host.told(9), gone, "nobody speaks of who is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "x").expect("a file");
    let host = Host::start(&[(7, CALLED)]);
    host.leases.renew(node(7), None).expect("renewed");
    let bad = shared(&precious, "1s");
    let error = host.leases.change(list(&[(8, CALLED), (9, &bad)])).expect_err("no lease file").to_string();
    assert!(error.starts_with("node 9: ") && error.contains("is no lease file; remove it"), "{error}");
    let error = host.leases.change(list(&[(8, CALLED), (8, "")])).expect_err("twice").to_string();
    assert!(error.starts_with("node 8 is there twice"), "{error}");
    assert!(host.leases.views().len() == 1 && host.view(7).alive);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_has_its_file_open_hears_of_a_new_lease() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.lease");
    let host = Host::start(&[(7, &shared(&file, "1h"))]);
    let lease = Lease::open(&file).expect("a lease");
    lease.touch();
    host.wait_alive(7);
    host.leases.change(list(&[(7, &shared(&file, "10ms"))])).expect("changed");
    assert_eq!(lease.longest().as_millis(), 10);
    // What it promised for the old one is not believed again.
    host.wait_lapsed(7);
    host.wait_failure(7, "further ahead than the lease");
    wait_for("a touch counts", || {
        lease.touch();
        if host.view(7).alive { Ok(()) } else { Err(format!("{:?}", host.view(7))) }
    });
    // From here on the agent asks, and the word means nothing.
    host.leases.change(list(&[(7, "lease_by = \"command\"\nlease_command = [\"false\"]")])).expect("changed");
    host.wait_failure(7, "exit status: 1");
    host.wait_lapsed(7);
    let renewals = host.view(7).renewals;
    let failures = host.view(7).failures;
    lease.touch();
    host.wait(7, "is asked", |view| view.failures > failures + 1);
    assert_eq!(host.view(7).renewals, renewals);
}
