//! A password in a file, which never appears in messages or logs.

use std::fmt;
use std::path::Path;

use crate::keys::read_private;

/// The password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The first line of a file.
    ///
    /// # Errors
    /// If it cannot be read, has no such line, or everybody on the machine may read it; what to do.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        match read_private(path)?.lines().next() {
            Some(line) if !line.is_empty() => Ok(Self(line.to_owned())),
            _ => Err(format!("{}: its first line is empty", path.display())),
        }
    }

    /// The text itself, for the one who must have it.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_others_cannot_read_is_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        fs::write(&path, "hunter2\nmore\n").expect("a file");
        for (mode, secret) in [(0o600, true), (0o440, true), (0o644, false), (0o602, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
            match Secret::read(&path) {
                Ok(read) => {
                    assert!(secret && read.reveal() == "hunter2", "{mode:o}");
                    assert_eq!(format!("{read:?}"), "(secret)");
                }
                Err(error) => assert!(!secret && error.contains("chmod"), "{mode:o}: {error}"),
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
        fs::write(&path, "\nhunter2\n").expect("a file");
        assert!(Secret::read(&path).is_err());
    }
}
