//! Mistakes and where they are told.

use super::*;
use std::time::Duration;

const FILE: &str = "\
[listen]
port = 70000
admin = \"here\"
prot = 6380

[cahce]
x = 1

[cache]
memory = \"64MiB\"
bytes = 4096
on = \"yes\"
mode = \"fast\"
time = \"2\"
names = [\"a\", \"b\"]
";

fn sources(file: &str) -> Sources<'_> {
    Sources { file: Some(("f.toml", file)), prefix: "XPS", environment: vec![], flags: vec![] }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut sources = sources(FILE);
    sources.environment =
        vec![pair("XPS_CACHE_MEMROY", "1"), pair("PATH", "x"), pair("XPS_CACHE_BYTES", "1x")];
    sources.flags = vec![pair("listen.prt", "1")];
    let mut reader = Reader::new(&sources);
    let mut listen = reader.section("listen");
    assert_eq!(listen.integer("port", 1u16, 1..=65535), 1);
    let address: std::net::SocketAddr = "1.2.3.4:5".parse().unwrap();
    assert_eq!(listen.parsed("admin", address, "an address with port"), address);
    let mut cache = reader.section("cache");
    assert_eq!(cache.bytes("memory", 1, 0..=1 << 40), 64 << 20);
    assert_eq!(cache.bytes("bytes", 1, 0..=1 << 40), 1);
    assert!(!cache.boolean("on", false));
    assert_eq!(cache.choice("mode", 7, &[("auto", 1), ("user", 2)]), 7);
    let second = Duration::from_secs(1);
    assert_eq!(cache.duration("time", second, second..=10 * second), second);
    assert_eq!(cache.strings("names", &[]), ["a", "b"]);
    let mistakes = reader.finish().unwrap_err().to_string();
    let expected = [
        "f.toml:2: listen.port is 70000; it must be a whole number from 1 to 65535",
        "f.toml:3: listen.admin is \"here\"; it must be an address with port",
        "variable XPS_CACHE_BYTES: cache.bytes is \"1x\"; it must be a number of bytes from 0 to 1024GiB, such as 65536 or \"64MiB\"",
        "f.toml:12: cache.on is \"yes\"; it must be true or false, without quotes",
        "f.toml:13: cache.mode is \"fast\"; it must be one of \"auto\", \"user\"",
        "f.toml:14: cache.time is \"2\"; it must be a time with its unit from 1s to 10s, such as \"2s\" or \"150ms\"",
        "f.toml:6: unknown section [cahce]; did you mean \"cache\"?",
        "f.toml:4: unknown key \"prot\" in [listen]; did you mean \"port\"?",
        "flag for listen.prt: unknown key \"prt\" in [listen]; did you mean \"port\"?",
        "variable XPS_CACHE_MEMROY: no such setting; did you mean XPS_CACHE_MEMORY?",
    ];
    assert_eq!(mistakes.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let read = |environment: &[(&str, &str)], flags: &[(&str, &str)]| {
        let mut sources = sources("[a]\nb = 1\n");
        sources.environment = environment.iter().map(|(k, v)| pair(k, v)).collect();
        sources.flags = flags.iter().map(|(k, v)| pair(k, v)).collect();
        let mut reader = Reader::new(&sources);
        let value = reader.section("a").integer("b", 0u32, 0..=9);
        reader.finish().unwrap();
        value
    };
    assert_eq!(read(&[], &[]), 1);
    assert_eq!(read(&[("XPS_A_B", "2")], &[]), 2);
    assert_eq!(read(&[("XPS_A_B", "2")], &[("a.b", "3")]), 3);
}

#[test]
fn a_file_that_is_not_toml_is_told_with_its_line() {
    let mistakes = Reader::new(&sources("[a]\nb = \nc 1\n")).finish().unwrap_err();
    assert!(mistakes.0.iter().any(|mistake| mistake.place == "f.toml:2"), "{mistakes}");
    assert!(mistakes.0.iter().any(|mistake| mistake.place == "f.toml:3"), "{mistakes}");
}

#[test]
fn keys_outside_of_sections_are_mistakes() {
    let mistakes = Reader::new(&sources("port = 1\n")).finish().unwrap_err();
    assert_eq!(mistakes.to_string(), "f.toml:1: \"port\" stands outside of any section");
}

#[test]
fn the_services_own_mistakes_have_a_place() {
    let mut reader = Reader::new(&sources("[a]\nb = 1\n"));
    reader.section("a").integer("b", 0u8, 0..=9);
    reader.mistake("a", "b", "is the same as c");
    assert_eq!(reader.finish().unwrap_err().to_string(), "f.toml:2: is the same as c");
}

#[test]
fn lists_of_tables_are_for_the_service_that_knows_them() {
    let read = |file, name| {
        let mut reader = Reader::new(&sources(file));
        reader.section("a").integer("b", 0u8, 0..=9);
        reader.elsewhere(name);
        reader.finish().map_err(|mistakes| mistakes.to_string())
    };
    let rules = "[[rule]]\nx = 1\n[[rule]]\nx = 2\n";
    assert_eq!(read(rules, "rule"), Ok(()));
    assert_eq!(read("[rule]\nx = 1\n", "rule"), Ok(()));
    assert_eq!(read(rules, "rules"), Err("f.toml:1: unknown list [[rule]]; did you mean \"rules\"?".into()));
    assert_eq!(read("[[a]]\nb = 1\n", "rule"), Err("f.toml:1: [[a]] makes a list; it must be [a]".into()));
}

#[test]
fn tables_of_a_list_are_sections() {
    let file = "[[node]]\nid = 1\n[[node]]\nid = \"x\"\nlaese = 2\n[[nod]]\nid = 3\n";
    let mut reader = Reader::new(&sources(file));
    let names = reader.tables("node");
    assert_eq!(names.len(), 2);
    let ids: Vec<u32> = names.iter().map(|name| reader.section(name).integer("id", 7, 1..=100)).collect();
    for name in &names {
        reader.section(name).integer("lease", 0, 0..=1);
    }
    assert_eq!(ids, [1, 7]);
    assert_eq!(
        reader.finish().unwrap_err().to_string(),
        "f.toml:4: node 2.id is \"x\"; it must be a whole number from 1 to 100\n\
         f.toml:6: unknown list [[nod]]; did you mean \"node\"?\n\
         f.toml:5: unknown key \"laese\" in [[node]]; did you mean \"lease\"?"
    );
}

#[test]
fn one_section_or_a_variable_is_a_list_of_one() {
    for (file, environment, ids) in [
        ("[node]\nid = 5\n", vec![], vec![5]),
        ("", vec![pair("XPS_NODE_ID", "6")], vec![6]),
        ("[node]\n", vec![], vec![0]),
        ("node = []\n", vec![], vec![]),
        ("", vec![], vec![]),
    ] {
        let mut reader = Reader::new(&Sources { environment, ..sources(file) });
        let names = reader.tables("node");
        let found: Vec<u32> =
            names.iter().map(|name| reader.section(name).integer("id", 0, 0..=100)).collect();
        assert_eq!(found, ids, "{file}");
        reader.finish().unwrap();
    }
}
