//! What a reader must know of a row.

use super::table;
use serde::Serialize;
use std::fmt;

/// Remarks, each once; null if there is none.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Note(Option<String>);

impl Note {
    /// Adds a remark.
    pub(crate) fn remark(&mut self, text: &str) {
        match &mut self.0 {
            None => self.0 = Some(text.to_owned()),
            Some(note) if !note.contains(text) => {
                note.push_str("; ");
                note.push_str(text);
            }
            Some(_) => {}
        }
    }
}

impl fmt::Display for Note {
    /// A line of its own below a row's name, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |note| writeln!(f, "{}", table::text_line("", &format!("({note})"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remark_stands_once() {
        let mut note = Note::default();
        assert_eq!((note.to_string().as_str(), serde_json::to_string(&note).unwrap().as_str()), ("", "null"));
        for text in ["one", "two", "one"] {
            note.remark(text);
        }
        assert!(note.to_string().trim() == "(one; two)");
    }
}
