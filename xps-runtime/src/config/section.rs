//! The keys of one section, each asked for by its type.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::asked::{Asked, bytes_text, duration_text, list_text};
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

    /// The value that counts, and that it was asked for: what it may be, and what it is otherwise.
    fn take(&mut self, key: &str, kind: &str, default: String) -> Option<(String, Value)> {
        let reader = &mut *self.reader;
        reader.asked_sections.entry(self.name.to_owned()).or_default().push(key.to_owned());
        let (section, key_asked) = (self.name.to_owned(), key.to_owned());
        reader.asked.push(Asked { section, key: key_asked, kind: kind.to_owned(), default });
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

    /// Reads a value with `read`, which gives nothing where it is not `expected`. `shown` is the default as one would write it.
    fn read<T>(
        &mut self,
        key: &str,
        default: T,
        shown: String,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> T {
        let Some((place, value)) = self.take(key, expected, shown) else { return default };
        match read(&value) {
            Some(value) => value,
            None => {
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
        self.read(key, default, default.to_string(), &expected, |value| {
            let number = match value {
                Value::Integer(number) => *number,
                Value::Loose(text) => text.trim().replace('_', "").parse().ok(),
                _ => None,
            };
            let number = number.and_then(|number| T::try_from(number).ok());
            number.filter(|number| range.contains(number))
        })
    }

    /// Text.
    pub fn string(&mut self, key: &str, default: &str) -> String {
        self.read(key, default.to_owned(), default.to_owned(), "text in quotes", |value| match value {
            Value::Text(text) | Value::Loose(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// Text that is nobody else's affair: a mistake does not show it. Empty if it is not given.
    pub fn secret(&mut self, key: &str) -> String {
        match self.take(key, "text in quotes", String::new()) {
            None => String::new(),
            Some((_, Value::Text(text) | Value::Loose(text))) => text,
            Some((place, _)) => {
                let message = format!("{}.{key} must be text in quotes", self.name);
                self.reader.mistakes.push(Mistake { place, message });
                String::new()
            }
        }
    }

    /// One of a few words, of which one means the default.
    pub fn choice<T: Clone + PartialEq>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> T {
        let all = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let shown = words.iter().find(|(_, meaning)| *meaning == default).map_or("", |(word, _)| word);
        self.read(key, default, shown.to_owned(), &format!("one of {all}"), |value| {
            let found = match value {
                Value::Text(text) | Value::Loose(text) => words.iter().find(|(word, _)| word == text),
                _ => None,
            };
            found.map(|(_, meaning)| meaning.clone())
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.read(key, default, default.to_string(), "true or false, without quotes", |value| match value {
            Value::Boolean(value) => Some(*value),
            Value::Loose(text) => text.trim().parse().ok(),
            _ => None,
        })
    }

    /// A time with its unit, such as `"2s"` or `"150ms"`.
    pub fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let [first, last] = [*range.start(), *range.end()].map(duration_text);
        let expected = format!("a time with its unit from {first} to {last}, such as \"2s\" or \"150ms\"");
        self.read(key, default, duration_text(default), &expected, |value| match value {
            Value::Text(text) | Value::Loose(text) => {
                duration_of(text).filter(|duration| range.contains(duration))
            }
            _ => None,
        })
    }

    /// A number of bytes, plain or with a unit, such as `65536` or `"64MiB"`.
    pub fn bytes(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let [first, last] = [*range.start(), *range.end()].map(bytes_text);
        let expected = format!("a number of bytes from {first} to {last}, such as 65536 or \"64MiB\"");
        self.read(key, default, bytes_text(default), &expected, |value| {
            let bytes = match value {
                Value::Integer(number) => number.and_then(|number| u64::try_from(number).ok()),
                Value::Text(text) | Value::Loose(text) => bytes_of(text),
                _ => None,
            };
            bytes.filter(|bytes| range.contains(bytes))
        })
    }

    /// A list of texts; in variables and flags separated by commas.
    pub fn strings(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let shown = list_text(default);
        let default = default.iter().map(|&text| text.to_owned()).collect();
        self.read(key, default, shown, "a list of texts, such as [\"a\", \"b\"]", |value| match value {
            Value::List(list) => Some(list.clone()),
            Value::Loose(text) => Some(parts(text).map(Into::into).collect()),
            _ => None,
        })
    }

    /// Text, or a whole number, that `T` parses; `expected` says what would be right, such as "an address with port, such as 127.0.0.1:6379".
    pub fn parsed<T: FromStr + fmt::Display>(&mut self, key: &str, default: T, expected: &str) -> T {
        let shown = default.to_string();
        self.read(key, default, shown, expected, parse)
    }

    /// The same where nothing is the default.
    pub fn optional<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.read(key, None, String::new(), expected, |value| parse(value).map(Some))
    }

    /// A list of texts that `T` parses.
    pub fn parsed_list<T: FromStr + fmt::Display>(
        &mut self,
        key: &str,
        default: Vec<T>,
        expected: &str,
    ) -> Vec<T> {
        let shown = list_text(&default);
        self.read(key, default, shown, &format!("a list of {expected}"), |value| match value {
            Value::List(list) => list.iter().map(|text| text.parse().ok()).collect(),
            Value::Loose(text) => parts(text).map(|text| text.parse().ok()).collect(),
            _ => None,
        })
    }
}

fn parse<T: FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::Text(text) | Value::Loose(text) => text.trim().parse().ok(),
        Value::Integer(Some(number)) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// What stands between the commas.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|text| !text.is_empty())
}
