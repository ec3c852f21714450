//! The commands of the real binary that ask no sidecar.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

fn heartbeat(arguments: &[&str]) -> (bool, String) {
    let output: Output =
        Command::new(env!("CARGO_BIN_EXE_heartbeat")).args(arguments).output().expect("heartbeat runs");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn a_key_that_is_made_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    let (good, line) = heartbeat(&["key", "7"]);
    assert!(good && line.starts_with("7 "), "{line}");
    let (_, other) = heartbeat(&["key", "7"]);
    assert_ne!(line, other);
    std::fs::write(&key, line).expect("a file");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("its owner");
    let file = format!("cluster.key_file={}", key.display());
    assert_eq!(heartbeat(&["check", "--set", &file, "--set", "node.id=1"]), (true, "OK\n".to_owned()));
    assert!(!heartbeat(&["key", "0"]).0);
}

#[test]
fn a_configuration_is_checked_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("heartbeat.toml");
    let file = path.display().to_string();
    std::fs::write(&path, "[cluster]\nkey_fil = \"key\"\n[node]\nid = 0\nlease_by = \"magic\"\n")
        .expect("a file");
    let (good, said) = heartbeat(&["check", "--config", &file, "--set", "probe.interval=1us"]);
    assert!(!good);
    for part in [
        "heartbeat.toml:2: unknown key \"key_fil\" in [cluster]; did you mean \"key_file\"?",
        "cluster.key_file is missing",
        "heartbeat.toml:4: node.id is 0",
        "heartbeat.toml:5: node.lease_by is \"magic\"",
        "probe.interval is \"1us\"",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (good, said) = heartbeat(&["check", "--config", "/nosuch"]);
    assert!(!good && said.contains("cannot read the configuration /nosuch"), "{said}");
}

#[test]
fn who_asks_where_nobody_is_is_told() {
    let (good, said) = heartbeat(&["status", "--admin", "127.0.0.1:1"]);
    assert!(!good && said.contains("no heartbeat answers at 127.0.0.1:1"), "{said}");
}
