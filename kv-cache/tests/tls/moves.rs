//! A Redis whose name leads to another server, while the one before lives on.

use std::path::Path;
use std::process::Command;

use crate::client::Client;
use crate::processes::{Redis, Sidecar, text, until};

/// A command that runs the sidecar with a file of its own as `/etc/hosts`; `None` if that is not possible, which is said.
fn with_hosts(hosts: &Path) -> Option<Command> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(hosts);
        command
    };
    let mount = "mount --bind \"$1\" /etc/hosts && shift";
    let tried = unshare(mount).output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: this needs user namespaces for a file of hosts of its own: {tried:?}");
        return None;
    }
    let mut command = unshare(&format!("{mount} && exec \"$@\""));
    command.arg(env!("CARGO_BIN_EXE_kv-cache"));
    Some(command)
}

#[test]
fn no_client_of_the_new_server_gets_what_was_cached_of_the_old_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 redis.test\n").expect("written");
    let Some(command) = with_hosts(&hosts) else { return };
    let (old_folder, new_folder) = (folder.path().join("old"), folder.path().join("new"));
    for folder in [&old_folder, &new_folder] {
        std::fs::create_dir(folder).expect("a folder");
    }
    let Some(old) = Redis::start(&old_folder, None, &["--bind", "127.0.0.1 127.0.0.2"]) else { return };
    let port = old.plain.port();
    let new = Redis::start_at(&new_folder, ([127, 0, 0, 3], port).into()).expect("Redis is installed");
    assert_eq!(Client::plain(new.plain).command("SET key new").expect("a reply"), "+OK");
    let settings = [text("redis.address", format!("redis.test:{port}")), text("coherence.mode", "bounded")];
    let sidecar = Sidecar::start_by(command, folder.path(), &settings);
    sidecar.becomes("bounded");
    let mut before = Client::plain(sidecar.plain);
    assert_eq!(before.command("SET key old").expect("a reply"), "+OK");
    sidecar.warm(&mut before, "key", "old");
    std::fs::write(&hosts, "127.0.0.3 redis.test\n").expect("written");
    let mut after = Client::plain(sidecar.plain);
    for _ in 0..20 {
        assert_eq!(after.command("GET key").expect("a reply"), "new");
    }
    sidecar.warm(&mut after, "key", "new");
    // The agent has moved with all of its connections: writes past the sidecar are known by the new server's word.
    until("tracking", || sidecar.status().coherence.tracking.starts_with("connected").then_some(()));
    assert_eq!(Client::plain(new.plain).command("SET key newer").expect("a reply"), "+OK");
    until("the newer value", || (after.command("GET key").expect("a reply") == "newer").then_some(()));
    assert!(sidecar.log().contains("leads to another server now"), "{}", sidecar.log());
}
