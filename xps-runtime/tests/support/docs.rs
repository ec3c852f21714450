//! Pages of `docs/` that are made from the code: held against it, or written with `XPS_WRITE_DOCS=1` (`cargo xtask docs`).

use std::fs;
use std::path::Path;

/// Checks that the page `name` of `docs/` is `text`, or makes it so.
///
/// # Panics
/// If it is something else.
pub(crate) fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("XPS_WRITE_DOCS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a page");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "docs/{name} is not what the code says; `cargo xtask docs` writes it anew. It would be:\n{text}"
    );
}

/// A page as it is.
#[allow(dead_code, reason = "not every crate has something to look for")]
pub(crate) fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(path).expect("a page")
}

/// The labels that the source of an enumeration gives to its variants: those of variants with fields cannot be listed otherwise.
#[allow(dead_code, reason = "not every crate has something to look for")]
pub(crate) fn labels(source: &str) -> Vec<String> {
    let body = source.split_once("fn label(&self)").map_or("", |(_, rest)| rest);
    let body = body.split_once("\n    }\n").map_or("", |(body, _)| body);
    let label = |line: &str| Some(line.split_once("=> \"")?.1.split_once('"')?.0.to_owned());
    body.lines().filter_map(label).collect()
}
