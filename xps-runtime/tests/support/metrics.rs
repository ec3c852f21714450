//! Pages of `docs/metrics/`, made of what a sidecar tells Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A metric: its type, its help, and its labels with the values that they have now.
#[derive(Debug, Default)]
pub(crate) struct Family {
    kind: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// All metrics of an answer, by name.
pub(crate) fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((name, rest)) = line.split_once('{') {
            let of = ["", "_bucket", "_sum", "_count"];
            let family = of
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|name| families.contains_key(*name)));
            let family = families.get_mut(family.expect("a sample of a metric")).expect("it");
            let labels = rest.split_once('}').expect("the end of the labels").0;
            // No value of a label that is looked at here has a comma or a quotation mark in it.
            for (name, value) in labels.split(',').filter_map(|label| label.split_once('=')) {
                family.labels.entry(name.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }
    families
}

/// A page on those metrics whose names begin with `prefix`. Of the labels `closed`, by metric, all values are told.
pub(crate) fn page(
    title: &str,
    families: &BTreeMap<String, Family>,
    prefix: &str,
    closed: &[(&str, &str)],
) -> String {
    let mut page = format!(
        "<!-- `cargo xtask docs` writes this page from what /metrics says. -->\n\n# {title}\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
    );
    for (name, Family { kind, help, labels }) in families.iter().filter(|(name, _)| name.starts_with(prefix))
    {
        let told = labels.iter().filter(|(label, _)| *label != "le").map(|(label, values)| {
            if closed.contains(&(name.as_str(), label.as_str())) {
                let values: Vec<_> = values.iter().map(String::as_str).collect();
                return format!("`{label}`: {}", values.join(", "));
            }
            format!("`{label}`")
        });
        let told = told.collect::<Vec<_>>().join("; ");
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{name}` | {kind} | {told} | {} |", help.replace('|', "\\|"));
    }
    page
}
