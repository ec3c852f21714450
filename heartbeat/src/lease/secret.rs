//! A password in a file, which never appears in messages or logs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Others may read.
const READABLE: u32 = 0o007;
/// Longest file that is read, in bytes.
const BYTES_MAX: u64 = 4096;

/// The password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The first line of a file.
    ///
    /// # Errors
    /// If it cannot be read, has no such line, or everybody on the machine may read it.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // Of what is open, so that it cannot be another file meanwhile.
        if file.metadata()?.mode() & READABLE != 0 {
            let why = "everybody on this machine may read or change it; take that from others (chmod o= …)";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text)?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Self(line.to_owned())),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is empty")),
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
                Err(error) => assert!(!secret && error.to_string().contains("chmod"), "{mode:o}: {error}"),
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a mode");
        fs::write(&path, "\nhunter2\n").expect("a file");
        assert!(Secret::read(&path).is_err());
    }
}
