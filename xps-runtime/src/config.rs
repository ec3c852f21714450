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

pub mod current;
mod quantity;
pub mod source;
mod spelling;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use spelling::nearest;

pub use quantity::{bytes_of, duration_of};
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
    /// Lists of tables, `[[name]]`, and those that the service reads by itself.
    lists: BTreeMap<String, String>,
    elsewhere: Vec<String>,
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
            lists: BTreeMap::new(),
            elsewhere: Vec::new(),
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
            if value
                .get_ref()
                .as_array()
                .is_some_and(|list| list.iter().all(|item| item.get_ref().is_table()))
            {
                self.lists.insert(section, here);
                continue;
            }
            let Some(keys) = value.get_ref().as_table() else {
                let message = format!("\"{section}\" stands outside of any section");
                self.mistakes.push(Mistake { place: here, message });
                continue;
            };
            self.sections.insert(section.clone(), here);
            for (key, value) in keys {
                let given = Given {
                    place: place(name, text, key.span().start),
                    value: value_of(value.get_ref()),
                    asked: false,
                };
                self.given.insert((section.clone(), key.get_ref().to_string()), given);
            }
        }
    }

    /// A section, to ask for its keys.
    pub fn section<'r>(&'r mut self, name: &'r str) -> Section<'r> {
        self.asked_sections.entry(name.to_owned()).or_default();
        Section { reader: self, name }
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
        let known: Vec<_> = self.asked_sections.keys().chain(&self.elsewhere).map(String::as_str).collect();
        for (list, place) in self.lists.iter().filter(|(list, _)| !self.elsewhere.contains(list)) {
            let message = if self.asked_sections.contains_key(list) {
                format!("[[{list}]] makes a list; it must be [{list}]")
            } else {
                format!("unknown list [[{list}]]{}", hint(list, &known))
            };
            self.mistakes.push(Mistake { place: place.clone(), message });
        }
        let elsewhere = |section: &String| self.elsewhere.contains(section);
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
                if !self.sections.contains_key(section) {
                    let message = format!("unknown key \"{section}.{key}\"");
                    self.mistakes.push(Mistake { place: given.place.clone(), message });
                }
                continue;
            };
            let hint = hint(key, &keys.iter().map(String::as_str).collect::<Vec<_>>());
            let message = format!("unknown key \"{key}\" in [{section}]{hint}");
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

/// A section of the configuration. Each getter gives the default where the key is absent or wrong; what is wrong is told
/// by [`Reader::finish`].
#[derive(Debug)]
pub struct Section<'r> {
    reader: &'r mut Reader,
    name: &'r str,
}

