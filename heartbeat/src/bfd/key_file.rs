//! Secrets of sessions, in files of their own that nobody else may read.
//!
//! One key a line, its number (0 to 255) and its secret: `1 secret`, as text up to the line's end, or `1 hex:00ff`. The first
//! key sends, a second one is accepted too, while keys are changed. Empty lines and those that begin with `#` count for
//! nothing.

use std::path::Path;

use heartbeat_fastpath::bfd::authentication::Key;

use crate::keys::{lines, read_private};

/// The key that sends, and the other one that is accepted, if there is one.
///
/// # Errors
/// If the file cannot be read, or others can, or a line is wrong: what to do, without any secret.
pub fn read(path: &Path) -> Result<(Key, Option<Key>), String> {
    keys(&read_private(path)?).map_err(|(line, what)| format!("{}:{line}: {what}", path.display()))
}

fn keys(text: &str) -> Result<(Key, Option<Key>), (usize, &'static str)> {
    let mut keys: Vec<(u8, Key)> = Vec::new();
    for (line, text) in lines(text) {
        let (number, key) = key(text).map_err(|what| (line, what))?;
        if keys.iter().any(|(other, _)| *other == number) {
            return Err((line, "two keys have this number; which is meant nobody could tell"));
        }
        if keys.len() == 2 {
            return Err((line, "a third key; two can be valid at once: remove the oldest"));
        }
        keys.push((number, key));
    }
    let mut keys = keys.into_iter().map(|(_, key)| key);
    let first = keys.next().ok_or((1, "no key; write one as `1 secret` or `1 hex:00ff`"))?;
    Ok((first, keys.next()))
}

fn key(line: &str) -> Result<(u8, Key), &'static str> {
    let (number, secret) = line.split_once(' ').ok_or("a key is its number, a space, and its secret")?;
    let number = number.parse().map_err(|_| "a key's number is from 0 to 255")?;
    let secret = match secret.strip_prefix("hex:") {
        Some(digits) => bytes(digits.trim_end()).ok_or("behind `hex:` come pairs of hexadecimal digits")?,
        None => secret.as_bytes().to_vec(),
    };
    let key = Key::new(number, &secret).ok_or("a secret has 1 to 20 bytes")?;
    Ok((number, key))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
    if rest.is_empty() { pairs.iter().map(pair).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_or_digits() {
        let key = |number, secret: &[u8]| Key::new(number, secret).unwrap();
        for (text, expected) in [
            ("1 secret\n", (key(1, b"secret"), None)),
            (
                "# old and new\n\n7 hex:00fF10\n255 two words",
                (key(7, &[0, 255, 16]), Some(key(255, b"two words"))),
            ),
            ("0 12345678901234567890", (key(0, b"12345678901234567890"), None)),
        ] {
            assert!(keys(text) == Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn each_mistake_has_its_line_and_tells_no_secret() {
        for (text, line) in [
            ("", 1),
            ("\n1", 2),
            ("256 hunter", 1),
            ("1 hex:0", 1),
            ("1 hex:zz", 1),
            ("1 ", 1),
            ("1 123456789012345678901", 1),
            ("1 hunter\n1 other", 2),
            ("1 hunter\n2 other\n3 third", 3),
        ] {
            let (found, what) = keys(text).unwrap_err();
            assert_eq!(found, line, "{text:?}: {what}");
            assert!(!what.contains("hunter"), "{what}");
        }
    }
}
