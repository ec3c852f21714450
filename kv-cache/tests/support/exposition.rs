//! Prometheus' text format, as its documentation and naming rules demand it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, <https://prometheus.io/docs/practices/naming/>).

use std::collections::{BTreeMap, BTreeSet};

/// How metrics' names begin: with the service's, or with that of the runtime.
const PREFIXES: &[&str] = &["kv_cache_", "http_guard_", "heartbeat_", "xps_"];

/// Labels that any metric may have. None of them can have many values.
const LABELS: &[&str] = &[
    "abi", "action", "cause", "le", "node", "observer", "path", "peer", "program", "reason", "result",
    "rule", "service", "source", "state", "status", "to", "version",
];

/// Units that are not base ones, and words that belong into the type.
const NAMES_AVOIDED: &[&str] =
    &["_ms", "_milliseconds", "_ns", "_us", "_kilobytes", "_mib", "_percent", "_count", "_gauge"];

/// The samples, by name and labels as they stand there.
///
/// # Panics
/// If anything is not as it should be.
pub(crate) fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut helps = BTreeSet::new();
    let mut types = BTreeMap::new();
    let mut samples = BTreeMap::new();
    assert!(text.ends_with('\n'), "the last line has no end");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("words behind the name");
            assert!(helps.insert(name.to_owned()), "{name} has two HELPs");
            assert!(words.ends_with('.') && words.len() > 20, "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type behind the name");
            check_name(name, kind);
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two TYPEs");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let family = family(name, &types);
            assert!(
                types.contains_key(family) && helps.contains(family),
                "{name} has no HELP and TYPE before it"
            );
            let bounded = family != name && name.ends_with("_bucket");
            assert_eq!(
                labels.starts_with("le=\"") || labels.contains(",le=\""),
                bounded,
                "a bucket has a bound, and nothing else has: {line}"
            );
            check_labels(labels.strip_suffix('}').unwrap_or_else(|| panic!("labels do not end: {line}")));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}");
        }
    }
    samples
}

/// The metric that a series belongs to: a histogram has several.
fn family<'a>(name: &'a str, types: &BTreeMap<String, String>) -> &'a str {
    let of_histogram = |ending: &&str| {
        let family = name.strip_suffix(*ending);
        family.is_some_and(|family| types.get(family).is_some_and(|kind| kind == "histogram"))
    };
    let ending = ["_bucket", "_sum", "_count"].into_iter().find(of_histogram);
    ending.and_then(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

fn check_name(name: &str, kind: &str) {
    let prefixed = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    assert!(prefixed, "{name} has no prefix");
    assert!(
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
        "{name}"
    );
    match kind {
        "counter" => assert!(name.ends_with("_total"), "the counter {name}"),
        "gauge" => assert!(!name.ends_with("_total"), "the gauge {name}"),
        "histogram" => {
            assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "the histogram {name}")
        }
        other => panic!("{name} is a {other}"),
    }
    let bare = name.strip_suffix("_total").unwrap_or(name);
    for avoided in NAMES_AVOIDED {
        assert!(!bare.ends_with(avoided), "{name}: {avoided}");
    }
    for unit in ["seconds", "bytes"] {
        assert!(!bare.contains(unit) || bare.ends_with(unit), "{name}: the unit stands at the end");
    }
}

fn check_labels(labels: &str) {
    for label in labels.split("\",").filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no value: {label}"));
        assert!(LABELS.contains(&name), "the label {name}");
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(value.len() < 40 && !value.contains(['"', '\n', ':']), "{name}={value}");
    }
}
