//! Rules, as they are written in TOML.
//!
//! ```toml
//! [[rule]]
//! name = "logins"
//! method = "POST"
//! path = ["/login", "/register"]
//! not_client = "10.0.0.0/8"
//! action = "limit"
//! rate = "10/min"
//! burst = 5
//! key = ["address", "header:X-Api-Key"]
//!
//! [[rule]]
//! name = "scripts"
//! path_regex = '\.(php|cgi)$'
//! header.User-Agent = { not_prefix = "Mozilla/" }
//! action = "deny"
//! status = 404
//! ```
//!
//! The first rule that matches decides; without one, a request passes. Each key is a condition, and all conditions of a rule
//! must hold; of a list, one element is enough. With `not_` before its name, none of the key's elements may match.
//!
//! # Layout
//!
//! - `keys`: the keys of a table, asked for one by one, with all mistakes.
//! - `condition`: what a rule looks at.
//! - `action`: what it does.
//! - [`prefix`]: addresses of clients.
//! - [`expression`]: regular expressions.

mod action;
mod condition;
pub mod expression;
mod keys;
pub mod prefix;

use std::collections::BTreeMap;

use http_fastpath::abi::RULES_MAX;
use toml::de::{DeTable, DeValue};
use xps_runtime::config::Mistakes;

use keys::{File, Keys};

pub use action::{Action, KeyPart, Limit, WhenFull};
pub use condition::{Condition, Pattern, Subject, Test};

/// Longest name of a rule, in bytes: it is a label in metrics.
const NAME_BYTES_MAX: usize = 64;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What people call it: in metrics, logs and explanations.
    pub name: String,
    /// File and line.
    pub place: String,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What follows if they do.
    pub action: Action,
    /// What it does is counted only, and the rules behind it decide.
    pub dry_run: bool,
}

impl Rule {
    /// Why the kernel path cannot do what the rule asks for, if it cannot (G6).
    #[must_use]
    pub fn needs_user_path(&self) -> Option<&'static str> {
        match &self.action {
            Action::Limit(limit) if !limit.nodelay => {
                Some("requests that are delayed must be held somewhere")
            }
            Action::Limit(limit) if limit.key.contains(&KeyPart::Path) => {
                Some("the path is part of its key, and the stack has no room for its hash at every slash")
            }
            _ => None,
        }
    }
}

/// All rules, in order, and what they were read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Files with addresses that they name, each once.
    pub files: Vec<String>,
}

/// Reads the tables `[[rule]]` of a file; its other sections are not looked at. `load` gives the text of a file of addresses.
///
/// # Errors
/// All mistakes at once, in the order of lines.
pub fn read(
    name: &str,
    text: &str,
    load: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Rules, Mistakes> {
    let mut file = File::new(name, text, load);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let message = error.message().trim().replace('\n', ", ");
        file.mistake(error.span().map_or(0, |span| span.start), message);
    }
    let mut rules = Vec::new();
    let given = table.get_ref().iter().find(|(key, _)| key.get_ref() == "rule");
    match given.map(|(key, value)| (key.span().start, value.get_ref())) {
        None => {}
        Some((_, DeValue::Array(list))) if list.iter().all(|item| item.get_ref().is_table()) => {
            let tables = list.iter().filter_map(|item| Some((item.span().start, item.get_ref().as_table()?)));
            for (number, (at, table)) in tables.enumerate() {
                if number == RULES_MAX {
                    file.mistake(
                        at,
                        format!("there are {} rules; at most {RULES_MAX} are possible", list.len()),
                    );
                    break;
                }
                rules.push(rule(&mut file, number, at, table));
            }
        }
        Some((at, _)) => file.mistake(at, "each rule must be a table of its own, with [[rule]] above it"),
    }
    let (mistakes, files) = file.finish();
    if mistakes.is_empty() { Ok(Rules { rules, files }) } else { Err(Mistakes(mistakes)) }
}

fn rule(file: &mut File<'_>, number: usize, at: usize, table: &DeTable<'_>) -> Rule {
    let mut keys = Keys::new(file, table, at, format!("rule {}", number + 1));
    let name = name(&mut keys);
    let conditions = condition::read(&mut keys);
    let (action, dry_run) = action::read(&mut keys);
    let place = keys.place();
    keys.finish();
    Rule { name, place, conditions, action, dry_run }
}

fn name(keys: &mut Keys<'_, '_>) -> String {
    let Some((at, name)) = keys.text("name", "text in quotes") else {
        if !keys.is_given("name") {
            keys.mistake("has no name; it is needed for metrics and explanations");
        }
        return String::new();
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        keys.wrong(at, "name", &format!("{name:?}"), &format!("text of 1 to {NAME_BYTES_MAX} bytes"));
        return String::new();
    }
    keys.call(format!("rule \"{name}\""));
    if let Some(place) = keys.names_before(&name, at) {
        keys.mistake_at(at, &format!("has the name of the rule at {place}"));
    }
    name
}

/// Names and where they were given first.
type Names = BTreeMap<String, String>;

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
