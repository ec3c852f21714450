use std::net::Ipv4Addr;

use super::*;

fn read(text: &str) -> Result<Config, Mistakes> {
    Config::read(Some(("guard.toml", text)), Vec::new(), Vec::new())
}

#[test]
fn nothing_given_is_a_configuration() {
    let config = Config::read(None, Vec::new(), Vec::new()).expect("defaults");
    assert_eq!(config.nginx, (SocketAddr::from((Ipv4Addr::LOCALHOST, 80))).into());
    assert_eq!((config.listen.accelerated_port, config.limit_sets), (8080, 1 << 16));
    assert_eq!((config.connections.new, config.path.wishes.xdp), (None, Wish::Auto));
    assert!(config.needs_user_path().is_empty() && config.rules.is_empty());
}

#[test]
fn values_are_read() {
    for (text, check) in [
        ("[limits]\nkeys_max = 100\n", (|c| c.limit_sets == 16) as fn(&Config) -> bool),
        ("[limits]\nkeys_max = 8\n", |c| c.limit_sets == 1),
        ("[nginx]\nmerge_slashes = false\n", |c| c.heads.settings(3).merge_slashes == 0),
        ("[connections]\nnew_per_second = 5\n", |c| c.connections.new == Rate::new(5, 1_000_000_000, 5).ok()),
        ("[connections]\nheader_timeout = \"5s\"\n", |c| c.connections.header_timeout.as_secs() == 5),
        ("[answers]\nbody = \"\"\n", |c| c.page.body.is_empty()),
        ("[path]\nxdp = \"on\"\n", |c| c.path.wishes.xdp == Wish::On),
        ("[path]\nxdp = \"off\"\n", |c| c.path.wishes.xdp == Wish::Off),
        ("[proxy]\ntrusted = [\"10.0.0.0/8\"]\n", |c| c.proxy.trusted.len() == 1),
        ("[[rule]]\nname = \"a\"\naction = \"close\"\n", |c| c.rules.len() == 1),
    ] {
        let config = read(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"));
        assert!(check(&config), "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[nginx]\naddress = \"127.0.0.1:8080\"\nline_bytes_max = 9000\n[limits]\nkesy_max = 1\n\
                [connections]\nipv6_prefix = 0\n[path]\nxdp = \"generic\"\n[[rule]]\nname = \"x\"\naction = \"limit\"\n[[rule]]\npath = \"y\"\n";
    let text = read(text).expect_err("mistakes").to_string();
    for part in [
        "accelerated_port is Nginx's own",
        "guard.toml:3: nginx.line_bytes_max is more",
        "did you mean \"keys_max\"?",
        "guard.toml:7: connections.ipv6_prefix is 0",
        "guard.toml:9: path.xdp is \"generic\"",
        "rule \"x\" has no rate",
        "rule 2 has no name",
        "rule 2 has no action",
        "rule 2: path is \"y\"",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn what_is_no_toml_is_told_once() {
    let text = read("[nginx\naddress = 1\n").expect_err("mistakes").to_string();
    assert_eq!(text.lines().filter(|line| line.starts_with("guard.toml:1: ")).count(), 1, "{text}");
}

#[test]
fn what_only_the_user_path_does_is_named() {
    let rule = |more: &str| format!("[[rule]]\nname = \"r\"\naction = \"limit\"\nrate = \"1/s\"\n{more}");
    for (text, part) in [
        (rule("nodelay = false\n"), "rule \"r\" (guard.toml:1): requests that are delayed"),
        (rule("key = [\"path\"]\n"), "rule \"r\" (guard.toml:1): the path is part of its key"),
        ("[proxy]\nto_server = \"none\"\n".to_owned(), "proxy.to_server"),
    ] {
        let needs = read(&text).expect("a configuration").needs_user_path();
        assert!(needs.len() == 1 && needs[0].starts_with(part), "{needs:?}");
    }
    assert!(read(&rule("")).expect("a configuration").needs_user_path().is_empty());
}

#[test]
fn files_are_named_from_where_the_configuration_is() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.txt"), "10.0.0.1\n").expect("a file");
    let name = folder.path().join("guard.toml").display().to_string();
    let text = "[[rule]]\nname = \"bad\"\nclient_file = \"bad.txt\"\naction = \"drop\"\n";
    let config = Config::read(Some((&name, text)), Vec::new(), Vec::new()).expect("a configuration");
    let file = &config.files[0];
    assert_eq!((config.files.len(), &file.path), (1, &folder.path().join("bad.txt")));
    assert_eq!(file.now(), *file);
    std::fs::write(&file.path, "10.0.0.1\n10.0.0.2\n").expect("a file");
    assert_ne!(file.now(), *file);
}

#[test]
fn the_environment_goes_before_the_file_and_flags_before_both() {
    let environment = vec![("HTTP_GUARD_LISTEN_ACCELERATED_PORT".to_owned(), "81".to_owned())];
    let file = Some(("guard.toml", "[listen]\naccelerated_port = 82\n"));
    let config = Config::read(file, environment.clone(), Vec::new()).expect("it");
    assert_eq!(config.listen.accelerated_port, 81);
    let flags = vec![("listen.accelerated_port".to_owned(), "83".to_owned())];
    assert_eq!(Config::read(file, environment, flags).expect("it").listen.accelerated_port, 83);
}
