//! Which files are taken, which are replaced, and which are left alone.

use std::os::unix::fs::symlink;

use heartbeat_lease::Lease;

use super::super::settings::Owner;
use super::*;

const LEASE: Duration = Duration::from_secs(600);

struct Kit {
    folder: tempfile::TempDir,
    wanted: SharedFile,
}

fn wanted() -> Kit {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/er/orders.lease");
    let wanted = SharedFile { path, owner: Owner::default(), mode: 0o600 };
    Kit { folder, wanted }
}

fn open(wanted: &SharedFile) -> LeaseFile {
    LeaseFile::open(wanted, LEASE).expect("a file")
}

fn refused(wanted: &SharedFile) -> String {
    LeaseFile::open(wanted, LEASE).expect_err("it is refused").to_string()
}

#[test]
fn an_application_goes_on_with_the_file_that_a_later_agent_keeps() {
    let place = wanted();
    let first = open(&place.wanted);
    assert_eq!(first.word().expect("a word"), 0);
    let metadata = fs::metadata(&place.wanted.path).expect("the file");
    assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 64));
    let application = Lease::open(&place.wanted.path).expect("a lease");
    assert_eq!(application.longest(), LEASE);
    application.touch();
    drop(first);
    let wider = SharedFile { mode: 0o660, ..place.wanted.clone() };
    let second = LeaseFile::open(&wider, LEASE * 2).expect("a file");
    assert_eq!(second.word().expect("a word"), application.alive_until_ns());
    assert_eq!(application.longest(), LEASE, "nothing is said yet");
    second.announce(LEASE * 2).expect("announced");
    assert_eq!(application.longest(), LEASE * 2);
    assert_eq!(fs::metadata(&place.wanted.path).expect("the file").mode() & 0o7777, 0o660);
    application.release();
    assert_eq!(second.word().expect("a word"), 0);
    assert_eq!(fs::read_dir(place.folder.path().join("deep/er")).expect("a folder").count(), 1);
}

#[test]
fn a_file_that_its_application_damaged_is_told_and_replaced() {
    let place = wanted();
    let path = &place.wanted.path;
    let damages: [fn(&Path) -> io::Result<()>; 4] = [
        |path| OpenOptions::new().write(true).open(path)?.set_len(0),
        |path| OpenOptions::new().write(true).open(path)?.set_len(20),
        |path| OpenOptions::new().write(true).open(path)?.set_len(1 << 20),
        |path| OpenOptions::new().write(true).open(path)?.write_all_at(&[9], 8),
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        let file = open(&place.wanted);
        assert!(file.is_in_place(), "{at}");
        damage(path).expect("damage");
        assert!(!file.is_in_place(), "{at}");
        // One that is longer still has its word.
        assert_eq!(file.word().is_ok(), at == 2, "{at}");
        let again = open(&place.wanted);
        assert_ne!(again.identity, file.identity, "{at}");
        assert!(again.news().expect("news").contains("was damaged and is replaced"), "{at}");
        assert_eq!(again.word().expect("a word"), 0, "{at}");
    }
    let file = open(&place.wanted);
    fs::remove_file(path).expect("removed");
    assert!(!file.is_in_place());
}

#[test]
fn what_is_no_lease_is_left_alone() {
    let place = wanted();
    let path = &place.wanted.path;
    drop(open(&place.wanted));
    fs::remove_file(path).expect("removed");
    fs::write(path, "precious").expect("a file");
    assert!(refused(&place.wanted).contains("is no lease file; remove it"));
    assert_eq!(fs::read(path).expect("the file"), b"precious");
    fs::remove_file(path).expect("removed");
    let other = place.folder.path().join("other");
    fs::write(&other, layout::new_file(1)).expect("a file");
    symlink(&other, path).expect("a link");
    assert!(refused(&place.wanted).contains("is no lease file"), "links are not followed");
    fs::remove_file(path).expect("removed");
    fs::create_dir(path).expect("a folder");
    assert!(refused(&place.wanted).contains("is no lease file"));
}

#[test]
fn a_file_with_another_name_is_not_taken() {
    let place = wanted();
    let first = open(&place.wanted);
    // The other name may be where another application's file is looked for.
    fs::hard_link(&place.wanted.path, place.folder.path().join("other")).expect("a link");
    let second = open(&place.wanted);
    assert_ne!(first.identity, second.identity);
    assert_eq!((first.replaced, second.replaced), (None, Some(Unfit::Owned)));
}

#[test]
fn nobody_else_may_put_a_file_in_its_place() {
    let place = wanted();
    let folder = place.folder.path().join("deep");
    drop(open(&place.wanted));
    for (mode, safe) in [(0o777, false), (0o775, false), (0o1777, true), (0o755, true)] {
        fs::set_permissions(&folder, Permissions::from_mode(mode)).expect("a mode");
        match LeaseFile::open(&place.wanted, LEASE) {
            Ok(_) => assert!(safe, "{mode:o}"),
            Err(error) => {
                let text = error.to_string();
                assert!(!safe && text.contains("anybody could speak for the node"), "{mode:o}: {text}");
            }
        }
    }
    let nameless = SharedFile { path: "/".into(), ..place.wanted };
    assert!(refused(&nameless).contains("names no file"));
}

#[test]
fn owners_are_as_they_are_asked_for() {
    if own_user() != 0 {
        println!("SKIPPED: only root gives files away");
        return;
    }
    let place = wanted();
    let before = open(&place.wanted);
    let owner = Owner { user: Some(12_345), group: Some(23_456) };
    let given = SharedFile { owner, mode: 0o640, ..place.wanted.clone() };
    let file = open(&given);
    assert_ne!(file.identity, before.identity, "whoever has the old one open speaks no more");
    let metadata = fs::metadata(&given.path).expect("the file");
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (12_345, 23_456, 0o640));
    assert_eq!(open(&given).identity, file.identity);
    // Somebody else's file in a folder that all may write.
    let folder = place.folder.path().join("deep/er");
    std::os::unix::fs::chown(&folder, Some(12_345), None).expect("a folder of somebody else");
    assert!(refused(&given).contains("anybody could speak for the node"));
}
