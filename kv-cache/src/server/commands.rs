//! What the server's commands may change, learnt from the server itself (C5).
//!
//! `COMMAND` names the commands, `COMMAND INFO name…` tells what stands behind each name: a command that the server's
//! configuration renamed is answered there with nothing or with another name, and is left out. What is not in the table
//! may change anything; so leaving out is always safe, and every rule below has to earn its place.

use std::collections::BTreeMap;

use kv_fastpath::abi::COMMANDS_MAX;
use kv_fastpath::command::{Class, Info, NAME_BYTES, Name};
use redis_protocol::resp2::types::OwnedFrame as Frame;
use thiserror::Error;

/// The command table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    rows: BTreeMap<Name, Info>,
    renamed: Vec<String>,
    get_categories: Vec<String>,
}

/// Why the server's commands were not understood.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandsError {
    /// `COMMAND` answered something else than a list.
    #[error("the server's answer to COMMAND is not a list of commands; is it Redis 6 or newer?")]
    NotAList,
    /// More commands than the table has room for.
    #[error("the server has {0} commands and subcommands, more than the {COMMANDS_MAX} that the table takes")]
    TooMany(usize),
}

/// What one entry of `COMMAND` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Description {
    name: String,
    flags: Vec<String>,
    first: i64,
    last: i64,
    step: i64,
    categories: Vec<String>,
    /// Flags of each key spec; `None` for servers before 7.0, which have none.
    specs: Option<Vec<Vec<String>>>,
    subcommands: Vec<Self>,
}

/// Commands that the handler treats by name. If one of them is not itself, there are no hits.
const SPECIAL: &[(&str, Class)] = &[
    ("get", Class::Get),
    ("multi", Class::Multi),
    ("exec", Class::Exec),
    ("discard", Class::Discard),
    ("watch", Class::Watch),
    ("unwatch", Class::Unwatch),
    ("select", Class::Select),
    ("subscribe", Class::Unpaired),
    ("psubscribe", Class::Unpaired),
    ("ssubscribe", Class::Unpaired),
    ("unsubscribe", Class::Unpaired),
    ("punsubscribe", Class::Unpaired),
    ("sunsubscribe", Class::Unpaired),
    ("monitor", Class::Unpaired),
    ("sync", Class::Unpaired),
    ("psync", Class::Unpaired),
    ("replconf", Class::Unpaired),
    ("reset", Class::Session),
    ("quit", Class::Session),
    ("hello", Class::Hello),
    ("auth", Class::Auth),
    ("asking", Class::Asking),
];

/// Commands that may change what the agent checked about the server.
const RECHECK: &[&str] =
    &["replicaof", "slaveof", "failover", "debug", "module", "shutdown", "acl", "config"];

/// Commands that change data in ways their keys do not tell, or that run others.
const ANYTHING: &[&str] = &[
    "eval",
    "evalsha",
    "fcall",
    "script",
    "function",
    "flushall",
    "flushdb",
    "swapdb",
    "migrate",
    "restore-asking",
    "pfdebug",
    "pfselftest",
];

/// Commands without the flags `write` and `readonly` that change no data.
const HARMLESS: &[&str] = &[
    "ping",
    "echo",
    "info",
    "time",
    "dbsize",
    "role",
    "lastsave",
    "command",
    "memory",
    "object",
    "slowlog",
    "commandlog",
    "latency",
    "publish",
    "spublish",
    "pubsub",
    "wait",
    "waitaof",
    "readonly",
    "readwrite",
    "lolwut",
    "bgsave",
    "bgrewriteaof",
    "save",
    "xinfo",
];

/// Writing commands that overwrite their destination whatever its type. Servers before 7.0 do not tell, and later ones
/// not of all.
const OVERWRITES: &[&str] = &[
    "sinterstore",
    "sunionstore",
    "sdiffstore",
    "zunionstore",
    "zinterstore",
    "zdiffstore",
    "zrangestore",
    "georadius",
    "georadiusbymember",
    "geosearchstore",
    "sort",
];

