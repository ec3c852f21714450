//! What the sink hears.

use super::*;

const LEASE: Duration = Duration::from_secs(600);

fn kept() -> (Arc<Kept>, Arc<Mutex<Vec<u64>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let own = Arc::clone(&heard);
    let sink = move |node: NodeId, until_ns| {
        assert_eq!(node.number(), 7);
        own.lock().expect("the list").push(until_ns);
    };
    let kept = Kept::new(NodeId::new(7).expect("not 0"), Arc::new(sink));
    kept.set_lease(LEASE);
    (kept, heard)
}

fn heard(heard: &Mutex<Vec<u64>>) -> Vec<u64> {
    heard.lock().expect("the list").clone()
}

fn view(kept: &Kept) -> LeaseView {
    kept.view(kept.node(), By::Call)
}

#[test]
fn only_changes_are_told_and_a_late_success_shortens_nothing() {
    let (kept, told) = kept();
    let lease_ns = nanoseconds(LEASE);
    assert!(heard(&told).is_empty());
    kept.renew(1000);
    kept.renew(400);
    kept.renew(1000);
    kept.renew(1001);
    assert_eq!(heard(&told), [1000 + lease_ns, 1001 + lease_ns]);
    assert_eq!(view(&kept).renewals, 4);
    kept.promised(0, false);
    kept.promised(0, false);
    assert_eq!(heard(&told).last(), Some(&0));
    assert_eq!((heard(&told).len(), view(&kept).renewals), (3, 4));
}

#[test]
fn a_call_promises_the_lease_at_most_and_nothing_ends_it() {
    let (kept, told) = kept();
    assert!(kept.call(Some(Duration::MAX)));
    assert!(view(&kept).alive && view(&kept).remaining_ns <= nanoseconds(LEASE));
    assert_eq!(view(&kept).clamped, 1);
    assert!(kept.call(Some(Duration::from_millis(1))), "shorter, so nothing new");
    assert_eq!(heard(&told).len(), 1);
    assert!(kept.call(None));
    assert!(kept.call(Some(Duration::ZERO)));
    assert_eq!(heard(&told).last(), Some(&0));
    assert_eq!((view(&kept).alive, view(&kept).renewals, view(&kept).clamped), (false, 3, 1));
}

#[test]
fn a_shorter_lease_holds_at_once() {
    let (kept, told) = kept();
    kept.call(None);
    let until_ns = heard(&told)[0];
    kept.set_lease(LEASE * 2);
    assert_eq!(heard(&told), [until_ns], "it is no promise of the application");
    kept.set_lease(Duration::from_secs(60));
    assert!(heard(&told)[1] < until_ns && view(&kept).remaining_ns <= 60_000_000_000);
}

#[test]
fn after_the_end_nothing_is_told() {
    let (kept, told) = kept();
    kept.close();
    kept.renew(monotonic_ns());
    kept.promised(u64::MAX, true);
    assert!(!kept.call(None));
    assert!(heard(&told).is_empty());
}

#[test]
fn what_the_other_side_said_is_one_short_line() {
    let (kept, _told) = kept();
    kept.fail(&format!("-ERR \x1b[2J\r\n{}", "x".repeat(1000)));
    let failure = view(&kept).last_failure.expect("a failure");
    assert!(
        failure.starts_with("-ERR  [2J  xxx") && failure.chars().count() == FAILURE_CHARACTERS_MAX,
        "{failure}"
    );
    kept.refuse(&"nonsense");
    assert_eq!((view(&kept).failures, view(&kept).absurd), (1, 1));
    assert_eq!(view(&kept).last_failure.as_deref(), Some("nonsense"));
}
