//! How a limit is told to clients: draft-ietf-httpapi-ratelimit-headers-11.

use http_fastpath::limit::Rate;

const SECOND_NS: u64 = 1_000_000_000;

/// A limit as its fields tell it.
///
/// The window is the time in which an empty bucket is full again, in whole seconds, and the quota what the bucket holds: a
/// client that keeps to it is never refused.
pub(super) struct Policy {
    name: String,
    quota: u64,
    window_s: u64,
}

impl Policy {
    pub(super) fn new(rule: &str, rate: &Rate) -> Self {
        Self { name: string(rule), quota: rate.burst(), window_s: rate.tolerance_ns.div_ceil(SECOND_NS) }
    }

    /// The value of `RateLimit-Policy`.
    pub(super) fn policy(&self) -> String {
        format!("{};q={};w={}", self.name, self.quota, self.window_s)
    }

    /// The value of `RateLimit`, up to the seconds after which there is something left again.
    pub(super) fn state(&self) -> String {
        format!("{};r=0;t=", self.name)
    }
}

/// A text as a string of structured fields (RFC 9651 section 3.3.3), which has ASCII only: for each other character a
/// question mark.
fn string(text: &str) -> String {
    let mut string = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => string.extend(['\\', character]),
            ' '..='~' => string.push(character),
            _ => string.push('?'),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_strings() {
        for (name, expected) in [
            ("logins", r#""logins""#),
            (r#"a "b" \c"#, r#""a \"b\" \\c""#),
            ("größe", r#""gr??e""#),
            ("\u{7f}", r#""?""#),
        ] {
            assert_eq!(string(name), expected);
        }
    }

    #[test]
    fn who_keeps_to_the_policy_keeps_to_the_rate() {
        for (requests, period_s, burst, expected) in
            [(10, 60, 5, "\"x\";q=5;w=30"), (10, 1, 1, "\"x\";q=1;w=1"), (7, 1, 10, "\"x\";q=10;w=2")]
        {
            let rate = Rate::new(requests, period_s * SECOND_NS, burst).unwrap();
            assert_eq!(Policy::new("x", &rate).policy(), expected);
        }
    }
}
