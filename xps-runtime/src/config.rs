//! Configuration from a TOML file, the environment and flags, in this order of rising precedence.
//!
//! Nothing stops at the first mistake: a service asks for each of its keys, with a default, and [`Reader::finish`] then
//! gives all mistakes at once, with lines of the file, unknown keys and sections included.
//!
//! ```
//! use xps_runtime::config::{Reader, Sources};
//!
//! let sources = Sources {
//!     file: Some(("demo.toml", "[listen]\nport = 6380\nprot = 1\n")),
//!     prefix: "DEMO",
//!     environment: vec![("DEMO_CACHE_MEMORY_BYTES".into(), "2MiB".into())],
//!     flags: vec![],
//! };
//! let mut reader = Reader::new(&sources);
//! let port: u16 = reader.section("listen").integer("port", 6380, 1..=65535);
//! let memory = reader.section("cache").bytes("memory_bytes", 1 << 20, 0..=1 << 30);
//! assert_eq!((port, memory), (6380, 2 << 20));
//! let mistakes = reader.finish().unwrap_err();
//! assert_eq!(mistakes.to_string(), "demo.toml:3: unknown key \"prot\" in [listen]; did you mean \"port\"?");
//! ```

mod asked;
pub mod common;
pub mod current;
mod quantity;
pub mod reference;
mod section;
pub mod source;
mod spelling;
pub mod watched;

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

use spelling::nearest;

pub use asked::Asked;
pub use quantity::{bytes_of, duration_of};
pub use section::Section;
pub use spelling::hint;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// Name (for messages) and text of the file.
    pub file: Option<(&'a str, &'a str)>,
    /// Prefix of the variables: `KV_CACHE` makes `KV_CACHE_LISTEN_ADMIN` the key `admin` of `[listen]`.
    pub prefix: &'a str,
    /// The environment; variables without the prefix are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags: `listen.admin`, and the value. Their names are the command line's affair; mistakes are told by key.
    pub flags: Vec<(String, String)>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// File and line, variable, or flag.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// All mistakes, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i != 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A value as written, and where.
#[derive(Clone, Debug)]
struct Given {
    place: String,
    value: Value,
    asked: bool,
}

/// What a value can be. In variables and flags everything is text.
#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Integer(Option<i128>),
    Boolean(bool),
    List(Vec<String>),
    /// Something else, by name.
    Other(&'static str),
    /// Text of a variable or flag: is read as what is asked for.
    Loose(String),
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Self::Text(text) | Self::Loose(text) => format!("\"{text}\""),
            Self::Integer(Some(number)) => number.to_string(),
            Self::Integer(None) => "a number out of all bounds".into(),
            Self::Boolean(value) => value.to_string(),
            Self::List(_) => "a list".into(),
            Self::Other(name) => format!("a {name}"),
        }
    }
}

/// Reads the configuration key by key.
#[derive(Debug)]
pub struct Reader {
    /// By section and key, the value that counts.
    given: BTreeMap<(String, String), Given>,
    /// Sections of the file that are not tables or stand twice are mistakes already; these are the others.
    sections: BTreeMap<String, String>,
    asked_sections: BTreeMap<String, Vec<String>>,
    asked: Vec<Asked>,
    /// Lists of tables, `[[name]]`: where each begins and how many tables it has; and those that the service reads by itself.
    lists: BTreeMap<String, (String, usize)>,
    elsewhere: Vec<String>,
    asked_lists: Vec<String>,
    environment: Vec<(String, String, String)>,
    prefix: String,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// Parses the file and takes the variables and flags; what is wrong is kept for [`Reader::finish`].
    #[must_use]
    pub fn new(sources: &Sources<'_>) -> Self {
        let mut reader = Self {
            given: BTreeMap::new(),
            sections: BTreeMap::new(),
            asked_sections: BTreeMap::new(),
            asked: Vec::new(),
            lists: BTreeMap::new(),
            elsewhere: Vec::new(),
            asked_lists: Vec::new(),
            environment: Vec::new(),
            prefix: sources.prefix.to_owned(),
            mistakes: Vec::new(),
        };
        if let Some((name, text)) = sources.file {
            reader.take_file(name, text);
        }
        let start = format!("{}_", sources.prefix);
        for (variable, value) in &sources.environment {
            if let Some(rest) = variable.strip_prefix(&start) {
                reader.environment.push((variable.clone(), rest.to_ascii_lowercase(), value.clone()));
            }
        }
        for (key, value) in &sources.flags {
            let (section, key) = key.split_once('.').unwrap_or(("", key));
            let place = format!("flag for {section}.{key}");
            let given = Given { place, value: Value::Loose(value.clone()), asked: false };
            reader.given.insert((section.to_owned(), key.to_owned()), given);
        }
        reader
    }

