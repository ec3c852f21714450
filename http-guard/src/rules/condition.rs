//! What a rule looks at.

use std::fmt;

use super::expression;
use super::keys::Keys;
use super::prefix::{self, Prefix};

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// As it is written: `not_path_prefix`, `header.User-Agent.regex`.
    pub key: String,
    /// File and line.
    pub place: String,
    /// Whether the test must fail.
    pub negated: bool,
    /// What is looked at, and for what.
    pub test: Test,
}

/// What is looked at, and for what: one of a list is enough.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// The client's address.
    Client(Vec<Prefix>),
    /// A part of the request.
    Text(Subject, Vec<Pattern>),
}

/// A part of the request that is matched as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The method.
    Method,
    /// The host.
    Host,
    /// The path, normalised, without its query.
    Path,
    /// A header of this name, in lower case. Of several with one name, one is enough.
    Header(String),
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Anything, if it is only there.
    Any,
    /// This text.
    Exact(String),
    /// A text that begins with this.
    Prefix(String),
    /// A text that ends with this.
    Suffix(String),
    /// A text in which this is found.
    Regex(String),
    /// A host below this one.
    Below(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = match &self.test {
            Test::Client(prefixes) => prefixes.iter().map(|prefix| format!("\"{prefix}\"")).collect(),
            Test::Text(_, patterns) => patterns.iter().map(Pattern::to_string).collect(),
        };
        match &*texts {
            [text] => write!(f, "{} = {text}", self.key),
            texts => write!(f, "{} = [{}]", self.key, texts.join(", ")),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) | Self::Regex(text) => {
                write!(f, "\"{text}\"")
            }
            Self::Below(host) => write!(f, "\"*.{host}\""),
        }
    }
}

/// What a text must be, and what would be right.
type Make = fn(&str) -> Result<Pattern, String>;

/// Keys that are read as patterns of a subject, with what their texts are.
const TEXTS: [(&str, Subject, &str, Make); 6] = [
    ("method", Subject::Method, "a method, such as \"GET\"", method),
    ("host", Subject::Host, HOST, host),
    ("path", Subject::Path, "a path, such as \"/login\"", path),
    ("path_prefix", Subject::Path, "the beginning of a path, such as \"/admin/\"", path_prefix),
    ("path_suffix", Subject::Path, "the end of a path, such as \".php\"", path_suffix),
    ("path_regex", Subject::Path, REGEX, regex),
];

/// Keys of a header's table.
const VALUES: [(&str, &str, Make); 4] = [
    ("exact", "text in quotes", exact),
    ("prefix", "text in quotes", value_prefix),
    ("suffix", "text in quotes", value_suffix),
    ("regex", REGEX, regex),
];

const HOST: &str = "a host without its port, such as \"example.com\" or \"*.example.com\"";
const REGEX: &str = "a regular expression in quotes";

/// Reads all conditions of a rule.
pub(super) fn read(keys: &mut Keys<'_, '_>) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for not in ["", "not_"] {
        conditions.extend(client(keys, not));
        for (key, subject, expected, make) in TEXTS {
            conditions.extend(text(keys, &format!("{not}{key}"), &subject, expected, make));
        }
    }
    let expected = "a table, such as { prefix = \"curl/\" } or { present = true }";
    keys.tables("header", expected, |keys, at, name| {
        let before = conditions.len();
        header(keys, at, name, &mut conditions);
        if conditions.len() == before && keys.is_empty() {
            keys.mistake_at(at, &format!("asks nothing of header {name}; it must be {expected}"));
        }
    });
    conditions
}

fn text(
    keys: &mut Keys<'_, '_>,
    key: &str,
    subject: &Subject,
    expected: &str,
    make: Make,
) -> Option<Condition> {
    let texts = keys.texts(key, expected)?;
    let place = keys.place_of(texts.first()?.0);
    let mut patterns = Vec::new();
    for (at, text) in texts {
        match make(&text) {
            Ok(pattern) => patterns.push(pattern),
            Err(expected) => keys.wrong(at, key, &format!("\"{text}\""), &expected),
        }
    }
    patterns.sort();
    patterns.dedup();
    let test = Test::Text(subject.clone(), patterns);
    Some(Condition { key: keys.full(key), place, negated: key.starts_with("not_"), test })
}

