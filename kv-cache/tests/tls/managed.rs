//! Redis as managed services offer it: commands of the administrator are refused, or are not there at all.

use std::path::Path;
use std::time::Duration;

use crate::client::Client;
use crate::processes::{Redis, Sidecar, text, until};

const PASSWORD: &str = "of-the-default-user";

/// A sidecar for a Redis whose user for it may only read.
fn sidecar(folder: &Path, redis: &Redis, more: &[(&str, String)]) -> Sidecar {
    let mut admin = Client::plain(redis.plain);
    assert_eq!(admin.command(&format!("AUTH {PASSWORD}")).expect("a reply"), "+OK");
    for user in [
        "ACL SETUSER sidecar on >secret ~* -@all +@read +command +hello +auth +select",
        "ACL SETUSER bob on >bobs ~* +@all",
    ] {
        assert_eq!(admin.command(user).expect("a reply"), "+OK");
    }
    let password = folder.join("password");
    std::fs::write(&password, "secret\n").expect("written");
    let mut settings = vec![
        text("redis.address", redis.plain),
        text("redis.username", "sidecar"),
        crate::processes::file("redis.password_file", &password),
        text("coherence.mode", "bounded"),
    ];
    settings.extend_from_slice(more);
    Sidecar::start(folder, &settings)
}

#[test]
fn without_a_word_about_users_there_are_no_hits() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(redis) = Redis::start(folder.path(), None, &["--requirepass", PASSWORD]) else { return };
    let sidecar = sidecar(folder.path(), &redis, &[]);
    assert!(sidecar.says("users: ").contains("set coherence.trust_users = true"));
    assert_eq!(sidecar.status().coherence.state, "off");
    assert!(!sidecar.log().contains("secret"));
}

#[test]
fn with_users_vouched_for_whoever_redis_accepts_gets_hits_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(redis) = Redis::start(folder.path(), None, &["--requirepass", PASSWORD]) else { return };
    let sidecar = sidecar(folder.path(), &redis, &[text("coherence.trust_users", "true")]);
    sidecar.becomes("bounded");
    for label in ["info_refused: ", "setting_unknown: ", "user_path: ", "users_trusted: "] {
        sidecar.says(label);
    }
    let tracking = until("tracking's refusal", || {
        Some(sidecar.status().coherence.tracking).filter(|state| state.contains("NOPERM"))
    });
    assert!(tracking.contains("entries live at most"), "{tracking}");
    let (mut client, mut bob) = (Client::plain(sidecar.plain), Client::plain(sidecar.plain));
    assert_eq!(client.command(&format!("AUTH {PASSWORD}")).expect("a reply"), "+OK");
    assert_eq!(bob.command("AUTH bob bobs").expect("a reply"), "+OK");
    assert_eq!(client.command("SET key one").expect("a reply"), "+OK");
    sidecar.warm(&mut client, "key", "one");
    sidecar.warm(&mut bob, "key", "one");
    // Not with a password that Redis does not take, and not without any.
    for attempt in ["AUTH bob wrong", "PING"] {
        let mut stranger = Client::plain(sidecar.plain);
        assert!(stranger.command(attempt).expect("a reply").starts_with('-'));
        sidecar.warm(&mut client, "key", "one");
        for _ in 0..20 {
            assert!(stranger.command("GET key").expect("a reply").starts_with("-NOAUTH"));
        }
    }
    // What is written past the sidecar shows when the entry's time is over.
    let mut other = Client::plain(redis.plain);
    assert_eq!(other.command("AUTH bob bobs").expect("a reply"), "+OK");
    assert_eq!(other.command("SET key two").expect("a reply"), "+OK");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(client.command("GET key").expect("a reply"), "two");
}

#[test]
fn commands_that_are_not_there_are_not_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone: Vec<_> = ["CONFIG", "ACL", "MONITOR", "INFO", "DEBUG"]
        .into_iter()
        .flat_map(|command| ["--rename-command", command, ""])
        .collect();
    let Some(redis) = Redis::start(folder.path(), None, &gone) else { return };
    let settings = [
        text("redis.address", redis.plain),
        text("coherence.mode", "bounded"),
        text("coherence.trust_users", "true"),
    ];
    let sidecar = Sidecar::start(folder.path(), &settings);
    sidecar.becomes("bounded");
    // This Redis asks nobody for a password, so strangers may read.
    let mut client = Client::plain(sidecar.plain);
    assert_eq!(client.command("SET key value").expect("a reply"), "+OK");
    sidecar.warm(&mut client, "key", "value");
    assert!(client.command("MONITOR").expect("a reply").starts_with("-ERR unknown command"));
    sidecar.warm(&mut client, "key", "value");
}

#[test]
fn a_command_under_another_name_forbids_hits() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(redis) = Redis::start(folder.path(), None, &["--rename-command", "MONITOR", "LISTEN"]) else {
        return;
    };
    let settings = [text("redis.address", redis.plain), text("coherence.mode", "bounded")];
    let sidecar = Sidecar::start(folder.path(), &settings);
    assert!(sidecar.says("renamed_commands: ").contains("monitor"));
    assert_eq!(sidecar.status().coherence.state, "off");
}
