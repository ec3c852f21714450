//! Key files: who may read them, and what stands in them.
//!
//! One key a line: its number, 1 to 255, and its 16 bytes as 32 hexadecimal digits. Lines that begin with `#` are comments.
//! The first key is the one that is sent with; the second, while keys are changed, is taken as well.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use heartbeat_fastpath::keys::{Key, KeyId, Keys};
use heartbeat_fastpath::wire::ClusterId;

/// Bytes of a key file, at most: more is no key file.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Bytes of a secret.
const SECRET_BYTES: usize = 16;

/// What others may not do with a file of secrets: read or change it. Its group may read it, as containers that do not run as
/// root need it.
const FORBIDDEN: u32 = 0o027;

/// A cluster's keys: those that are taken, and the one that is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Those that are taken.
    pub keys: Keys,
    /// The one that is sent with.
    pub sending: Key,
}

/// Reads a file of secrets.
///
/// # Errors
/// If it cannot be read, or others can: what to do.
pub fn read_private(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("{} cannot be read: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    // Of the file that is open: another one may take its name meanwhile.
    let facts = file.metadata().map_err(failed)?;
    if !facts.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    if facts.mode() & FORBIDDEN != 0 {
        return Err(format!(
            "{path} can be read or changed by others (mode {:03o}): run `chmod 600 {path}`, and change its secrets if \
             anybody may have read them",
            facts.mode() & 0o777,
            path = path.display(),
        ));
    }
    let mut text = String::new();
    match file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)? as u64 {
        0..=FILE_BYTES_MAX => Ok(text),
        _ => Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())),
    }
}

impl Ring {
    /// The keys of a cluster, of the text of a key file.
    ///
    /// # Errors
    /// All mistakes at once, each with its line, and without what stands there.
    pub fn parse(cluster: ClusterId, text: &str) -> Result<Self, Vec<Mistake>> {
        let (mut found, mut mistakes) = (Vec::new(), Vec::new());
        for (line, text) in lines(text) {
            match key(text) {
                Ok(key) => found.push((line, key)),
                Err(what) => mistakes.push(Mistake { line, what }),
            }
        }
        let mistake = |line, what| Mistake { line, what };
        for (line, _) in found.iter().skip(2) {
            mistakes.push(mistake(*line, "a third key; two can be valid at once: remove the oldest"));
        }
        let ring = match found[..] {
            [] => {
                if mistakes.is_empty() {
                    mistakes.push(mistake(1, "no key; `heartbeat key` makes one"));
                }
                None
            }
            [(_, sending)] => Some(Self { keys: Keys::new(cluster, sending), sending }),
            [(_, sending), (line, other), ..] => {
                let keys = Keys::new(cluster, sending).and(other);
                if keys.is_none() {
                    mistakes.push(mistake(line, "the number of the first key; give another one"));
                }
                keys.map(|keys| Self { keys, sending })
            }
        };
        match ring {
            Some(ring) if mistakes.is_empty() => Ok(ring),
            _ => Err(mistakes),
        }
    }
}

/// A mistake in a key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its line.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// The lines that say something, with their numbers.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn key(line: &str) -> Result<Key, &'static str> {
    let (number, secret) =
        line.split_once(char::is_whitespace).ok_or("it must be a number and 32 hexadecimal digits")?;
    let id = number.parse().ok().and_then(KeyId::new).ok_or("a key's number must be from 1 to 255")?;
    let secret = hex(secret.trim()).ok_or("a key must have 32 hexadecimal digits")?;
    if secret.iter().all(|byte| *byte == secret[0]) {
        return Err("a key of one byte again and again is none; `heartbeat key` makes one");
    }
    Ok(Key::new(id, secret))
}

fn hex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let mut bytes = [0; SECRET_BYTES];
    if text.len() != 2 * SECRET_BYTES {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
    }
    Some(bytes)
}

/// The line of a new key with this number.
///
/// # Errors
/// If the system gives no random bytes.
pub fn new_line(number: u8) -> io::Result<String> {
    let secret: [u8; SECRET_BYTES] = xps_runtime::random::bytes()?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{number} {digits}\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ONE: &str = "1 000102030405060708090a0b0c0d0e0f\n";

    fn parse(text: &str) -> Result<Ring, String> {
        Ring::parse(ClusterId(7), text)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_first_key_is_sent_with_and_both_are_taken() {
        let two = format!("# of the cluster\n\n{ONE}200 FF0102030405060708090a0b0c0d0e0f\n");
        let ring = parse(&two).expect("two keys");
        assert_eq!(ring.sending.id.number(), 1);
        assert!(ring.keys.find(1) == Some(ring.sending) && ring.keys.find(200).is_some());
        let ring = parse(ONE).expect("a key");
        assert!(ring.keys.find(200).is_none());
        let made = new_line(9).expect("random bytes");
        assert_eq!(parse(&made).expect("a key").sending.id.number(), 9);
    }

    #[test]
    fn all_mistakes_are_told_and_no_secret() {
        for (text, told) in [
            ("", "line 1: no key; `heartbeat key` makes one"),
            ("1", "line 1: it must be a number and 32 hexadecimal digits"),
            ("\n0 000102030405060708090a0b0c0d0e0f", "line 2: a key's number must be from 1 to 255"),
            ("256 000102030405060708090a0b0c0d0e0f", "line 1: a key's number must be from 1 to 255"),
            (
                "1 abc\n2 000102030405060708090a0b0c0d0e0g",
                "line 1: a key must have 32 hexadecimal digits\nline 2: a key must have 32 hexadecimal digits",
            ),
            (
                "1 00000000000000000000000000000000",
                "line 1: a key of one byte again and again is none; `heartbeat key` makes one",
            ),
            (
                &format!("{ONE}{ONE}{ONE}"),
                "line 3: a third key; two can be valid at once: remove the oldest\n\
                 line 2: the number of the first key; give another one",
            ),
        ] {
            assert_eq!(parse(text).expect_err(text), told);
        }
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, ONE).expect("a file");
        for (mode, refused) in
            [(0o600, false), (0o400, false), (0o640, false), (0o644, true), (0o620, true), (0o601, true)]
        {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its owner");
            match read_private(&path) {
                Ok(text) => assert!(!refused && text == ONE, "{mode:o}"),
                Err(error) => assert!(refused && error.contains("chmod 600"), "{mode:o}: {error}"),
            }
        }
        assert!(read_private(folder.path()).is_err_and(|error| error.contains("is no file")));
    }
}
