//! `cargo xtask report`: the three benches as one page, which needs nothing but itself, and a twin of it in Markdown.
//!
//! # Layout
//! - [`source`]: results, measured now or saved before. [`result`]: what is read of them.
//! - [`overview`], [`service`], [`heartbeat`]: what is said of them, as a [`document`]. [`numbers`]: how figures are written.
//! - [`plot`]: pictures of the figures.
//! - [`page`], [`markdown`]: the document as HTML and as Markdown.

mod document;
mod heartbeat;
mod markdown;
mod numbers;
mod overview;
mod page;
mod plot;
mod result;
mod service;
mod source;

use crate::workspace;
use anyhow::{Context, Result};
use clap::Args;
use document::Document;
use plot::Plot;
use source::{Bench, Source};
use std::fs;
use std::path::{Path, PathBuf};

/// What the report is made of, and where it goes.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure with fewer and shorter rounds: a quarter of the time.
    #[arg(long, conflicts_with = "from")]
    quick: bool,
    /// Measure nothing: take what a bench printed with --json (may be repeated).
    #[arg(long, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The folder of the report [default: target/report].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Also write the pictures that README shows into this folder.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
}

/// The pictures that README shows.
const README_PICTURES: [&str; 4] = ["kv-ratio", "kv-hit-share", "http-ratio", "heartbeat-replies"];

/// Measures or reads, and writes. `false` if a bench failed: the report says so, and of what it is missing.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let folder = options.output.clone().unwrap_or_else(|| workspace::target().join("report"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let sources = if options.from.is_empty() {
        source::measure(options.quick, &folder)?
    } else {
        source::read(&options.from)?
    };
    let document = document(&sources);
    write(&folder.join("index.html"), &page::page(&document))?;
    write(&folder.join("report.md"), &markdown::text(&document))?;
    write_pictures(&folder.join(markdown::PICTURES), document.plots())?;
    if let Some(pictures) = &options.pictures {
        let shown = document.plots().filter(|plot| README_PICTURES.contains(&plot.name.as_str()));
        write_pictures(pictures, shown)?;
    }
    println!("report: {} and report.md beside it", folder.join("index.html").display());
    for source in &sources {
        if let Source::Missing { bench, reason, .. } = source {
            println!("report: bench {} is missing: {reason}", bench.name());
        }
    }
    Ok(!sources.iter().any(|source| matches!(source, Source::Missing { failed: true, .. })))
}

/// All that is to be said.
fn document(sources: &[Source]) -> Document {
    let mut document =
        Document { sections: vec![overview::glance(sources), overview::circumstances(sources)] };
    for source in sources {
        document.sections.push(match source {
            Source::Missing { bench, reason, .. } => overview::missing(*bench, reason),
            Source::Result { result, .. } => match result.bench {
                Bench::Heartbeat => heartbeat::section(result),
                Bench::Kv | Bench::Http => service::section(result),
            },
        });
    }
    document.sections.push(overview::reading());
    document
}

fn write_pictures<'a>(folder: &Path, plots: impl Iterator<Item = &'a Plot>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for plot in plots {
        write(&folder.join(plot.file_name()), &plot.file())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
