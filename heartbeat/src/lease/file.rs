//! The file with an application's word: made here, written by the application.
//!
//! It is read with `pread`, not mapped: who may write it may also shorten it, and then a mapping would end the agent with
//! SIGBUS.
//!
//! Nobody else may put another file in its place, or the application of one node could speak for another: every directory
//! on the way must belong to root or to whom the agent runs as, and be closed to others or sticky. In a sticky one a file of
//! somebody else is not taken. Symbolic links are not followed.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_lease::layout;

use super::kept::nanoseconds;
use super::settings::SharedFile;

/// Of a directory that the agent makes: applications must find their files in it.
const FOLDER_MODE: u32 = 0o755;
/// Others may write.
const WRITABLE: u32 = 0o022;
/// Only its owner may remove a file.
const STICKY: u32 = 0o1000;
/// How often a word is read until two readings are the same.
const READINGS_MAX: usize = 4;

/// Why there is no file for an application's word.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was to be done.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The path names no file.
    #[error("lease_file {} names no file in a directory", .0.display())]
    NoName(PathBuf),
    /// Somebody else could replace the file.
    #[error(
        "{} may be changed by others than root and heartbeat's user, so anybody could speak for the node; make it theirs alone (or sticky), or put lease_file elsewhere",
        .0.display()
    )]
    Open(PathBuf),
    /// It is something else.
    #[error("{} is no lease file; remove it, or set lease_file to another name", .0.display())]
    Stranger(PathBuf),
}

/// The file is no lease any more: its application wrote over it, or made it shorter.
#[derive(Debug, thiserror::Error)]
pub(super) enum WordError {
    #[error("cannot read the lease file: {0}")]
    System(#[from] io::Error),
    #[error("the lease file is damaged; the application must open it again")]
    Damaged,
}

/// An open file.
#[derive(Debug)]
pub(super) struct LeaseFile {
    /// Without symbolic links.
    path: PathBuf,
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Why the one that was there could not be kept.
    replaced: Option<Unfit>,
}

/// Why a lease file that is there is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("was damaged")]
    Damaged,
    #[error("did not belong to whom it should, or had another name, too")]
    Owned,
}

/// What is there already.
enum Existing {
    Nothing,
    Kept(File),
    Replaced(Unfit),
}

impl LeaseFile {
    /// Opens the file, and makes it first if it is not there. One that is there is kept if it is as it should be: an
    /// application that has it open goes on with it, and hears of `lease` by [`Self::announce`].
    ///
    /// # Errors
    /// If it cannot be had, or is not safe where it is.
    pub(super) fn open(wanted: &SharedFile, lease: Duration) -> Result<Self, FileError> {
        let path = place(&wanted.path)?;
        let made = || make(&path, wanted, lease).map_err(|source| system("make", &path, source));
        let (file, replaced) = match existing(&path, wanted)? {
            Existing::Kept(file) => {
                give_mode(&file, wanted.mode).map_err(|source| system("change", &path, source))?;
                (file, None)
            }
            Existing::Nothing => (made()?, None),
            Existing::Replaced(why) => (made()?, Some(why)),
        };
        let metadata = file.metadata().map_err(|source| system("look at", &path, source))?;
        Ok(Self { path, file, identity: identity(&metadata), replaced })
    }

    /// What is to be told of a file that was replaced.
    pub(super) fn news(&self) -> Option<String> {
        let path = self.path.display();
        self.replaced.map(|why| {
            format!("{path} {why} and is replaced; an application that has it open must open it again")
        })
    }

