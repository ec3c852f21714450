//! The keys of one section, each asked for by its type.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{Mistake, Reader, Value, bytes_of, duration_of};

/// A section of the configuration. Each getter gives the default where the key is absent or wrong; what is wrong is told
/// by [`Reader::finish`].
#[derive(Debug)]
pub struct Section<'r> {
    reader: &'r mut Reader,
    name: &'r str,
}

impl<'r> Section<'r> {
    pub(super) fn new(reader: &'r mut Reader, name: &'r str) -> Self {
        Self { reader, name }
    }

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

    /// A mistake that the service itself finds here; see [`Reader::mistake`].
    pub fn mistake(&mut self, key: &str, message: impl Into<String>) {
        self.reader.mistake(self.name, key, message);
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

    /// Text, or a whole number, that `T` parses; `expected` says what would be right, such as "an address with port, such as 127.0.0.1:6379".
    pub fn parsed<T: FromStr>(&mut self, key: &str, default: T, expected: &str) -> T {
        self.read(key, default, |value| match value {
            Value::Text(text) | Value::Loose(text) => text.trim().parse().map_err(|_| expected.to_owned()),
            Value::Integer(Some(number)) => number.to_string().parse().map_err(|_| expected.to_owned()),
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