impl Section<'_> {
    /// The value that counts, and that it was asked for.
    fn take(&mut self, key: &str) -> Option<(String, Value)> {
        let reader = &mut *self.reader;
        reader.asked_sections.entry(self.name.to_owned()).or_default().push(key.to_owned());
        let given = reader.given.get_mut(&(self.name.to_owned(), key.to_owned()));
        let given = given.map(|given| {
            given.asked = true;
            (given.place.clone(), given.value.clone())
        });
        if let Some((place, value @ Value::Loose(_))) = given {
            return Some((place, value));
        }
        let suffix = format!("{}_{key}", self.name).to_ascii_lowercase();
        let variable = reader.environment.iter().find(|(_, rest, _)| *rest == suffix);
        variable.map(|(name, _, value)| (format!("variable {name}"), Value::Loose(value.clone()))).or(given)
    }

    /// Reads a value with `read`, which says what would be right.
    fn read<T>(&mut self, key: &str, default: T, read: impl FnOnce(&Value) -> Result<T, String>) -> T {
        let Some((place, value)) = self.take(key) else { return default };
        match read(&value) {
            Ok(value) => value,
            Err(expected) => {
                let message = format!("{}.{key} is {}; it must be {expected}", self.name, value.describe());
                self.reader.mistakes.push(Mistake { place, message });
                default
            }
        }
    }

    /// Whether the key is given anywhere.
    #[must_use]
    pub fn is_given(&self, key: &str) -> bool {
        let suffix = format!("{}_{key}", self.name).to_ascii_lowercase();
        self.reader.given.contains_key(&(self.name.to_owned(), key.to_owned()))
            || self.reader.environment.iter().any(|(_, rest, _)| *rest == suffix)
    }

    /// A whole number within `range`.
    pub fn integer<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + TryFrom<i128> + PartialOrd + fmt::Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(key, default, |value| {
            let number = match value {
                Value::Integer(number) => *number,
                Value::Loose(text) => text.trim().replace('_', "").parse().ok(),
                _ => None,
            };
            let number = number.and_then(|number| T::try_from(number).ok());
            number.filter(|number| range.contains(number)).ok_or(expected)
        })
    }

    /// Text.
    pub fn string(&mut self, key: &str, default: &str) -> String {
        self.read(key, default.to_owned(), |value| match value {
            Value::Text(text) | Value::Loose(text) => Ok(text.clone()),
            _ => Err("text in quotes".into()),
        })
    }

    /// Text that is nobody else's affair: a mistake does not show it. Empty if it is not given.
    pub fn secret(&mut self, key: &str) -> String {
        match self.take(key) {
            None => String::new(),
            Some((_, Value::Text(text) | Value::Loose(text))) => text,
            Some((place, _)) => {
                let message = format!("{}.{key} must be text in quotes", self.name);
                self.reader.mistakes.push(Mistake { place, message });
                String::new()
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Clone>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> T {
        self.read(key, default, |value| {
            let found = match value {
                Value::Text(text) | Value::Loose(text) => words.iter().find(|(word, _)| word == text),
                _ => None,
            };
            let all = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| format!("one of {}", all()))
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.read(key, default, |value| match value {
            Value::Boolean(value) => Ok(*value),
            Value::Loose(text) => text.trim().parse().map_err(|_| "true or false".into()),
            _ => Err("true or false, without quotes".into()),
        })
    }

    /// A time with its unit, such as `"2s"` or `"150ms"`.
    pub fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let expected = || {
            format!(
                "a time with its unit from {:?} to {:?}, such as \"2s\" or \"150ms\"",
                range.start(),
                range.end()
            )
        };
        self.read(key, default, |value| match value {
            Value::Text(text) | Value::Loose(text) => {
                duration_of(text).filter(|duration| range.contains(duration)).ok_or_else(expected)
            }
            _ => Err(expected()),
        })
    }

    /// A number of bytes, plain or with a unit, such as `65536` or `"64MiB"`.
    pub fn bytes(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let expected = || {
            format!("a number of bytes from {} to {}, such as 65536 or \"64MiB\"", range.start(), range.end())
        };
        self.read(key, default, |value| {
            let bytes = match value {
                Value::Integer(number) => number.and_then(|number| u64::try_from(number).ok()),
                Value::Text(text) | Value::Loose(text) => bytes_of(text),
                _ => None,
            };
            bytes.filter(|bytes| range.contains(bytes)).ok_or_else(expected)
        })
    }

    /// A list of texts; in variables and flags separated by commas.
    pub fn strings(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let default = default.iter().map(|&text| text.to_owned()).collect();
        self.read(key, default, |value| match value {
            Value::List(list) => Ok(list.clone()),
            Value::Loose(text) => {
                Ok(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(Into::into).collect())
            }
            _ => Err("a list of texts, such as [\"a\", \"b\"]".into()),
        })
    }

    /// Text that `T` parses; `expected` says what would be right, such as "an address with port, such as 127.0.0.1:6379".
    pub fn parsed<T: FromStr>(&mut self, key: &str, default: T, expected: &str) -> T {
        self.read(key, default, |value| match value {
            Value::Text(text) | Value::Loose(text) => text.trim().parse().map_err(|_| expected.to_owned()),
            _ => Err(expected.to_owned()),
        })
    }

    /// A list of texts that `T` parses.
    pub fn parsed_list<T: FromStr>(&mut self, key: &str, default: Vec<T>, expected: &str) -> Vec<T> {
        self.read(key, default, |value| {
            let texts: Vec<&str> = match value {
                Value::List(list) => list.iter().map(String::as_str).collect(),
                Value::Loose(text) => text.split(',').map(str::trim).filter(|t| !t.is_empty()).collect(),
                _ => return Err(format!("a list of {expected}")),
            };
            let parsed: Result<Vec<T>, _> = texts.iter().map(|text| text.parse()).collect();
            parsed.map_err(|_| format!("a list of {expected}"))
        })
    }
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
