//! The configuration that holds now. It is read by whoever acts on it each time, and swapped as a whole.

use std::sync::{Arc, PoisonError, RwLock};

/// The configuration, for all tasks.
#[derive(Debug)]
pub struct Current<C>(RwLock<Arc<C>>);

impl<C> Current<C> {
    /// Starts with a configuration.
    #[must_use]
    pub fn new(config: C) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(config))))
    }

    /// What holds now. Whoever needs several values that belong together takes them from one reading.
    #[must_use]
    pub fn read(&self) -> Arc<C> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on another one holds.
    pub fn swap(&self, config: C) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
