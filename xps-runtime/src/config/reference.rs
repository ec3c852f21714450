//! The configuration as a page for operators: what a service asks for, with what is to be said of it.
//!
//! Keys, what they may be and their defaults are what the code asks for, and when a new value holds is what a reload does with it:
//! only what they mean is written for the page.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Asked;
use crate::reloads::{Difference, Holds};

/// The head of a section's table.
const HEAD: &str = "| key | meaning | value | default | new value |\n| --- | --- | --- | --- | --- |\n";

/// What is said of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    key: &'static str,
    meaning: &'static str,
    default: Option<&'static str>,
    told_as: Option<&'static str>,
}

impl Description {
    /// Of `section.key`, what it is for.
    #[must_use]
    pub const fn new(key: &'static str, meaning: &'static str) -> Self {
        Self { key, meaning, default: None, told_as: None }
    }

    /// Where the default follows from something else, from what.
    #[must_use]
    pub const fn by_default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// Where a reload tells of it by another name than the key's or the section's, that name.
    #[must_use]
    pub const fn told_as(self, name: &'static str) -> Self {
        Self { told_as: Some(name), ..self }
    }
}

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The service, which is also the command's name.
    pub service: &'a str,
    /// Prefix of the variables.
    pub prefix: &'a str,
    /// What was asked for, in this order.
    pub asked: &'a [Asked],
    /// What is said of that.
    pub descriptions: &'a [Description],
    /// What a reload compares; for each situation in which it makes other differences, and what that situation is called.
    pub reloads: &'a [(&'a str, Difference)],
    /// What stands behind the keys.
    pub more: &'a str,
}

impl Reference<'_> {
    /// The page, as Markdown.
    ///
    /// # Errors
    /// Keys that have no description, descriptions that have no key, and keys that no reload compares: one a line.
    pub fn page(&self) -> Result<String, String> {
        let Self { service, prefix, asked, more, .. } = self;
        let mut page = format!(
            "<!-- `cargo xtask docs` writes this page from what {service} asks for. -->\n\n# Configuration of {service}\n\n\
             A key can stand in the file (`{service} run --config FILE`, TOML), in a variable (`{prefix}_<SECTION>_<KEY>`) or in a \
             flag (`--set section.key=value`); the later in this list counts. Lists are separated by commas in variables and flags. \
             `{service} check` tells all mistakes at once; unknown keys are mistakes. Where it says \"restart\", a reload (SIGHUP, or \
             `{service} reload`) keeps the old value, and the status names the key until then.\n"
        );
        let mut mistakes = self.strangers();
        for section in self.sections() {
            // Writing to a string does not fail; likewise below.
            let _ = write!(page, "\n## `[{section}]`\n\n{HEAD}");
            for Asked { key, kind, default, .. } in asked.iter().filter(|asked| asked.section == section) {
                let name = format!("{section}.{key}");
                let Some(description) = self.descriptions.iter().find(|description| description.key == name)
                else {
                    mistakes.push(format!("{name} has no description"));
                    continue;
                };
                let Some(holds) = self.holds(section, &name, description) else {
                    mistakes.push(format!(
                        "no reload compares {name}; if it has another name there, say told_as"
                    ));
                    continue;
                };
                let default = description.default.map_or_else(|| value(default), str::to_owned);
                let (meaning, kind) = (description.meaning, escaped(kind));
                let _ = writeln!(page, "| `{key}` | {meaning} | {kind} | {default} | {holds} |");
            }
        }
        if !more.is_empty() {
            let _ = write!(page, "\n{}\n", more.trim());
        }
        if mistakes.is_empty() { Ok(page) } else { Err(mistakes.join("\n")) }
    }

    /// The sections, in the order in which they were asked for first.
    fn sections(&self) -> Vec<&str> {
        let mut sections = Vec::new();
        for Asked { section, .. } in self.asked {
            if !sections.contains(&section.as_str()) {
                sections.push(section.as_str());
            }
        }
        sections
    }

    /// Descriptions without a key.
    fn strangers(&self) -> Vec<String> {
        let asked: BTreeSet<_> =
            self.asked.iter().map(|asked| format!("{}.{}", asked.section, asked.key)).collect();
        let strangers = self.descriptions.iter().filter(|description| !asked.contains(description.key));
        strangers
            .map(|description| format!("{} is described, and nobody asks for it", description.key))
            .collect()
    }

    /// When a new value holds.
    fn holds(&self, section: &str, key: &str, description: &Description) -> Option<String> {
        let names = [key, description.told_as.unwrap_or(section), section];
        let in_each = self.reloads.iter().map(|(situation, difference)| {
            let find = |name: &&str| difference.compared.iter().find(|(compared, _)| compared == name);
            names.iter().find_map(find).map(|(_, holds)| (*situation, text_of(*holds)))
        });
        let in_each: Vec<_> = in_each.collect::<Option<_>>()?;
        let (_, first) = in_each.first()?;
        if in_each.iter().all(|(_, holds)| holds == first) {
            return Some((*first).to_owned());
        }
        let each: Vec<_> = in_each.iter().map(|(situation, holds)| format!("{situation}: {holds}")).collect();
        Some(each.join("; "))
    }
}

