//! Touching, from one thread and from several.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Long enough that no promise lapses while a test is kept waiting.
const HOUR_NS: u64 = 3_600_000_000_000;

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lease");
    fs::write(&path, bytes).expect("a file");
    (folder, path)
}

fn lease(lease_ns: u64) -> (tempfile::TempDir, Lease) {
    let (folder, path) = file(&layout::new_file(lease_ns));
    let lease = Lease::open(path).expect("a lease");
    (folder, lease)
}

#[test]
fn a_touch_promises_the_lease_and_a_release_nothing() {
    let (_folder, lease) = lease(HOUR_NS);
    assert_eq!((lease.alive_until_ns(), lease.longest()), (0, Duration::from_nanos(HOUR_NS)));
    let before = monotonic_ns();
    lease.touch();
    let until = lease.alive_until_ns();
    assert!((before + HOUR_NS..=monotonic_ns() + HOUR_NS).contains(&until), "{until} from {before}");
    lease.release();
    assert_eq!(lease.alive_until_ns(), 0);
}

#[test]
fn a_promise_is_not_shortened_by_a_shorter_one_and_not_longer_than_the_lease() {
    let (_folder, lease) = lease(HOUR_NS);
    lease.touch_for(Duration::MAX);
    let until = lease.alive_until_ns();
    assert!(until <= monotonic_ns() + HOUR_NS);
    lease.touch_for(Duration::from_secs(1));
    assert_eq!(lease.alive_until_ns(), until);
}

#[test]
fn what_nobody_can_have_promised_is_replaced() {
    let (_folder, lease) = lease(HOUR_NS);
    for nonsense in [u64::MAX, monotonic_ns() + 3 * HOUR_NS] {
        lease.layout().alive_until_ns.store(nonsense, Ordering::Release);
        lease.touch_for(Duration::from_secs(1));
        assert!(lease.alive_until_ns() <= monotonic_ns() + 1_000_000_000, "{nonsense}");
    }
}

#[test]
fn threads_leave_the_longest_promise() {
    let (_folder, lease) = lease(HOUR_NS);
    std::thread::scope(|scope| {
        for seconds in 0..4 {
            let lease = &lease;
            scope.spawn(move || (0..1000).for_each(|_| lease.touch_for(Duration::from_secs(seconds * 600))));
        }
        let mut last = 0;
        for _ in 0..1000 {
            let until = lease.alive_until_ns();
            assert!(until >= last, "{until} after {last}");
            last = until;
        }
    });
    assert!(lease.alive_until_ns() > monotonic_ns() + HOUR_NS / 3);
}

#[test]
fn other_files_are_no_leases() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Lease::open(folder.path().join("nothing")).expect_err("nothing there");
    assert!(error.is_absent() && error.to_string().contains("heartbeat makes it"), "{error}");
    let mut newer = layout::new_file(1);
    newer[8] ^= 2;
    let long = [layout::new_file(1).as_slice(), b"\n"].concat();
    for bytes in [&[][..], &[0; BYTES], &newer, &long, &layout::MAGIC] {
        let (_folder, path) = file(bytes);
        let error = Lease::open(&path).expect_err("no lease");
        assert!(!error.is_absent() && error.to_string().contains("is no lease of version 1"), "{error}");
    }
    let (folder, path) = file(&layout::new_file(1));
    let link = folder.path().join("link");
    symlink(&path, &link).expect("a link");
    Lease::open(&link).expect_err("a link");
    Lease::open(folder.path()).expect_err("a folder");
}