fn client(keys: &mut Keys<'_, '_>, not: &str) -> Option<Condition> {
    let (key, file_key) = (format!("{not}client"), format!("{not}client_file"));
    let texts = keys.texts(&key, prefix::EXPECTED);
    let files = keys.texts(&file_key, "the path of a file with an address or prefix a line");
    let at = texts.iter().chain(&files).flatten().map(|(at, _)| *at).next()?;
    let mut prefixes = Vec::new();
    for (at, text) in texts.into_iter().flatten() {
        match text.parse() {
            Ok(prefix) => prefixes.push(prefix),
            Err(error) => keys.is(at, &key, &prefix::expected(&text, error)),
        }
    }
    for (at, path) in files.into_iter().flatten() {
        match keys.load(at, &file_key, &path).map(|text| prefix::list(&text)) {
            None => {}
            Some(Ok(list)) => prefixes.extend(list),
            Some(Err(lines)) => {
                for (line, message) in lines {
                    keys.mistake_within(at, format!("{path}:{line}"), format!("this is {message}"));
                }
            }
        }
    }
    prefixes.sort();
    prefixes.dedup();
    Some(Condition { key, place: keys.place_of(at), negated: !not.is_empty(), test: Test::Client(prefixes) })
}

fn header(keys: &mut Keys<'_, '_>, at: usize, name: &str, conditions: &mut Vec<Condition>) {
    if !is_token(name) {
        keys.mistake_at(at, &format!("asks for the header \"{name}\", which is no header's name"));
    }
    if name.eq_ignore_ascii_case("host") {
        keys.mistake_at(at, "asks for the header Host; it must ask for host instead");
    }
    let subject = Subject::Header(name.to_ascii_lowercase());
    if let Some((at, present)) = keys.boolean("present") {
        let test = Test::Text(subject.clone(), vec![Pattern::Any]);
        let (key, place) = (keys.full("present"), keys.place_of(at));
        conditions.push(Condition { key, place, negated: !present, test });
    }
    for not in ["", "not_"] {
        for (key, expected, make) in VALUES {
            conditions.extend(text(keys, &format!("{not}{key}"), &subject, expected, make));
        }
    }
}

/// Whether a text may be the name of a header or a cookie (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn method(text: &str) -> Result<Pattern, String> {
    if is_token(text) && !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Ok(Pattern::Exact(text.to_owned()));
    }
    Err("a method in capitals, such as \"GET\"".into())
}

fn host(text: &str) -> Result<Pattern, String> {
    let text = text.to_ascii_lowercase();
    let below = text.strip_prefix("*.");
    let name = below.unwrap_or(&text);
    let is_name = |name: &str| {
        let mut labels = name.split('.');
        labels.all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
    };
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if literal.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Ok(Pattern::Exact(text));
    }
    match (is_name(name), below) {
        (true, None) => Ok(Pattern::Exact(text)),
        (true, Some(name)) => Ok(Pattern::Below(name.to_owned())),
        (false, _) => Err(HOST.into()),
    }
}

/// What is matched is the path as the server sees it. A text that no such path can be would never match, and who wrote it
/// would not notice.
fn seen_by_server(text: &str, segments: &[&str]) -> Result<(), String> {
    let encoded = text
        .as_bytes()
        .windows(3)
        .any(|three| three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit());
    let message = if encoded {
        "a path that is decoded, without percent-encoding"
    } else if text.contains(['?', '#']) {
        "a path without query and fragment"
    } else if text.contains("//") || segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        "a path as the server sees it, without \"//\", \"/./\" and \"/../\""
    } else {
        return Ok(());
    };
    Err(message.into())
}

fn path(text: &str) -> Result<Pattern, String> {
    if !text.starts_with('/') {
        return Err("a path that begins with \"/\"".into());
    }
    let segments: Vec<_> = text.split('/').collect();
    seen_by_server(text, &segments)?;
    Ok(Pattern::Exact(text.to_owned()))
}

fn path_prefix(text: &str) -> Result<Pattern, String> {
    if !text.starts_with('/') {
        return Err("a path that begins with \"/\"".into());
    }
    let segments: Vec<_> = text.split('/').collect();
    // The last one may go on: `/.` is the beginning of all hidden files.
    seen_by_server(text, &segments[..segments.len() - 1])?;
    Ok(Pattern::Prefix(text.to_owned()))
}

fn path_suffix(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("the end of a path; every path ends with nothing".into());
    }
    seen_by_server(text, &[])?;
    Ok(Pattern::Suffix(text.to_owned()))
}

fn exact(text: &str) -> Result<Pattern, String> {
    if text.trim() != text {
        return Err("a value without spaces at its ends, which do not belong to it".into());
    }
    Ok(Pattern::Exact(text.to_owned()))
}

fn value_prefix(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("the beginning of a value; for any value there is present = true".into());
    }
    Ok(Pattern::Prefix(text.to_owned()))
}

fn value_suffix(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("the end of a value; for any value there is present = true".into());
    }
    Ok(Pattern::Suffix(text.to_owned()))
}

fn regex(text: &str) -> Result<Pattern, String> {
    match expression::parse(text) {
        Ok(_) => Ok(Pattern::Regex(text.to_owned())),
        Err(error) => Err(format!("a regular expression: {error}")),
    }
}
