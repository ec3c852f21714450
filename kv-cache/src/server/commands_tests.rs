//! The rules against what a real server said.

use super::*;

const REDIS: &str = include_str!("../../tests/fixtures/command-7.0.15.txt");
const VALKEY: &str = include_str!("../../tests/fixtures/command-valkey-8.1.1.txt");

/// The recorded answer; `old` leaves out what servers before 7.0 do not say.
fn recorded(fixture: &str, old: bool) -> Commands {
    let mut described: Vec<Description> = Vec::new();
    for line in fixture.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split(' ').collect();
        let list = |field: &str, by: char| -> Vec<String> {
            if field == "-" { Vec::new() } else { field.split(by).map(str::to_owned).collect() }
        };
        let number = |at: usize| fields[at].parse().expect("a number");
        let description = Description {
            name: fields[0].to_owned(),
            flags: list(fields[2], ','),
            first: number(3),
            last: number(4),
            step: number(5),
            categories: list(fields[6], ','),
            specs: (!old).then(|| list(fields[7], ';').iter().map(|spec| list(spec, '+')).collect()),
            subcommands: Vec::new(),
        };
        match description.name.split_once('|') {
            Some(_) if old => {}
            Some(_) => described.last_mut().expect("a container").subcommands.push(description),
            None => described.push(description),
        }
    }
    Commands::from_descriptions(&described).expect("a table")
}

fn class(commands: &Commands, name: &str) -> Class {
    commands.info(name).map_or(Class::Anything, |info| Class::from_u8(info.class))
}

#[test]
fn commands_have_their_classes() {
    use Class::*;
    for (fixture, old) in [(REDIS, false), (REDIS, true), (VALKEY, false)] {
        let commands = recorded(fixture, old);
        for (class_expected, names) in [
            (Get, "get"),
            (Multi, "multi"),
            (Unpaired, "subscribe monitor sync client|reply client|tracking client|caching"),
            (Container, "client config acl cluster"),
            (
                Recheck,
                "config|set config|resetstat acl|setuser acl|load cluster|setslot cluster|failover replicaof slaveof failover debug shutdown",
            ),
            (Session, "reset quit"),
            (Auth, "auth"),
            (Asking, "asking"),
            (Hello, "hello"),
            (
                Harmless,
                "mget strlen ping blpop brpop bzpopmin xreadgroup config|get client|list cluster|slots cluster|nodes eval_ro evalsha_ro fcall_ro publish exists ttl scan keys touch",
            ),
            (
                Keys,
                "set setex mset msetnx incr append setrange getset getdel getex del unlink expire pexpireat persist rename renamenx copy move setbit bitop bitfield pfadd pfmerge pfcount restore sinterstore sunionstore sdiffstore zrangestore geosearchstore lpush lpop lmove blmove xadd hset hincrby sadd smove zadd zpopmin geoadd",
            ),
            (
                Anything,
                "eval evalsha fcall script function flushall flushdb swapdb migrate restore-asking pfdebug sort georadius georadiusbymember zunionstore zinterstore zdiffstore nosuchcommand client|nosuch",
            ),
        ] {
            for name in names.split(' ') {
                assert_eq!(class(&commands, name), class_expected, "{name} (before 7.0: {old})");
            }
        }
        assert!(commands.renamed().is_empty());
    }
}

#[test]
fn places_of_keys_are_those_of_the_server() {
    let commands = recorded(REDIS, false);
    for (name, places) in [
        ("set", (1, 1, 1)),
        ("del", (1, -1, 1)),
        ("mset", (1, -1, 2)),
        ("bitop", (2, -1, 1)),
        ("rename", (1, 2, 1)),
        ("smove", (1, 2, 1)),
        ("xgroup|create", (2, 2, 1)),
    ] {
        let info = commands.info(name).expect(name);
        assert_eq!((info.first, info.last, info.step), places, "{name}");
    }
}

#[test]
fn every_writing_command_is_accounted_for() {
    // A command with the flag `write` that counts as harmless must be of another type than string and must not overwrite,
    // and must not make a key.
    for fixture in [REDIS, VALKEY] {
        let commands = recorded(fixture, false);
        for line in fixture.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = line.split(' ').collect();
            let writes = fields[2].split(',').any(|flag| flag == "write");
            if writes && class(&commands, fields[0]) == Class::Harmless {
                assert!(!fields[7].contains("OW"), "{line}");
                assert!(OTHER_TYPES.iter().any(|category| fields[6].contains(category)), "{line}");
                assert!(TAKE_AWAY.contains(&fields[0]), "{line}");
            }
        }
    }
}

#[test]
fn what_is_new_in_valkey_has_its_class() {
    let commands = recorded(VALKEY, false);
    for (name, expected) in [
        ("commandlog", Class::Harmless),
        ("waitaof", Class::Harmless),
        ("cluster|slot-stats", Class::Harmless),
        ("client|capa", Class::Session),
        ("client|import-source", Class::Session),
        ("script", Class::Anything),
    ] {
        assert_eq!(class(&commands, name), expected, "{name}");
    }
}

fn described(name: &str, flag: &str) -> Frame {
    let bulk = |text: &str| Frame::BulkString(text.as_bytes().to_vec());
    let flags = Frame::Array(vec![Frame::SimpleString(flag.as_bytes().to_vec())]);
    Frame::Array(vec![
        bulk(name),
        Frame::Integer(2),
        flags,
        Frame::Integer(1),
        Frame::Integer(1),
        Frame::Integer(1),
    ])
}

#[test]
fn renamed_commands_are_left_out() {
    // `rename-command PING SET`-like settings: COMMAND INFO answers with the original's name, or with nothing.
    let asked = ["get", "strlen", "ping", "multi"].map(str::to_owned);
    let answer =
        Frame::Array(vec![described("get", "readonly"), Frame::Null, described("set", "write"), Frame::Null]);
    let commands = Commands::learn(&asked, &answer).expect("a table");
    assert_eq!(commands.len(), 1);
    assert!(commands.info("ping").is_none());
    // MULTI is there under another name. EXEC was removed, and whoever sends it gets an error.
    assert_eq!(commands.renamed(), ["multi"]);
}

#[test]
fn other_answers_are_refused() {
    assert_eq!(Commands::learn(&[], &Frame::Null), Err(CommandsError::NotAList));
    assert_eq!(names(&Frame::Error("ERR unknown command".into())), Err(CommandsError::NotAList));
}

#[test]
fn what_changes_a_connection_is_known_before_the_server_was_asked() {
    let known = Commands::before_learning();
    for (name, class) in [
        ("select", Class::Select),
        ("multi", Class::Multi),
        ("watch", Class::Watch),
        ("auth", Class::Auth),
        ("hello", Class::Hello),
        ("subscribe", Class::Unpaired),
        ("reset", Class::Session),
        ("client", Class::Container),
        ("client|reply", Class::Unpaired),
        ("acl|setuser", Class::Recheck),
    ] {
        assert_eq!(known.info(name), Some(plain(class)), "{name}");
    }
    assert_eq!(known.info("set"), None);
}