/// Writing commands on other types that make no key, and whose keys must not be held: they block, or their keys are not
/// plain. All others may turn a missing key, for which there may be an entry, into one that GET refuses.
const TAKE_AWAY: &[&str] =
    &["blpop", "brpop", "blmpop", "lmpop", "bzpopmin", "bzpopmax", "bzmpop", "zmpop", "xreadgroup"];

/// Categories of commands that work on other types than strings.
const OTHER_TYPES: &[&str] = &["@list", "@set", "@sortedset", "@hash", "@stream", "@geo"];

/// Subcommands of containers whose members the handler must tell apart, by class.
const SUBCOMMANDS: &[(&str, Class, &[&str])] = &[
    ("client", Class::Unpaired, &["reply", "tracking", "caching"]),
    // Valkey's: a replica sends such a client to its master; such a client sees what has expired.
    ("client", Class::Session, &["capa", "import-source"]),
    (
        "client",
        Class::Harmless,
        &[
            "getname",
            "setname",
            "setinfo",
            "id",
            "info",
            "list",
            "kill",
            "pause",
            "unpause",
            "unblock",
            "getredir",
            "trackinginfo",
            "no-evict",
            "no-touch",
            "help",
        ],
    ),
    ("config", Class::Harmless, &["get", "rewrite", "help"]),
    // Counts that were reset hide a SWAPDB that was not seen.
    ("config", Class::Recheck, &["set", "resetstat"]),
    (
        "cluster",
        Class::Harmless,
        &[
            "count-failure-reports",
            "countkeysinslot",
            "getkeysinslot",
            "help",
            "info",
            "keyslot",
            "links",
            "myid",
            "myshardid",
            "nodes",
            "replicas",
            "saveconfig",
            "shards",
            "slaves",
            "slot-stats",
            "slots",
        ],
    ),
    // Who answers for which slot, and who is whose replica.
    (
        "cluster",
        Class::Recheck,
        &[
            "addslots",
            "addslotsrange",
            "bumpepoch",
            "delslots",
            "delslotsrange",
            "failover",
            "flushslots",
            "forget",
            "meet",
            "replicate",
            "reset",
            "set-config-epoch",
            "setslot",
        ],
    ),
    ("acl", Class::Recheck, &["setuser", "deluser", "load"]),
    (
        "acl",
        Class::Harmless,
        &["cat", "dryrun", "genpass", "getuser", "help", "list", "log", "save", "users", "whoami"],
    ),
];

impl Commands {
    /// The table before the server was asked: only the commands that the handler treats by name. Without them it would not
    /// notice what a connection selects or begins while the agent starts, and would take it for another's later (C7).
    /// Everything else may change anything.
    #[must_use]
    pub fn before_learning() -> Self {
        let mut rows = BTreeMap::new();
        let special = SPECIAL.iter().map(|(name, class)| ((*name).to_owned(), *class));
        let containers = SUBCOMMANDS.iter().flat_map(|(name, class, members)| {
            let members = members.iter().map(move |member| (format!("{name}|{member}"), *class));
            members.chain([((*name).to_owned(), Class::Container)])
        });
        for (name, class) in special.chain(containers) {
            rows.extend(padded(&name).map(|name| (name, plain(class))));
        }
        Self { rows, ..Self::default() }
    }

    /// The table from the server's answer to `COMMAND INFO` for `names`, in that order. The answer to a bare `COMMAND`
    /// serves too, with the names that [`names`] found in it.
    ///
    /// # Errors
    /// If the answer has another form, or is larger than the table.
    pub fn learn(names: &[String], answer: &Frame) -> Result<Self, CommandsError> {
        let Frame::Array(answers) = answer else { return Err(CommandsError::NotAList) };
        let mut described = Vec::new();
        // What stands under another name is in COMMAND's own answer all the same; what was removed is not: whoever sends it
        // gets an error, like for every other word.
        let there = |name: &String| names.contains(name);
        for (name, frame) in names.iter().zip(answers) {
            match describe(frame) {
                Some(description) if description.name == *name => described.push(description),
                // Renamed or unknown: left out.
                _ => {}
            }
        }
        let mut learnt = Self::from_descriptions(&described)?;
        learnt.renamed.retain(there);
        Ok(learnt)
    }

