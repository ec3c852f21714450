//! What is read from a node's table, and what is told of mistakes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use xps_runtime::config::{Reader, Sources};

use super::*;
use crate::lease::settings::Owner;

/// Reads the table, and gives the mistakes, one a line.
fn read(keys: &str) -> Result<Settings, String> {
    let text = format!("[node]\n{keys}");
    let sources = Sources { file: Some(("h.toml", &text)), prefix: "HEARTBEAT", ..Sources::default() };
    let mut reader = Reader::new(&sources);
    let settings = Settings::ask(&mut reader.section("node"));
    reader.finish().map(|()| settings).map_err(|mistakes| mistakes.to_string())
}

fn way(keys: &str) -> Way {
    read(keys).expect("valid keys").way
}

#[test]
fn nothing_given_is_always_alive() {
    assert_eq!(read(""), Ok(Settings::default()));
    let settings = read("lease = \"10ms\"\nwhen_lapsed = \"degraded\"\n").expect("valid keys");
    assert_eq!((settings.lease, settings.when_lapsed), (LEASE_MIN, WhenLapsed::Degraded));
}

#[test]
fn each_way_takes_its_keys() {
    let third = Duration::from_secs(1) / 3;
    let check = |how| Way::Check(Check { how, interval: third, timeout: third });
    let place = |text: &str| text.parse::<Place>().expect("a place");
    assert_eq!(way("lease_by = \"call\""), Way::Call);
    let owner = Owner { user: Some(0), group: Some(7) };
    assert_eq!(
        way(
            "lease_by = \"shared\"\nlease_file = \"/run/a\"\nlease_owner = \"root:7\"\nlease_mode = \"0660\""
        ),
        Way::Shared(SharedFile { path: "/run/a".into(), owner, mode: 0o660 })
    );
    assert_eq!(
        way("lease_by = \"tcp\"\nlease_address = \"localhost:80\""),
        check(How::Tcp(place("localhost:80")))
    );
    assert_eq!(
        way("lease_by = \"http\"\nlease_url = \"http://[::1]:1/x\""),
        check(How::Http("http://[::1]:1/x".parse().expect("a URL")))
    );
    let redis = How::Redis { place: place("unix:/run/r"), username: String::new(), password: None };
    assert_eq!(way("lease_by = \"redis\"\nlease_address = \"unix:/run/r\""), check(redis));
    let command = How::Command(vec!["true".into(), "x y".into()]);
    assert_eq!(way("lease_by = \"command\"\nlease_command = [\"true\", \"x y\"]"), check(command));
}

#[test]
fn every_way_has_the_word_that_it_is_read_from() {
    for (word, by) in By::ALL {
        assert_eq!(by.to_string(), word);
        assert_eq!(serde_json::to_string(&by).expect("JSON"), format!("\"{word}\""));
    }
    for keys in ["", "lease_by = \"call\"", "lease_by = \"shared\"\nlease_file = \"/run/a\""] {
        let word = keys.split('"').nth(1).unwrap_or("always");
        assert_eq!(way(keys).by().to_string(), word);
    }
}