    fn take_file(&mut self, name: &str, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().trim().replace('\n', ", ");
            self.mistakes.push(Mistake { place: place(name, text, at), message });
        }
        for (section, value) in table.get_ref() {
            let at = section.span().start;
            let here = place(name, text, at);
            let section = section.get_ref().to_string();
            if let Some(list) = value.get_ref().as_array()
                && let Some(tables) =
                    list.iter().map(|item| item.get_ref().as_table()).collect::<Option<Vec<_>>>()
            {
                for (i, keys) in tables.iter().enumerate() {
                    self.take_keys(name, text, &table_name(&section, i), keys);
                }
                self.lists.insert(section, (here, tables.len()));
                continue;
            }
            let Some(keys) = value.get_ref().as_table() else {
                let message = format!("\"{section}\" stands outside of any section");
                self.mistakes.push(Mistake { place: here, message });
                continue;
            };
            self.take_keys(name, text, &section, keys);
            self.sections.insert(section, here);
        }
    }

    fn take_keys(&mut self, name: &str, text: &str, section: &str, keys: &DeTable<'_>) {
        for (key, value) in keys {
            let given = Given {
                place: place(name, text, key.span().start),
                value: value_of(value.get_ref()),
                asked: false,
            };
            self.given.insert((section.to_owned(), key.get_ref().to_string()), given);
        }
    }

    /// A section, to ask for its keys.
    pub fn section<'r>(&'r mut self, name: &'r str) -> Section<'r> {
        self.asked_sections.entry(name.to_owned()).or_default();
        Section::new(self, name)
    }

    /// What was asked for so far, in that order, with what it may be.
    #[must_use]
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// The names of the sections that `[[name]]` stands for, one for each table of that list, in their order. A single
    /// `[name]`, or its keys as variables or flags, is a list of one. A list that is empty has no section.
    pub fn tables(&mut self, name: &str) -> Vec<String> {
        self.asked_lists.push(name.to_owned());
        if let Some((_, tables)) = self.lists.get(name) {
            return (0..*tables).map(|i| table_name(name, i)).collect();
        }
        let start = format!("{name}_").to_ascii_lowercase();
        let given = self.sections.contains_key(name)
            || self.given.keys().any(|(section, _)| section == name)
            || self.environment.iter().any(|(_, rest, _)| rest.starts_with(&start));
        if given { vec![name.to_owned()] } else { Vec::new() }
    }

    /// The tables `[[name]]` of the file are read, and judged, by the service itself, which tells their lines by [`place`].
    pub fn elsewhere(&mut self, name: &str) {
        self.elsewhere.push(name.to_owned());
    }

    /// A mistake that the service itself finds, as when two values contradict each other. `section.key` may have been
    /// given or not; the place is told as well as it is known.
    pub fn mistake(&mut self, section: &str, key: &str, message: impl Into<String>) {
        let given = self.given.get(&(section.to_owned(), key.to_owned()));
        let place = given.map_or_else(|| format!("{section}.{key}"), |given| given.place.clone());
        self.mistakes.push(Mistake { place, message: message.into() });
    }

    /// Adds what nobody has asked for, and gives all mistakes.
    ///
    /// # Errors
    /// If there is any mistake.
    pub fn finish(mut self) -> Result<(), Mistakes> {
        let asked = self.asked_sections.keys().filter(|section| !section.contains(' '));
        let known: Vec<_> =
            asked.chain(&self.elsewhere).chain(&self.asked_lists).map(String::as_str).collect();
        let is_read = |list: &String| self.elsewhere.contains(list) || self.asked_lists.contains(list);
        for (list, (place, _)) in self.lists.iter().filter(|(list, _)| !is_read(list)) {
            let message = if self.asked_sections.contains_key(list) {
                format!("[[{list}]] makes a list; it must be [{list}]")
            } else {
                format!("unknown list [[{list}]]{}", hint(list, &known))
            };
            self.mistakes.push(Mistake { place: place.clone(), message });
        }
        // Those of an unknown list have been told as a whole.
        let list_of = |section: &str| section.split_once(' ').map_or(section, |(list, _)| list).to_owned();
        let elsewhere = |section: &String| self.elsewhere.contains(&list_of(section));
        for (section, place) in self.sections.iter().filter(|(section, _)| !elsewhere(section)) {
            if !self.asked_sections.contains_key(section) {
                let hint = hint(section, &known);
                let message = format!("unknown section [{section}]{hint}");
                self.mistakes.push(Mistake { place: place.clone(), message });
            }
        }
        for ((section, key), given) in
            self.given.iter().filter(|((section, _), given)| !given.asked && !elsewhere(section))
        {
            // The keys of a section that is unknown as a whole need no word of their own.
            let Some(keys) = self.asked_sections.get(section) else {
                if !self.sections.contains_key(section) && !self.lists.contains_key(&list_of(section)) {
                    let message = format!("unknown key \"{section}.{key}\"");
                    self.mistakes.push(Mistake { place: given.place.clone(), message });
                }
                continue;
            };
            let hint = hint(key, &keys.iter().map(String::as_str).collect::<Vec<_>>());
            let section = match section.split_once(' ') {
                Some((list, _)) => format!("[[{list}]]"),
                None => format!("[{section}]"),
            };
            let message = format!("unknown key \"{key}\" in {section}{hint}");
            self.mistakes.push(Mistake { place: given.place.clone(), message });
        }
        let keys = self.asked_sections.iter().flat_map(|(section, keys)| {
            keys.iter().map(move |key| format!("{section}_{key}").to_ascii_lowercase())
        });
        let keys: Vec<_> = keys.collect();
        for (variable, rest, _) in &self.environment {
            if !keys.contains(rest) {
                let nearest = nearest(rest, &keys.iter().map(String::as_str).collect::<Vec<_>>());
                let hint = nearest.map_or_else(String::new, |key| {
                    format!("; did you mean {}_{}?", self.prefix, key.to_ascii_uppercase())
                });
                let message = format!("no such setting{hint}");
                self.mistakes.push(Mistake { place: format!("variable {variable}"), message });
            }
        }
        if self.mistakes.is_empty() { Ok(()) } else { Err(Mistakes(self.mistakes)) }
    }
}

/// What the section of a list's table is called. No other section has a space in its name and is asked for.
fn table_name(list: &str, i: usize) -> String {
    format!("{list} {}", i + 1)
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            Value::Integer(i128::from_str_radix(&digits, number.radix()).ok())
        }
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Array(list) => {
            let texts: Option<Vec<_>> = list.iter().map(|v| v.get_ref().as_str().map(Into::into)).collect();
            texts.map_or(Value::Other("list of other things than texts"), Value::List)
        }
        DeValue::Float(_) => Value::Other("number with a point"),
        DeValue::Datetime(_) => Value::Other("date"),
        DeValue::Table(_) => Value::Other("table"),
    }
}

/// Where a mistake is: the file's name, and the line of the byte `at` of its text.
#[must_use]
pub fn place(name: &str, text: &str, at: usize) -> String {
    let line = text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1;
    format!("{name}:{line}")
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
