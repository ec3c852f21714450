//! Locks whose former holder's panic does not matter.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock behind which everything is consistent after every step, so that a former holder's panic does not matter.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
