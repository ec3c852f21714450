use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use xps_runtime::config::Sources;

use super::*;

fn ask(text: &str, reflects: bool) -> (Vec<SessionSettings>, String) {
    let sources = Sources { file: Some(("h.toml", text)), prefix: "HEARTBEAT", ..Sources::default() };
    let mut reader = Reader::new(&sources);
    let settings = Settings::ask(&mut reader, reflects);
    (settings, reader.finish().err().map_or_else(String::new, |mistakes| mistakes.to_string()))
}

#[test]
fn a_peer_is_enough() {
    let (settings, mistakes) = ask("[[bfd]]\npeer = \"192.0.2.1\"\n", true);
    assert_eq!(mistakes, "");
    let peer = "192.0.2.1".parse().unwrap();
    let expected = SessionSettings {
        key: SessionKey { peer, local: None, interface: None, multihop: false },
        min_ttl: 254,
        config: Config {
            desired_min_tx_us: 300_000,
            required_min_rx_us: 300_000,
            detect_multiplier: NonZeroU8::new(3).unwrap(),
            passive: false,
            echo_interval_us: None,
            required_min_echo_rx_us: 50_000,
        },
        keys: None,
        node: None,
    };
    assert_eq!(settings, [expected]);
    assert_eq!(ask("[[bfd]]\npeer = \"192.0.2.1\"\n", false).0[0].config.required_min_echo_rx_us, 0);
    assert_eq!(ask("", true), (vec![], String::new()));
}

#[test]
fn all_keys_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, "1 secret\n2 hex:00ff\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[[bfd]]\npeer = \"fe80::1\"\nlocal = \"fe80::2\"\ninterface = \"eth0\"\ninterval = \"10ms\"\n\
         receive_interval = \"20ms\"\nmultiplier = 5\npassive = true\necho_interval = \"15ms\"\n\
         echo_receive_interval = \"25ms\"\nauthentication = \"meticulous-keyed-sha1\"\nkey_file = {file:?}\nnode = 7\n\
         [[bfd]]\npeer = \"2001:db8::1\"\nmultihop = true\nmin_ttl = 250\n"
    );
    let (settings, mistakes) = ask(&text, true);
    assert_eq!(mistakes, "");
    let [first, second] = &settings[..] else { panic!("two sessions: {settings:?}") };
    assert_eq!(first.key.interface.as_deref(), Some("eth0"));
    assert_eq!(first.key.local, Some("fe80::2".parse().unwrap()));
    let config = first.config;
    assert_eq!((config.desired_min_tx_us, config.required_min_rx_us), (10_000, 20_000));
    assert_eq!((config.echo_interval_us, config.required_min_echo_rx_us), (Some(15_000), 25_000));
    assert!(config.passive && config.detect_multiplier.get() == 5 && first.node == Some(7));
    let keys = first.keys.unwrap();
    assert!(keys.kind == Type::Meticulous && keys.other.is_some());
    assert!(second.key.multihop && second.min_ttl == 250 && second.config.required_min_echo_rx_us == 0);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, "1 hunter\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let text = format!(
        "[[bfd]]\nlocal = \"10.0.0.1\"\n\
         [[bfd]]\npeer = \"fe80::1\"\nlocal = \"10.0.0.1\"\necho_interval = \"10us\"\n\
         [[bfd]]\npeer = \"10.0.0.2\"\nmin_ttl = 3\nkey_file = \"x\"\n\
         [[bfd]]\npeer = \"10.0.0.3\"\nmultihop = true\necho_interval = \"10ms\"\nauthentication = \"keyed-sha1\"\n\
         [[bfd]]\npeer = \"10.0.0.4\"\nauthentication = \"keyed-sha1\"\nkey_file = {file:?}\nmultiplier = 0\nspeed = 1\n\
         [[bfd]]\npeer = \"10.0.0.4\"\ninterface = \"eth0\"\n\
         [[bfd]]\npeer = \"127.0.0.1\"\n"
    );
    let (_, mistakes) = ask(&text, true);
    for expected in [
        "a session needs `peer`",
        "h.toml:5: `local` and `peer` are addresses of two kinds",
        "h.toml:4: a link-local address is on every link",
        "h.toml:6: echo packets leave by an interface",
        "h.toml:6: bfd 2.echo_interval is",
        "h.toml:9: over one hop only 255",
        "h.toml:10: a key file without",
        "h.toml:14: there are no echo packets over several hops",
        "h.toml:15: authentication needs `key_file`",
        "h.toml:19: ",
        "(mode 644): run `chmod 600",
        "h.toml:20: bfd 5.multiplier is 0",
        "h.toml:21: unknown key \"speed\"",
        "h.toml:23: a session with 10.0.0.4 is there already",
        "h.toml:26: a session is held with one other system",
    ] {
        assert!(mistakes.contains(expected), "{expected:?} is not in\n{mistakes}");
    }
    assert!(!mistakes.contains("hunter"), "{mistakes}");
}
