//! Regular expressions: read as bytes, since that is what a request is made of.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

/// Deepest nesting of groups.
const NESTING_MAX: u32 = 64;

/// Reads an expression. It may match anywhere in the text, unless it has anchors; `.` is any byte but a line feed, `\w` and
/// the like are of ASCII.
///
/// # Errors
/// What is wrong, in a few words.
pub fn parse(text: &str) -> Result<Hir, String> {
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).nest_limit(NESTING_MAX).build();
    parser.parse(text).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_one_line() {
        for (text, expected) in [
            ("a(", "unclosed group"),
            ("a)", "unopened group"),
            ("*", "repetition operator missing expression"),
            ("[b-a]", "invalid character class range, the start must be <= the end"),
            (r"\1", "backreferences are not supported"),
            ("(?=a)", "look-around, including look-ahead and look-behind, is not supported"),
            ("[é]", "Unicode not allowed here"),
        ] {
            assert_eq!(parse(text), Err(expected.into()), "{text}");
        }
        assert!(parse(r"(?i)^/wp-(admin|login\.php)\bé").is_ok());
    }
}