const fn text_of(holds: Holds) -> &'static str {
    match holds {
        Holds::AtOnce => "reload",
        Holds::AfterRestart => "restart",
    }
}

/// A default in a table.
fn value(default: &str) -> String {
    if default.is_empty() { "none".to_owned() } else { format!("`{}`", escaped(default)) }
}

/// Text for a cell of a table.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Reader, Sources};

    fn asked() -> Vec<Asked> {
        let mut reader = Reader::new(&Sources::default());
        let mut section = reader.section("a");
        section.integer("port", 5u16, 1..=9);
        section.choice("mode", 2, &[("one", 1), ("two", 2)]);
        reader.section("b").strings("list", &[]);
        reader.asked().to_vec()
    }

    fn difference(compared: &[(&'static str, Holds)]) -> Difference {
        Difference { compared: compared.to_vec(), ..Difference::default() }
    }

    #[test]
    fn a_page_has_a_row_for_each_key() {
        let descriptions = [
            Description::new("a.port", "where it listens"),
            Description::new("a.mode", "how").by_default("as it is"),
            Description::new("b.list", "what else").told_as("all of b"),
        ];
        let [once, later] = [Holds::AtOnce, Holds::AfterRestart];
        let one = difference(&[("a.port", later), ("a", once), ("all of b", once)]);
        let other = difference(&[("a.port", later), ("a", later), ("all of b", once)]);
        let reloads = [("here", one), ("there", other)];
        let asked = asked();
        let reference = Reference {
            service: "it",
            prefix: "IT",
            asked: &asked,
            descriptions: &descriptions,
            reloads: &reloads,
            more: "## More",
        };
        let page = reference.page().expect("a page");
        for line in [
            "## `[a]`",
            "| `port` | where it listens | a whole number from 1 to 9 | `5` | restart |",
            "| `mode` | how | one of \"one\", \"two\" | as it is | here: reload; there: restart |",
            "## `[b]`",
            "| `list` | what else | a list of texts, such as [\"a\", \"b\"] | `[]` | reload |",
            "## More",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}\n{page}");
        }
    }

    #[test]
    fn what_is_not_described_and_what_is_not_asked_for_is_told() {
        let descriptions = [
            Description::new("a.port", "x"),
            Description::new("a.prot", "x"),
            Description::new("b.list", "x"),
        ];
        let reloads = [("", difference(&[("a", Holds::AtOnce)]))];
        let asked = asked();
        let reference = Reference {
            service: "it",
            prefix: "IT",
            asked: &asked,
            descriptions: &descriptions,
            reloads: &reloads,
            more: "",
        };
        let told = reference.page().expect_err("mistakes");
        for part in ["a.prot is described", "a.mode has no description", "no reload compares b.list"] {
            assert!(told.contains(part), "{part}\n{told}");
        }
        assert_eq!(told.lines().count(), 3);
    }
}
