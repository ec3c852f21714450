//! The keys of a table, asked for one by one. What is wrong is kept, and told with its line at the end.

use std::io;

use toml::de::{DeTable, DeValue};
use xps_runtime::config::{Mistake, hint, place};

use super::Names;

/// A file that is being read.
pub(super) struct File<'f> {
    name: &'f str,
    text: &'f str,
    load: &'f dyn Fn(&str) -> io::Result<String>,
    mistakes: Vec<(usize, Mistake)>,
    names: Names,
    files: Vec<String>,
}

impl<'f> File<'f> {
    pub(super) fn new(name: &'f str, text: &'f str, load: &'f dyn Fn(&str) -> io::Result<String>) -> Self {
        Self { name, text, load, mistakes: Vec::new(), names: Names::new(), files: Vec::new() }
    }

    /// A mistake at a byte of the text.
    pub(super) fn mistake(&mut self, at: usize, message: impl Into<String>) {
        let mistake = Mistake { place: self.place(at), message: message.into() };
        self.mistakes.push((at, mistake));
    }

    fn place(&self, at: usize) -> String {
        place(self.name, self.text, at)
    }

    /// The mistakes in order, and the files that were named.
    pub(super) fn finish(mut self) -> (Vec<Mistake>, Vec<String>) {
        self.mistakes.sort_by_key(|(at, _)| *at);
        (self.mistakes.into_iter().map(|(_, mistake)| mistake).collect(), self.files)
    }
}

/// The keys of a table.
pub(super) struct Keys<'k, 'f> {
    file: &'k mut File<'f>,
    table: &'k DeTable<'k>,
    at: usize,
    /// What messages call the table: `rule "x"`.
    title: String,
    /// What comes before the names of its keys: `header.User-Agent.`.
    within: String,
    asked: Vec<String>,
}

impl<'k, 'f> Keys<'k, 'f> {
    /// The keys of `table`, which stands at `at`.
    pub(super) fn new(file: &'k mut File<'f>, table: &'k DeTable<'k>, at: usize, title: String) -> Self {
        Self { file, table, at, title, within: String::new(), asked: Vec::new() }
    }

    /// From now on messages call the table so.
    pub(super) fn call(&mut self, title: String) {
        self.title = title;
    }

    /// File and line of the table.
    pub(super) fn place(&self) -> String {
        self.file.place(self.at)
    }

    /// File and line of a byte.
    pub(super) fn place_of(&self, at: usize) -> String {
        self.file.place(at)
    }

    /// Where this name was given before; if it was not, it is now.
    pub(super) fn names_before(&mut self, name: &str, at: usize) -> Option<String> {
        let here = self.file.place(at);
        self.file.names.insert(name.to_owned(), here)
    }

    /// A mistake of the table as a whole.
    pub(super) fn mistake(&mut self, message: &str) {
        self.mistake_at(self.at, message);
    }

    /// A mistake at a byte.
    pub(super) fn mistake_at(&mut self, at: usize, message: &str) {
        let message = format!("{} {message}", self.title);
        self.file.mistake(at, message);
    }

    /// A value that is something else than it must be.
    pub(super) fn wrong(&mut self, at: usize, key: &str, is: &str, must_be: &str) {
        self.is(at, key, &format!("{is}; it must be {must_be}"));
    }

    /// What a value is.
    pub(super) fn is(&mut self, at: usize, key: &str, is: &str) {
        let message = format!("{}: {}{key} is {is}", self.title, self.within);
        self.file.mistake(at, message);
    }

