//! What the statuses of all sidecars have in common: as JSON, and as a table for readers.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use crate::locals::{Locals, Unseen};
use crate::plan::Plan;
use crate::reloads::Reloads;

/// The configuration, as far as it changes while the sidecar runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    /// Whether it could be read when it was read last.
    pub last_reload_successful: bool,
    /// Keys whose new value holds only after a restart.
    pub waiting_for_restart: Vec<String>,
}

impl From<&Reloads> for Configuration {
    fn from(reloads: &Reloads) -> Self {
        Self {
            last_reload_successful: reloads.last_successful(),
            waiting_for_restart: reloads.waiting_for_restart(),
        }
    }
}

/// The addresses of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    /// How many the programs know; 0 on the user path.
    pub known: u64,
    /// Those that are left alone though they are local: for each cause a short name, a colon, and what it means.
    pub unseen: Vec<String>,
}

impl From<&Locals> for Addresses {
    fn from(locals: &Locals) -> Self {
        let text = |one: &Unseen| format!("{}: {one}", one.label());
        Self { known: locals.entries() as u64, unseen: locals.unseen().iter().map(text).collect() }
    }
}

/// Why it is the user path: for each cause a short name, a colon, and what it means. Empty on the kernel path.
#[must_use]
pub fn causes(plan: &Plan) -> Vec<String> {
    plan.causes.iter().map(|cause| format!("{}: {cause}", cause.label())).collect()
}

/// Writes a table of two columns: names, and what they are.
#[allow(missing_debug_implementations, reason = "a formatter has none")]
pub struct Rows<'a, 'b>(pub &'a mut fmt::Formatter<'b>);

impl Rows<'_, '_> {
    /// A row.
    ///
    /// # Errors
    /// The formatter's; likewise below.
    pub fn row(&mut self, name: &str, value: impl Display) -> fmt::Result {
        writeln!(self.0, "{name:<14}{value}")
    }

    /// Rows under one name, which stands in the first of them.
    ///
    /// # Errors
    /// Like [`row`](Self::row).
    pub fn rows<T: Display>(&mut self, name: &str, values: impl IntoIterator<Item = T>) -> fmt::Result {
        let mut name = name;
        values.into_iter().try_for_each(|value| self.row(std::mem::take(&mut name), value))
    }

    /// The path, and why it is that one.
    ///
    /// # Errors
    /// Like [`row`](Self::row).
    pub fn path(&mut self, path: &str, causes: &[String]) -> fmt::Result {
        self.row("path", path)?;
        causes.iter().try_for_each(|cause| self.row("", cause))
    }

    /// What is to be known of this host's addresses, if there is something.
    ///
    /// # Errors
    /// Like [`row`](Self::row).
    pub fn addresses(&mut self, addresses: &Addresses) -> fmt::Result {
        self.rows("addresses", &addresses.unseen)
    }

    /// What is to be known of the configuration, if there is something.
    ///
    /// # Errors
    /// Like [`row`](Self::row).
    pub fn configuration(&mut self, configuration: &Configuration) -> fmt::Result {
        if !configuration.last_reload_successful {
            self.row("configuration", "the last reload failed, an older one holds; the log says why")?;
        }
        if !configuration.waiting_for_restart.is_empty() {
            let keys = configuration.waiting_for_restart.join(", ");
            self.row("configuration", format!("only after a restart: {keys}"))?;
        }
        Ok(())
    }

    /// Counts that are not zero, each in a row.
    ///
    /// # Errors
    /// Like [`row`](Self::row).
    pub fn counts(&mut self, name: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
        let given = counts.iter().filter(|(_, count)| **count != 0);
        self.rows(name, given.map(|(label, count)| format!("{label}: {count}")))
    }

    /// Instructions that the verifier went through, by program.
    ///
    /// # Errors
    /// Like [`row`](Self::row).
    pub fn verifier(&mut self, verified: &BTreeMap<String, u64>) -> fmt::Result {
        let each = verified.iter().map(|(program, count)| format!("{program}: {count} instructions"));
        self.rows("verifier", each)
    }
}

/// A reason in brackets, if there is one.
#[must_use]
pub fn because(cause: &str) -> String {
    if cause.is_empty() { String::new() } else { format!(" ({cause})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Some;

    impl Display for Some {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut rows = Rows(f);
            rows.path("user", &["configured: so it is".to_owned()])?;
            rows.rows("things", ["a", "b"])?;
            rows.counts("counts", &BTreeMap::from([("x".to_owned(), 0), ("y".to_owned(), 2)]))?;
            rows.configuration(&Configuration {
                last_reload_successful: true,
                waiting_for_restart: vec!["a.b".to_owned(), "c.d".to_owned()],
            })
        }
    }

    #[test]
    fn a_name_stands_once() {
        assert_eq!(
            Some.to_string(),
            "path          user\n              configured: so it is\nthings        a\n              b\n\
             counts        y: 2\nconfiguration only after a restart: a.b, c.d\n"
        );
        assert_eq!((because(""), because("no driver")), (String::new(), " (no driver)".to_owned()));
    }
}
