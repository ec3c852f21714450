//! Where the configuration comes from: read at the start, and again whenever the operator asks.

use std::path::PathBuf;

use xps_runtime::config::Mistakes;

use crate::config::Config;

/// A file, the environment, and flags, in this order of rising precedence.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// The file; without one the defaults hold.
    pub file: Option<PathBuf>,
    /// Flags: `section.key`, and the value.
    pub flags: Vec<(String, String)>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It has mistakes.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

impl ConfigSource {
    /// Reads the configuration as it is now.
    ///
    /// # Errors
    /// If the file cannot be read, or all mistakes at once.
    pub fn read(&self) -> Result<Config, SourceError> {
        let text = match &self.file {
            None => None,
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => Some((path.display().to_string(), text)),
                Err(source) => return Err(SourceError::File { path: path.clone(), source }),
            },
        };
        // A variable that is not UTF-8 cannot be one of ours: all values are text.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Ok(Config::read(file, environment, self.flags.clone())?)
    }
}
