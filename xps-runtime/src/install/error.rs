//! Why nothing was installed.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;

use crate::mapping::MappingError;

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The pin directory cannot be used.
    #[error("cannot use the pin directory {}: {source}; it must be on a BPF file system and have no dots in its name", .path.display())]
    PinDirectory {
        /// The directory.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
    /// Another agent is at work.
    #[error("another agent uses {}: stop it, or give this one a pin directory of its own", .path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// What a previous agent left is of another make, and connections need it.
    #[error("{} holds the state of another version ({difference}) with {flows} connections: stop that version in order, or drop them with `rm -r {}`", .path.display(), .path.display())]
    OtherVersion {
        /// The directory.
        path: PathBuf,
        /// What differs.
        difference: String,
        /// Connections in its table.
        flows: u64,
    },
    /// The object is not what the runtime expects.
    #[error("the object file does not fit: {0}")]
    Object(String),
    /// The kernel refuses maps or programs.
    #[error("cannot load {what}: {}", shorten(&crate::probe::chain(&**.source)))]
    Load {
        /// Maps, or the program's name.
        what: String,
        /// The loader's error; the verifier's last words are in it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A map cannot be filled or read.
    #[error("map {name}: {}", crate::probe::chain(.source))]
    Map {
        /// Its name.
        name: String,
        /// The kernel's answer.
        source: MapError,
    },
    /// A map cannot be mapped.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A link cannot be made.
    #[error("cannot attach to {device}: {source}")]
    Attach {
        /// The interface's name.
        device: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something else of the system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The answer.
        source: io::Error,
    },
}

/// A refusal carries all that the verifier said; its beginning and its end tell what is wrong.
fn shorten(text: &str) -> String {
    const LINES: usize = 6;
    let lines: Vec<_> = text.lines().collect();
    if lines.len() <= 2 * LINES {
        return text.to_owned();
    }
    let (first, last) = (&lines[..1], &lines[lines.len() - LINES..]);
    format!("{}\n…\n{}", first.join("\n"), last.join("\n"))
}
