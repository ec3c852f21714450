//! Patterns as regular expressions that begin where the text begins.
//!
//! Of a path, which may be taken back, nothing holds before its end: its expressions match whole texts. Of other subjects a
//! pattern holds as soon as it is found ([`Reading::Stream`]): a DFA that had to remember what was found until the end would
//! have a state for each set of patterns.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, Look, Repetition};

use crate::rules::{Pattern, Subject, expression};

/// When a subject's patterns hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// At its end.
    Whole,
    /// Once they are found.
    Stream,
}

impl Reading {
    pub(super) const fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Header(_) => Self::Stream,
            Subject::Method | Subject::Host | Subject::Path => Self::Whole,
        }
    }
}

/// One expression for all patterns of a condition.
///
/// # Errors
/// If an expression is none. Rules that were read have none such.
pub(super) fn hir(subject: &Subject, patterns: &[Pattern]) -> Result<Hir, String> {
    let reading = Reading::of(subject);
    let hirs: Result<Vec<_>, _> = patterns.iter().map(|pattern| one(subject, pattern, reading)).collect();
    Ok(Hir::alternation(hirs?))
}

fn one(subject: &Subject, pattern: &Pattern, reading: Reading) -> Result<Hir, String> {
    let is_host = *subject == Subject::Host;
    let text = |text: &str| if is_host { caseless(text) } else { Hir::literal(text.as_bytes()) };
    // What follows a host, and does not matter: a dot, and a port.
    let end = || if is_host { behind_host() } else { Hir::look(Look::End) };
    let rest = || match reading {
        Reading::Whole => Hir::concat(vec![anything(), Hir::look(Look::End)]),
        Reading::Stream => Hir::empty(),
    };
    Ok(match pattern {
        Pattern::Any => rest(),
        Pattern::Exact(exact) => Hir::concat(vec![text(exact), end()]),
        Pattern::Prefix(prefix) => Hir::concat(vec![text(prefix), rest()]),
        Pattern::Suffix(suffix) => Hir::concat(vec![anything(), text(suffix), end()]),
        Pattern::Below(host) => {
            Hir::concat(vec![byte(any()), anything(), Hir::literal(*b"."), text(host), end()])
        }
        Pattern::Regex(regex) => Hir::concat(vec![anything(), expression::parse(regex)?, rest()]),
    })
}

/// A name, in whatever case.
pub(super) fn name_in_any_case(name: &str) -> Hir {
    Hir::concat(vec![caseless(name), Hir::look(Look::End)])
}

/// A name as it is.
pub(super) fn name(name: &str) -> Hir {
    Hir::concat(vec![Hir::literal(name.as_bytes()), Hir::look(Look::End)])
}

fn any() -> ClassBytes {
    ClassBytes::new([ClassBytesRange::new(0, 255)])
}

fn byte(class: ClassBytes) -> Hir {
    Hir::class(Class::Bytes(class))
}

fn repeated(hir: Hir, max: Option<u32>) -> Hir {
    Hir::repetition(Repetition { min: 0, max, greedy: true, sub: Box::new(hir) })
}

fn anything() -> Hir {
    repeated(byte(any()), None)
}

fn caseless(text: &str) -> Hir {
    let bytes = text.bytes().map(|letter| {
        let cases = [letter.to_ascii_lowercase(), letter.to_ascii_uppercase()];
        byte(ClassBytes::new(cases.map(|case| ClassBytesRange::new(case, case))))
    });
    Hir::concat(bytes.collect())
}

fn behind_host() -> Hir {
    let digits = repeated(byte(ClassBytes::new([ClassBytesRange::new(b'0', b'9')])), None);
    let port = Hir::concat(vec![Hir::literal(*b":"), digits]);
    Hir::concat(vec![repeated(Hir::literal(*b"."), Some(1)), repeated(port, Some(1)), Hir::look(Look::End)])
}
