//! The table of probes against a real Nginx, on both paths: what passes, Nginx reads as the guard did; what is refused it never
//! has whole; and both paths say the same.

#[path = "../../fastpath/tests/probes/mod.rs"]
pub(crate) mod table;

use anyhow::ensure;
use table::{Passed, Probe, Then};

use crate::lab::{Lab, Mode};
use crate::site::Site;
use crate::streams::{Sent, Served, Stream, send_all, served};

/// A probe as it is sent.
struct Case {
    probe: &'static Probe,
    /// How it is cut.
    how: String,
    stream: Stream,
    /// Whether no request stands in one segment with another one, and each waits for the response to the one before.
    one_by_one: bool,
}

/// What became of a case.
struct End {
    sent: Sent,
    served: Vec<Served>,
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for probe in table::all() {
        let (bytes, len) = (probe.bytes, probe.bytes.len());
        let cuts = [1, len / 2, len - 1].into_iter().filter(|cut| (1..len).contains(cut));
        for cuts in std::iter::once(vec![]).chain(cuts.map(|cut| vec![cut])) {
            let (how, stream) = (format!("cut at {cuts:?}"), Stream::cut(bytes, &cuts));
            all.push(Case { probe, how, stream, one_by_one: probe.passed.is_empty() });
        }
        if !probe.passed.is_empty() {
            let stream = Stream::one_by_one(bytes);
            all.push(Case { probe, how: "one by one".into(), stream, one_by_one: true });
        }
    }
    all
}

fn ends(mode: Mode, cases: &[Case]) -> Vec<End> {
    let mut ends = Vec::new();
    Lab::run_on(mode, Site::Logging, "", |lab| {
        let streams: Vec<_> = cases.iter().map(|case| case.stream.clone()).collect();
        let all = send_all(lab, &streams)?;
        let mut served = served(lab)?;
        ends.extend(all.into_iter().map(|sent| {
            let served = served.remove(&sent.port).unwrap_or_default();
            End { sent, served }
        }));
        let faults: Vec<_> = cases.iter().zip(&ends).filter_map(|(case, end)| fault(case, end)).collect();
        ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        Ok(())
    });
    ends
}

fn is(served: &Served, passed: &Passed) -> bool {
    // Without a host Nginx takes the server's name.
    let host = passed.host.is_empty() || served.host == passed.host;
    host && served.method == passed.method
        && served.path == passed.path
        && served.body_bytes == passed.body_bytes
}

/// What is wrong with what became of a probe, if something is.
fn fault(case: &Case, end: &End) -> Option<String> {
    let Case { probe, how, one_by_one, .. } = case;
    let End { sent: Sent { statuses, .. }, served } = end;
    let told =
        |what: &str| Some(format!("{} {how}: {what}; {statuses:?}, Nginx served {served:?}", probe.name));
    let agrees = served.iter().zip(probe.passed).all(|(served, passed)| is(served, passed));
    if !agrees || served.len() > probe.passed.len() {
        return told("Nginx reads it otherwise");
    }
    // What stands in one segment with a request that is refused ends with it.
    let all = *one_by_one || !matches!(probe.then, Then::Refused(_));
    if all && !probe.origin_refuses && served.len() != probe.passed.len() {
        return told("Nginx did not get all that passes");
    }
    match probe.then {
        Then::Refused(expected) if *one_by_one && statuses.last() != Some(&expected) => {
            told(&format!("no {expected} at its end"))
        }
        _ => None,
    }
}

#[test]
fn nginx_reads_what_passes_as_the_guard_does_on_both_paths() {
    let cases = cases();
    let [kernel, user] = Mode::ALL.map(|mode| ends(mode, &cases));
    let mut differences = Vec::new();
    for ((case, kernel), user) in cases.iter().zip(&kernel).zip(&user) {
        let Case { probe, how, .. } = case;
        // The proxy reads one request after the other, wherever they stand.
        let alike = if case.one_by_one || !matches!(probe.then, Then::Refused(_)) {
            kernel.served == user.served && kernel.sent.statuses == user.sent.statuses
        } else {
            user.served.starts_with(&kernel.served)
        };
        if !alike {
            let ends = [kernel, user].map(|end| (&end.sent.statuses, &end.served));
            differences.push(format!("{} {how}: {ends:?}", probe.name));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
