//! The thread that looks at shared words and renews what is `always` alive. It waits for nobody but the clock: tasks that
//! keep the runtime busy let no lease lapse, and nor does who reads the log slowly, since it logs nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use heartbeat_lease::monotonic_ns;

use super::file::LeaseFile;
use super::kept::{Kept, nanoseconds};
use super::promise::{Heard, Promise};
use super::settings::SharedFile;
use crate::priority;

/// How many times a lease its word is looked at. An application that touches three times a lease is then seen in time, even
/// if it or the thread is kept waiting for a while.
const LOOKS: u64 = 4;
/// Longest time between two looks, so that what is told of long leases is not old.
const LOOK_NS_MAX: u64 = 1_000_000_000;
/// How often it is looked whether a file is still in its place.
const PLACE_NS: u64 = 1_000_000_000;

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    list: Mutex<Vec<Watched>>,
    stopping: AtomicBool,
}

/// A node whose lease the thread looks at.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) kept: Arc<Kept>,
    source: Source,
    every_ns: u64,
    due_ns: u64,
    lease: Duration,
}

/// What the thread does for it.
#[derive(Debug)]
pub(super) enum Source {
    /// Renews it.
    Always,
    /// Looks at the application's word.
    Word {
        wanted: SharedFile,
        /// `None` until it can be had again.
        file: Option<LeaseFile>,
        promise: Promise,
        /// When to look whether the file is in its place.
        place_due_ns: u64,
    },
}

impl Source {
    /// An application's word in `file`, which is told of the lease.
    pub(super) fn word(wanted: SharedFile, file: Option<LeaseFile>, lease: Duration, kept: &Kept) -> Self {
        if let Some(file) = &file {
            file.news().into_iter().for_each(|news| kept.note(news));
            file.announce(lease).unwrap_or_else(|error| kept.fail(&error));
        }
        let place_due_ns = if file.is_some() { monotonic_ns() + PLACE_NS } else { 0 };
        Self::Word { wanted, file, promise: Promise::new(nanoseconds(lease)), place_due_ns }
    }
}

impl Watched {
    /// Is looked at soon, and then several times a lease.
    pub(super) fn new(kept: Arc<Kept>, source: Source, lease: Duration) -> Self {
        let every_ns = (nanoseconds(lease) / LOOKS).min(LOOK_NS_MAX);
        Self { kept, source, every_ns, due_ns: 0, lease }
    }

    fn look(&mut self) {
        match &mut self.source {
            Source::Always => self.kept.renew(monotonic_ns()),
            Source::Word { wanted, file, promise, place_due_ns } => {
                if monotonic_ns() >= *place_due_ns {
                    *place_due_ns = monotonic_ns() + PLACE_NS;
                    if !file.as_ref().is_some_and(LeaseFile::is_in_place) {
                        *file = reopened(&self.kept, wanted, self.lease);
                        *promise = Promise::new(nanoseconds(self.lease));
                    }
                }
                if let Some(file) = file {
                    read(&self.kept, file, promise);
                }
            }
        }
    }
}

/// Makes a file that was removed or damaged anew.
fn reopened(kept: &Kept, wanted: &SharedFile, lease: Duration) -> Option<LeaseFile> {
    let opened = LeaseFile::open(wanted, lease).map_err(|error| kept.fail(&error)).ok()?;
    let gone = || {
        let path = wanted.path.display();
        format!("{path} was gone and is made anew; an application that has it open must open it again")
    };
    kept.note(opened.news().unwrap_or_else(gone));
    opened.announce(lease).unwrap_or_else(|error| kept.fail(&error));
    Some(opened)
}

fn read(kept: &Kept, file: &LeaseFile, promise: &mut Promise) {
    match file.word() {
        // The clock is read after the word, so no honest promise looks longer than the lease.
        Ok(word) => match promise.hear(word, monotonic_ns()) {
            Heard::Same => {}
            Heard::Until(until_ns) => kept.promised(until_ns, false),
            Heard::Clamped(until_ns) => kept.promised(until_ns, true),
            Heard::Absurd(absurd) => kept.refuse(&absurd),
        },
        Err(error) => kept.fail(&error),
    }
}

impl Watch {
    /// Starts the thread, with nothing to look at.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("leases".to_owned()).spawn(move || own.run())?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// What is looked at, to be changed. The thread waits meanwhile.
    pub(super) fn list(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.shared.list()
    }

    /// Looks at what is new.
    pub(super) fn look_again(&self) {
        self.thread.unpark();
    }

    /// Whether it looks at nothing any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Looks at nothing any more.
    pub(super) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn list(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        priority::real_time("leases");
        while !self.stopping.load(Ordering::Acquire) {
            let next_ns = self.pass();
            thread::park_timeout(Duration::from_nanos(next_ns.saturating_sub(monotonic_ns())));
        }
    }

    /// Looks at all that is due; when the next one is.
    fn pass(&self) -> u64 {
        let mut next_ns = monotonic_ns() + LOOK_NS_MAX;
        for watched in self.list().iter_mut() {
            let now_ns = monotonic_ns();
            if watched.due_ns <= now_ns {
                watched.look();
                watched.due_ns = now_ns + watched.every_ns;
            }
            next_ns = next_ns.min(watched.due_ns);
        }
        next_ns
    }
}
