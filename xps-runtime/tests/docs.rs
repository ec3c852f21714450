//! `docs/metrics/runtime.md`: the metrics that the runtime tells for each sidecar.

#[path = "support/docs.rs"]
mod docs;
#[path = "support/metrics.rs"]
mod metrics;

use prometheus::Registry;
use xps_core::verdict::Reason;
use xps_runtime::locals::Unseen;
use xps_runtime::metrics::Metrics;
use xps_runtime::pins::Runs;
use xps_runtime::plan::{Cause, Plan};
use xps_runtime::relay::RelayReading;

#[test]
fn the_page_says_what_the_runtime_tells() {
    let told = Metrics::new(Registry::new(), "kv-cache", "0.0.0").expect("metrics");
    told.set_path(&Plan::user(vec![Cause::Configured]));
    told.set_programs(&[("ingress", Runs { count: 1, time_ns: 1 })]);
    told.set_segments(&[0; Reason::COUNT], 0);
    told.set_addresses(0, &[]);
    told.set_relay(&RelayReading::default());
    let families = metrics::families(&told.text().expect("a text"));
    let closed = [
        ("xps_segments_total", "reason"),
        ("xps_relay_bytes_total", "to"),
        ("xps_local_addresses_unseen", "cause"),
    ];
    docs::check("metrics/runtime.md", &metrics::page("Metrics of every sidecar", &families, "xps_", &closed));
}

#[test]
fn every_reason_and_every_cause_is_told_what_to_do_about() {
    let page = docs::read("troubleshooting.md");
    let addresses = Unseen::LABELS.iter().map(|label| (*label).to_owned());
    let reasons = Reason::ALL.iter().map(|reason| reason.label().to_owned());
    let causes = docs::labels(include_str!("../src/plan/cause.rs"));
    assert!(causes.len() > 10, "{causes:?}");
    let missing: Vec<_> = reasons
        .chain(causes)
        .chain(addresses)
        .filter(|label| !page.contains(&format!("`{label}`")))
        .collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md does not tell of {missing:?}");
}
