//! Where a configuration comes from: read at the start, and again whenever the operator asks.

use std::path::PathBuf;

use super::Mistakes;

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
    /// Reads the configuration as it is now. `read` is given the file's name and text, the environment, and the flags.
    ///
    /// # Errors
    /// If the file cannot be read, or all mistakes at once.
    pub fn read_by<C>(
        &self,
        read: impl FnOnce(
            Option<(&str, &str)>,
            Vec<(String, String)>,
            Vec<(String, String)>,
        ) -> Result<C, Mistakes>,
    ) -> Result<C, SourceError> {
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
        Ok(read(file, environment, self.flags.clone())?)
    }
}

/// What a flag `--set` gives: `section.key=value`.
///
/// # Errors
/// What it must be.
pub fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must have the form section.key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}
