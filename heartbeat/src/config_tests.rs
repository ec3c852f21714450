//! What is asked for, and what is wrong with it.

use std::os::unix::fs::PermissionsExt;

use heartbeat_fastpath::wire::NodeId;

use super::*;
use node::Number;

/// A folder with a key file, and the configuration there.
fn read(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "3 000102030405060708090a0b0c0d0e0f\n").expect("a file");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("its owner");
    std::fs::write(folder.path().join("open"), "3 000102030405060708090a0b0c0d0e0f\n").expect("a file");
    std::fs::write(folder.path().join("members"), "4 10.0.0.4\n5 10.0.0.5:1\n").expect("a file");
    std::fs::write(folder.path().join("wrong"), "4 10.0.0.4\nx\n").expect("a file");
    let file = folder.path().join("heartbeat.toml");
    std::fs::write(&file, text).expect("a file");
    let source = ConfigSource { file: Some(file), flags: Vec::new() };
    let place = format!("{}/", folder.path().display());
    Config::from(&source).map_err(|error| error.to_string().replace(&place, ""))
}

const LEAST: &str = "[cluster]\nkey_file = \"key\"\n[node]\nid = 7\n";

#[test]
fn little_is_needed() {
    let config = read(LEAST).expect("a configuration");
    assert_eq!((config.cluster, config.port, config.ring.sending.id.number()), (ClusterId(1), PORT, 3));
    let seven = NodeId::new(7).map(Number::Given);
    assert_eq!(config.nodes.iter().map(|node| Some(node.id)).collect::<Vec<_>>(), [seven]);
    assert_eq!(config.sockets().collect::<Vec<_>>(), [SocketAddr::from(([0, 0, 0, 0], PORT))]);
    assert_eq!(config.probe, heartbeat_detector::config::Config::with_interval(100_000_000));
}

#[test]
fn members_come_from_list_file_and_name() {
    let text = format!(
        "{LEAST}[members]\nlist = [\"1 10.0.0.1\", \"2 two.example\"]\nfile = \"members\"\ndns = \"all.example\"\nrefresh = \"5s\"\n"
    );
    let config = read(&text).expect("a configuration");
    let places: Vec<_> = config
        .members
        .list
        .iter()
        .chain(&config.members.in_file)
        .map(|entry| (entry.id.number(), entry.at.to_string()))
        .collect();
    let expected = [(1, "10.0.0.1:7946"), (2, "two.example:7946"), (4, "10.0.0.4:7946"), (5, "10.0.0.5:1")];
    assert_eq!(places, expected.map(|(number, at)| (number, at.to_owned())));
    assert_eq!(config.members.dns.map(|dns| dns.to_string()), Some("all.example:7946".to_owned()));
    assert_eq!(config.files.len(), 2);
}

#[test]
fn a_cluster_may_be_written_in_hexadecimal_digits() {
    let text = LEAST.replace("[node]", "id = \"0x1122334455667788\"\n[node]");
    assert_eq!(read(&text).expect("a configuration").cluster, ClusterId(0x1122_3344_5566_7788));
    let text = LEAST.replace("[node]", "id = 12\n[node]");
    assert_eq!(read(&text).expect("a configuration").cluster, ClusterId(12));
}

#[test]
fn times_of_probing_follow_the_interval_unless_they_are_given() {
    let probe = |text: &str| read(&format!("{LEAST}[probe]\n{text}")).expect("a configuration").probe;
    let short = probe("interval = \"10ms\"\ntimeout = \"5ms\"\nphi = 10\n");
    assert_eq!((short.interval_ns, short.timeout_max_ns, short.phi), (10_000_000, 5_000_000, 10.0));
    assert_eq!((short.wait_min_ns, short.confirmation_ns), (500_000, 10_000_000));
    assert_eq!(probe("interval = \"1ms\"\n").timeout_max_ns, 2_000_000);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[cluster]\nkey_file = \"open\"\n[listen]\naddresses = []\nprot = 1\n[members]\n\
                list = [\"1 10.0.0.1\", \"1 10.0.0.2\", \"x\"]\nfile = \"wrong\"\n[probe]\ntries = 50\n\
                [[node]]\nid = 7\n[[node]]\nid = 7\n[[node]]\nid = \"address\"\n[[node]]\n\
                [hook]\ncommand = [\"failover\"]\n[path]\npin_directory = \"here\"\n[log]\nlevel = \"=\"\n";
    let told = read(text).expect_err("mistakes");
    for part in [
        "heartbeat.toml:2: cluster.key_file: open can be read or changed by others (mode 644): run `chmod 600 open`",
        "heartbeat.toml:5: unknown key \"prot\" in [listen]; did you mean \"port\"?",
        "heartbeat.toml:7: members.list: \"x\" is no member; it must be a number and an address",
        "heartbeat.toml:7: members.list: member 1 is listed twice",
        "heartbeat.toml:8: wrong:2: \"x\" is no member",
        "probe.interval: [probe]: the tries do not fit the longest time-out",
        "heartbeat.toml:14: node 2.id is that of another node of this host",
        "heartbeat.toml:16: node 3.id is \"address\", but members.dns gives no addresses",
        "node 4.id: node 4 has no id; it must be a number from 1 to 4294967279, or \"address\" with members.dns",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    // What needs a whole configuration is told once there is one.
    let told = read(&text.replace("\"open\"", "\"key\"")).expect_err("mistakes");
    for part in [
        "heartbeat.toml:4: listen.addresses is empty",
        "hook.command must begin with the absolute path of a program",
        "path.pin_directory must be an absolute path on a BPF file system",
        "log.level must be a level such as \"info\"",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("000102030405"), "{told}");
}

#[test]
fn without_a_key_or_a_node_nothing_runs() {
    let told = read("[node]\nid = 7\n").expect_err("no key");
    assert_eq!(
        told,
        "cluster.key_file: cluster.key_file is missing; `heartbeat key > FILE` makes one, for all nodes of the cluster"
    );
    let told = read("[cluster]\nkey_file = \"key\"\n").expect_err("no node");
    assert!(told.contains("there is no node of this host"), "{told}");
    let told = read("[cluster]\nkey_file = \"no\"\n[node]\nid = 1\n").expect_err("no file");
    assert!(told.contains("no cannot be read"), "{told}");
}

#[test]
fn echo_packets_are_asked_for_only_where_the_stack_sends_them_back() {
    let text = format!("{LEAST}[[bfd]]\npeer = \"10.0.0.9\"\ninterval = \"50ms\"\nnode = 7\n");
    let config = read(&text).expect("a configuration");
    let echo = |in_stack| config.sessions(in_stack)[0].config.required_min_echo_rx_us;
    assert_eq!((echo(true), echo(false)), (50_000, 0));
    let told = read(&format!("{LEAST}[[bfd]]\nintervall = \"1s\"\n")).expect_err("mistakes");
    assert!(told.contains("unknown key \"intervall\" in [[bfd]]; did you mean \"interval\"?"), "{told}");
    assert!(told.contains("a session needs `peer`"), "{told}");
}