    /// The whole name of a key.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.within)
    }

    /// Whether the table has no keys.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Keys that are not looked at, but that there are.
    pub(super) fn know(&mut self, keys: &[&str]) {
        self.asked.extend(keys.iter().map(|&key| key.to_owned()));
    }

    /// A key that is of no use here; why.
    pub(super) fn useless(&mut self, key: &str, why: &str) {
        if let Some((at, _)) = self.take(key) {
            let message = format!("{}: {key} {why}", self.title);
            self.file.mistake(at, message);
        }
    }

    /// Whether a key is there, whatever its value is.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    fn take(&mut self, key: &str) -> Option<(usize, &'k DeValue<'k>)> {
        self.asked.push(key.to_owned());
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.span().start, value.get_ref()))
    }

    /// Text; `expected` says which.
    pub(super) fn text(&mut self, key: &str, expected: &str) -> Option<(usize, String)> {
        match self.take(key)? {
            (at, DeValue::String(text)) => Some((at, text.to_string())),
            (at, other) => {
                self.wrong(at, key, &describe(other), expected);
                None
            }
        }
    }

    /// A text or a list of texts, at least one, each with its place.
    pub(super) fn texts(&mut self, key: &str, expected: &str) -> Option<Vec<(usize, String)>> {
        let (at, value) = self.take(key)?;
        let list = match value {
            DeValue::String(text) => return Some(vec![(at, text.to_string())]),
            DeValue::Array(list) if !list.is_empty() => list,
            DeValue::Array(_) => {
                self.wrong(at, key, "an empty list", &format!("{expected}, or a list of such"));
                return None;
            }
            other => {
                self.wrong(at, key, &describe(other), &format!("{expected}, or a list of such"));
                return None;
            }
        };
        let mut texts = Vec::new();
        for item in list.iter() {
            match item.get_ref() {
                DeValue::String(text) => texts.push((item.span().start, text.to_string())),
                other => self.wrong(item.span().start, key, &describe(other), expected),
            }
        }
        (texts.len() == list.len()).then_some(texts)
    }

    /// A whole number within `range`.
    pub(super) fn integer(&mut self, key: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let Some((at, value)) = self.take(key) else { return default };
        let number = value.as_integer().and_then(|number| {
            let digits = number.as_str().replace('_', "");
            u32::from_str_radix(&digits, number.radix()).ok().filter(|number| range.contains(number))
        });
        number.unwrap_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong(at, key, &describe(value), &expected);
            default
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &str) -> Option<(usize, bool)> {
        match self.take(key)? {
            (at, DeValue::Boolean(value)) => Some((at, *value)),
            (at, other) => {
                self.wrong(at, key, &describe(other), "true or false, without quotes");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let all = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let (at, text) = self.text(key, &format!("one of {all}"))?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            self.wrong(at, key, &format!("\"{text}\""), &format!("one of {all}"));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// The tables within a table, with their names, each read by `read`.
    pub(super) fn tables(
        &mut self,
        key: &str,
        expected: &str,
        mut read: impl FnMut(&mut Keys<'_, 'f>, usize, &str),
    ) {
        let Some((at, value)) = self.take(key) else { return };
        let DeValue::Table(tables) = value else {
            self.wrong(at, key, &describe(value), expected);
            return;
        };
        for (name, value) in tables {
            let (at, name) = (name.span().start, name.get_ref());
            let DeValue::Table(table) = value.get_ref() else {
                self.wrong(at, &format!("{key}.{name}"), &describe(value.get_ref()), expected);
                continue;
            };
            let within = format!("{key}.{name}.");
            let title = self.title.clone();
            let mut keys = Keys { file: &mut *self.file, table, at, title, within, asked: Vec::new() };
            read(&mut keys, at, name);
            keys.finish();
        }
    }

    /// The text of a file that is named at `at`; `None` if it cannot be read.
    pub(super) fn load(&mut self, at: usize, key: &str, path: &str) -> Option<String> {
        if !self.file.files.iter().any(|file| file == path) {
            self.file.files.push(path.to_owned());
        }
        (self.file.load)(path)
            .map_err(|error| {
                let message = format!("{}: {key} \"{path}\" cannot be read: {error}", self.title);
                self.file.mistake(at, message);
            })
            .ok()
    }

    /// A mistake in a file that is named at `at`.
    pub(super) fn mistake_within(&mut self, at: usize, place: String, message: String) {
        self.file.mistakes.push((at, Mistake { place, message }));
    }

    /// Tells the keys that nobody has asked for.
    pub(super) fn finish(self) {
        let known: Vec<_> = self.asked.iter().map(String::as_str).collect();
        for (name, _) in self.table {
            let key = name.get_ref();
            if !self.asked.iter().any(|asked| asked == key) {
                let message =
                    format!("{}: unknown key \"{}{key}\"{}", self.title, self.within, hint(key, &known));
                self.file.mistake(name.span().start, message);
            }
        }
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Float(_) => "a number with a point".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
