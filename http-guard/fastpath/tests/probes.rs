//! The table of probes by the parsers alone, cut in every place.

#[path = "probes/mod.rs"]
mod table;

use http_fastpath::head::Settings;
use http_fastpath::host::{Reading, requests};
use table::{Probe, Then};

fn read(probe: &Probe, cuts: &[usize]) -> Reading {
    requests(probe.bytes, cuts, &Settings::DEFAULT)
}

/// Method, path, host and bytes of the body.
type Passed = (String, Vec<u8>, String, u64);

/// What became of a probe, in the table's words.
fn verdict(reading: &Reading) -> (Vec<Passed>, Then) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let passed = reading.seen.iter().filter(|seen| seen.complete);
    let passed =
        passed.map(|seen| (text(&seen.method), seen.path.clone(), text(&seen.host), seen.body_bytes));
    let then = match reading.refusal {
        Some(refusal) => Then::Refused(refusal.status()),
        None if reading.at_boundary => Then::Nothing,
        None => Then::Incomplete,
    };
    (passed.collect(), then)
}

#[test]
fn verdicts_are_those_of_the_table() {
    let mut wrong = vec![];
    for probe in table::all() {
        let reading = read(probe, &[]);
        let text = |text: &str| text.to_owned();
        let passed = probe.passed.iter();
        let passed =
            passed.map(|seen| (text(seen.method), seen.path.to_vec(), text(seen.host), seen.body_bytes));
        if verdict(&reading) != (passed.collect(), probe.then) {
            wrong.push(format!("{}: {reading:?}", probe.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_cut_changes_a_verdict() {
    for probe in table::all() {
        let whole = read(probe, &[]);
        for cut in 1..probe.bytes.len() {
            assert_eq!(read(probe, &[cut]), whole, "{} cut at {cut}", probe.name);
        }
        let every: Vec<usize> = (1..probe.bytes.len()).collect();
        assert_eq!(read(probe, &every), whole, "{} byte by byte", probe.name);
    }
}

#[test]
fn no_prefix_of_what_passes_is_refused() {
    for probe in table::all().filter(|probe| !matches!(probe.then, Then::Refused(_))) {
        for len in 0..probe.bytes.len() {
            let reading = requests(&probe.bytes[..len], &[], &Settings::DEFAULT);
            assert_eq!(reading.refusal, None, "{} up to {len}", probe.name);
        }
    }
}

#[test]
fn the_table_is_large_and_its_names_are_unique() {
    let names: Vec<&str> = table::all().map(|probe| probe.name).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name} twice");
    }
    let refused = table::all().filter(|probe| matches!(probe.then, Then::Refused(_))).count();
    assert!(refused >= 150, "{refused}");
    // What passes here and is refused there is told apart, so that a comparison finds all other differences.
    assert!(table::all().any(|probe| probe.origin_refuses));
}
