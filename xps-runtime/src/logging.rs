//! The log of a sidecar: started once, its level changed while it runs.

use std::io::IsTerminal;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, reload};

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes what is logged; the text was checked before.
pub type SetLevel = Box<dyn Fn(&str) + Send + Sync>;

/// Whether a text says what is to be logged: a level such as `info`, or a filter of `tracing` such as `kv_cache=debug`.
#[must_use]
pub fn is_level(text: &str) -> bool {
    EnvFilter::try_new(text).is_ok()
}

/// Starts the log, to standard error; what changes its level later. To be called once.
#[must_use]
pub fn start(format: Format, level: &str) -> SetLevel {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        Format::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |level| told(EnvFilter::try_new(level).map(|filter| handle.reload(filter))))
        }
        Format::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |level| told(EnvFilter::try_new(level).map(|filter| handle.reload(filter))))
        }
    }
}

/// The level was checked before, and the log lasts as long as the program: neither fails, and if so it is told.
fn told(changed: Result<Result<(), reload::Error>, ParseError>) {
    if !matches!(changed, Ok(Ok(()))) {
        tracing::error!(?changed, "the level of the log was not changed");
    }
}