#[test]
fn mistakes_are_told_with_their_lines() {
    for (keys, told) in [
        ("lease = \"9ms\"", "h.toml:2: node.lease is \"9ms\"; it must be a time"),
        ("lease_by = \"share\"", "h.toml:2: node.lease_by is \"share\"; it must be one of \"always\""),
        ("lease_by = \"shared\"", "h.toml:2: lease_by = \"shared\" needs lease_file"),
        ("lease_by = \"tcp\"", "h.toml:2: lease_by = \"tcp\" needs lease_address"),
        ("lease_by = \"redis\"", "h.toml:2: lease_by = \"redis\" needs lease_address"),
        ("lease_by = \"http\"", "h.toml:2: lease_by = \"http\" needs lease_url"),
        ("lease_by = \"command\"", "h.toml:2: lease_by = \"command\" needs lease_command"),
        (
            "lease_file = \"/run/a\"",
            "h.toml:2: lease_file goes with lease_by = \"shared\"; here lease_by is \"always\"",
        ),
        (
            "lease_by = \"http\"\nlease_url = \"http://a/\"\nlease_address = \"a:1\"",
            "h.toml:4: lease_address goes with lease_by = \"tcp\" or \"redis\"; here lease_by is \"http\"",
        ),
        (
            "lease_by = \"call\"\nlease_interval = \"1ms\"",
            "h.toml:3: lease_interval goes with lease_by = \"tcp\" or \"http\" or \"redis\" or \"command\"",
        ),
        ("lease_by = \"shared\"\nlease_file = \"a\"", "h.toml:3: lease_file must be a whole path"),
        ("lease_by = \"shared\"\nlease_file = \"/run/..\"", "h.toml:3: lease_file must be a whole path"),
        (
            "lease_by = \"http\"\nlease_url = \"https://a/\"",
            "h.toml:3: node.lease_url is \"https://a/\"; it must be",
        ),
        ("lease_by = \"tcp\"\nlease_address = \"a\"", "h.toml:3: node.lease_address is \"a\"; it must be"),
        (
            "lease_by = \"command\"\nlease_command = []",
            "h.toml:3: lease_command must be a list that begins with",
        ),
        (
            "lease_by = \"tcp\"\nlease_address = \"a:1\"\nlease_interval = \"900ms\"",
            "h.toml:4: with lease_interval 900ms and lease_timeout 333.333333ms a lease of 1s would lapse",
        ),
        (
            "lease_by = \"tcp\"\nlease_address = \"a:1\"\nlease_timeout = \"501ms\"",
            "h.toml:4: with lease_interval 333.333333ms and lease_timeout 501ms a lease of 1s would lapse",
        ),
        (
            "lease_by = \"redis\"\nlease_address = \"a:1\"\nlease_username = \"x\"",
            "h.toml:4: lease_username needs lease_password_file",
        ),
        (
            "lease_by = \"redis\"\nlease_address = \"a:1\"\nlease_password_file = \"/nosuch\"",
            "h.toml:4: lease_password_file: /nosuch cannot be read: No such file",
        ),
    ] {
        let mistakes = read(keys).expect_err(keys);
        assert!(mistakes.starts_with(told) && !mistakes.contains('\n'), "{keys}: {mistakes}");
    }
}

#[test]
fn not_everybody_may_touch() {
    let keys =
        |mode: &str| format!("lease_by = \"shared\"\nlease_file = \"/run/a\"\nlease_mode = \"{mode}\"");
    for mode in ["0600", "660", "0664", "0640"] {
        read(&keys(mode)).expect(mode);
    }
    for mode in ["", "0666", "0602", "0400", "0700", "4600", "0x1", "0680"] {
        let mistakes = read(&keys(mode)).expect_err(mode);
        assert!(mistakes.contains("not everybody may write"), "{mode}: {mistakes}");
    }
}

#[test]
fn a_password_that_others_can_read_is_refused_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    fs::write(&path, "hunter2\n").expect("a file");
    let keys = format!(
        "lease_by = \"redis\"\nlease_address = \"a:1\"\nlease_username = \"x\"\nlease_password_file = \"{}\"",
        path.display()
    );
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("a mode");
    let mistakes = read(&keys).expect_err("others can read it");
    assert!(mistakes.starts_with("h.toml:5") && mistakes.contains("chmod"), "{mistakes}");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
    let settings = read(&keys).expect("valid keys");
    assert!(!format!("{settings:?} {mistakes}").contains("hunter2"), "{settings:?}");
}

#[test]
fn a_socket_is_a_whole_path() {
    let long = format!("/{}", "x".repeat(108));
    for (path, right) in [("", true), ("/run/lease.sock", true), ("lease.sock", false), (&*long, false)] {
        let text = format!("[lease]\nsocket = \"{path}\"\n");
        let sources = Sources { file: Some(("h.toml", &text)), prefix: "HEARTBEAT", ..Sources::default() };
        let mut reader = Reader::new(&sources);
        let socket = socket(&mut reader.section("lease"));
        match reader.finish() {
            Ok(()) => assert!(right && socket.unwrap_or_default() == Path::new(path), "{path}"),
            Err(mistakes) => {
                assert!(!right && mistakes.to_string().starts_with("h.toml:2: socket must be"), "{mistakes}");
            }
        }
    }
}
