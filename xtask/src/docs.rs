//! `cargo xtask docs`: writes the pages of `docs/` that are made from the code.
//!
//! The tests that hold these pages against the code can also write them, so that both mean the same.

use crate::{setup, workspace};
use anyhow::{Result, bail};

/// The crates with such pages.
const CRATES: [&str; 4] = ["xps-runtime", "kv-cache", "http-guard", "heartbeat"];

/// Tells the tests to write.
const WRITE: &str = "XPS_WRITE_DOCS";

/// Writes them, and says which have changed.
pub(crate) fn run() -> Result<()> {
    setup::run(&setup::Options::default())?;
    // What is asked of the configuration is known in the library, what is told by metrics to the whole sidecar.
    for (which, names) in [(["--lib"].as_slice(), "reference"), (&["--test", "docs"], "the_page_says")] {
        let mut command = workspace::cargo();
        command.arg("test").args(CRATES.iter().flat_map(|name| ["--package", name]));
        command.args(which).arg(names).env(WRITE, "1");
        if !command.status()?.success() {
            bail!("not all pages were written; what stands above says why");
        }
    }
    println!("docs: written");
    Ok(())
}
