//! The relay's thread. It is one, on purpose: what two clients send one after the other then reaches the server in that
//! order, as it would without a relay, and as clients count on that know of each other. Several threads would let the
//! later overtake.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

/// A runtime of one thread. Taken only by its destructor.
#[derive(Debug)]
pub struct RelayThread(Option<Runtime>);

impl RelayThread {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Some(Builder::new_current_thread().enable_all().build()?)))
    }

    /// Calls `bind`, whose listeners are then served here.
    pub fn within<T>(&self, bind: impl FnOnce() -> T) -> T {
        let _inside = self.0.as_ref().map(Runtime::enter);
        bind()
    }

    /// Runs to the end of `work`, or until `stop` turns true. Must be called within another runtime.
    pub fn run(
        self,
        work: impl Future<Output = ()> + Send + 'static,
        mut stop: watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let either = async move {
            tokio::select! {
                () = work => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        };
        spawn_blocking(move || {
            if let Some(runtime) = &self.0 {
                runtime.block_on(either);
            }
        })
    }
}

impl Drop for RelayThread {
    fn drop(&mut self) {
        // Also where waiting is not allowed, as a start that failed may be.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
