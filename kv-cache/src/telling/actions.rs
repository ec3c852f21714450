//! What operators may do while the sidecar runs, whichever way they ask for it.

use std::sync::Arc;

use xps_runtime::admin::Outcome;

use crate::config::reload::Reloader;
use crate::shared::Shared;

/// What can be done.
#[derive(Debug)]
pub struct Actions {
    cache: Arc<Shared>,
    reloader: Arc<Reloader>,
}

impl Actions {
    /// Acts on a cache and on the configuration.
    #[must_use]
    pub const fn new(cache: Arc<Shared>, reloader: Arc<Reloader>) -> Self {
        Self { cache, reloader }
    }

    /// The cache.
    #[must_use]
    pub const fn cache(&self) -> &Arc<Shared> {
        &self.cache
    }

    /// Reads the configuration again.
    pub fn reload(&self) -> Outcome {
        self.reloader.reload()
    }

    /// Makes all entries invalid, at once.
    pub fn flush(&self) -> Outcome {
        self.cache.flush();
        tracing::info!("all entries are invalid: the operator asked for it");
        Outcome::Done("all entries are invalid".to_owned())
    }

    /// Forbids hits until [`enable`](Self::enable) or a restart.
    pub fn disable(&self) -> Outcome {
        self.cache.disable();
        tracing::info!("no hits: the operator has disabled them");
        Outcome::Done("no hits from here on; `kv-cache enable` or a restart allows them again".to_owned())
    }

    /// Allows hits again, as far as coherence does.
    pub fn enable(&self) -> Outcome {
        self.cache.enable();
        tracing::info!("the operator allows hits");
        Outcome::Done(
            "hits are allowed as soon as Redis was looked at; `kv-cache status` says whether anything else forbids them"
                .to_owned(),
        )
    }
}
