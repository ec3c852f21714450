//! The thread that vouches for the tables (S12).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Renews the lease from a thread of its own, so that a busy runtime does not let it lapse.
#[derive(Debug)]
pub struct Lease {
    stopping: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Lease {
    /// Calls `renew` again and again, each time after the pause that it gives.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(mut renew: impl FnMut() -> Duration + Send + 'static) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = thread::Builder::new().name("lease".to_owned()).spawn(move || {
            while !stop.load(Ordering::Acquire) {
                thread::sleep(renew());
            }
        })?;
        Ok(Self { stopping, thread })
    }

    /// Renews it no more.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        // A panic in it has been reported; the lease lapses by itself.
        let _ = self.thread.join();
    }
}
