//! Files with addresses that rules name, and whether they have changed since they were read.

use std::path::PathBuf;
use std::time::SystemTime;

/// When a file was changed last, and its length: what differs after most changes. `None`: it cannot be seen.
type Stamp = Option<(SystemTime, u64)>;

/// A file as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressFile {
    /// Where it is.
    pub path: PathBuf,
    stamp: Stamp,
}

impl AddressFile {
    /// A file that is read behind this: what changes meanwhile is seen as a change.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let facts = std::fs::metadata(&path).ok();
        let stamp = facts.and_then(|facts| Some((facts.modified().ok()?, facts.len())));
        Self { path, stamp }
    }

    /// As it is now.
    #[must_use]
    pub fn now(&self) -> Self {
        Self::at(self.path.clone())
    }
}
