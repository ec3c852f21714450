//! What is made from files, and made again when they change.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::TlsError;
use crate::config::Current;
use crate::shared::lock;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What tells a file from one that was there before: device, inode, size and time of change.
type Stamp = (u64, u64, u64, i64, i64);

/// Something made from files.
pub(super) struct Renewing<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    made: RwLock<Arc<T>>,
    /// Of the files, when they were last read.
    stamps: Mutex<Vec<Option<Stamp>>>,
}

impl<T> Renewing<T> {
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Before they are read: what changes in between is noticed later.
        let stamps = Mutex::new(stamps(&files));
        let made = RwLock::new(Arc::new(make()?));
        Ok(Self { files, make: Box::new(make), made, stamps })
    }

    pub(super) fn current(&self) -> Arc<T> {
        Arc::clone(&self.made.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes it again if the files have changed; on an error what was made before goes on. Whether they had.
    pub(super) fn renew_if_changed(&self) -> Result<bool, TlsError> {
        let mut known = lock(&self.stamps);
        let now = stamps(&self.files);
        if *known == now {
            return Ok(false);
        }
        *known = now;
        let made = Arc::new((self.make)()?);
        *self.made.write().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(true)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
    };
    files.iter().map(stamp).collect()
}

/// Looks at the configuration's certificates again and again, until `stop` turns true.
pub async fn follow(config: Arc<Current>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let config = config.read();
        tokio::task::block_in_place(|| {
            told(config.redis.tls.as_ref().map(|tls| tls.look()));
            told(config.tls.as_ref().map(|tls| tls.clients.look()));
        });
    }
}

fn told(looked: Option<Result<bool, TlsError>>) {
    match looked {
        None | Some(Ok(false)) => {}
        Some(Ok(true)) => tracing::info!("read certificates again, since their files have changed"),
        Some(Err(error)) => tracing::warn!(%error, "certificates are not renewed, the old ones go on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_made_again_and_what_is_wrong_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "1").expect("written");
        let path = file.clone();
        let make = move || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            text.parse::<u32>().map_err(|_| TlsError::content("key", &path, "is wrong"))
        };
        let renewing = Renewing::new(vec![file.clone()], make).expect("made");
        assert!(!renewing.renew_if_changed().expect("unchanged"));
        std::fs::write(&file, "22").expect("written");
        assert!(renewing.renew_if_changed().expect("changed"));
        assert_eq!(*renewing.current(), 22);
        std::fs::write(&file, "wrong").expect("written");
        assert!(renewing.renew_if_changed().is_err());
        // It was told; it is not told again until something changes.
        assert!(!renewing.renew_if_changed().expect("unchanged"));
        assert_eq!(*renewing.current(), 22);
        // As a mounted secret changes: another file under the same name.
        std::fs::write(folder.path().join("new"), "33").expect("written");
        std::fs::rename(folder.path().join("new"), &file).expect("renamed");
        assert!(renewing.renew_if_changed().expect("changed"));
        assert_eq!(*renewing.current(), 33);
        std::fs::remove_file(&file).expect("removed");
        assert!(renewing.renew_if_changed().is_err());
        assert_eq!(*renewing.current(), 33);
    }
}
