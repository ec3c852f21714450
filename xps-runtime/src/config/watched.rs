//! Files that a configuration names, and whether they have changed since they were read.

use std::path::PathBuf;
use std::time::SystemTime;

/// A file as it was when it was read. It is noted before it is read, so what changes meanwhile is seen as a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it is.
    pub path: PathBuf,
    /// When it was changed last, and its length: what differs after most changes. `None`: it cannot be seen.
    stamp: Option<(SystemTime, u64)>,
}

impl Watched {
    /// The file as it is now.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let facts = std::fs::metadata(&path).ok();
        let stamp = facts.and_then(|facts| Some((facts.modified().ok()?, facts.len())));
        Self { path, stamp }
    }

    /// The same file, as it is now.
    #[must_use]
    pub fn now(&self) -> Self {
        Self::at(self.path.clone())
    }
}
