//! What the command lines of sidecars have in common.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::config::source::{ConfigSource, assignment};

/// How long a view that goes on stays as it is.
const AGAIN: Duration = Duration::from_secs(2);
/// Clears a terminal (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Where the configuration comes from. Most keys can also be set by a variable, as the service's documentation says.
#[derive(Debug, clap::Args)]
pub struct Configuration {
    /// Configuration file (TOML). Without it the defaults hold.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key, such as `--set path.mode=user`; goes before file and environment.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Configuration {
    /// The same, as it is read.
    #[must_use]
    pub fn source(self) -> ConfigSource {
        ConfigSource { file: self.config, flags: self.set }
    }
}

/// What a program ends with. An error is told with its causes; `{:#}` prints them.
pub fn exit<E: Display>(service: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a text.
///
/// # Errors
/// The system's; not that whoever read it has seen enough.
pub fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a value for readers, or as JSON for programs.
///
/// # Errors
/// As with [`print()`].
pub fn show<T: Serialize + Display>(value: &T, json: bool) -> io::Result<()> {
    print(&if json { serde_json::to_string_pretty(value)? + "\n" } else { value.to_string() })
}

/// Shows what `look` sees: again and again on a terminal, once as JSON or to a program.
///
/// # Errors
/// What `look` fails with, and as with [`print()`].
pub fn watch<T, E>(json: bool, mut look: impl FnMut() -> Result<T, E>) -> Result<(), E>
where
    T: Serialize + Display,
    E: From<io::Error>,
{
    let live = !json && io::stdout().is_terminal();
    loop {
        let view = look()?;
        if live {
            print(CLEAR)?;
        }
        show(&view, json)?;
        if !live {
            return Ok(());
        }
        std::thread::sleep(AGAIN);
    }
}
