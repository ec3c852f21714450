//! The configuration that holds now. It is read by whoever acts on it each time, and swapped as a whole.

use std::sync::{Arc, PoisonError, RwLock};

use crate::config::Config;

/// The configuration, for all tasks.
#[derive(Debug)]
pub struct Current(RwLock<Arc<Config>>);

impl Current {
    /// Starts with a configuration.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(config))))
    }

    /// What holds now. Whoever needs several values that belong together takes them from one reading.
    #[must_use]
    pub fn read(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on another one holds.
    pub fn swap(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
