//! What operators may do while the sidecar runs, whichever way they ask for it.

use std::sync::Arc;

use crate::reload::Reloader;
use crate::shared::Shared;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; what there is to know about it.
    Done(String),
    /// It was not done, and why.
    Refused(String),
}

/// What can be done.
#[derive(Debug)]
pub struct Actions {
    /// The cache, where there is one.
    cache: Option<Arc<Shared>>,
    reloader: Arc<Reloader>,
}

impl Actions {
    /// Acts on a cache and on the configuration.
    #[must_use]
    pub const fn new(cache: Option<Arc<Shared>>, reloader: Arc<Reloader>) -> Self {
        Self { cache, reloader }
    }

    /// Reads the configuration again.
    pub fn reload(&self) -> Outcome {
        self.reloader.reload()
    }

    fn on_cache(&self, act: impl FnOnce(&Shared) -> &'static str) -> Outcome {
        match &self.cache {
            Some(shared) => Outcome::Done(act(shared).to_owned()),
            None => Outcome::Refused(
                "nothing is cached: connections are relayed on the user path; `kv-cache status` says why"
                    .to_owned(),
            ),
        }
    }

    /// Makes all entries invalid, at once.
    pub fn flush(&self) -> Outcome {
        self.on_cache(|shared| {
            shared.flush();
            tracing::info!("all entries are invalid: the operator asked for it");
            "all entries are invalid"
        })
    }

    /// Forbids hits until [`enable`](Self::enable) or a restart.
    pub fn disable(&self) -> Outcome {
        self.on_cache(|shared| {
            shared.disable();
            tracing::info!("no hits: the operator has disabled them");
            "no hits from here on; `kv-cache enable` or a restart allows them again"
        })
    }

    /// Allows hits again, as far as coherence does.
    pub fn enable(&self) -> Outcome {
        self.on_cache(|shared| {
            shared.enable();
            tracing::info!("the operator allows hits");
            "hits are allowed as soon as Redis was looked at; `kv-cache status` says whether anything else forbids them"
        })
    }
}