    /// Tells the application how long its promises may be.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn announce(&self, lease: Duration) -> io::Result<()> {
        self.file.write_all_at(&nanoseconds(lease).to_ne_bytes(), layout::LEASE_AT as u64)
    }

    /// The application's word.
    ///
    /// # Errors
    /// If the file is none any more.
    pub(super) fn word(&self) -> Result<u64, WordError> {
        let mut word = self.read()?;
        // No kernel promises that it copies eight bytes at once while the application writes them.
        for _ in 1..READINGS_MAX {
            let again = self.read()?;
            if again == word {
                break;
            }
            word = again;
        }
        Ok(word)
    }

    fn read(&self) -> Result<u64, WordError> {
        const END: usize = layout::ALIVE_UNTIL_AT + 8;
        let mut head = [0; END];
        let whole = self.file.read_at(&mut head, 0)? == END && layout::is_lease(&head);
        match head[layout::ALIVE_UNTIL_AT..].first_chunk() {
            Some(word) if whole => Ok(u64::from_ne_bytes(*word)),
            _ => Err(WordError::Damaged),
        }
    }

    /// Whether applications that open its path get this file, whole.
    pub(super) fn is_in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
            && self.file.metadata().is_ok_and(|own| own.len() == layout::BYTES as u64)
            && self.read().is_ok()
    }
}

/// Where the file really lies, if it is safe there. The directory is made if it is not there.
///
/// # Errors
/// If there is no such directory, or others may change what is in it.
pub(super) fn place(path: &Path) -> Result<PathBuf, FileError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(FileError::NoName(path.to_owned()));
    };
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(|source| system("make", folder, source))?;
    let folder = folder.canonicalize().map_err(|source| system("find", folder, source))?;
    for step in folder.ancestors() {
        let metadata = fs::metadata(step).map_err(|source| system("look at", step, source))?;
        let closed = metadata.mode() & WRITABLE == 0 || metadata.mode() & STICKY != 0;
        if !closed || ![0, own_user()].contains(&metadata.uid()) {
            return Err(FileError::Open(step.to_owned()));
        }
    }
    Ok(folder.join(name))
}

/// The file that is there, if it can be kept; what cannot is to be replaced, unless it never was a lease.
fn existing(path: &Path, wanted: &SharedFile) -> Result<Existing, FileError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Existing::Nothing),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EISDIR | libc::ENXIO)) => {
            return Err(FileError::Stranger(path.to_owned()));
        }
        Err(source) => return Err(system("open", path, source)),
    };
    let metadata = file.metadata().map_err(|source| system("look at", path, source))?;
    let mut head = [0; layout::BYTES];
    let read = file.read_at(&mut head, 0).map_err(|source| system("read", path, source))?;
    // What an application may have done to its file; anything else is somebody's, and precious.
    let was_lease = metadata.len() == 0 || head.starts_with(&layout::MAGIC);
    if !metadata.is_file() || !was_lease {
        return Err(FileError::Stranger(path.to_owned()));
    }
    let whole = metadata.len() == layout::BYTES as u64 && layout::is_lease(&head[..read]);
    let owned = metadata.uid() == wanted.owner.user.unwrap_or_else(own_user)
        && wanted.owner.group.is_none_or(|group| group == metadata.gid());
    if whole && owned && metadata.nlink() == 1 {
        return Ok(Existing::Kept(file));
    }
    Ok(Existing::Replaced(if whole { Unfit::Owned } else { Unfit::Damaged }))
}

fn give_mode(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.mode() & 0o7777 == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Makes the file beside its place and moves it there, so nobody ever sees half of it.
fn make(path: &Path, wanted: &SharedFile, lease: Duration) -> io::Result<File> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::Builder::new().prefix(".lease-").tempfile_in(folder)?;
    file.write_all(&layout::new_file(nanoseconds(lease)))?;
    if wanted.owner.user.is_some() || wanted.owner.group.is_some() {
        fchown(file.as_file(), wanted.owner.user, wanted.owner.group)?;
    }
    file.as_file().set_permissions(Permissions::from_mode(wanted.mode))?;
    Ok(file.persist(path)?)
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn system(action: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::System { action, path: path.to_owned(), source }
}

/// As whom the agent runs.
fn own_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
