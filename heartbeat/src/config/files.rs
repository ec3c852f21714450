//! Keys and members stand in files of their own: secrets since nobody else may read them, members since others write them.

use std::path::Path;

use heartbeat_fastpath::wire::ClusterId;
use xps_runtime::config::Reader;
use xps_runtime::config::watched::Watched;

use crate::keys::{Ring, read_private};
use crate::members::entry::{self, Entry};

/// Reads the cluster's keys. Without them nothing is sent nor taken.
pub(super) fn keys(
    reader: &mut Reader,
    folder: &Path,
    cluster: ClusterId,
    files: &mut Vec<Watched>,
) -> Option<Ring> {
    const KEY: (&str, &str) = ("cluster", "key_file");
    let file = reader.section(KEY.0).string(KEY.1, "");
    if file.is_empty() {
        let message =
            "cluster.key_file is missing; `heartbeat key > FILE` makes one, for all nodes of the cluster";
        reader.mistake(KEY.0, KEY.1, message);
        return None;
    }
    let path = folder.join(file);
    files.push(Watched::at(path.clone()));
    let text = match read_private(&path) {
        Ok(text) => text,
        Err(error) => {
            reader.mistake(KEY.0, KEY.1, format!("cluster.key_file: {error}"));
            return None;
        }
    };
    match Ring::parse(cluster, &text) {
        Ok(ring) => Some(ring),
        Err(mistakes) => {
            for mistake in mistakes {
                let message = format!("{}:{}: {}", path.display(), mistake.line, mistake.what);
                reader.mistake(KEY.0, KEY.1, message);
            }
            None
        }
    }
}

/// Reads the file of members, if there is one.
pub(super) fn members(
    reader: &mut Reader,
    folder: &Path,
    file: &str,
    port: u16,
    files: &mut Vec<Watched>,
) -> Vec<Entry> {
    const KEY: (&str, &str) = ("members", "file");
    if file.is_empty() {
        return Vec::new();
    }
    let path = folder.join(file);
    files.push(Watched::at(path.clone()));
    let parsed = match std::fs::read_to_string(&path) {
        Ok(text) => entry::parse_file(&text, port),
        Err(error) => {
            let message = format!("members.file {} cannot be read: {error}", path.display());
            reader.mistake(KEY.0, KEY.1, message);
            return Vec::new();
        }
    };
    parsed.unwrap_or_else(|mistakes| {
        for (line, what) in mistakes {
            reader.mistake(KEY.0, KEY.1, format!("{}:{line}: {what}", path.display()));
        }
        Vec::new()
    })
}