    pub(crate) fn from_descriptions(described: &[Description]) -> Result<Self, CommandsError> {
        let mut rows = BTreeMap::new();
        let mut add = |key: &str, info: Info| {
            if let Some(key) = padded(key) {
                rows.insert(key, info);
            }
        };
        for description in described {
            let name = description.name.as_str();
            let known: Vec<_> = SUBCOMMANDS.iter().filter(|(container, ..)| *container == name).collect();
            if !known.is_empty() {
                add(name, plain(Class::Container));
                for (_, class, members) in known {
                    for member in *members {
                        add(&format!("{name}|{member}"), plain(*class));
                    }
                }
                continue;
            }
            let members: Vec<_> = description
                .subcommands
                .iter()
                .map(|member| (member.name.as_str(), member_info(member)))
                .collect();
            if by_name(name).is_none() && members.iter().any(|(_, info)| info.class != Class::Harmless as u8)
            {
                add(name, plain(Class::Container));
                for (member, info) in members {
                    add(member, info);
                }
            } else {
                add(name, classify(description));
            }
        }
        if rows.len() > COMMANDS_MAX as usize {
            return Err(CommandsError::TooMany(rows.len()));
        }
        // Those that every server since 6.0 has.
        let renamed = [
            "get",
            "multi",
            "exec",
            "discard",
            "watch",
            "unwatch",
            "select",
            "subscribe",
            "monitor",
            "client",
        ]
        .into_iter()
        .filter(|name| !described.iter().any(|description| description.name == *name))
        .map(str::to_owned)
        .collect();
        let get = described.iter().find(|description| description.name == "get");
        let get_categories = get.map_or(Vec::new(), |get| get.categories.clone());
        Ok(Self { rows, renamed, get_categories })
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = (&Name, &Info)> {
        self.rows.iter()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the table is empty: then everything may change anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What is known of a command, or of `container|subcommand`.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<Info> {
        self.rows.get(&padded(name)?).copied()
    }

    /// The ACL categories of GET, as the server tells them (`@read`).
    #[must_use]
    pub fn get_categories(&self) -> &[String] {
        &self.get_categories
    }

    /// Commands that the handler treats by name and that the server's configuration renamed. With any there are no hits.
    #[must_use]
    pub fn renamed(&self) -> &[String] {
        &self.renamed
    }
}

/// The names in the answer to `COMMAND`.
///
/// # Errors
/// If the answer is not a list.
pub fn names(answer: &Frame) -> Result<Vec<String>, CommandsError> {
    let Frame::Array(data) = answer else { return Err(CommandsError::NotAList) };
    let names: Vec<_> = data.iter().filter_map(describe).map(|description| description.name).collect();
    if names.is_empty() { Err(CommandsError::NotAList) } else { Ok(names) }
}

fn plain(class: Class) -> Info {
    Info { class: class as u8, first: 0, last: 0, step: 0 }
}

/// The name as the table has it; `None` if it is too long to be looked up.
fn padded(name: &str) -> Option<Name> {
    let mut key = [0; NAME_BYTES];
    key.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(key)
}

fn by_name(name: &str) -> Option<Class> {
    if let Some((_, class)) = SPECIAL.iter().find(|(special, _)| *special == name) {
        Some(*class)
    } else if RECHECK.contains(&name) {
        Some(Class::Recheck)
    } else if ANYTHING.contains(&name) {
        Some(Class::Anything)
    } else if HARMLESS.contains(&name) {
        Some(Class::Harmless)
    } else {
        None
    }
}

/// The class of a subcommand of a container that has no rules of its own here.
fn member_info(member: &Description) -> Info {
    let help = member.name.ends_with("|help");
    if help && !member.has("write") { plain(Class::Harmless) } else { classify(member) }
}

fn classify(command: &Description) -> Info {
    if let Some(class) = by_name(&command.name) {
        return plain(class);
    }
    // PFCOUNT counts as reading, but stores the count it computed in the value: GET then gives other bytes. Its key
    // spec says RW since 7.0.
    let alters = command.name == "pfcount" || command.some_spec(&["RW", "OW", "RM"]);
    if command.has("write") {
        write(command)
    } else if command.has("readonly") && !command.has("may_replicate") {
        if alters { keys(command) } else { plain(Class::Harmless) }
    } else {
        plain(Class::Anything)
    }
}

fn write(command: &Description) -> Info {
    let other_type = command.categories.iter().any(|category| OTHER_TYPES.contains(&category.as_str()));
    // BITOP and SET's like are @bitmap and @string; a command that is in both groups is not spared.
    let strings = ["@string", "@bitmap", "@hyperloglog", "@keyspace"];
    let string_type = command.categories.iter().any(|category| strings.contains(&category.as_str()));
    // The flags alone are not enough: Redis 7.0 calls SINTERSTORE's destination RW, and overwrites it whatever it is.
    let specs_say =
        command.specs.as_ref().is_some_and(|specs| specs.is_empty() || command.some_spec(&["OW", "RM"]));
    let name_says = OVERWRITES.contains(&command.name.as_str()) || command.name.contains("store");
    let overwrites = specs_say || name_says || command.has("module");
    let has_keys = command.first > 0 || command.has("movablekeys");
    if other_type && !string_type && !overwrites && has_keys && TAKE_AWAY.contains(&command.name.as_str()) {
        // On a string's key it answers WRONGTYPE, so it changes no string; and where there was no key it makes none. A
        // blocked BLPOP or XREADGROUP holds up nothing.
        return plain(Class::Harmless);
    }
    // SORT … STORE overwrites too: its keys move, so it is caught by `keys`.
    keys(command)
}

/// The command's keys, if their places are plain.
fn keys(command: &Description) -> Info {
    let places = (i8::try_from(command.first), i8::try_from(command.last), i8::try_from(command.step));
    match places {
        (Ok(first @ 1..), Ok(last), Ok(step @ 1..)) if last != 0 && !command.has("movablekeys") => {
            Info { class: Class::Keys as u8, first, last, step }
        }
        _ => plain(Class::Anything),
    }
}

impl Description {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    fn some_spec(&self, flags: &[&str]) -> bool {
        self.specs.iter().flatten().flatten().any(|flag| flags.contains(&flag.as_str()))
    }
}

fn text(frame: &Frame) -> Option<String> {
    match frame {
        Frame::SimpleString(data) | Frame::BulkString(data) => {
            Some(String::from_utf8_lossy(data).into_owned())
        }
        _ => None,
    }
}

fn texts(frame: &Frame) -> Vec<String> {
    match frame {
        Frame::Array(data) => data.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

/// The key spec's flags: the value behind `flags` in a flattened map.
fn spec_flags(frame: &Frame) -> Vec<String> {
    let Frame::Array(data) = frame else { return Vec::new() };
    data.as_chunks::<2>()
        .0
        .iter()
        .find(|[key, _]| text(key).as_deref() == Some("flags"))
        .map_or(Vec::new(), |[_, value]| texts(value))
}

fn describe(frame: &Frame) -> Option<Description> {
    let Frame::Array(data) = frame else { return None };
    let integer = |at: usize| match data.get(at) {
        Some(Frame::Integer(data)) => Some(*data),
        _ => None,
    };
    Some(Description {
        name: text(data.first()?)?.to_ascii_lowercase(),
        flags: texts(data.get(2)?),
        first: integer(3)?,
        last: integer(4)?,
        step: integer(5)?,
        categories: data.get(6).map(texts).unwrap_or_default(),
        specs: match data.get(8) {
            Some(Frame::Array(data)) => Some(data.iter().map(spec_flags).collect()),
            _ => None,
        },
        subcommands: match data.get(9) {
            Some(Frame::Array(data)) => data.iter().filter_map(describe).collect(),
            _ => Vec::new(),
        },
    })
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
